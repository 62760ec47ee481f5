//! The clusters of a run. There is one at first; each disk that is recovered begins another one, in
//! a later epoch (R14), and those before it may live on. Their epochs tell them apart.
//!
//! The world looks at one of them at a time. Whatever happens, happens to a machine, and a machine
//! belongs to one cluster: `World::oracle` and `World::clients` are those of that one. Between two
//! events it is the newest, which everybody is to follow.

use std::collections::BTreeMap;
use std::mem;

use remember::consensus::{Epoch, MemberId, Term};

use super::clients::Clients;
use super::machine::Machine;
use super::oracle::Oracle;
use super::world::World;

/// Which there are, and what is known of those that the world does not look at.
pub(crate) struct Clusters {
    at_hand: Epoch,
    newest: Epoch,
    others: BTreeMap<Epoch, (Oracle, Clients)>,
}

impl Clusters {
    /// The first one, and no other.
    pub(crate) fn new() -> Self {
        Self {
            at_hand: Epoch::FIRST,
            newest: Epoch::FIRST,
            others: BTreeMap::new(),
        }
    }
}

impl World {
    /// The epoch of the cluster at hand.
    pub(crate) fn epoch(&self) -> Epoch {
        self.clusters.at_hand
    }

    /// That of the newest cluster.
    pub(crate) fn newest_epoch(&self) -> Epoch {
        self.clusters.newest
    }

    /// Those of all clusters.
    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        let others = self.clusters.others.keys().copied();
        let mut all: Vec<_> = others.chain([self.clusters.at_hand]).collect();
        all.sort_unstable();
        all
    }

    /// Turns to one of the clusters.
    pub(crate) fn look_at(&mut self, epoch: Epoch) {
        if self.clusters.at_hand == epoch {
            return;
        }
        let there = self.clusters.others.remove(&epoch);
        let (oracle, clients) = there.expect("a cluster of this run");
        let here = (
            mem::replace(&mut self.oracle, oracle),
            mem::replace(&mut self.clients, clients),
        );
        let before = mem::replace(&mut self.clusters.at_hand, epoch);
        self.clusters.others.insert(before, here);
    }

    /// A cluster begins; everybody is to follow it.
    pub(crate) fn add_cluster(&mut self, epoch: Epoch, oracle: Oracle, clients: Clients) {
        assert!(epoch > self.clusters.newest, "{epoch:?} was used before");
        self.clusters.others.insert(epoch, (oracle, clients));
        self.clusters.newest = epoch;
    }

    /// The machines of the cluster at hand.
    pub(crate) fn in_cluster(&self) -> impl Iterator<Item = &Machine> {
        let epoch = self.epoch();
        let all = self.machines.iter();
        all.filter(move |machine| machine.epoch == epoch)
    }

    /// Whether a member of the cluster at hand has its machine and its disk.
    pub(crate) fn is_there(&self, member: MemberId) -> bool {
        let machine = self.machine(member.id);
        machine.gone.is_none() && machine.name() == member && machine.epoch == self.epoch()
    }

    /// Who follows a newer cluster never meets a lower token than whoever followed an older one.
    pub(crate) fn demand_token(&self, term: Term) {
        for (epoch, (oracle, _)) in &self.clusters.others {
            let rises = |other| (*epoch < self.epoch()) == (other < term);
            assert!(
                oracle.newest_led().is_none_or(rises),
                "{term:?} is led in {:?}, and {:?} in {epoch:?}",
                self.epoch(),
                oracle.newest_led()
            );
        }
    }
}
