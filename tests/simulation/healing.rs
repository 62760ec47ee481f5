//! After the faults: everything works again, soon, and stays that way.

use std::time::Duration;

use remember::consensus::{Epoch, NodeId, Role, Status, Term};

use super::clients::Fate;
use super::tally::Counted;
use super::world::{World, tell};

/// How long a cluster may take to have one leader again: the last session with a machine that lost
/// its power ends after 4 s, and where disks are gone for ever everybody else may be needed.
const RECOVERY: Duration = Duration::from_secs(6);
/// How often members are welcomed in that time.
const WELCOMES: u32 = 12;
/// How long it must keep that leader afterwards.
const STEADY: Duration = Duration::from_secs(2);
/// How long the last writes may take to be everywhere.
const DRAIN: Duration = Duration::from_secs(1);

impl World {
    /// Ends all faults and demands full healing: one leader for all nodes that have their disks,
    /// service at each of them, one log and one state.
    pub(crate) fn heal(&mut self) {
        self.end_trouble();
        // Some are agreed on only now, and whoever was to welcome them may lead no longer.
        for _ in 0..WELCOMES {
            self.welcome_all();
            self.run_for(RECOVERY / WELCOMES);
        }
        let leader = self.demand_one_leader();
        let term = self.status(leader).term;
        self.run_for(STEADY + self.upkeep_lasts());
        self.run_for(self.registers_last());
        for epoch in self.epochs() {
            self.look_at(epoch);
            self.clients.busy = false;
        }
        self.look_at(self.newest_epoch());
        self.demand_service();
        self.run_for(DRAIN);
        let still = self.demand_one_leader();
        assert_eq!(
            (leader, term),
            (still, self.status(still).term),
            "a healed cluster is steady"
        );
        self.demand_one_state();
        self.demand_linearizability();
        self.look_at(self.newest_epoch());
        let leaderless = self.oracle.leaderless_terms() as u64;
        self.tally.count_many(Counted::SplitVotes, leaderless);
        self.count(Counted::Healed);
    }

    /// The nodes of the cluster at hand whose disks are what they were.
    pub(crate) fn whole(&self) -> Vec<NodeId> {
        let whole = self.in_cluster().filter(|machine| machine.gone.is_none());
        whole.map(|machine| machine.id).collect()
    }

    /// What a running voter says of itself.
    pub(crate) fn status(&self, id: NodeId) -> Status {
        let member = self.machine(id).member();
        member
            .unwrap_or_else(|| panic!("{id:?} does not run as a voter"))
            .node
            .status()
    }

    /// The highest term of any node.
    pub(crate) fn newest_term(&self) -> Term {
        let members = self.machines.iter().filter_map(|machine| machine.member());
        members
            .map(|member| member.node.status().term)
            .max()
            .unwrap_or_default()
    }

    /// Whoever leads and is followed by all that belong and have their disks.
    pub(crate) fn agreed_leader(&self) -> Option<NodeId> {
        let whole = self.obliged();
        let running = whole.iter().all(|id| self.machine(*id).member().is_some());
        if !running {
            return None;
        }
        let leader = self.status(*whole.first()?).leader?;
        let term = self.status(leader).term;
        let established = self.status(leader).established;
        let agreed = whole.iter().all(|id| {
            let status = self.status(*id);
            status.leader == Some(leader) && status.term == term
        });
        (agreed && established).then_some(leader)
    }

    fn demand_one_leader(&mut self) -> NodeId {
        if let Some(leader) = self.agreed_leader() {
            return leader;
        }
        for id in self.obliged() {
            if self.machine(id).member().is_some() {
                tell!(self, "{:?}", self.status(id));
            } else {
                tell!(self, "{id:?} does not run as a voter");
            }
        }
        panic!("no one leader for all {RECOVERY:?} after all faults ended");
    }

    /// Each node takes a write and a read, however small its limits are.
    fn demand_service(&mut self) {
        for id in self.obliged() {
            let writes = self.is_served(id, Self::ask_to_write);
            assert!(writes, "{id:?} takes no writes after healing");
            let reads = self.is_served(id, Self::ask_to_read);
            assert!(reads, "{id:?} answers no reads after healing");
        }
    }

    fn is_served(
        &mut self,
        id: NodeId,
        ask: fn(&mut Self, NodeId, Option<usize>) -> usize,
    ) -> bool {
        (0..20).any(|_| {
            let operation = ask(self, id, None);
            self.run_for(Duration::from_millis(100));
            matches!(self.clients.fate(operation), Fate::Done(_))
        })
    }

    fn demand_one_state(&mut self) {
        let agreed = self.oracle.commit();
        let (_, configuration) = self.oracle.agreed().clone();
        assert!(
            !configuration.is_joint(),
            "a change never ends: {configuration:?}"
        );
        self.demand_upkeep(&configuration);
        self.demand_register();
        let grown = self.epoch() > Epoch::FIRST && configuration.voters().count() >= 3;
        self.tally.count_many(Counted::Grown, u64::from(grown));
        for id in self.obliged() {
            let status = self.status(id);
            let applied = self.applied(id);
            assert!(
                status.commit == agreed && applied == agreed,
                "{id:?} is at {:?} and has applied {applied:?}, agreed is {agreed:?}: {status:?}",
                status.commit
            );
            let member = self.machine(id).member().expect("it has a status");
            assert_eq!(
                *member.node.configuration(),
                configuration,
                "{id:?} counts otherwise"
            );
            let open = &member.requests.changes;
            assert!(open.is_empty(), "{id:?} never answered {open:?}");
            assert_eq!(status.role == Role::Leader, status.leader == Some(id));
        }
    }
}
