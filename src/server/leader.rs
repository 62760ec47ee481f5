//! The cluster-info document, who leads, and handing that over.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::query::Query;
use super::reply::{Problem, Reply, bare, json};
use super::{Peer, act};
use crate::consensus::{NodeId, Role};
use crate::state::Member;

/// How long a leader that is about to end tries to hand over; whoever asks it to waits two seconds
/// (R9).
const LEAVING_WITHIN: Duration = Duration::from_millis(1500);

/// `GET /v1/cluster`: the S6 document.
pub(super) fn cluster(api: &Api, uri: &Uri) -> Result<Reply, Problem> {
    Query::parse(uri.query(), &[])?;
    Ok(json(&api.handle.cluster_info()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LeaderDocument {
    leader: Option<Member>,
    term: u64,
    /// What a leader shows to whatever it writes to, so that an older one is refused.
    token: Option<u64>,
    /// Whether this node is the leader and its leadership is established (R2).
    #[serde(rename = "self")]
    is_self: bool,
    /// How long the answer holds. A `Fast` leader is fenced by its token and by nothing else (R19).
    valid_for_ms: Option<u64>,
}

/// `GET /v1/leader`.
pub(super) fn leader(api: &Api, uri: &Uri) -> Result<Reply, Problem> {
    Query::parse(uri.query(), &[])?;
    let status = api.handle.status();
    Ok(json(&LeaderDocument {
        leader: api.handle.cluster_info().leader,
        term: status.term.0,
        token: status.leader.map(|_| status.term.0),
        is_self: status.role == Role::Leader && status.established,
        valid_for_ms: None,
    }))
}

/// What a transfer request may say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Transfer {
    /// The next leader; the best follower if not said.
    to: Option<u64>,
    /// Whether this node is about to end: then it does not stand again, leader or not (R9).
    #[serde(default)]
    leaving: bool,
}

/// `POST /v1/leader/transfer`.
pub(super) async fn transfer(
    api: &Api,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Reply, Problem> {
    let (headers, text, _share) = act::body(api, peer, request).await?;
    let transfer = if text.is_empty() {
        Transfer::default()
    } else {
        act::read(&headers, &text, "{\"to\": 2}")?
    };
    let to = transfer.to.map(NodeId);
    let is_member = |to: NodeId| api.handle.members().iter().any(|(id, _)| *id == to);
    if to.is_some_and(|to| !is_member(to)) {
        return Err(Problem::bad_request(
            "there is no such member; see /v1/members",
        ));
    }
    if transfer.leaving {
        api.handle.leave().await?;
    }
    let leads = || api.handle.status().role == Role::Leader;
    let has_moved = if transfer.leaving && to.is_none() {
        // Anybody will do.
        api.handle.hand_over(LEAVING_WITHIN).await?
    } else {
        leads() && api.handle.transfer(to).await?
    };
    // Whoever leaves need not have led.
    if has_moved || (transfer.leaving && !leads()) {
        Ok(bare(StatusCode::NO_CONTENT))
    } else if leads() {
        Err(Problem::overloaded(
            "no follower took over in time, this node still leads",
        ))
    } else {
        Err(act::not_leading(api))
    }
}
