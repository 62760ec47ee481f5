//! The worlds that are explored, and how often what may happen in each of them.
//!
//! A bound says what is left out. Wide bounds add to some of them.

use remember::consensus::Change;

use super::network::Kind;
use super::sight::Sight;
use super::start::member;

/// How often something may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Left {
    /// A node that does not lead waits in vain.
    pub(crate) ticks: u8,
    /// A leader that hears nobody gives up.
    pub(crate) resignations: u8,
    /// A node crashes, and starts again.
    pub(crate) restarts: u8,
    /// A client writes.
    pub(crate) writes: u8,
    /// The voters change.
    pub(crate) changes: u8,
    /// A message comes that came before.
    pub(crate) repeats: u8,
    /// A node waits for its witness no longer.
    pub(crate) forsaken: u8,
}

/// Where exploring begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// All have just been started, and ask who leads.
    Fresh,
    /// Node 1 leads term 1, and everything that was said has arrived.
    Led,
    /// The same; then node 1 wrote something that reached nobody, and node 2 leads term 2, of which
    /// node 1 knows nothing.
    Parted,
}

/// A world.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    /// How many of the three nodes vote at the start; one that does not learns, and has caught up.
    pub(crate) voters: u64,
    pub(crate) start: Start,
    pub(crate) left: Left,
    /// What wide bounds add to that.
    wide: Left,
    /// How many messages of a kind are on their way on a link at most.
    pub(crate) lane: usize,
    /// What never arrives.
    lost: &'static [Kind],
    /// What arrives at once.
    at_once: &'static [Kind],
    /// Which node may crash, and has a disk that takes its time. What others write is durable at
    /// once: they lose nothing, and what they say may be late all the same.
    frail: Option<usize>,
    /// Who is to vote after the change, and who is to belong to the cluster no longer.
    pub(crate) promoted: &'static [u64],
    pub(crate) removed: &'static [u64],
    /// Which node may wait for long, as a leader does before it gives up: then, as a candidate, it
    /// has its log filled up.
    in_vain: Option<usize>,
    /// Whether there is a witness; and whether it answers at once.
    pub(crate) witness: bool,
    pub(crate) witness_at_once: bool,
    /// What must happen somewhere in it.
    pub(crate) sights: &'static [Sight],
}

impl Left {
    const NOTHING: Self = Self {
        ticks: 0,
        resignations: 0,
        restarts: 0,
        writes: 0,
        changes: 0,
        repeats: 0,
        forsaken: 0,
    };

    const fn ticks(ticks: u8) -> Self {
        Self {
            ticks,
            ..Self::NOTHING
        }
    }
}

/// Beats say nothing that appends do not say, but for who is alive; nor does a commit index that
/// comes alone.
const NEWS_OF_NO_ENTRY: &[Kind] = &[Kind::Beat, Kind::BeatReply, Kind::Commit];
/// A pre-vote binds nobody, whenever it comes.
const SOUNDINGS: &[Kind] = &[Kind::PreVote, Kind::PreVoteReply];

/// To ask for entries binds nobody either.
const QUESTIONS: &[Kind] = &[Kind::PreVote, Kind::PreVoteReply, Kind::SupplyRequest];

