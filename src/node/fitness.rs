//! A leader without its application is no leader (R12).
//!
//! What follows for one node from the readiness of all members' applications:
//!
//! ```text
//!   own application     that of a living other     so this node
//!   ready, or unknown   whatever it is             stands
//!   not ready           not ready, or unknown      stands: nobody would be better
//!   not ready           ready                      does not stand; if it leads, hands over
//! ```
//!
//! Readiness is told by the API server and can be old; whether a member lives is known first hand,
//! by links and by the leader's beats. Neither may cost the cluster its leader for long: a node
//! that has known none for [`LEADERLESS_MAX`] stands whatever its application does. And a hand-over
//! that leads nowhere is tried less and less often, and the less often the longer each takes,
//! because nothing is written while one is tried.
//!
//! [`Fitness`] decides and does nothing; [`heed_apps`] asks it and carries out what it says. Not
//! here: what makes an application ready (`discovery`), nor whether the chosen one has all that is
//! written, and would stand itself: that the engine knows.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::handle::{Failure, Handle};
use crate::consensus::{Mono, NodeId, Status};

/// A node that knows no leader for so long stands, ready or not.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);
/// How long a leader waits with its hand-over, so that one probe that fails costs no leader.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// How long it waits if its application has never been ready since the node started, so that pods
/// which start together do not pass the leadership around.
const STARTED_AFTER: Duration = Duration::from_secs(5);
/// How long it waits before it tries the next one. Doubled whenever all were tried in vain ...
const NEXT_AFTER: Duration = Duration::from_secs(1);
/// ... so many times at most.
const DOUBLINGS_MAX: u32 = 5;
/// It waits so many times what an attempt took, at least: while one is under way nothing is
/// written, and that for as long as an election timeout, which may be a minute.
const SPARING: u32 = 10;

/// Whether the application of each member is ready. Of those that are missing nothing is known.
pub type Apps = BTreeMap<NodeId, bool>;

/// What one node sees.
#[derive(Clone, Copy, Debug)]
struct Sight<'a> {
    apps: &'a Apps,
    leader: Option<NodeId>,
    /// Whom the leader hears.
    alive: &'a [NodeId],
    /// To whom this node's own links are up.
    linked: &'a BTreeSet<NodeId>,
}

/// What it should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Advice {
    may_stand: bool,
    /// To whom to hand over, now.
    hand_over: Option<NodeId>,
    /// When time alone changes this advice.
    until: Option<Mono>,
}

/// Whether one node is fit to lead.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fitness {
    own: NodeId,
    /// Whether its application has ever been ready.
    was_ready: bool,
    /// The last leader that it knew.
    led_by: Option<NodeId>,
    leaderless_since: Option<Mono>,
    /// Its attempts to hand over, for as long as it leads.
    attempts: Attempts,
}

/// Attempts of one leader to hand over, one member after the other. They are remembered while
/// nobody would be better, too: a member whose application comes and goes is tried no more often.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Attempts {
    /// Since when somebody would be better, without a break.
    better_since: Option<Mono>,
    /// When the one under way began.
    began: Option<Mono>,
    /// No next one before this.
    spared_until: Mono,
    last: Option<NodeId>,
    doublings: u32,
}

impl Fitness {
    fn new(own: NodeId) -> Self {
        Self {
            own,
            was_ready: false,
            led_by: None,
            leaderless_since: None,
            attempts: Attempts::default(),
        }
    }

    /// Judges what is seen at this time. Whoever is told to hand over tries that, and asks again
    /// when the attempt has ended, and no sooner.
    fn judge(&mut self, now: Mono, sight: Sight<'_>) -> Advice {
        self.leaderless_since = match sight.leader {
            Some(leader) => {
                self.led_by = Some(leader);
                None
            }
            None => self.leaderless_since.or(Some(now)),
        };
        self.was_ready |= sight.apps.get(&self.own) == Some(&true);
        let better = self.better(sight);
        let patience = if self.was_ready {
            SETTLED_AFTER
        } else {
            STARTED_AFTER
        };
        if sight.leader != Some(self.own) {
            self.attempts = Attempts::default();
        }
        self.attempts.conclude(now);
        let tries_at = if sight.leader == Some(self.own) && !better.is_empty() {
            Some(self.attempts.next_at(now, patience))
        } else {
            self.attempts.better_since = None;
            None
        };
        let is_time = tries_at.is_some_and(|at| now >= at);
        let hand_over = is_time.then(|| self.attempts.next(now, &better)).flatten();
        let stands_at = self
            .leaderless_since
            .map(|since| since.after(LEADERLESS_MAX));
        let may_stand = better.is_empty() || stands_at.is_some_and(|at| now >= at);
        Advice {
            may_stand,
            hand_over,
            until: stands_at.filter(|_| !may_stand).or(tries_at),
        }
    }

