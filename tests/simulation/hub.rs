//! A network with a hub: one node misses what the others agree on, and then is the only one that
//! any of them reaches. Nobody can lead then but the hub, with a log that it takes from others.

use remember::consensus::NodeId;

use super::faults::Mending;
use super::tally::Counted;
use super::world::{Event, World};

/// What a network with a hub looks like, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HubStage {
    /// Nobody reaches the hub.
    Missing,
    /// Nobody reaches anybody.
    Apart,
    /// All reach the hub, and nobody else.
    Star,
}

impl World {
    /// A stage of a network with a hub; it stays without a leader for long enough that the old one
    /// feeds nobody when all reach the hub.
    pub(crate) fn shape_for(&mut self, hub: NodeId, stage: HubStage) {
        if !self.troubled {
            return;
        }
        let ids = self.ids();
        let all = ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b)));
        let is_cut = |(a, b): &(NodeId, NodeId)| {
            let touches = *a == hub || *b == hub;
            a != b && (stage == HubStage::Apart || touches == (stage == HubStage::Missing))
        };
        let ways: Vec<_> = all.filter(is_cut).collect();
        self.network.heal();
        self.count(Counted::Cuts);
        self.cut(&ways);
        let timeout = self.plan.config.election_timeout;
        let (lasts, next) = match stage {
            HubStage::Missing => (self.a_while(), Mending::Hub(hub, HubStage::Apart)),
            HubStage::Apart => (timeout * 3, Mending::Hub(hub, HubStage::Star)),
            HubStage::Star => (timeout * 12, Mending::Network),
        };
        self.after(lasts, Event::Mend(next));
    }
}
