//! A disk that loses power, lies, fills up and rots, all from one seed.
//!
//! [`SimDisk`] keeps two contents of every file: the *cache*, which reads and writes see, and the
//! *platter*, which survives. `sync` copies the one to the other. The names in the directory are
//! kept twice in the same way.
//!
//! ```text
//!   write_at --> cache --sync--> platter           create, rename, remove --> names
//!   read_at <--- cache                                        --sync_dir--> durable names
//!
//!   crash():  cache := platter + any subset of the dirty 512-byte sectors (torn writes)
//!             names := durable names + any subset of the name changes since sync_dir
//!   kill():   only the process dies: the cache stays, open files become useless
//! ```
//!
//! A `SimDisk` is a handle; its clones are the same disk, as the [`Disk`] trait wants it.
//! [`SimDisk::fork`] makes an independent copy, which a test that tries many crashes of one state
//! needs. Everything random is drawn from the seed in the order of the calls, so equal calls on
//! equal seeds give equal disks.
//!
//! Faults: [`SimDisk::lose_power_at`] (every change is numbered, so a test can crash at each),
//! [`SimDisk::fail_next`] (EIO once; after a failed sync the dirty data is dropped without a word
//! and the cache goes on showing it), [`SimDisk::set_capacity`] (ENOSPC), [`SimDisk::rot`] (a bit
//! flips), [`SimDisk::set_stalled`] (a flag only: whoever drives the disk looks at
//! [`SimDisk::is_stalled`] before it calls).

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test programs; a simulation that contradicts itself must stop them"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inode::Inode;
use remember::storage::{Disk, DiskFile, SECTOR_BYTES};

const SECTOR: usize = 512;
const _: () = assert!(SECTOR as u64 == SECTOR_BYTES);

/// What fails once with EIO.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The next `read_at`.
    Read,
    /// The next `write_at`; an unknown part of it is written.
    Write,
    /// The next `sync`; an unknown part reaches the platter, and the rest never will.
    Sync,
    /// The next `sync_dir`; the changes stay undecided until the next crash.
    SyncDir,
}

/// How often the disk did what a test should have met; a count of zero tells of a blind test.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exercised {
    /// Power losses.
    pub crashes: u64,
    /// Dirty sectors that a crash dropped.
    pub sectors_dropped: u64,
    /// Dirty sectors that a crash kept although nobody had synced them.
    pub sectors_kept: u64,
    /// Name changes that a crash undid.
    pub names_undone: u64,
    /// EIO given.
    pub errors: u64,
    /// ENOSPC given.
    pub refusals: u64,
}

