//! Who belongs to the cluster, and changing that.

use std::collections::BTreeSet;

use hyper::body::Incoming;
use hyper::{Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::query::Query;
use super::reply::{Problem, Reply, bare, json};
use super::{Peer, act};
use crate::consensus::{Change, ChangeRefusal, Configuration, MemberId, NodeId, Seat};
use crate::node::Unchanged;
use crate::state::Member;

#[derive(Serialize)]
struct MembersDocument {
    term: u64,
    /// The entry of the log that these members came with; null before the cluster is founded.
    since: Option<u64>,
    members: Vec<MemberDocument>,
}

#[derive(Serialize)]
struct MemberDocument {
    #[serde(flatten)]
    member: Member,
    /// Its disk, in 16 hexadecimal digits: two disks of one id are two members (R13).
    incarnation: Option<String>,
    /// What its word counts in; null before the cluster is founded.
    role: Option<&'static str>,
    leader: bool,
    /// Whether the leader hears it; null while there is no leader.
    alive: Option<bool>,
}

/// `GET /v1/members`: everyone, dead or alive.
pub(super) fn members(api: &Api, uri: &Uri) -> Result<Reply, Problem> {
    Query::parse(uri.query(), &[])?;
    let status = api.handle.status();
    let reached = api.handle.members();
    let document = |id: NodeId, seat: Option<(MemberId, Seat)>| {
        let address = reached.iter().find(|(reached, _)| *reached == id);
        MemberDocument {
            member: Member::new(id, address.and_then(|(_, address)| address.as_ref())),
            incarnation: seat.map(|(member, _)| format!("{:016x}", member.incarnation.0)),
            role: seat.map(|(_, seat)| role(seat)),
            leader: status.leader == Some(id) && seat.is_none_or(|(_, seat)| counts(seat)),
            alive: status.leader.map(|_| status.alive.contains(&id)),
        }
    };
    let configuration = api.handle.configuration();
    let members = match &configuration {
        Some((_, configuration)) => configuration
            .seats()
            .map(|(member, seat)| document(member.id, Some((member, seat))))
            .collect(),
        None => reached.iter().map(|(id, _)| document(*id, None)).collect(),
    };
    Ok(json(&MembersDocument {
        term: status.term.0,
        since: configuration.map(|(position, _)| position.index.0),
        members,
    }))
}

fn counts(seat: Seat) -> bool {
    seat.votes || seat.outgoing
}

fn role(seat: Seat) -> &'static str {
    match (seat.votes, seat.outgoing) {
        (true, _) => "voter",
        (false, true) => "leaving",
        (false, false) => "learner",
    }
}

/// What a request may ask for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Learners that are to vote. One whose id has a voter on an earlier disk takes its place.
    #[serde(default)]
    promote: BTreeSet<u64>,
    /// Members that are to belong to the cluster no longer.
    #[serde(default)]
    remove: BTreeSet<u64>,
}

/// `POST /v1/members`: answered once the change is agreed on.
pub(super) async fn change(
    api: &Api,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Reply, Problem> {
    let (headers, text, _share) = act::body(api, peer, request).await?;
    let wish: Wish = act::read(&headers, &text, "{\"promote\": [4, 5], \"remove\": [1]}")?;
    let Some((_, present)) = api.handle.configuration() else {
        return Err(Problem::overloaded("the cluster is not founded"));
    };
    let change = wish.change(&present)?;
    match api.handle.change(change).await {
        Ok(()) => Ok(bare(StatusCode::NO_CONTENT)),
        Err(Unchanged::Refused(ChangeRefusal::NotLeader)) => Err(act::not_leading(api)),
        Err(unchanged) => {
            let status = match unchanged {
                Unchanged::Refused(_) => StatusCode::CONFLICT,
                Unchanged::Unknown => StatusCode::GATEWAY_TIMEOUT,
                Unchanged::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            Err(Problem::new(status, unchanged.to_string()))
        }
    }
}

impl Wish {
    fn change(&self, present: &Configuration) -> Result<Change, Problem> {
        let missing = |id: u64, what: &str| {
            Problem::bad_request(format!("node {id} is no {what}; see /v1/members"))
        };
        let of = |id: u64| present.seats().filter(move |(member, _)| member.id.0 == id);
        let (mut promoted, mut removed) = (BTreeSet::new(), BTreeSet::new());
        if let Some(id) = self.promote.intersection(&self.remove).next() {
            let sentence = format!("node {id} cannot be both promoted and removed");
            return Err(Problem::bad_request(sentence));
        }
        for id in &self.promote {
            let mut learners = of(*id).filter(|(_, seat)| !counts(*seat));
            let (learner, _) = learners.next().ok_or_else(|| missing(*id, "learner"))?;
            promoted.insert(learner);
            // Its own earlier disk never comes back.
            let earlier = of(*id).filter(|(member, _)| *member != learner);
            removed.extend(earlier.map(|(member, _)| member));
        }
        for id in &self.remove {
            let mut gone = of(*id).map(|(member, _)| member).peekable();
            if gone.peek().is_none() {
                return Err(missing(*id, "member"));
            }
            removed.extend(gone);
        }
        if promoted.is_empty() && removed.is_empty() {
            return Err(Problem::bad_request(
                "name somebody to promote or to remove",
            ));
        }
        Ok(Change::Vote { promoted, removed })
    }
}
