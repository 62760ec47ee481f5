//! The first start (R13): a node with a fresh disk asks every configured node until all say that
//! their disks are fresh too, or one says that the cluster exists.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info};

use super::context::Context;
use super::dialer::{Dialed, WAIT_REFUSED, dial};
use super::handle::Phase;
use crate::consensus::{ClusterId, Founding, Membership, NodeId, Rejection, Report, found};

/// How long to wait before asking everybody again.
const ASK_AGAIN: Duration = Duration::from_millis(40);

/// Asks until the membership is known. `name` is for a cluster that this node founds.
pub(super) async fn find_cluster(
    context: &Rc<Context>,
    name: ClusterId,
    phase: &watch::Sender<Phase>,
) -> Result<Membership, Rejection> {
    let me = context.settings.id;
    let configured = context.settings.members.keys().copied().collect();
    loop {
        // Only what was said in this very round counts: a disk may be wiped in between.
        let mut reports = BTreeMap::from([(me, Report::Fresh(context.incarnation))]);
        let peers = context.peers.ids();
        let asked = peers.iter().map(|peer| ask(context, *peer));
        reports.extend(join_all(asked).await.into_iter().flatten());
        match found(me, &configured, &reports, name) {
            Founding::Join(membership) => {
                info!(
                    cluster = format!("{:016x}", membership.cluster.0),
                    "cluster found"
                );
                return Ok(membership);
            }
            Founding::Refused(rejection) => return Err(rejection),
            Founding::Wait(missing) => {
                phase.send_if_modified(|phase| {
                    let news = Phase::Founding(missing);
                    let changed = *phase != news;
                    if changed {
                        info!(?news, "waiting for all nodes of the first start");
                        *phase = news;
                    }
                    changed
                });
            }
        }
        // Whom a certificate keeps out will not be let in by haste.
        let mut peers = peers.iter().filter_map(|peer| context.peers.of(*peer));
        let is_refused = peers.any(|peer| !peer.wrong.borrow().is_empty());
        sleep(if is_refused { WAIT_REFUSED } else { ASK_AGAIN }).await;
    }
}

async fn ask(context: &Context, peer: NodeId) -> Option<(NodeId, Report)> {
    match dial(context, peer).await {
        // Whoever joins founds nothing.
        Ok(Dialed::Noted(theirs)) if theirs.registers && theirs.member.is_none() => None,
        Ok(Dialed::Noted(theirs)) => Some((peer, theirs.report())),
        Ok(Dialed::Up(..) | Dialed::Registered(_) | Dialed::SentOn(_)) => None,
        Err(error) => {
            debug!(peer = peer.0, %error, "not met");
            None
        }
    }
}