/// A simulated disk with one directory; see the module.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
struct State {
    random: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<NameChange>,
    /// Raised when all open files become useless.
    life: u64,
    operations: u64,
    power_lost_at: Option<u64>,
    faults: BTreeSet<Fault>,
    capacity: Option<u64>,
    room_is_told: bool,
    stalled: bool,
    exercised: Exercised,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                random: seed,
                inodes: BTreeMap::new(),
                next_inode: 0,
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                changes: Vec::new(),
                life: 0,
                operations: 0,
                power_lost_at: None,
                faults: BTreeSet::new(),
                capacity: None,
                room_is_told: true,
                stalled: false,
                exercised: Exercised::default(),
            })),
        }
    }

    /// An independent copy as it is now, with another seed. Files open here are not open there.
    pub fn fork(&self, seed: u64) -> Self {
        let mut state = self.lock().clone();
        state.random = seed;
        for inode in state.inodes.values_mut() {
            inode.open = 0;
        }
        state.life += 1;
        state.collect();
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The power fails and comes back: any subset of what was not synced is gone, open files are
    /// useless, pending faults are forgotten.
    pub fn crash(&self) {
        self.lock().crash();
    }

    /// The process dies and the machine lives: open files are useless, nothing is lost yet.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.life += 1;
        for inode in state.inodes.values_mut() {
            inode.open = 0;
        }
        state.collect();
    }

    /// How many changes (creates, writes, syncs, renames, removes, directory syncs) were tried.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The power fails at the change of this number (the next one is `operations()`): that one and
    /// all later calls fail. A write has still reached the cache, a sync has no effect. Follow it
    /// with [`SimDisk::crash`].
    pub fn lose_power_at(&self, operation: u64) {
        self.lock().power_lost_at = Some(operation);
    }

    /// Makes the next call of that kind fail with EIO.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.insert(fault);
    }

    /// Forgets every fault that was asked for and has not happened.
    pub fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// Limits the bytes of all files together; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Whether [`Disk::room`] tells the truth, or nothing, as under a quota.
    pub fn tell_room(&self, told: bool) {
        self.lock().room_is_told = told;
    }

    /// The bytes of all files together.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Sets the flag that [`SimDisk::is_stalled`] shows.
    pub fn set_stalled(&self, stalled: bool) {
        self.lock().stalled = stalled;
    }

    /// Whether whoever drives this disk should hold every call back.
    pub fn is_stalled(&self) -> bool {
        self.lock().stalled
    }

    /// Flips one bit of a file, in the cache, and on the platter if that reaches so far.
    pub fn rot(&self, name: &str, byte: u64, bit: u32) {
        let byte = usize::try_from(byte).unwrap();
        assert!(byte < self.content(name).len(), "{name} has a byte {byte}");
        self.edit(name, |content| {
            (content.iter_mut().skip(byte).take(1)).for_each(|byte| *byte ^= 1 << bit);
        });
    }

    /// Changes the content of a file, on the platter and in the cache, behind everybody's back.
    pub fn edit(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.lock();
        let id = state.names[name];
        let inode = state.inodes.get_mut(&id).unwrap();
        change(&mut inode.cache);
        change(&mut inode.platter);
    }

    /// The content of a file as reads see it.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        state.inodes[&state.names[name]].cache.clone()
    }

    /// Puts a file there, durably, in the place of whatever had that name.
    pub fn put(&self, name: &str, content: &[u8]) {
        let mut state = self.lock();
        let id = state.add_inode();
        let inode = state.inodes.get_mut(&id).unwrap();
        inode.cache = content.to_vec();
        inode.platter = content.to_vec();
        state.names.insert(name.to_owned(), id);
        state.durable_names.insert(name.to_owned(), id);
    }

    /// What this disk and those it was forked from have met so far.
    pub fn exercised(&self) -> Exercised {
        self.lock().exercised
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The splitmix64 generator: small, and good enough to choose sectors.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % (bound as u64)).unwrap()
    }

    /// How likely each undecided thing survives this time, in eighths: often none or all.
    fn mood(&mut self) -> usize {
        [0, 8, 4, 4, 1, 7, 2, 6][self.below(8)]
    }

    fn survives(&mut self, mood: usize) -> bool {
        self.below(8) < mood
    }

    fn add_inode(&mut self) -> u64 {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Inode::default());
        id
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|i| i.cache.len() as u64).sum()
    }

    fn room(&self) -> u64 {
        let left = |capacity: u64| capacity.saturating_sub(self.used());
        self.capacity.map_or(u64::MAX, left)
    }

    /// Numbers a change. `true` if the power fails with it.
    fn count(&mut self) -> io::Result<bool> {
        let number = self.operations;
        self.operations += 1;
        match self.power_lost_at {
            Some(at) if number > at => Err(power_is_off()),
            Some(at) => Ok(number == at),
            None => Ok(false),
        }
    }

    fn powered(&self) -> io::Result<()> {
        match self.power_lost_at {
            Some(at) if self.operations > at => Err(power_is_off()),
            _ => Ok(()),
        }
    }

    fn faulty(&mut self, fault: Fault) -> bool {
        let faulty = self.faults.remove(&fault);
        self.exercised.errors += u64::from(faulty);
        faulty
    }

    fn crash(&mut self) {
        self.exercised.crashes += 1;
        self.life += 1;
        self.power_lost_at = None;
        self.faults.clear();
        let mood = self.mood();
        for change in std::mem::take(&mut self.changes) {
            if self.survives(mood) {
                change.apply(&mut self.durable_names);
            } else {
                self.exercised.names_undone += 1;
            }
        }
        self.names = self.durable_names.clone();
        let ids: Vec<u64> = self.inodes.keys().copied().collect();
        for id in ids {
            let mood = self.mood();
            let mut inode = self.inodes.remove(&id).unwrap();
            for sector in std::mem::take(&mut inode.dirty).iter() {
                if self.survives(mood) {
                    self.exercised.sectors_kept += 1;
                    inode.store(sector);
                } else {
                    self.exercised.sectors_dropped += 1;
                }
            }
            inode.cache.clone_from(&inode.platter);
            inode.open = 0;
            self.inodes.insert(id, inode);
        }
        self.collect();
    }

    /// Drops the content of files that nothing refers to any more.
    fn collect(&mut self) {
        let created = self.changes.iter().filter_map(|change| match change {
            NameChange::Create { inode, .. } => Some(*inode),
            _ => None,
        });
        let kept: BTreeSet<u64> = (self.names.values().copied())
            .chain(self.durable_names.values().copied())
            .chain(created)
            .collect();
        self.inodes
            .retain(|id, inode| inode.open > 0 || kept.contains(id));
    }

    fn change(&mut self, change: NameChange) -> io::Result<()> {
        let lost = self.count()?;
        change.apply(&mut self.names);
        self.changes.push(change);
        if lost { Err(power_is_off()) } else { Ok(()) }
    }

    fn inode(&mut self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn write(&mut self, id: u64, bytes: &[u8], offset: usize) -> io::Result<()> {
        let lost = self.count()?;
        let length = self.inodes[&id].cache.len();
        let growth = (offset + bytes.len()).saturating_sub(length) as u64;
        let room = self.room();
        let full = growth > room;
        let eio = self.faulty(Fault::Write);
        let mut written = bytes.len();
        if full {
            // Whatever fits is written, as a real file system does.
            let end = length.saturating_add(usize::try_from(room).unwrap());
            written = end.saturating_sub(offset).min(bytes.len());
            self.exercised.refusals += 1;
        }
        if eio {
            written = self.below(written + 1);
        }
        let inode = self.inodes.get_mut(&id).unwrap();
        inode.put(&bytes[..written], offset);
        match (lost, eio, full) {
            (true, ..) => Err(power_is_off()),
            (_, true, _) => Err(eio_error()),
            (.., true) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "simulated ENOSPC",
            )),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, id: u64) -> io::Result<()> {
        if self.count()? {
            return Err(power_is_off());
        }
        let eio = self.faulty(Fault::Sync);
        let mood = self.mood();
        let mut inode = self.inodes.remove(&id).unwrap();
        for sector in std::mem::take(&mut inode.dirty).iter() {
            if !eio || self.survives(mood) {
                inode.store(sector);
            }
        }
        if !eio {
            inode.platter.resize(inode.cache.len(), 0);
        }
        self.inodes.insert(id, inode);
        if eio { Err(eio_error()) } else { Ok(()) }
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        if self.count()? {
            return Err(power_is_off());
        }
        if self.faulty(Fault::SyncDir) {
            return Err(eio_error());
        }
        self.changes.clear();
        self.durable_names = self.names.clone();
        self.collect();
        Ok(())
    }
}

