//! How a node comes to a cluster that exists (S7): it goes through its peers, is told who leads,
//! and registers there. The leader names it a learner; once that is agreed, it is welcomed.
//!
//! Nothing is decided here, and nothing is remembered: to register twice is the same as once.
//! Whoever is told to wait asks steadily, for what it waits for heals by itself; only where a
//! person must mend something the waits grow.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info};

use super::context::Context;
use super::dialer::{DialError, Dialed, WAIT_REFUSED, dial, dial_at};
use crate::consensus::{Membership, NodeId, Position};
use crate::wire::{Introduction, Reason, Welcome};

/// How long to wait before all are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Registers until the cluster names this node on its disk, and says what to make durable.
pub(super) async fn register(context: &Context) -> Membership {
    info!("looking for a leader to register with");
    context.register_anew(Position::START);
    let mut wait = ASK_AGAIN;
    loop {
        let mut is_refused = false;
        for peer in context.peers.ids() {
            match ask(context, peer).await {
                Asked::Welcomed(welcome) => return context.settle(*welcome),
                Asked::InVain => {}
                // That was the leader's word. All others would send this node there again.
                Asked::Early => break,
                Asked::Refused => is_refused = true,
            }
        }
        wait = if is_refused {
            (wait * 2).min(WAIT_REFUSED)
        } else {
            ASK_AGAIN
        };
        sleep(wait).await;
    }
}

enum Asked {
    Welcomed(Box<Welcome>),
    InVain,
    /// The leader says to come again: an earlier disk of this id counts as there for a moment after
    /// its end (R13).
    Early,
    /// It may be that only a person changes that.
    Refused,
}

/// Asks a node, and whoever leads by its word.
async fn ask(context: &Context, peer: NodeId) -> Asked {
    let asked = match dial(context, peer).await {
        Ok(Dialed::SentOn(leader)) => {
            let (id, at) = *leader;
            debug!(peer = peer.0, leader = id.0, at = %at.peer, "sent on to the leader");
            dial_at(context, id, &at).await
        }
        asked => asked,
    };
    match asked {
        Ok(Dialed::Registered(welcome)) => Asked::Welcomed(welcome),
        Ok(Dialed::Noted(theirs)) => founded(context, theirs),
        // Whoever leads by now, it is somebody else.
        Ok(Dialed::SentOn(_) | Dialed::Up(..)) => Asked::InVain,
        Err(DialError::TurnedAway {
            reason: Reason::Busy,
            ..
        }) => Asked::Early,
        Err(DialError::Certificate(_) | DialError::TurnedAway { .. }) => Asked::Refused,
        Err(error) => {
            debug!(peer = peer.0, %error, "not registered");
            Asked::InVain
        }
    }
}

/// A cluster may have been founded with this very disk, which had not heard of that when it was
/// started again.
fn founded(context: &Context, theirs: Introduction) -> Asked {
    let membership = theirs.member.map(|member| member.membership);
    let with_this = |membership: &Membership| {
        let (since, founders) = &membership.settled;
        *since == Position::START && founders.names(context.name())
    };
    match membership.filter(with_this) {
        Some(membership) => Asked::Welcomed(Box::new(Welcome {
            membership,
            contacts: Vec::new(),
        })),
        None => Asked::InVain,
    }
}
