//! What the disk of one node is worth to whoever has lost the others, and the way on with it alone
//! (R14).
//!
//! Nothing is decided here: a person reads what is [`Held`], and says whether that is to be the
//! beginning of a new cluster. No node runs on the directory meanwhile, since it is locked.

use std::collections::BTreeMap;
use std::path::Path;

use super::run::{NodeError, random, restore};
use crate::consensus::{
    ClusterId, Configuration, Entry, Epoch, Incarnation, MemberId, Membership, Payload, Position,
    Recovered, Seat,
};
use crate::state::{HistoryLimits, Outcome, Revision, Store};
use crate::storage::{FileDisk, Survivor, WalConfig};

/// A data directory that may be the beginning of a new cluster.
#[derive(Debug)]
pub struct Recovery {
    survivor: Survivor<FileDisk>,
    held: Held,
}

/// What one disk holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The node, on this disk.
    pub member: MemberId,
    /// What it counted in, by the newest configuration in its log; `None` if that does not name it.
    pub seat: Option<Seat>,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The epoch of that.
    pub epoch: Epoch,
    /// The lowest epoch that can be begun with this disk.
    pub epoch_min: Epoch,
    /// Up to here all is in the snapshot; it was agreed on.
    pub base: Position,
    /// The end of its log. What is behind `base` may not have been agreed on.
    pub last: Position,
    /// The other members of its cluster, by the newest configuration in its log.
    pub others: BTreeMap<MemberId, Seat>,
    /// How many keys there are at the end of its log.
    pub keys: usize,
    /// What they count, in bytes.
    pub used_bytes: u64,
    /// The revision of the last change of them.
    pub revision: Revision,
}

impl Recovery {
    /// Opens a data directory that a node has used, and reads all of it. That counts as one start
    /// of the node; nothing else is changed.
    ///
    /// # Errors
    /// If a node runs on it, if it is damaged, or if it belongs to no cluster.
    pub fn open(data_dir: &Path, wal: WalConfig) -> Result<Self, NodeError> {
        let disk = FileDisk::existing(data_dir)?;
        let survivor = Survivor::open(disk, Incarnation(random()?), wal)?;
        let held = Held::of(&survivor)?;
        Ok(Self { survivor, held })
    }

    /// What the disk holds.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Says whether that epoch can be begun with this disk.
    pub fn check(&self, epoch: Epoch) -> Result<(), NodeError> {
        Ok(self.survivor.check(epoch)?)
    }

    /// Makes the disk the only voter of a new cluster in `epoch`. After an error, or a crash at any
    /// point, it may be done again.
    pub fn begin(self, epoch: Epoch) -> Result<Membership, NodeError> {
        let name = ClusterId(random()?);
        Ok(self.survivor.begin(name, epoch)?)
    }
}

impl Held {
    fn of(survivor: &Survivor<FileDisk>) -> Result<Self, NodeError> {
        let opened = survivor.held();
        let Recovered {
            member,
            membership,
            base,
            entries,
            ..
        } = &opened.recovered;
        let view = restore(&opened.snapshots, *base)?;
        let mut store = Store::resume(view, HistoryLimits::default());
        // An entry of a later epoch is what an attempt left that was not brought to its end.
        let is_own = |entry: &&Entry| entry.term.epoch() <= membership.epoch;
        for entry in entries.iter().take_while(is_own) {
            if let Outcome::Unsupported { format } = store.apply(entry.position(), &entry.payload) {
                return Err(super::Stopped::Unsupported(format).into());
            }
        }
        let view = store.view();
        let seats = newest_configuration(&opened.recovered).seats();
        let mut others: BTreeMap<_, _> = seats.collect();
        Ok(Self {
            member: *member,
            seat: others.remove(member),
            cluster: membership.cluster,
            epoch: membership.epoch,
            epoch_min: survivor.epoch_min(),
            base: *base,
            last: view.position(),
            others,
            keys: view.len(),
            used_bytes: view.used_bytes(),
            revision: view.revision(),
        })
    }
}

/// The one that a node would start with.
fn newest_configuration(recovered: &Recovered) -> &Configuration {
    let epoch = recovered.membership.epoch;
    let own = recovered.entries.iter();
    let own = own.take_while(|entry| entry.term.epoch() <= epoch);
    let logged = own.filter_map(|entry| {
        let Payload::Configuration(configuration) = &entry.payload else {
            return None;
        };
        Some((entry.position(), configuration))
    });
    let (settled, founders) = &recovered.membership.settled;
    let snapshot = recovered.configuration.iter();
    let snapshot = snapshot.map(|(since, configuration)| (*since, configuration));
    let newest = (logged.chain(snapshot)).max_by_key(|(position, _)| *position);
    match newest {
        Some((position, configuration)) if position > *settled => configuration,
        _ => founders,
    }
}
