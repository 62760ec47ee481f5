//! Verbs about who belongs to the cluster.

use std::collections::BTreeSet;

use remember::consensus::{Change, Incarnation, Input, MemberId, Membership, NodeId};

use super::cluster::dial_everybody;
use super::disk::Disk;
use super::message::configuration;
use super::narration::Weight;
use super::word::Words;
use super::world::{Member, World};

/// - `spare n4`: a machine with a fresh disk, which no founding names
/// - `learn n1 n4`: the leader n1 feeds it from here on
/// - `vote n1 [promote=n4,n5] [remove=n2]`: learners of n1 vote, and members go
/// - `welcome n4 from=n1`: what n1 knows to be agreed is put on the disk of n4, which starts
/// - `members n1`: by which configuration n1 counts
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "spare" => lay_spare(world, words.next()?),
        "learn" => {
            let (leader, learner) = (words.next()?, words.next()?);
            let change = Change::Learn(world.name(learner)?);
            ask(world, leader, change)?;
        }
        "vote" => {
            let leader = words.next()?;
            let promoted = named(world, words.value("promote")?)?;
            let removed = named(world, words.value("remove")?)?;
            ask(world, leader, Change::Vote { promoted, removed })?;
        }
        "welcome" => welcome(world, words.next()?, words.needed("from")?)?,
        "members" => {
            let id: NodeId = words.next()?;
            let line = configuration(world.node(id)?.configuration());
            world.tell(Weight::News, format!("{id:?} counts by {line}"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn lay_spare(world: &mut World, id: NodeId) {
    let mut spare = Member::new(Disk::fresh(Incarnation(id.0 * 0x10 + 1)));
    spare.is_founder = false;
    world.members.insert(id, spare);
}

fn named(world: &World, ids: Option<Vec<NodeId>>) -> Result<BTreeSet<MemberId>, String> {
    let ids = ids.unwrap_or_default().into_iter();
    ids.map(|id| world.name(id)).collect()
}

fn ask(world: &mut World, leader: NodeId, change: Change) -> Result<(), String> {
    let ticket = world.ticket();
    world.turn(leader, vec![Input::Change { ticket, change }])
}

fn welcome(world: &mut World, id: NodeId, from: NodeId) -> Result<(), String> {
    let host = world.node(from)?;
    let settled = host.configuration_at(host.status().commit);
    let (since, members) = (settled.0, configuration(&settled.1));
    let line = format!("{id:?} is welcomed by {from:?} with {since:?}={members}");
    let term = host.status().term;
    let its = &world.member_mut(from)?.disk.durable.membership;
    let its = its.clone().ok_or("whoever welcomes belongs to a cluster")?;
    let membership = Membership { settled, ..its };
    let disk = &mut world.member_mut(id)?.disk.durable;
    disk.membership = Some(membership);
    disk.hard_state.term = disk.hard_state.term.max(term);
    world.tell(Weight::News, line);
    world.start(id)?;
    dial_everybody(world, id)
}

/// Insists on these voters, and on no change under way.
pub(crate) fn must_be(world: &mut World, id: NodeId, ids: &[NodeId]) -> Result<(), String> {
    let present = world.node(id)?.configuration();
    let voters: Vec<_> = present.voters().map(|member| member.id).collect();
    let line = format!("{id:?} counts by {}", configuration(present));
    if voters != ids || present.is_joint() {
        return Err(line);
    }
    world.tell(Weight::News, line);
    Ok(())
}
