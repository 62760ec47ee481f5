//! Snapshots: when one is made, how one travels, and how one is taken over.

use std::time::Duration;

use remember::consensus::{Input, IoSeq, MemberId, NodeId, Placed, Position, Record, Status, Term};
use remember::state::View;
use remember::storage::{Error, IncomingSnapshot};

use super::disk::received_view;
use super::machine::Life;
use super::network::LATEST;
use super::sim_disk::SimDisk;
use super::storage::{Job, is_full};
use super::tally::Counted;
use super::world::{Deed, Event, World, tell};

/// A snapshot under way from one node to another.
pub(crate) struct Shipment {
    session: usize,
    from: NodeId,
    from_life: Life,
    term: Term,
    position: Position,
    bytes: Vec<u8>,
    /// How many bytes go at once.
    piece: usize,
    /// How long a piece takes.
    pace: Duration,
}

/// A snapshot that is coming.
pub(crate) struct Incoming {
    shipment: usize,
    file: IncomingSnapshot<SimDisk>,
}

impl World {
    /// Makes a snapshot if the log has grown too long.
    pub(crate) fn consider_snapshot(&mut self, id: NodeId, status: &Status) {
        let limit = self.plan.snapshot_bytes;
        let member = self.member(id);
        let position = member.replica.applied();
        let ripe = status.log_bytes > limit
            && position.index <= status.durable
            && position.index > status.base.index;
        if !ripe || member.snapshotting {
            return;
        }
        member.snapshotting = true;
        let view = member.replica.view().clone();
        let configuration = member.node.configuration_at(view.position().index);
        let delay = self.rng.millis(1, 50);
        let made = Box::new((view, configuration));
        self.process_after(id, delay, Deed::SnapshotMade(made));
    }

    /// A snapshot of this node's own state becomes durable.
    pub(crate) fn snapshot_made(&mut self, id: NodeId, view: &View, configuration: &Placed) {
        let machine = self.machine_mut(id);
        machine.member_mut().expect("it made one").snapshotting = false;
        match machine.disk.publish(view, configuration) {
            Ok(true) => {
                self.count(Counted::SnapshotsTaken);
                self.input(id, Input::SnapshotTaken(view.position()));
            }
            // A newer one has come meanwhile, or there is no room for this one.
            Ok(false) => {}
            Err(error) if is_full(&error) => {}
            Err(error) => self.storage_failed(id, &error),
        }
    }

    /// Sends the newest snapshot.
    pub(crate) fn ship(&mut self, from: NodeId, to: MemberId, term: Term) {
        let session = self.session(from, to.id);
        let session = session.filter(|at| self.network.sessions[*at].members.1 == to);
        let Some(session) = session else {
            self.input(
                from,
                Input::SnapshotSent {
                    to,
                    delivered: false,
                },
            );
            return;
        };
        let (position, bytes) = match self.machine_mut(from).disk.newest() {
            Ok(newest) => newest.expect("a log that begins later has a snapshot"),
            Err(error) => {
                self.storage_failed(from, &error);
                return;
            }
        };
        tell!(self, "{from:?} ships a snapshot of {position:?} to {to:?}");
        let piece = self.rng.place(bytes.len()) + 1;
        let pace = (self.latency(from, to.id) * 2).min(LATEST / 4);
        let from_life = self.machine(from).life().expect("it sends");
        let shipment = self.network.shipments.len();
        self.network.shipments.push(Some(Shipment {
            session,
            from,
            from_life,
            term,
            position,
            bytes,
            piece: piece.max(100),
            pace,
        }));
        self.piece_later(shipment, 0);
        // The sender gives up in the end, whatever became of the receiver.
        let patience = self.rng.millis(1000, 2000);
        self.process_after(from, patience, Deed::SnapshotGivenUp { to, shipment });
    }

    fn piece_later(&mut self, shipment: usize, offset: usize) {
        let Some(Shipment { session, pace, .. }) = &self.network.shipments[shipment] else {
            return;
        };
        let (session, pace) = (&self.network.sessions[*session], *pace);
        let (to, life) = (session.to, session.to_life);
        self.after(
            pace,
            Event::Process(to, life, Deed::Piece { shipment, offset }),
        );
    }

