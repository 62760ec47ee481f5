//! One node's data directory: from the first start to everything that recovery brings back.
//!
//! ```text
//!   open ---> identity: whose directory, which disk, which start       lock and boot number first
//!     |
//!     +--> found ---> the membership, agreed once (R13)                 only on a first start
//!     |
//!     +--> recover -> snapshots, log, and `Recovered` for the engine    only with a membership
//! ```
//!
//! Files that belong together are all there, or the node says which is missing and does not start:
//! nothing is ever made anew beside what is left of something old.

use super::identity::Edition;
use super::layout::segment_sequence;
use super::outline::Replay;
use super::snapshots::published_position;
use super::{Disk, Error, Identity, Snapshots, Wal, WalConfig, identity, quarantine, restoration};
use crate::consensus::{
    Boots, Incarnation, MemberId, Membership, NodeId, Position, Record, Recovered,
};

/// The data directory of one node that has started.
#[derive(Clone, Debug)]
pub struct DataDir<D> {
    disk: D,
    identity: Identity,
    edition: Edition,
}

/// A data directory in use: what the engine starts from, and where its writes go.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// What the engine starts from. All of it is durable.
    pub recovered: Recovered,
    /// The log, behind all that was recovered.
    pub wal: Wal<D>,
    /// The snapshots; the newest one covers `recovered.base`, unless that is the start.
    pub snapshots: Snapshots<D>,
}

