//! Verbs about disks and snapshots.

use remember::consensus::{Index, Input, NodeId, Position};

use super::cluster::ids;
use super::message::span;
use super::narration::Weight;
use super::word::{Routes, Words};
use super::world::World;

/// - `disk n1 manual|auto`: whether writes complete only by `write-done`
/// - `write-done n1 [w3] [again]`: writes up to w3, or all, are on disk and the node is told;
///   `again` repeats the report without any new write
/// - `disk-full n1 on|off`: there is no room, or there is room again
/// - `snapshot n1`: the state machine is saved and published
/// - `send-snapshot n1->n2`, `fail-snapshot n1->n2`: a snapshot that n1 owes comes, or does not
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "disk" => {
            let nodes = ids(words)?;
            let manual = match words.take("manual or auto")?.as_str() {
                "manual" => true,
                "auto" => false,
                other => return Err(format!("a disk is manual or auto, not {other}")),
            };
            for id in nodes {
                world.member_mut(id)?.disk.manual = manual;
            }
        }
        "write-done" => write_done(world, words)?,
        "disk-full" => {
            let (id, full) = (words.next()?, words.next()?);
            world.member_mut(id)?.disk.full = full;
            world.turn(id, vec![Input::DiskFull(full)])?;
        }
        "snapshot" => snapshot(world, words)?,
        "send-snapshot" | "fail-snapshot" => {
            let Routes(routes) = words.next()?;
            for (from, to) in routes {
                world.carry_snapshot(from, to, verb == "send-snapshot")?;
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn write_done(world: &mut World, words: &mut Words) -> Result<(), String> {
    let id = words.next()?;
    let again = words.flag("again");
    let upto = words.maybe();
    let newest = world.member(id)?.disk.pending().last().map(|(seq, _)| *seq);
    match (upto, newest, again) {
        (Some(upto), _, true) => world.turn(id, vec![Input::Durable(upto)]),
        (Some(upto), Some(newest), false) if upto <= newest => world.complete(id, upto),
        (None, Some(newest), false) => world.complete(id, newest),
        _ => Err("there is no such write".to_owned()),
    }
}

/// Saves the state machine as far as it is applied and its log durable.
fn snapshot(world: &mut World, words: &mut Words) -> Result<(), String> {
    let id = words.next()?;
    let member = world.member_mut(id)?;
    let index = member.machine.index().min(member.disk.durable.last().index);
    let machine = member.machine.up_to(index);
    let position = machine.last();
    if position == Position::START {
        return Err(format!("{id:?} has nothing to save"));
    }
    member.disk.durable.snapshots.insert(position, machine);
    world.tell(
        Weight::Routine,
        format!("{id:?} saves a snapshot at {position:?}"),
    );
    world.turn(id, vec![Input::SnapshotTaken(position)])
}

impl World {
    /// Brings one snapshot that is due to its receiver, or fails to.
    pub(crate) fn carry_snapshot(
        &mut self,
        from: NodeId,
        to: NodeId,
        delivered: bool,
    ) -> Result<(), String> {
        let sender = self.member_mut(from)?;
        let term = sender
            .due
            .remove(&to)
            .ok_or_else(|| format!("{from:?} has no snapshot to send to {to:?}"))?;
        let newest = sender.disk.durable.snapshots.last_key_value();
        let (position, machine) = newest
            .map(|(position, machine)| (*position, machine.clone()))
            .ok_or_else(|| format!("{from:?} has no snapshot"))?;
        let way = format!("{from:?} => {to:?} snapshot {position:?} in {term:?}");
        if delivered {
            let covered = span(Index(1), position.index);
            self.tell(Weight::News, format!("{way}: {covered}"));
            let founding = || self.founded().settled;
            let configuration = machine.configuration().unwrap_or_else(founding);
            self.member_mut(to)?.arrived.insert(position, machine);
            let received = Input::SnapshotReceived {
                from: self.name(from)?,
                term,
                position,
                configuration,
            };
            self.turn(to, vec![received])?;
        } else {
            self.tell(Weight::News, format!("{way} (lost)"));
        }
        let to = self.name(to)?;
        self.turn(from, vec![Input::SnapshotSent { to, delivered }])
    }
}