    /// The living others whose applications are ready, if that of this node is not.
    fn better(&self, sight: Sight<'_>) -> BTreeSet<NodeId> {
        let is_ready = |id: &NodeId| sight.apps.get(id).copied();
        if is_ready(&self.own).unwrap_or(true) {
            return BTreeSet::new();
        }
        let lives = |id: &&NodeId| match sight.leader {
            Some(_) => sight.alive.contains(id),
            // A link to one that is frozen or cut off stays up for a while, but that it does not
            // lead any more is known.
            None => sight.linked.contains(id) && self.led_by != Some(**id),
        };
        let others = sight.apps.keys().filter(|id| **id != self.own);
        let ready = others.filter(|id| is_ready(id) == Some(true));
        ready.filter(lives).copied().collect()
    }
}

impl Attempts {
    /// Takes in that the attempt under way has ended.
    fn conclude(&mut self, now: Mono) {
        if let Some(began) = self.began.take() {
            let took = now.since(began).saturating_mul(SPARING);
            self.spared_until = now.after(took.max(NEXT_AFTER * (1 << self.doublings)));
        }
    }

    /// When the next one is due, now that somebody would be better.
    fn next_at(&mut self, now: Mono, patience: Duration) -> Mono {
        let since = *self.better_since.get_or_insert(now);
        since.after(patience).max(self.spared_until)
    }

    /// Whose turn it is to be handed the leadership.
    fn next(&mut self, now: Mono, better: &BTreeSet<NodeId>) -> Option<NodeId> {
        let behind = better.iter().find(|id| self.last < Some(**id));
        if behind.is_none() {
            self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        }
        self.last = behind.or_else(|| better.first()).copied();
        self.began = Some(now);
        self.last
    }
}

/// Has a node heed the readiness of the members' applications, until it ends. When nobody tells of
/// it any more, the last word stays.
pub async fn heed_apps(handle: Handle, apps: watch::Receiver<Apps>) {
    // Whoever does not take it in any more has ended.
    heed(&handle, apps).await.unwrap_or_default();
}

async fn heed(handle: &Handle, mut apps: watch::Receiver<Apps>) -> Result<(), Failure> {
    let origin = Instant::now();
    let (mut statuses, mut links) = (handle.statuses(), handle.links());
    let mut fitness = Fitness::new(handle.status().id);
    let mut stands = true;
    loop {
        let now = Mono::at(origin.elapsed());
        let voting = handle.configuration();
        // Nobody else could take over.
        let votes = |id: &NodeId| {
            let voting = voting.iter().flat_map(|(_, voting)| voting.voters());
            voting.into_iter().any(|voter| voter.id == *id)
        };
        let advice = {
            let status: &Status = &statuses.borrow_and_update();
            let mut apps = apps.borrow_and_update().clone();
            apps.retain(|id, _| votes(id));
            let sight = Sight {
                apps: &apps,
                leader: status.leader,
                alive: &status.alive,
                linked: &links.borrow_and_update(),
            };
            fitness.judge(now, sight)
        };
        if stands != advice.may_stand {
            stands = advice.may_stand;
            info!(stands, "the application decides whether this node stands");
            handle.fit(stands).await?;
        }
        if let Some(to) = advice.hand_over {
            info!(to = to.0, "handing over: the application here is not ready");
            let moved = handle.transfer(Some(to)).await?;
            info!(to = to.0, moved, "handed over");
            continue;
        }
        let later = async {
            match advice.until {
                Some(at) => sleep_until(origin + at.since(Mono::default())).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Ok(()) = apps.changed() => {}
            Ok(()) = statuses.changed() => {}
            Ok(()) = links.changed() => {}
            () = later => {}
            () = handle.ended() => return Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "fitness_test.rs"]
mod tests;
