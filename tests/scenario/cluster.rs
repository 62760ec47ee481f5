//! Verbs about nodes as processes: founding, crashing, freezing, losing a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remember::consensus::{
    ClusterId, Config, Epoch, Founding, Incarnation, Input, IoSeq, LinkEvent, Membership, NodeId,
    Report, found,
};

use super::delivery::stabilize;
use super::disk::Disk;
use super::message::{configuration, nodes};
use super::narration::Weight;
use super::time::{elect, fire};
use super::word::Words;
use super::world::{Member, Process, Voice, World};

/// - `cluster nodes=5 [leader=n1] [unlinked] [fresh] [seed=1] [delay=1ms] [<setting>=...]`: a new
///   world, of founded nodes on empty disks, one of which may lead already, or of nodes whose disks
///   are fresh
/// - `found n1`: a node with a fresh disk asks all it can reach and decides (R13)
/// - `crash n1 [silently] [keeps=w3]`: kill -9; `silently` takes the machine's power too; writes
///   that are not durable are lost, but for those up to `keeps`
/// - `restart n1 [unlinked] [times=]`: start again from the disk, unless it was turned away, and
///   dial all; with `times`, the starts before the last die before they meet anybody
/// - `pause n1`, `resume n1`: SIGSTOP and SIGCONT
/// - `wipe n1`: a crashed node gets an empty disk
/// - `recover n1 epoch=1`: the disk of a crashed node begins a new cluster alone (R14)
/// - `backup n1`, `restore-backup n1`: copy the disk, and put the copy back into a crashed node
/// - `swap-backup n1`: the same, but what was in the node is the copy from then on
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "cluster" => create(world, words)?,
        "found" => decide(world, words.next()?)?,
        "crash" => {
            let (silently, keeps) = (words.flag("silently"), words.value("keeps")?);
            for id in ids(words)? {
                crash(world, id, silently, keeps)?;
            }
        }
        "restart" => {
            let (unlinked, times) = (words.flag("unlinked"), words.value("times")?);
            for id in ids(words)? {
                restart(world, id, unlinked, times.unwrap_or(1))?;
            }
        }
        "pause" | "resume" => {
            for id in ids(words)? {
                world.member_mut(id)?.paused = verb == "pause";
            }
        }
        "wipe" => {
            let member = stopped(world, words.next()?)?;
            let Incarnation(life) = member.disk.durable.incarnation;
            member.disk = Disk::fresh(Incarnation(life + 1));
            member.stop(Process::Fresh);
        }
        "recover" => {
            let (id, epoch) = (words.next()?, words.needed("epoch")?);
            recover(world, id, Epoch(epoch))?;
        }
        "backup" => {
            let member = world.member_mut(words.next()?)?;
            member.backup = Some(member.disk.clone());
        }
        "restore-backup" => {
            let member = stopped(world, words.next()?)?;
            member.disk = member.backup.clone().ok_or("there is no backup")?;
        }
        "swap-backup" => {
            let member = stopped(world, words.next()?)?;
            let backup = member.backup.as_mut().ok_or("there is no backup")?;
            std::mem::swap(&mut member.disk, backup);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What the disk holds is all that is left of the cluster, and all of it is left.
fn recover(world: &mut World, id: NodeId, epoch: Epoch) -> Result<(), String> {
    let name = world.name(id)?;
    let disk = &mut stopped(world, id)?.disk.durable;
    let known = disk.membership.as_ref().ok_or("the disk is fresh")?;
    let known = known.epoch.max(disk.hard_state.term.epoch());
    if epoch <= known {
        return Err(format!("{epoch:?} is not above {known:?}"));
    }
    let cluster = ClusterId(u64::from(epoch.0) + 1);
    let begun = Membership::anew(cluster, epoch, name, disk.last());
    for record in begun.first_records() {
        disk.record(record)?;
    }
    let (since, members) = (begun.settled.0, configuration(&begun.settled.1));
    let line = format!("{id:?} is all that is left: {epoch:?} begins with {since:?}={members}");
    disk.membership = Some(begun);
    let disk = disk.clone();
    world
        .ledger
        .record_recovery(|position| disk.holds(position));
    world.tell(Weight::News, line);
    Ok(())
}

/// One node or several: `n1` or `n1,n2`.
pub(crate) fn ids(words: &mut Words) -> Result<Vec<NodeId>, String> {
    words.next()
}

fn create(world: &mut World, words: &mut Words) -> Result<(), String> {
    let count: u64 = words.needed("nodes")?;
    let (unlinked, fresh) = (words.flag("unlinked"), words.flag("fresh"));
    let voice = world.voice;
    world.begin_anew();
    world.voice = voice;
    world.seed = words.value("seed")?.unwrap_or(1);
    world.delay = words.value("delay")?.unwrap_or(Duration::ZERO);
    world.config = settings(words)?;
    let leader = words.value("leader")?;
    if fresh {
        lay_disks(world, count);
        return Ok(());
    }
    if unlinked {
        return start_all(world, count);
    }
    let Some(leader) = leader else {
        return build(world, count);
    };
    world.voice = Voice::Silent;
    start_all(world, count)?;
    let others: Vec<_> = all(world).into_iter().filter(|id| *id != leader).collect();
    for &id in &others {
        world.turn(id, vec![Input::MayStand(false)])?;
    }
    link_all(world)?;
    elect(world, leader)?;
    for &id in &others {
        world.turn(id, vec![Input::MayStand(true)])?;
    }
    // One beat, by which the leader learns that the others may stand.
    fire(world, leader)?;
    stabilize(world)?;
    world.voice = voice;
    let status = world.node(leader)?.status();
    let line = format!("{leader:?} leads {:?} of {count} nodes", status.term);
    world.tell(Weight::News, line);
    Ok(())
}

/// Gives every member a fresh disk.
fn lay_disks(world: &mut World, count: u64) {
    for number in 1..=count {
        let disk = Disk::fresh(Incarnation(number * 0x10 + 1));
        world.members.insert(NodeId(number), Member::new(disk));
    }
}

/// Founds a cluster and starts all members.
fn start_all(world: &mut World, count: u64) -> Result<(), String> {
    lay_disks(world, count);
    let membership = world.founded();
    for id in all(world) {
        world.member_mut(id)?.disk.durable.membership = Some(membership.clone());
        world.start(id)?;
    }
    Ok(())
}

fn link_all(world: &mut World) -> Result<(), String> {
    let ids = all(world);
    for (at, &a) in ids.iter().enumerate() {
        for &b in ids.iter().skip(at + 1) {
            world.connect(a, b)?;
        }
    }
    Ok(())
}

/// Founds a cluster, starts all members and links them.
pub(crate) fn build(world: &mut World, count: u64) -> Result<(), String> {
    start_all(world, count)?;
    link_all(world)
}

/// The configuration of all nodes, from `key=value` words.
fn settings(words: &mut Words) -> Result<Config, String> {
    let usual = Config::default();
    Ok(Config {
        heartbeat: words.value("heartbeat")?.unwrap_or(usual.heartbeat),
        election_timeout: words
            .value("election-timeout")?
            .unwrap_or(usual.election_timeout),
        preference_wait: words
            .value("preference-wait")?
            .unwrap_or(usual.preference_wait),
        disk_stall: words.value("disk-stall")?.unwrap_or(usual.disk_stall),
        command_bytes_max: words
            .value("command-bytes")?
            .unwrap_or(usual.command_bytes_max),
        append_bytes_max: words
            .value("append-bytes")?
            .unwrap_or(usual.append_bytes_max),
        inflight_bytes_max: words
            .value("inflight-bytes")?
            .unwrap_or(usual.inflight_bytes_max),
        pending_bytes_max: words
            .value("pending-bytes")?
            .unwrap_or(usual.pending_bytes_max),
        waiting_max: words.value("waiting")?.unwrap_or(usual.waiting_max),
        retained_bytes: words
            .value("retained-bytes")?
            .unwrap_or(usual.retained_bytes),
        promotes: words.value("promote")?.unwrap_or(usual.promotes),
        dead_after: words.value("dead-after")?.or(usual.dead_after),
        witness: words.value("witness")?.unwrap_or(usual.witness),
    })
}

/// All members, by id.
pub(crate) fn all(world: &World) -> Vec<NodeId> {
    world.members.keys().copied().collect()
}

/// What a node with a fresh disk hears from those it can reach, and what it decides (R13).
fn decide(world: &mut World, me: NodeId) -> Result<(), String> {
    if !matches!(world.member(me)?.process, Process::Fresh) {
        return Err(format!("the disk of {me:?} is not fresh"));
    }
    let configured: BTreeSet<NodeId> = world.members.keys().copied().collect();
    let mut reports = BTreeMap::new();
    for (&id, member) in &world.members {
        let reached = id == me || world.network.passes(me, id);
        let disk = &member.disk.durable;
        let report = match (&disk.membership, &member.process) {
            (_, Process::Off | Process::Dark) => None,
            (Some(membership), _) => Some(Report::Member(membership.clone())),
            (None, _) => Some(Report::Fresh(disk.incarnation)),
        };
        if let Some(report) = report.filter(|_| reached && !member.paused) {
            reports.insert(id, report);
        }
    }
    match found(me, &configured, &reports, ClusterId(1)) {
        Founding::Wait(missing) if missing.is_empty() => {
            world.tell(Weight::News, format!("{me:?} waits to be founded"));
        }
        Founding::Wait(missing) => {
            let missing = nodes(&missing);
            world.tell(Weight::News, format!("{me:?} waits for {missing}"));
        }
        Founding::Refused(rejection) => {
            world.tell(Weight::News, format!("{me:?} is refused: {rejection}"));
        }
        Founding::Join(membership) => {
            let ids: Vec<_> = membership
                .settled
                .1
                .voters()
                .map(|voter| voter.id)
                .collect();
            let voters = nodes(&ids);
            let line = format!("{me:?} joins {:?} of {voters}", membership.cluster);
            world.tell(Weight::News, line);
            world.member_mut(me)?.disk.durable.membership = Some(membership);
            world.start(me)?;
            dial_everybody(world, me)?;
        }
    }
    Ok(())
}

/// Links a node with all running nodes that it can reach.
pub(crate) fn dial_everybody(world: &mut World, id: NodeId) -> Result<(), String> {
    for peer in all(world) {
        let runs = world.member(peer)?.awake().is_some();
        let dials = world.node(id).is_ok() && peer != id;
        if dials && runs && world.network.passes(id, peer) {
            world.connect(id, peer)?;
        }
    }
    Ok(())
}

pub(crate) fn crash(
    world: &mut World,
    id: NodeId,
    silently: bool,
    keeps: Option<IoSeq>,
) -> Result<(), String> {
    if let Some(upto) = keeps {
        world.persist(id, upto)?;
    }
    let member = world.member_mut(id)?;
    let process = if silently {
        Process::Dark
    } else {
        Process::Off
    };
    member.stop(process);
    member.disk.lose_pending();
    for peer in all(world) {
        world.network.ground(id, peer);
        let told = !silently && world.network.passes(peer, id);
        if told && world.network.unlink(id, peer) && world.member(peer)?.awake().is_some() {
            world.tell_link(peer, id, LinkEvent::Ended)?;
        }
    }
    Ok(())
}

fn restart(world: &mut World, id: NodeId, unlinked: bool, times: u32) -> Result<(), String> {
    if let Some(verdict) = &stopped(world, id)?.disk.durable.quarantined {
        let line = format!("{id:?} does not start, it was turned away: {verdict}");
        world.tell(Weight::News, line);
        return Ok(());
    }
    for peer in all(world) {
        world.network.unlink(id, peer);
    }
    for _ in 1..times {
        world.start(id)?;
        crash(world, id, false, None)?;
    }
    world.start(id)?;
    if unlinked {
        Ok(())
    } else {
        dial_everybody(world, id)
    }
}

/// The member, whose process must have ended.
fn stopped(world: &mut World, id: NodeId) -> Result<&mut Member, String> {
    let member = world.member_mut(id)?;
    match member.process {
        Process::Off | Process::Dark => Ok(member),
        Process::Fresh | Process::Runs(_) => Err(format!("{id:?} has not crashed")),
    }
}
