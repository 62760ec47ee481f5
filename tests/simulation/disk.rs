//! One machine's data directory: the real storage code on a simulated disk.
//!
//! Everything happens in the order of the calls and takes no time; the world adds the time, and
//! decides what survives: a kill leaves the page cache, a loss of power tears what was not synced.

use remember::consensus::{
    Incarnation, MemberId, Membership, NodeId, Payload, Placed, Position, Record,
};
use remember::state::{RestoreError, View};
use remember::storage::{
    DataDir, Error, IncomingSnapshot, ReceivedSnapshot, Snapshot, Snapshots, Survivor, Wal,
};
use remember::storage::{Disk as _, WalConfig, quarantine};

use super::image::Image;
use super::rng::Rng;
use super::sim_disk::{Fault, SimDisk, SimFile};

/// A data directory, and what a running process has open of it.
pub(crate) struct Disk {
    id: NodeId,
    /// What each start is given to tell it from a start of a copy of this disk.
    random: Rng,
    is_member: bool,
    config: WalConfig,
    files: SimDisk,
    founding: Option<DataDir<SimDisk>>,
    open: Option<(Wal<SimDisk>, Snapshots<SimDisk>)>,
}

/// What a start finds on the disk.
pub(crate) struct Found {
    /// Which disk this is.
    pub(crate) incarnation: Incarnation,
    /// Which start this is, already durable.
    pub(crate) boots: remember::consensus::Boots,
    /// The cluster, unless the disk is fresh.
    pub(crate) membership: Option<Membership>,
    /// The log and what goes with it.
    pub(crate) image: Image,
    /// The state at `image.base`.
    pub(crate) view: View,
    /// The configuration there, unless it is the founding one.
    pub(crate) configuration: Option<Placed>,
}

impl Disk {
    /// A fresh disk.
    pub(crate) fn new(id: NodeId, rng: &mut Rng) -> Self {
        Self {
            id,
            random: rng.fork(),
            is_member: false,
            config: WalConfig {
                segment_bytes: rng.pick(&[16 << 10, 32 << 10, 128 << 10]),
            },
            files: SimDisk::new(rng.number()),
            founding: None,
            open: None,
        }
    }

    /// Whether it belongs to a cluster.
    pub(crate) fn is_member(&self) -> bool {
        self.is_member
    }

    /// Starts, and recovers if there is anything to recover.
    pub(crate) fn start(&mut self) -> Result<Found, Error> {
        let directory = DataDir::open(
            self.files.clone(),
            self.id,
            Incarnation(self.random.number()),
        )?;
        let identity = directory.identity().clone();
        if identity.membership.is_some() {
            return self.recover(directory);
        }
        self.founding = Some(directory);
        Ok(Found {
            incarnation: identity.incarnation,
            boots: identity.boots,
            membership: None,
            image: Image::default(),
            view: View::default(),
            configuration: None,
        })
    }

    /// Makes the membership durable, and opens the log.
    pub(crate) fn adopt(&mut self, membership: Membership) -> Result<Found, Error> {
        let mut directory = self.founding.take().expect("a founder has a directory");
        directory.found(membership, self.config)?;
        self.recover(directory)
    }

    fn recover(&mut self, directory: DataDir<SimDisk>) -> Result<Found, Error> {
        let opened = directory.recover(self.config)?;
        let recovered = opened.recovered;
        let view = match opened.snapshots.newest()? {
            Some(snapshot) => read_view(&snapshot)?,
            None => View::default(),
        };
        self.is_member = true;
        self.open = Some((opened.wal, opened.snapshots));
        Ok(Found {
            image: Image::of(&recovered),
            incarnation: recovered.member.incarnation,
            boots: recovered.boots,
            membership: Some(recovered.membership),
            view,
            configuration: recovered.configuration,
        })
    }

    /// Opens it to begin another cluster with what it holds (R14).
    pub(crate) fn survive(&mut self) -> Result<Survivor<SimDisk>, Error> {
        let fresh = Incarnation(self.random.number());
        Survivor::open(self.files.clone(), fresh, self.config)
    }

    /// Writes, but does not yet make durable.
    pub(crate) fn write<'a, R>(&mut self, records: R) -> Result<(), Error>
    where
        R: Iterator<Item = &'a Record> + Clone,
    {
        self.wal().append(records)
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.wal().sync()
    }

    /// Does one of the things that can wait. Says whether old segments went.
    pub(crate) fn tidy(&mut self, rng: &mut Rng) -> Result<bool, Error> {
        match rng.below(8) {
            0 => match self.wal().next_segment().prepare() {
                Ok(()) | Err(Error::Full { .. }) => {}
                Err(error) => return Err(error),
            },
            1 => self.wal().mark()?,
            _ => {}
        }
        self.release()
    }

    /// Lets one segment go that the newest snapshot covers. Says whether it did.
    pub(crate) fn release(&mut self) -> Result<bool, Error> {
        match self.snapshots().newest_position() {
            Some(position) => self.wal().release(position),
            None => Ok(false),
        }
    }

    /// Makes a snapshot of the own state durable.
    pub(crate) fn publish(&mut self, view: &View, configuration: &Placed) -> Result<bool, Error> {
        let mut writer = self.snapshots().write(view.position(), configuration)?;
        let written = view.write_to(&mut writer);
        written.map_err(|source| Error::Io {
            action: "write",
            file: "a snapshot".to_owned(),
            source,
        })?;
        writer.finish()
    }