/// All of them.
pub(crate) const WORLDS: [Bounds; 19] = [
    Bounds {
        name: "first election",
        start: Start::Fresh,
        at_once: &[],
        sights: &[Sight::Elected],
        ..Bounds::CALM
    },
    Bounds {
        name: "first election and a crash",
        start: Start::Fresh,
        left: Left {
            restarts: 1,
            ..Left::NOTHING
        },
        frail: Some(2),
        sights: &[Sight::Elected, Sight::ElectedAfterCrash],
        ..Bounds::CALM
    },
    Bounds {
        name: "every word",
        left: Left::ticks(2),
        lost: &[],
        at_once: &[],
        wide: Left {
            writes: 1,
            ..Left::NOTHING
        },
        sights: &[Sight::Elected],
        ..Bounds::CALM
    },
    Bounds {
        name: "many terms",
        left: Left::ticks(4),
        wide: Left {
            writes: 1,
            ..Left::NOTHING
        },
        sights: &[Sight::Elected],
        ..Bounds::CALM
    },
    Bounds {
        name: "late and twice",
        left: Left {
            writes: 1,
            repeats: 1,
            ..Left::ticks(2)
        },
        lane: 2,
        sights: &[Sight::Elected, Sight::Written],
        ..Bounds::CALM
    },
    Bounds {
        name: "the leader crashes",
        left: Left {
            writes: 1,
            restarts: 1,
            ..Left::ticks(1)
        },
        frail: Some(0),
        sights: &[Sight::Written, Sight::ElectedAfterCrash],
        ..Bounds::CALM
    },
    Bounds {
        name: "a follower crashes",
        left: Left {
            writes: 1,
            restarts: 1,
            ..Left::ticks(1)
        },
        wide: Left::ticks(1),
        frail: Some(1),
        sights: &[Sight::Written, Sight::ElectedAfterCrash],
        ..Bounds::CALM
    },
    Bounds {
        name: "a log is filled up",
        left: Left {
            resignations: 3,
            writes: 1,
            ..Left::NOTHING
        },
        at_once: QUESTIONS,
        in_vain: Some(2),
        sights: &[Sight::Written, Sight::Supplied, Sight::LedBySupply],
        ..Bounds::CALM
    },
    Bounds {
        name: "a log gives way to another",
        start: Start::Parted,
        left: Left {
            resignations: 4,
            ..Left::NOTHING
        },
        at_once: QUESTIONS,
        in_vain: Some(0),
        sights: &[Sight::Exchanged, Sight::LedBySupply],
        ..Bounds::CALM
    },
    Bounds {
        name: "grow",
        left: Left {
            changes: 1,
            ..Left::ticks(3)
        },
        sights: &[Sight::Elected, Sight::Changed, Sight::LedJointly],
        ..Bounds::GROWING
    },
    Bounds {
        name: "grow and crash",
        left: Left {
            changes: 1,
            restarts: 1,
            ..Left::ticks(1)
        },
        frail: Some(0),
        sights: &[Sight::Changed, Sight::ElectedAfterCrash, Sight::LedJointly],
        ..Bounds::GROWING
    },
    Bounds {
        name: "replace",
        left: Left {
            changes: 1,
            restarts: 1,
            resignations: 1,
            ..Left::ticks(1)
        },
        frail: Some(0),
        removed: &[2],
        sights: &[Sight::Changed, Sight::ElectedAfterCrash, Sight::LedJointly],
        ..Bounds::GROWING
    },
    Bounds {
        name: "replace the leader",
        left: Left {
            changes: 1,
            resignations: 1,
            ..Left::ticks(2)
        },
        wide: Left::ticks(1),
        removed: &[1],
        sights: &[Sight::Elected, Sight::Changed, Sight::LedJointly],
        ..Bounds::GROWING
    },
    Bounds {
        name: "shrink to the leader",
        left: Left {
            changes: 1,
            resignations: 1,
            ..Left::ticks(2)
        },
        wide: Left::ticks(1),
        removed: &[2, 3],
        sights: &[Sight::Elected, Sight::Changed, Sight::LedJointly],
        ..Bounds::CALM
    },
    Bounds {
        name: "shrink to another",
        left: Left {
            changes: 1,
            restarts: 1,
            ..Left::ticks(1)
        },
        frail: Some(0),
        removed: &[1, 2],
        sights: &[Sight::Changed, Sight::ElectedAfterCrash, Sight::LedJointly],
        ..Bounds::CALM
    },
    Bounds {
        name: "a pair and its witness",
        left: Left {
            resignations: 3,
            writes: 1,
            forsaken: 1,
            ..Left::NOTHING
        },
        wide: Left::ticks(1),
        sights: &[
            Sight::Elected,
            Sight::Written,
            Sight::Alone,
            Sight::PairAgain,
        ],
        ..Bounds::PAIRED
    },
    Bounds {
        name: "a pair and a crash",
        left: Left {
            resignations: 2,
            restarts: 1,
            ..Left::NOTHING
        },
        wide: Left {
            writes: 1,
            ..Left::NOTHING
        },
        frail: Some(0),
        sights: &[Sight::Alone, Sight::ElectedAfterCrash],
        ..Bounds::PAIRED
    },
    Bounds {
        name: "a pair that shrinks",
        left: Left {
            changes: 1,
            resignations: 2,
            restarts: 1,
            ..Left::NOTHING
        },
        wide: Left {
            forsaken: 1,
            ..Left::NOTHING
        },
        removed: &[2],
        frail: Some(0),
        sights: &[Sight::Alone, Sight::Changed, Sight::ElectedAfterCrash],
        ..Bounds::PAIRED
    },
    Bounds {
        name: "a pair that grows",
        left: Left {
            changes: 1,
            resignations: 2,
            ..Left::NOTHING
        },
        wide: Left {
            forsaken: 1,
            ..Left::NOTHING
        },
        promoted: &[3],
        sights: &[Sight::Alone, Sight::Changed],
        ..Bounds::PAIRED
    },
];

impl Bounds {
    /// Three voters, of whom the first leads, and nothing that happens by itself.
    const CALM: Self = Self {
        name: "",
        voters: 3,
        start: Start::Led,
        left: Left::NOTHING,
        wide: Left::NOTHING,
        lane: 1,
        lost: NEWS_OF_NO_ENTRY,
        at_once: SOUNDINGS,
        frail: None,
        promoted: &[],
        removed: &[],
        in_vain: None,
        witness: false,
        witness_at_once: false,
        sights: &[],
    };

    /// Two voters and their witness.
    const PAIRED: Self = Self {
        voters: 2,
        witness: true,
        ..Self::CALM
    };

    /// Two voters and one that is to vote.
    const GROWING: Self = Self {
        voters: 2,
        promoted: &[3],
        ..Self::CALM
    };

    /// The way to the start of this world: everything arrives, in its time.
    pub(crate) fn before_the_start(self) -> Self {
        Self {
            lane: usize::MAX,
            lost: &[],
            at_once: &[],
            frail: None,
            witness_at_once: true,
            ..self
        }
    }

    pub(crate) fn widened(self) -> Self {
        let (left, wide) = (self.left, self.wide);
        let left = Left {
            ticks: left.ticks + wide.ticks,
            resignations: left.resignations + wide.resignations,
            restarts: left.restarts + wide.restarts,
            writes: left.writes + wide.writes,
            changes: left.changes + wide.changes,
            repeats: left.repeats + wide.repeats,
            forsaken: left.forsaken + wide.forsaken,
        };
        Self { left, ..self }
    }

    pub(crate) fn loses(&self, kind: Kind) -> bool {
        self.lost.contains(&kind)
    }

    pub(crate) fn brings_at_once(&self, kind: Kind) -> bool {
        self.at_once.contains(&kind)
    }

    pub(crate) fn waits_in_vain(&self, at: usize) -> bool {
        self.in_vain == Some(at)
    }

    pub(crate) fn is_frail(&self, at: usize) -> bool {
        self.frail == Some(at)
    }

    /// The change that is asked for.
    pub(crate) fn change(&self) -> Change {
        let members = |ids: &[u64]| ids.iter().map(|id| member(*id)).collect();
        Change::Vote {
            promoted: members(self.promoted),
            removed: members(self.removed),
        }
    }
}
