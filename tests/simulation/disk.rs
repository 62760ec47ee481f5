//! One machine's data directory: what survives a kill, and what survives a loss of power.

use remember::consensus::{Boot, Incarnation, Membership, Position, Record};

use super::image::Image;
use super::replica::Replica;
use super::rng::Rng;

/// A data directory with its page cache.
pub(crate) struct Disk {
    incarnation: Incarnation,
    boot: Boot,
    membership: Option<Membership>,
    platter: Image,
    cache: Vec<Record>,
    snapshots: Vec<(Position, Replica)>,
}

/// What a start finds on the disk.
pub(crate) struct Found {
    /// Which disk this is.
    pub(crate) incarnation: Incarnation,
    /// Which start this is, already durable.
    pub(crate) boot: Boot,
    /// The cluster, unless the disk is fresh.
    pub(crate) membership: Option<Membership>,
    /// The log and what goes with it.
    pub(crate) image: Image,
    /// The state at `image.base`.
    pub(crate) replica: Replica,
}

impl Disk {
    /// A fresh disk.
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            boot: Boot(0),
            membership: None,
            platter: Image::default(),
            cache: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    /// Recovers, and makes all that was recovered durable (R23).
    pub(crate) fn start(&mut self) -> Found {
        self.boot.0 += 1;
        self.sync();
        let base = self.platter.base;
        let snapshot = self
            .snapshots
            .iter()
            .find(|(position, _)| *position == base);
        Found {
            incarnation: self.incarnation,
            boot: self.boot,
            membership: self.membership.clone(),
            image: self.platter.clone(),
            replica: snapshot.map_or_else(Replica::default, |(_, replica)| replica.clone()),
        }
    }

    /// Which disk this is.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether it belongs to a cluster.
    pub(crate) fn is_member(&self) -> bool {
        self.membership.is_some()
    }

    /// Makes the membership durable.
    pub(crate) fn adopt(&mut self, membership: Membership) {
        self.membership = Some(membership);
    }

    /// Writes, but does not yet make durable.
    pub(crate) fn write(&mut self, records: &[Record]) {
        self.cache.extend_from_slice(records);
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) {
        for record in self.cache.drain(..) {
            self.platter.add(&record);
        }
        let base = self.platter.base;
        self.snapshots
            .retain(|(position, _)| position.index >= base.index);
    }

    /// Makes a snapshot durable.
    pub(crate) fn publish(&mut self, replica: Replica) {
        self.snapshots.push((replica.applied(), replica));
    }

    /// The newest snapshot.
    pub(crate) fn snapshot(&self) -> Option<&Replica> {
        self.snapshots
            .iter()
            .map(|(_, replica)| replica)
            .max_by_key(|replica| replica.index())
    }

    /// Loses some of what was written and not made durable.
    pub(crate) fn cut_power(&mut self, rng: &mut Rng) {
        let kept = rng.place(self.cache.len() + 1);
        self.cache.truncate(kept);
        self.sync();
    }
}