    /// The newest snapshot as its bytes, and what it covers.
    pub(crate) fn newest(&mut self) -> Result<Option<(Position, Vec<u8>)>, Error> {
        let Some(snapshot) = self.snapshots().newest()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::try_from(snapshot.bytes()).expect("a small file")];
        snapshot.read_at(&mut bytes, 0)?;
        Ok(Some((snapshot.position(), bytes)))
    }

    /// Begins to receive a snapshot.
    pub(crate) fn receive(
        &mut self,
        position: Position,
        bytes: usize,
    ) -> Result<IncomingSnapshot<SimDisk>, Error> {
        self.snapshots().receive(position, bytes as u64)
    }

    /// The process ends; what it wrote is still in the page cache.
    pub(crate) fn kill(&mut self) {
        self.let_go();
        self.files.lose_power_at(u64::MAX);
        self.files.kill();
    }

    /// The power is gone, and with it some of what was written and not made durable.
    pub(crate) fn cut_power(&mut self) {
        self.let_go();
        self.files.crash();
    }

    /// Lets the power fail at one of the next so many changes of the disk.
    pub(crate) fn lose_power_soon(&mut self, rng: &mut Rng, within: u64) {
        self.files
            .lose_power_at(self.files.operations() + rng.below(within));
    }

    /// Whether the power has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.files.list().is_err()
    }

    /// A copy of everything, as a backup takes it from a machine that is off. What is about to go
    /// wrong with the disk does not go wrong with the copy.
    pub(crate) fn copy(&self, rng: &mut Rng) -> Self {
        let mut copy = Self {
            files: self.files.fork(rng.number()),
            founding: None,
            open: None,
            random: rng.fork(),
            ..*self
        };
        copy.mend();
        copy
    }

    /// Whether its node, started on it, would need nobody else to agree on anything.
    pub(crate) fn decides_alone(&self) -> bool {
        let Ok(found) = self.copy(&mut self.random.clone()).start() else {
            return false;
        };
        let member = MemberId {
            id: self.id,
            incarnation: found.incarnation,
        };
        let settled = found.membership.map(|membership| membership.settled);
        let logged = found.image.entries.iter().filter_map(|entry| {
            let Payload::Configuration(configuration) = &entry.payload else {
                return None;
            };
            Some((entry.position(), configuration.clone()))
        });
        let known = settled.into_iter().chain(found.configuration).chain(logged);
        let newest = known.max_by_key(|(position, _)| *position);
        newest.is_some_and(|(_, newest)| newest.is_agreed(|other| other == member))
    }

    /// Marks the disk: it never starts again (R15).
    pub(crate) fn quarantine(&self, sentence: &str) -> Result<(), Error> {
        quarantine(&self.files, sentence)
    }

    /// Lets the next call of some kind fail.
    pub(crate) fn fail_next(&mut self, fault: Fault) {
        self.files.fail_next(fault);
    }

    /// Leaves only so much room.
    pub(crate) fn fill(&mut self, room: u64) {
        self.files.set_capacity(Some(self.files.used() + room));
    }

    /// Has all the room again.
    pub(crate) fn empty(&mut self) {
        self.files.set_capacity(None);
    }

    /// Nothing that is still to go wrong goes wrong any more.
    pub(crate) fn mend(&mut self) {
        self.empty();
        self.files.forget_faults();
        if !self.is_dead() {
            self.files.lose_power_at(u64::MAX);
        }
    }

    /// Flips one bit of something that was durable and proven to be (R22). Says where.
    pub(crate) fn rot(&mut self, rng: &mut Rng) -> Result<String, Error> {
        self.wal().mark()?;
        let mut names = self.files.list().expect("it has power");
        names.sort_unstable();
        names.retain(|name| !self.files.content(name).is_empty());
        let name = &names[rng.place(names.len())];
        let (byte, bit) = (
            rng.place(self.files.content(name).len()),
            rng.pick(&[0, 3, 7]),
        );
        self.files.rot(name, byte as u64, bit);
        Ok(format!("{name}, byte {byte}, bit {bit}"))
    }

    /// Drops what is open, without letting it clean up: a process that dies does not.
    fn let_go(&mut self) {
        self.stop_changes();
        self.founding = None;
        self.open = None;
    }

    /// Lets all later changes fail, as for a process that is no more.
    pub(crate) fn stop_changes(&mut self) {
        if let Some(last) = self.files.operations().checked_sub(1) {
            self.files.lose_power_at(last);
        }
    }

    fn wal(&mut self) -> &mut Wal<SimDisk> {
        &mut self
            .open
            .as_mut()
            .expect("the log is open while its node runs")
            .0
    }

    fn snapshots(&mut self) -> &mut Snapshots<SimDisk> {
        &mut self
            .open
            .as_mut()
            .expect("snapshots are open while their node runs")
            .1
    }
}

/// The state in a snapshot that has come, verified.
pub(crate) fn received_view(received: &ReceivedSnapshot<SimDisk>) -> Result<View, Error> {
    read_view(received.snapshot())
}

fn read_view(snapshot: &Snapshot<SimFile>) -> Result<View, Error> {
    View::read_from(&mut snapshot.state()).map_err(|error| match error {
        RestoreError::Io(source) => Error::Io {
            action: "read",
            file: "a snapshot".to_owned(),
            source,
        },
        error => panic!("the store refuses what storage has verified: {error}"),
    })
}
