//! What happened to a cluster, as `kubectl describe` and `kubectl get events` tell it.
//!
//! Events are the differences between two statuses. Of several operators, the one whose new status
//! the API server takes tells what is new in it, so that nothing is told twice.

use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder};
use tracing::warn;

use super::apply::in_time;
use crate::crd::{
    ConditionKind, LEARNER, MemberStatus, NO_SEAT, RememberCluster, RememberClusterStatus, VOTER,
};

/// The longest note of an event, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

/// Something worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct News {
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub note: String,
}

/// What is new in a status.
#[must_use]
pub(super) fn news(before: &RememberClusterStatus, after: &RememberClusterStatus) -> Vec<News> {
    let mut news = Vec::new();
    if let Some(leader) = &after.leader
        && before.term.is_none_or(|term| leader.term > term)
    {
        let came_after = match &before.leader {
            Some(before) if before.pod != leader.pod => format!(", after pod {}", before.pod),
            _ => String::new(),
        };
        let (pod, term) = (&leader.pod, leader.term);
        news.push(News {
            is_warning: false,
            reason: "LeaderChanged".to_owned(),
            note: format!("pod {pod} leads in term {term}{came_after}, and has the traffic"),
        });
    }
    // Those of the first sight are no news.
    if before.voters.is_some() {
        news.extend(of_members(&before.members, &after.members));
    }
    for kind in ConditionKind::all() {
        news.extend(of_condition(kind, before, after));
    }
    news
}

/// Who has joined, got a vote or left. A node on another disk is another member.
fn of_members<'a>(
    before: &'a [MemberStatus],
    after: &'a [MemberStatus],
) -> impl Iterator<Item = News> + 'a {
    fn of(all: &[MemberStatus], pod: &str) -> (String, Option<String>) {
        let told = all.iter().find(|told| told.pod == pod);
        let seat = told.and_then(|told| told.seat.clone());
        let disk = told.and_then(|told| told.incarnation.clone());
        (seat.unwrap_or_else(|| NO_SEAT.to_owned()), disk)
    }
    let gone = before.iter();
    let gone = gone.filter(|was| after.iter().all(|is| is.pod != was.pod));
    after.iter().chain(gone).filter_map(move |member| {
        let (MemberStatus { pod, id, .. }, is_warning) = (member, false);
        let (was, disk_before) = of(before, pod);
        let (is, disk) = of(after, pod);
        let is_same = was == is && (disk_before == disk || is == NO_SEAT);
        let (reason, what) = match is.as_str() {
            _ if is_same => return None,
            LEARNER => ("MemberJoined", "is sent everything, and has no vote yet"),
            VOTER => ("MemberPromoted", "has a vote"),
            NO_SEAT => ("MemberRemoved", "does not belong to the cluster any more"),
            _ => return None,
        };
        Some(News {
            is_warning,
            reason: reason.to_owned(),
            note: format!("node {id} in pod {pod} {what}"),
        })
    })
}

/// Conditions of which people want to hear when they turn bad: what is bad, and how it is called.
fn of_condition(
    kind: ConditionKind,
    before: &RememberClusterStatus,
    after: &RememberClusterStatus,
) -> Option<News> {
    let told = |status: &RememberClusterStatus| {
        let mut told = status.conditions.iter();
        let told = told.find(|told| told.type_ == kind.name());
        told.map(|told| {
            (
                told.status.clone(),
                told.reason.clone(),
                told.message.clone(),
            )
        })
    };
    let (was, why_was, said) = told(before).unwrap_or_default();
    let (is, why, message) = told(after)?;
    let is_new = (&was, &why_was) != (&is, &why);
    let (is_warning, reason) = match (kind, is.as_str()) {
        // A refusal of something else is news as well.
        (ConditionKind::Stalled, "True") if is_new || said != message => (true, why),
        (ConditionKind::Stalled, "False") if was == "True" => (false, "Mended".to_owned()),
        (ConditionKind::LeaderElected, "False") if was == "True" => (true, "LeaderLost".to_owned()),
        (ConditionKind::QuorumAvailable, "Unknown") if was == "True" => {
            (true, "QuorumUnknown".to_owned())
        }
        (ConditionKind::TrafficRouted, "False") if was == "True" || (is_new && why == "Denied") => {
            (true, format!("Traffic{why}"))
        }
        // That its pods are not yet told of it is no news where it was just added.
        (ConditionKind::WitnessReady, "False")
            if !was.is_empty() && (is_new || said != message) =>
        {
            (true, why)
        }
        (ConditionKind::WitnessReady, "True") if is_new => (false, why),
        (ConditionKind::Reconciling, "True")
            if matches!(why.as_str(), "Rolling" | "Scaling") && (is_new || said != message) =>
        {
            (false, why)
        }
        _ => return None,
    };
    Some(News {
        is_warning,
        reason,
        note: message,
    })
}

/// Tells the news of a cluster. What cannot be told is logged, and lost.
pub(super) async fn tell(recorder: &Recorder, cluster: &RememberCluster, news: Vec<News>) {
    let about = cluster.object_ref(&());
    for one in news {
        let end = one.note.floor_char_boundary(NOTE_BYTES_MAX);
        let event = Event {
            type_: if one.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: one.reason,
            note: one.note.get(..end).map(str::to_owned),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = in_time(recorder.publish(&event, &about)).await {
            warn!(%error, reason = event.reason, "an event is not told");
        }
    }
}
