//! A data directory that is made of a backup: a cluster begins anew with it (R14).
//!
//! ```text
//!   restoring | snapshot | log: it begins behind the snapshot | identity | (restoring goes)
//! ```
//!
//! The identity comes last, so that no node starts before all is there. Until then the mark says
//! that what is there may be cleared away, to be restored anew; without it nothing that is there is
//! ever touched.

use super::identity::{self, Identity};
use super::layout::segment_sequence;
use super::snapshots::published_position;
use super::{Disk, DiskFile, Error, Snapshot, Snapshots, Wal, WalConfig};
use crate::consensus::{Boots, ClusterId, Epoch, MemberId, Membership, Record};

/// The mark of a directory into which a backup is being restored.
const MARK: &str = "restoring";
/// Names that say nothing of what was kept in a directory.
const MEANINGLESS: [&str; 2] = ["lock", "lost+found"];
/// How much is copied at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// The cluster that begins with a backup, and its first member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NewCluster {
    /// The cluster's name; random.
    pub cluster: ClusterId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The member. Its incarnation is random.
    pub member: MemberId,
}

impl NewCluster {
    /// Says whether it may begin with that backup: its epoch must be above all in it.
    pub fn check<F: DiskFile>(&self, backup: &Snapshot<F>) -> Result<(), Error> {
        let (since, _) = backup.configuration();
        let known = backup.position().term.max(since.term).epoch();
        if self.epoch > known && self.epoch <= Epoch::MAX {
            return Ok(());
        }
        let epoch = self.epoch;
        Err(Error::EpochUsed { epoch, known })
    }
}

/// Makes the data directory of the only voter of a new cluster, which begins with a backup. There
/// must be nothing in it but what an earlier attempt left. `progress` is told how many bytes of the
/// backup are copied.
pub fn restore<D: Disk, F: DiskFile>(
    disk: &D,
    backup: &Snapshot<F>,
    new: NewCluster,
    config: WalConfig,
    progress: impl FnMut(u64),
) -> Result<Membership, Error> {
    config.check()?;
    new.check(backup)?;
    clear(disk)?;
    // A mark that is seen may not be durable yet.
    disk.sync_dir()
        .map_err(Error::io("sync", "the data directory"))?;
    copy(disk, backup, progress)?;
    let NewCluster {
        cluster,
        epoch,
        member,
    } = new;
    let membership = Membership::anew(cluster, epoch, member, backup.position());
    let mut wal = Wal::create(disk.clone(), member.incarnation, config)?;
    let base = Record::Base {
        position: backup.position(),
        keep_log: false,
    };
    let [hard_state, entry] = membership.first_records();
    wal.append(&[hard_state, base, entry])?;
    wal.sync()?;
    wal.mark()?;
    let identity = Identity {
        id: member.id,
        incarnation: member.incarnation,
        boots: Boots::first(u32::try_from(member.incarnation.0 >> 32).unwrap_or_default()),
        membership: Some(membership.clone()),
    };
    identity.create(disk)?;
    disk.remove(MARK)
        .and_then(|()| disk.sync_dir())
        .map_err(Error::io("remove", MARK))?;
    Ok(membership)
}

/// Says whether a node may start with these files.
pub(super) fn check(names: &[String]) -> Result<(), Error> {
    if is_unfinished(names) {
        return Err(Error::HalfRestored);
    }
    Ok(())
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other == name)
}

fn is_unfinished(names: &[String]) -> bool {
    has(names, MARK) && !has(names, identity::NAME)
}

/// Marks an empty directory, or empties a marked one.
fn clear<D: Disk>(disk: &D) -> Result<(), Error> {
    let names = (disk.list()).map_err(Error::io("list", "the data directory"))?;
    if !is_unfinished(&names) {
        let kept = names
            .iter()
            .find(|name| !MEANINGLESS.contains(&name.as_str()));
        if let Some(file) = kept {
            let file = file.clone();
            return Err(Error::NotEmpty { file });
        }
        return disk.create(MARK).map(drop).map_err(Error::io("make", MARK));
    }
    let is_left = |name: &&String| {
        let is_data = segment_sequence(name).is_some() || published_position(name).is_some();
        let is_begun =
            ["unfinished-", "wal-spare", "identity-"].map(|start| name.starts_with(start));
        is_data || is_begun.contains(&true)
    };
    (names.iter().filter(is_left))
        .try_for_each(|name| disk.remove(name).map_err(Error::io("remove", name)))
}

fn copy<D: Disk, F: DiskFile>(
    disk: &D,
    backup: &Snapshot<F>,
    mut progress: impl FnMut(u64),
) -> Result<(), Error> {
    let snapshots = Snapshots::open(disk.clone())?;
    let mut incoming = snapshots.receive(backup.position(), backup.bytes())?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let offset = incoming.received();
        progress(offset);
        let left = usize::try_from(backup.bytes() - offset).unwrap_or(usize::MAX);
        if left == 0 {
            break;
        }
        let piece = &mut piece[..left.min(PIECE_BYTES)];
        backup.read_at(piece, offset)?;
        incoming.append(offset, piece)?;
    }
    // It verifies what is on the disk now, all of it.
    incoming.finish()?.publish()?;
    Ok(())
}
