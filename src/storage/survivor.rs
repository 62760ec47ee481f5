//! A disk that goes on alone: a cluster begins anew with what it holds, in a later epoch (R14).
//!
//! ```text
//!   log        ... last entry | term = first of the epoch, {this disk} is the only voter    1st
//!   identity   new cluster, new epoch, the same entry                                       2nd
//! ```
//!
//! Between the two the directory belongs to nobody: its log is of an epoch that its cluster is not
//! of, so no node starts on it ([`Error::BetweenEpochs`]), and the same again is the way out. Not
//! here: who may decide that, and what is lost by it.

use super::{DataDir, Disk, Error, Opened, WalConfig};
use crate::consensus::{ClusterId, Entry, Epoch, Incarnation, Membership, Position, Recovered};

/// An opened data directory of which nothing is changed yet.
#[derive(Debug)]
pub struct Survivor<D: Disk> {
    directory: DataDir<D>,
    opened: Opened<D>,
}

impl<D: Disk> Survivor<D> {
    /// Opens a directory that belongs to a cluster. That is one start of the disk, which brings
    /// back what is on it as every start does.
    pub fn open(disk: D, fresh: Incarnation, config: WalConfig) -> Result<Self, Error> {
        let directory = DataDir::reopen(disk, fresh)?;
        if directory.identity().membership.is_none() {
            return Err(Error::NothingHeld);
        }
        let opened = directory.clone().bring_back(config)?;
        Ok(Self { directory, opened })
    }

    /// What the disk holds, the state in the newest snapshot aside.
    pub fn held(&self) -> &Opened<D> {
        &self.opened
    }

    /// The latest epoch that the disk belongs to, and the latest that it was on its way to.
    fn epochs(&self) -> (Epoch, Epoch) {
        let Recovered {
            membership,
            hard_state,
            ..
        } = &self.opened.recovered;
        (membership.epoch, hard_state.term.epoch())
    }

    /// The lowest epoch that may be begun with this disk.
    pub fn epoch_min(&self) -> Epoch {
        let (is_of, seen) = self.epochs();
        Epoch(is_of.0.saturating_add(1)).max(seen)
    }

    /// Says whether that epoch may be begun with this disk. One that was begun and not brought to
    /// its end may be.
    pub fn check(&self, epoch: Epoch) -> Result<(), Error> {
        if epoch >= self.epoch_min() && epoch <= Epoch::MAX {
            return Ok(());
        }
        let known = Epoch(self.epoch_min().0.saturating_sub(1));
        Err(Error::EpochUsed { epoch, known })
    }

    /// Makes this disk the only voter of a new cluster. All that its log holds is agreed on from
    /// then on. After an error it may be asked for again, whatever is on the disk by then.
    pub fn begin(mut self, cluster: ClusterId, epoch: Epoch) -> Result<Membership, Error> {
        self.check(epoch)?;
        let member = self.opened.recovered.member;
        let membership = Membership::anew(cluster, epoch, member, self.last_before(epoch));
        // An attempt that did not get to its end wrote the same; the entry takes its own place.
        let wal = &mut self.opened.wal;
        wal.append(&membership.first_records())?;
        wal.sync()?;
        wal.mark()?;
        self.directory.begin_anew(membership.clone())?;
        Ok(membership)
    }

    /// The end of what was written before that epoch.
    fn last_before(&self, epoch: Epoch) -> Position {
        let Recovered { base, entries, .. } = &self.opened.recovered;
        let before = |entry: &&Entry| entry.term < epoch.floor();
        let last = entries.iter().rfind(before);
        last.map_or(*base, Entry::position)
    }
}