impl NameChange {
    /// A change whose file never came to be there changes nothing.
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("simulated power loss")
}

fn eio_error() -> io::Error {
    io::Error::other("simulated EIO")
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.powered()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.lock();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.add_inode();
        state.change(NameChange::Create {
            name: name.to_owned(),
            inode,
        })?;
        drop(state);
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.lock();
        state.powered()?;
        let id = state.inode(name)?;
        state.inodes.get_mut(&id).unwrap().open += 1;
        Ok(SimFile {
            disk: self.clone(),
            inode: id,
            life: state.life,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.inode(from)?;
        state.change(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.inode(name)?;
        state.change(NameChange::Remove {
            name: name.to_owned(),
        })
    }

    fn room(&self) -> io::Result<u64> {
        let state = self.lock();
        state.powered()?;
        let told = state.room_is_told;
        Ok(if told { state.room() } else { u64::MAX })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.lock().sync_dir()
    }
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::other(
                "this file was open before a simulated crash",
            ))
        }
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.state()?;
        state.powered()?;
        Ok(state.inodes[&self.inode].cache.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.powered()?;
        if state.faulty(Fault::Read) {
            return Err(eio_error());
        }
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let cache = &state.inodes[&self.inode].cache;
        let end = offset.checked_add(buffer.len());
        match end.and_then(|end| cache.get(offset..end)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.state()?.write(self.inode, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.inode)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.life == self.life {
            let inode = state.inodes.get_mut(&self.inode).unwrap();
            inode.open -= 1;
            if inode.open == 0 {
                state.collect();
            }
        }
    }
}

#[path = "sim_disk_inode.rs"]
mod inode;
#[cfg(test)]
#[path = "sim_disk_tests.rs"]
mod tests;
