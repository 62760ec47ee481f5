//! Counts what a run exercised, so that a simulation that never crashed anything cannot pass.

use std::fmt;

macro_rules! counted {
    ($($name:ident $label:literal,)*) => {
        /// Something worth counting.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Counted {
            $(#[doc = $label] $name,)*
        }

        const LABELS: &[&str] = &[$($label),*];
    };
}

counted! {
    Elections "elections won",
    SplitVotes "votes that ended without a leader",
    PreVotes "pre-votes asked",
    PreVotesHeld "pre-votes held for a preferred candidate",
    HasLeader "pre-votes put off because a leader lives",
    LogBehind "votes denied to a log that is behind",
    VotedForOther "votes denied because already given",
    SuspectedSilence "leaders suspected by silence",
    SuspectedRefused "leaders suspected by refused connections",
    SuspectedRestarted "leaders suspected by a newer boot",
    SteppedDownTerm "leaders stepped down to a higher term",
    SteppedDownQuorum "leaders stepped down without a quorum",
    Truncations "logs truncated",
    Supplied "logs of candidates filled up by others",
    Kills "processes killed",
    PowerCuts "machines cut from power",
    Outages "power cuts of all machines at once",
    MidWrite "power cuts in mid-write",
    Pauses "processes paused",
    ClockJumps "clocks jumped",
    Cuts "networks cut",
    Lost "messages lost",
    Repeated "messages repeated",
    Overtaken "messages overtaken",
    DeadLinks "messages that died with their link",
    Turned "peers turned away at the handshake",
    DiskStalls "disks stalled",
    StallsNoticed "stalled disks noticed by the core",
    DiskFull "disks filled",
    DiskFullNoticed "disks found full by the log",
    IoErrors "disk errors",
    SegmentsReleased "log segments released",
    RecoveryCrashes "power cuts in mid-recovery",
    Rotten "disks rotten",
    RotFound "rotten disks refused at the start",
    Learners "members that came to learn",
    VotersChanged "changes of the voters",
    ChangesRefused "changes of the members refused",
    ChangesMisdirected "changes refused by nodes that do not lead",
    WelcomedLate "members welcomed with an older configuration",
    WelcomedBack "members that run welcomed back",
    LetVote "times that a leader let learners vote by itself",
    PlacesTaken "times that it gave them the places of voters",
    DeadLetGo "times that it let the dead go",
    GoneLetGo "machines gone for ever among those who went",
    Alone "times that one of a pair was confirmed to be alone",
    WentOnAlone "times that it made itself the only voter",
    PairsAgain "times that a survivor let its register say pair again",
    WitnessTaken "changes of a register that found another value",
    WitnessLate "changes of it that came when nobody waited for them any more",
    WitnessSilent "requests that never came to a register",
    Apart "clusters in which one node has another register than the others",
    NotAgreedOn "requests that found a register which was not agreed on",
    RegistersKept "registers that say in the end what was agreed on",
    Removed "removed members told so",
    Exchanged "disks exchanged for empty ones",
    Replaced "disks that vote in the place of others",
    ReplacedTurned "replaced disks turned away",
    PutBack "disks put back before they were replaced",
    Wiped "wiped disks turned away",
    OldCopies "old copies of a disk turned away",
    BusyCopies "old copies turned away though started more often than the disk itself",
    Quarantined "disks quarantined for ever",
    Recovered "records recovered that were never told durable",
    Dropped "written records lost with the power",
    SnapshotsTaken "snapshots taken",
    SnapshotsSent "snapshots sent",
    SnapshotsFailed "snapshots that did not arrive",
    SnapshotsInstalled "snapshots installed",
    TransfersDone "leaderships handed over",
    TransfersFailed "hand-overs given up",
    NotStanding "nodes told not to stand",
    WritesAcked "writes acknowledged",
    WritesRefused "writes refused",
    WritesVoided "accepted writes overwritten by another leader",
    WritesUnknown "forwarded writes unknown",
    WritesLost "writes never answered",
    ComparesDone "compare-and-sets that changed something",
    ComparesFailed "compare-and-sets that found something else",
    Deleted "keys deleted",
    NotFound "deletes that found no key",
    ReadsDone "reads answered",
    ListsDone "lists among them",
    ReadsRefused "reads refused",
    Explained "operations whose answers one order explains",
    RecoveredWhole "clusters begun anew with a disk that held all that was agreed",
    RecoveredBehind "clusters begun anew with a disk that lacked some of it",
    RecoveredAgain "clusters begun anew from one that was begun anew",
    RecoveriesCut "recoveries that the power ended",
    BetweenEpochs "starts refused in mid-recovery",
    LedOn "leaders elected in clusters that were given up",
    KeptApart "links refused between two clusters",
    CameOver "machines that came to a later cluster with a fresh disk",
    Grown "clusters begun anew that grew to three voters",
    Founded "clusters founded from fresh disks",
    FoundingCrashes "crashes while founding",
    Healed "clusters healed",
}

/// How often each thing happened.
#[derive(Clone)]
pub(crate) struct Tally {
    counts: Vec<u64>,
}

impl Tally {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; LABELS.len()],
        }
    }

    /// It happened once more.
    pub(crate) fn count(&mut self, what: Counted) {
        self.count_many(what, 1);
    }

    /// It happened `times` more.
    pub(crate) fn count_many(&mut self, what: Counted, times: u64) {
        self.counts[what as usize] += times;
    }

    /// How often it happened.
    pub(crate) fn of(&self, what: Counted) -> u64 {
        self.counts[what as usize]
    }

    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never = LABELS
            .iter()
            .zip(&self.counts)
            .filter(|(_, count)| **count == 0);
        never.map(|(label, _)| *label).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, count) in LABELS.iter().zip(&self.counts) {
            writeln!(f, "{count:>12}  {label}")?;
        }
        Ok(())
    }
}
