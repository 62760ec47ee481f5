//! `POST /v1/bootstrap`: this node is told that it is among the founders of a cluster (R13).
//!
//! In pods nobody founds by itself: an operator writes the founders into the record of the cluster,
//! once, and tells them here. A node takes part only on the very disk that is named, and only while
//! that disk belongs to no cluster; to be told twice is the same as once.

use std::collections::BTreeSet;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;

use super::api::Api;
use super::reply::{Problem, Reply, bare};
use super::{Peer, act};
use crate::consensus::{ClusterId, Epoch, Incarnation, MEMBERS_MAX, MemberId, Membership, NodeId};
use crate::node::NotFounded;

/// What such a request looks like.
const EXAMPLE: &str = "{\"cluster\": \"00000000000000c1\", \"epoch\": 1, \"voters\": [{\"id\": 1, \
                       \"incarnation\": \"00000000000000d1\"}]}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Founding {
    /// The cluster's name, in 16 hexadecimal digits.
    cluster: String,
    /// The upper half of all its terms (R14).
    epoch: u32,
    /// Everybody who founds it.
    voters: Vec<Founder>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Founder {
    id: u64,
    /// Its disk, in 16 hexadecimal digits.
    incarnation: String,
}

/// Answers once the founding is durable here.
pub(super) async fn answer(
    api: &Api,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Reply, Problem> {
    let (headers, text, _share) = act::body(api, peer, request).await?;
    let founding: Founding = act::read(&headers, &text, EXAMPLE)?;
    match api.handle.bootstrap(founding.membership()?).await {
        Ok(()) => Ok(bare(StatusCode::NO_CONTENT)),
        Err(refused) => {
            let status = match refused {
                NotFounded::Another(_) | NotFounded::Member(_) => StatusCode::CONFLICT,
                NotFounded::Late => StatusCode::SERVICE_UNAVAILABLE,
            };
            Err(Problem::new(status, refused.to_string()))
        }
    }
}

impl Founding {
    fn membership(&self) -> Result<Membership, Problem> {
        let wrong = |sentence: String| Problem::bad_request(sentence);
        let member = |founder: &Founder| {
            let Founder { id, incarnation } = founder;
            let read = hex(incarnation).filter(|_| *id > 0);
            let read = read.map(|incarnation| MemberId {
                id: NodeId(*id),
                incarnation: Incarnation(incarnation),
            });
            read.ok_or_else(|| {
                wrong(format!(
                    "node {id} on disk \"{incarnation}\" can be no founder: ids count from 1, and \
                     disks are named by 16 hexadecimal digits"
                ))
            })
        };
        let cluster = hex(&self.cluster)
            .ok_or_else(|| wrong(format!("\"{}\" is not 16 hexadecimal digits", self.cluster)))?;
        let voters: Result<BTreeSet<_>, _> = self.voters.iter().map(member).collect();
        let voters = voters?;
        let ids: BTreeSet<_> = voters.iter().map(|voter| voter.id).collect();
        if ids.len() != self.voters.len() || ids.is_empty() || ids.len() > MEMBERS_MAX {
            return Err(wrong(format!(
                "a cluster has 1 to {MEMBERS_MAX} founders, each with an id of its own"
            )));
        }
        let epoch = Epoch(self.epoch);
        if epoch > Epoch::MAX {
            return Err(wrong(format!(
                "{} is no epoch: the last one is {}",
                self.epoch,
                Epoch::MAX
            )));
        }
        Ok(Membership::founding(ClusterId(cluster), epoch, voters))
    }
}

fn hex(text: &str) -> Option<u64> {
    let is_hex = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}
