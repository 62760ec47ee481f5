//! Whether a node is alive, started and ready (R8).

use std::cell::Cell;
use std::time::Duration;

use crate::node::{Handle, Phase};

/// How long one turn of the node's loop may take; an election timeout is a third of it.
const TURN_WITHIN: Duration = Duration::from_secs(1);

/// Whether the node may serve, which it may for good once it has caught up: a follower without a
/// leader stays ready, and leadership is never readiness.
#[derive(Debug)]
pub(super) struct Readiness {
    handle: Handle,
    reached: Cell<bool>,
}

impl Readiness {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            reached: Cell::new(false),
        }
    }

    /// Whether the node has caught up, as far as anyone has looked.
    pub(super) fn is_reached(&self) -> bool {
        self.reached.get()
    }

    /// Looks whether the node has caught up by now.
    pub(super) fn notice(&self) {
        if !self.reached.get() && self.missing().is_none() {
            self.reached.set(true);
        }
    }

    /// Why the node is not ready; `None` if it is.
    pub(super) fn lacks(&self) -> Option<String> {
        self.notice();
        if self.reached.get() {
            None
        } else {
            self.missing()
        }
    }

    fn missing(&self) -> Option<String> {
        if let Some(sentence) = not_started(&self.handle) {
            return Some(sentence);
        }
        if !self.votes() {
            return Some(
                "this node is a learner: it serves once the leader lets it vote".to_owned(),
            );
        }
        let Some(wanted) = self.handle.status().leader_commit else {
            return Some("no leader has been heard since this node started".to_owned());
        };
        let applied = self.handle.store().view().position().index;
        (applied < wanted).then(|| format!("applied {applied} of the leader's {wanted} entries"))
    }

    /// Whether it has been let vote: who relies on ready nodes relies on their votes (R8).
    fn votes(&self) -> bool {
        let name = self.handle.name();
        let configuration = self.handle.configuration();
        configuration.is_some_and(|(_, present)| !present.is_joint() && present.lets_vote(name))
    }
}

/// Why the node has not started; `None` if it has.
pub(super) fn not_started(handle: &Handle) -> Option<String> {
    match &*handle.phases().borrow() {
        Phase::Founding(missing) => {
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            let missing = missing.join(", ");
            Some(format!(
                "the cluster is not founded; not heard of: {missing}"
            ))
        }
        Phase::Joining => Some("no leader has registered this node with the cluster".to_owned()),
        Phase::Running | Phase::Stopping => None,
    }
}

/// Why the node is not alive; `None` if it is. Whether there is a leader plays no part in it:
/// ending a node that is cut off helps nobody.
pub(super) async fn hangs(handle: &Handle) -> Option<String> {
    let turns = handle.turns(TURN_WITHIN).await;
    (!turns).then(|| "the node's loop does not turn: it hangs, or it has ended".to_owned())
}