    /// The next piece of a snapshot is there, if its session still is.
    pub(crate) fn piece(&mut self, id: NodeId, shipment: usize, offset: usize) {
        let lost = self.troubled && self.rng.chance(30);
        let Some(Shipment { session, from, .. }) = &self.network.shipments[shipment] else {
            return;
        };
        let receiver_open = self.network.sessions[*session].receiver_open;
        if !receiver_open || lost || !self.passes(*from, id) {
            self.shipment_over(id, shipment, false);
            return;
        }
        match self.take_piece(id, shipment, offset) {
            Ok(None) => {}
            Ok(Some(next)) => self.piece_later(shipment, next),
            Err(error) if is_full(&error) => self.shipment_over(id, shipment, false),
            Err(error) => self.storage_failed(id, &error),
        }
    }

    /// Writes a piece. Says where the next one begins, if there is one.
    fn take_piece(
        &mut self,
        id: NodeId,
        shipment: usize,
        offset: usize,
    ) -> Result<Option<usize>, Error> {
        let ship = self.network.shipments[shipment]
            .as_ref()
            .expect("it is under way");
        let end = (offset + ship.piece).min(ship.bytes.len());
        let (piece, position, len) = (&ship.bytes[offset..end], ship.position, ship.bytes.len());
        let machine = &mut self.machines[usize::try_from(id.0 - 1).expect("a small id")];
        if offset == 0 {
            let file = machine.disk.receive(position, len)?;
            let member = machine.member_mut().expect("it receives");
            member.incoming = Some(Incoming { shipment, file });
        }
        let member = machine.member_mut().expect("it receives");
        let incoming = member
            .incoming
            .as_mut()
            .filter(|incoming| incoming.shipment == shipment);
        let Some(incoming) = incoming else {
            self.shipment_over(id, shipment, false);
            return Ok(None);
        };
        incoming.file.append(offset as u64, piece)?;
        if end < len {
            return Ok(Some(end));
        }
        let received = member.incoming.take().expect("just seen").file.finish()?;
        let view = received_view(&received)?;
        let configuration = received.snapshot().configuration().clone();
        member.staged.push((view, Box::new(received)));
        let ((from, _), term) = (self.network.sessions[ship.session].members, ship.term);
        self.input(
            id,
            Input::SnapshotReceived {
                from,
                term,
                position,
                configuration,
            },
        );
        self.shipment_over(id, shipment, true);
        Ok(None)
    }

    fn shipment_over(&mut self, to: NodeId, shipment: usize, delivered: bool) {
        let Some(Shipment {
            session,
            from,
            from_life,
            ..
        }) = self.network.shipments[shipment].take()
        else {
            return;
        };
        let delay = self.latency(to, from);
        let (_, to) = self.network.sessions[session].members;
        let deed = Deed::SnapshotGone { to, delivered };
        self.after(delay, Event::Process(from, from_life, deed));
    }

    /// No answer to a snapshot came in time.
    pub(crate) fn snapshot_given_up(&mut self, id: NodeId, to: MemberId, shipment: usize) {
        if self.network.shipments[shipment].take().is_some() {
            self.snapshot_gone(id, to, false);
        }
    }

    /// The sender of a snapshot knows what became of it.
    pub(crate) fn snapshot_gone(&mut self, id: NodeId, to: MemberId, delivered: bool) {
        let what = if delivered {
            Counted::SnapshotsSent
        } else {
            Counted::SnapshotsFailed
        };
        self.count(what);
        self.input(id, Input::SnapshotSent { to, delivered });
    }

    /// The core takes over a snapshot that has come.
    pub(crate) fn install_snapshot(
        &mut self,
        id: NodeId,
        seq: IoSeq,
        position: Position,
        keep_log: bool,
    ) {
        tell!(
            self,
            "{id:?} installs {seq:?} a snapshot of {position:?}, keeps log: {keep_log}"
        );
        self.count(Counted::SnapshotsInstalled);
        let member = self.member(id);
        let place = member
            .staged
            .iter()
            .position(|(view, _)| view.position() == position);
        let place = place.expect("only what was received is installed");
        let (view, received) = member.staged.swap_remove(place);
        assert!(
            position.index > member.replica.index(),
            "a snapshot of {position:?} takes {id:?} back from {:?}",
            member.replica.applied()
        );
        let hash = view.hash();
        member.replica.replace(view);
        let name = self.name(id);
        let record = Record::Base { position, keep_log };
        let configuration = received.snapshot().configuration();
        self.oracle.installed(name, seq, record, configuration);
        self.oracle.hashed(name, position.index, hash);
        self.queue_job(
            id,
            Job::Install {
                seq,
                position,
                keep_log,
                received,
            },
        );
        self.void_writes(id, position.index);
        self.resolve_reads(id);
    }
}
