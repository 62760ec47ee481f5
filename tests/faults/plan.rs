//! What is going to happen: a list of faults that follows from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::rng::Rng;

/// Who is harmed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Whom {
    Leader,
    Follower,
}

/// What is done to the cluster. Never more than a minority is harmed, but by `KillAll`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill(Whom),
    /// SIGKILL for two at once, the leader among them or not.
    KillTwo(Whom),
    /// SIGKILL for all at once.
    KillAll,
    /// SIGSTOP.
    Freeze(Whom),
    /// SIGSTOP for two at once.
    FreezeTwo(Whom),
    /// The link is down, for clients as well.
    Unplug(Whom),
    /// Cut off from all nodes, but not from clients.
    Isolate(Whom),
    /// Hears no node, and is heard by all.
    Deaf(Whom),
    /// Hears all nodes, and is heard by none.
    Mute(Whom),
    /// Its own kernel knows no way to any node.
    NoRoutes(Whom),
    /// One follower does not hear the leader.
    DoesNotHearLeader,
    /// The leader does not hear one follower.
    LeaderDoesNotHear,
    /// The leader and one follower do not hear each other.
    CutPair,
    /// Two pairs hear each other no more; the fifth node hears all.
    Bridge,
    /// No room on the disk.
    DiskFull(Whom),
    /// No room on two disks.
    TwoDisksFull,
    /// Leadership is handed over, and nothing is harmed.
    Transfer,
    /// SIGKILL, and a start on an empty disk.
    Exchange(Whom),
    /// Two are frozen until the others have let them go.
    LetGoFrozen(Whom),
    /// Two are cut off from all nodes until the others have let them go.
    LetGoCut(Whom),
}

/// One step of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) fault: Fault,
    /// How long it lasts at least.
    pub(crate) hold: Duration,
    /// Chooses among equals.
    pub(crate) chance: u64,
}

/// Every fault that is over soon; those that stand twice are twice as frequent. A shuffled deck of
/// them is played to its end before the next one begins.
pub(crate) const DECK: [Fault; 31] = [
    Fault::Kill(Whom::Leader),
    Fault::Kill(Whom::Leader),
    Fault::Kill(Whom::Follower),
    Fault::KillTwo(Whom::Leader),
    Fault::KillTwo(Whom::Follower),
    Fault::KillAll,
    Fault::KillAll,
    Fault::Freeze(Whom::Leader),
    Fault::Freeze(Whom::Leader),
    Fault::Freeze(Whom::Follower),
    Fault::FreezeTwo(Whom::Leader),
    Fault::Unplug(Whom::Leader),
    Fault::Unplug(Whom::Follower),
    Fault::Isolate(Whom::Leader),
    Fault::Isolate(Whom::Leader),
    Fault::Isolate(Whom::Follower),
    Fault::Deaf(Whom::Leader),
    Fault::Deaf(Whom::Follower),
    Fault::Mute(Whom::Leader),
    Fault::Mute(Whom::Follower),
    Fault::NoRoutes(Whom::Leader),
    Fault::DoesNotHearLeader,
    Fault::LeaderDoesNotHear,
    Fault::CutPair,
    Fault::Bridge,
    Fault::DiskFull(Whom::Leader),
    Fault::DiskFull(Whom::Follower),
    Fault::TwoDisksFull,
    Fault::Transfer,
    Fault::Exchange(Whom::Leader),
    Fault::Exchange(Whom::Follower),
];

/// Faults that take seconds: one of them comes with each deck, in turn.
const SLOW: [Fault; 4] = [
    Fault::LetGoFrozen(Whom::Follower),
    Fault::LetGoCut(Whom::Leader),
    Fault::LetGoFrozen(Whom::Leader),
    Fault::LetGoCut(Whom::Follower),
];

/// From this length on, a fault must not keep the others from going on.
pub(crate) const LONG: Duration = Duration::from_millis(600);

/// The plan of a seed.
pub(crate) fn plan(seed: u64, count: usize) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let mut deck = Vec::new();
    let mut slow = SLOW.iter().cycle();
    let mut steps = Vec::new();
    while steps.len() < count {
        if deck.is_empty() {
            deck = DECK.to_vec();
            deck.extend(slow.next());
        }
        let fault = deck.swap_remove(rng.place(deck.len()));
        let hold = if rng.chance(500) {
            rng.millis(20, 400)
        } else {
            LONG + rng.millis(0, 400)
        };
        steps.push(Step {
            fault,
            hold,
            chance: rng.number(),
        });
    }
    steps
}

/// How often each fault is planned, in words.
pub(crate) fn summary(steps: &[Step]) -> String {
    let mut counts = BTreeMap::new();
    for step in steps {
        *counts.entry(step.fault).or_insert(0) += 1;
    }
    let counts = counts
        .into_iter()
        .map(|(fault, count)| format!("{count} {fault}"));
    counts.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(whom) => write!(f, "kill {whom}"),
            Self::KillTwo(Whom::Leader) => write!(f, "kill leader and follower"),
            Self::KillTwo(Whom::Follower) => write!(f, "kill two followers"),
            Self::KillAll => write!(f, "kill all"),
            Self::Freeze(whom) => write!(f, "freeze {whom}"),
            Self::FreezeTwo(Whom::Leader) => write!(f, "freeze leader and follower"),
            Self::FreezeTwo(Whom::Follower) => write!(f, "freeze two followers"),
            Self::Unplug(whom) => write!(f, "unplug {whom}"),
            Self::Isolate(whom) => write!(f, "isolate {whom}"),
            Self::Deaf(whom) => write!(f, "deaf {whom}"),
            Self::Mute(whom) => write!(f, "mute {whom}"),
            Self::NoRoutes(whom) => write!(f, "no routes for {whom}"),
            Self::DoesNotHearLeader => write!(f, "follower does not hear leader"),
            Self::LeaderDoesNotHear => write!(f, "leader does not hear follower"),
            Self::CutPair => write!(f, "leader and follower cut"),
            Self::Bridge => write!(f, "two pairs and a bridge"),
            Self::DiskFull(whom) => write!(f, "disk full of {whom}"),
            Self::TwoDisksFull => write!(f, "two disks full"),
            Self::Transfer => write!(f, "transfer"),
            Self::Exchange(whom) => write!(f, "exchange the disk of {whom}"),
            Self::LetGoFrozen(Whom::Leader) => write!(f, "let go frozen leader and follower"),
            Self::LetGoFrozen(Whom::Follower) => write!(f, "let go two frozen followers"),
            Self::LetGoCut(Whom::Leader) => write!(f, "let go cut off leader and follower"),
            Self::LetGoCut(Whom::Follower) => write!(f, "let go two cut off followers"),
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        })
    }
}