impl<D: Disk> DataDir<D> {
    /// Opens the directory for node `id` and durably counts this start (R15). `fresh` should be
    /// random: a directory without any file of ours is a fresh disk and becomes this incarnation,
    /// and its low half tells this start from that of a copy of the disk.
    pub fn open(disk: D, id: NodeId, fresh: Incarnation) -> Result<Self, Error> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any 32 random bits will do"
        )]
        let nonce = fresh.0 as u32;
        let names = disk
            .list()
            .map_err(Error::io("list", "the data directory"))?;
        quarantine::check(&disk, &names)?;
        restoration::check(&names)?;
        let segment = names.iter().find(|name| segment_sequence(name).is_some());
        let snapshot = names.iter().find(|name| published_position(name).is_some());
        if !names.iter().any(|name| name == identity::NAME) {
            if let Some(beside) = first_data(&names) {
                return Err(missing(identity::NAME, beside));
            }
            let identity = Identity {
                id,
                incarnation: fresh,
                boots: Boots::first(nonce),
                membership: None,
            };
            identity.create(&disk)?;
            return Ok(Self {
                disk,
                identity,
                edition: Edition::FIRST,
            });
        }
        let (identity, edition) = Identity::read(&disk)?;
        if identity.id != id {
            return Err(Error::OtherNode {
                found: identity.id,
                wanted: id,
            });
        }
        match (&identity.membership, segment, snapshot) {
            (Some(_), None, _) => return Err(missing("the log", identity::NAME)),
            (None, _, Some(beside)) => return Err(missing("the membership", beside)),
            _ => {}
        }
        // A name seen after a kill may not be durable, and all that follows relies on names.
        disk.sync_dir()
            .map_err(Error::io("sync", "the data directory"))?;
        let mut directory = Self {
            disk,
            identity,
            edition,
        };
        directory.identity.settle(&directory.disk, edition)?;
        let boots = (directory.identity.boots.next(nonce))
            .ok_or_else(|| Error::rotten(identity::NAME, 40, "the boot number ends"))?;
        directory.rewrite(|identity| identity.boots = boots)?;
        Ok(directory)
    }

    /// Opens the directory for whichever node it belongs to, as [`DataDir::open`] does. It must
    /// have been used.
    pub fn reopen(disk: D, fresh: Incarnation) -> Result<Self, Error> {
        let names = (disk.list()).map_err(Error::io("list", "the data directory"))?;
        quarantine::check(&disk, &names)?;
        restoration::check(&names)?;
        if !names.iter().any(|name| name == identity::NAME) {
            return Err(match first_data(&names) {
                Some(beside) => missing(identity::NAME, beside),
                None => Error::NothingHeld,
            });
        }
        let (identity, _) = Identity::read(&disk)?;
        Self::open(disk, identity.id, fresh)
    }

    /// The directory's files.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Who this directory is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes the membership of a new cluster durable, and an empty log. Again with the same
    /// membership it does nothing.
    pub fn found(&mut self, membership: Membership, config: WalConfig) -> Result<(), Error> {
        if let Some(known) = &self.identity.membership {
            return if *known == membership {
                Ok(())
            } else {
                Err(Error::Founded {
                    cluster: known.cluster.0,
                })
            };
        }
        self.identity.check_membership(&membership)?;
        let names = (self.disk.list()).map_err(Error::io("list", "the data directory"))?;
        let segment = names
            .into_iter()
            .find(|name| segment_sequence(name).is_some());
        let incarnation = self.identity.incarnation;
        match segment {
            None => drop(Wal::create(self.disk.clone(), incarnation, config)?),
            // An earlier attempt ended between the log and the membership.
            Some(beside) => {
                let (wal, replay) = Wal::recover(self.disk.clone(), incarnation, config)?;
                if !replay.is_empty() || wal.segments() > 1 {
                    return Err(missing("the membership", &beside));
                }
            }
        }
        self.rewrite(|identity| identity.membership = Some(membership))
    }

    /// Brings everything back; when it returns, all of it is durable (R23). Needs no room on the
    /// disk, but for the one record that an interrupted snapshot installation asks for.
    pub fn recover(self, config: WalConfig) -> Result<Opened<D>, Error> {
        let opened = self.bring_back(config)?;
        let Recovered {
            membership,
            hard_state,
            ..
        } = &opened.recovered;
        let (from, to) = (membership.epoch, hard_state.term.epoch());
        if to > from {
            return Err(Error::BetweenEpochs { from, to });
        }
        Ok(opened)
    }

    /// The same, whatever epoch the log is of.
    pub(super) fn bring_back(self, config: WalConfig) -> Result<Opened<D>, Error> {
        let Identity {
            id,
            incarnation,
            boots,
            membership,
        } = self.identity;
        let membership = membership.ok_or(Error::NotFounded)?;
        let snapshots = Snapshots::open(self.disk.clone())?;
        let (mut wal, mut replay) = Wal::recover(self.disk, incarnation, config)?;
        let newest = snapshots.newest()?;
        let newest = newest.map(|it| (it.position(), it.configuration().clone()));
        adopt_snapshot(newest.as_ref().map(|it| it.0), &mut wal, &mut replay)?;
        let configuration = newest.map(|it| it.1);
        let whole = replay.check_whole();
        whole.map_err(|what| Error::rotten("the log", 0, what))?;
        let recovered = Recovered {
            member: MemberId { id, incarnation },
            boots,
            membership,
            hard_state: replay.outline.hard_state,
            base: replay.outline.base,
            configuration,
            entries: replay.entries,
            peers: replay.outline.peers.into_values().collect(),
        };
        Ok(Opened {
            recovered,
            wal,
            snapshots,
        })
    }

    /// Lets the disk, whose log is already what it has to be, belong to another cluster (R14).
    pub(super) fn begin_anew(&mut self, membership: Membership) -> Result<(), Error> {
        self.rewrite(|identity| identity.membership = Some(membership))
    }

    fn rewrite(&mut self, change: impl FnOnce(&mut Identity)) -> Result<(), Error> {
        let mut identity = self.identity.clone();
        change(&mut identity);
        self.edition = identity.rewrite(&self.disk, self.edition)?;
        self.identity = identity;
        Ok(())
    }
}

/// Lets the log begin at the newest snapshot. They differ if the last life ended between
/// publishing the snapshot and writing its base record.
fn adopt_snapshot<D: Disk>(
    newest: Option<Position>,
    wal: &mut Wal<D>,
    replay: &mut Replay,
) -> Result<(), Error> {
    let base = replay.outline.base;
    let position = newest.unwrap_or_default();
    if position == base {
        return Ok(());
    }
    if position.index <= base.index {
        let what = format!("the snapshot at {base:?}, where the log begins,");
        return Err(missing(&what, "the log"));
    }
    // Frees room first, in case that the disk is full.
    while wal.release(position)? {}
    let record = Record::Base {
        position,
        keep_log: replay.holds(position) == Some(true),
    };
    wal.append([&record])?;
    wal.sync()?;
    replay.apply(record).map_err(Error::Disorder)
}

/// A file without which there would be no data.
fn first_data(names: &[String]) -> Option<&String> {
    let is_data =
        |name: &&String| segment_sequence(name).is_some() || published_position(name).is_some();
    names.iter().find(is_data)
}

fn missing(what: &str, beside: &str) -> Error {
    Error::Missing {
        what: what.to_owned(),
        beside: beside.to_owned(),
    }
}
