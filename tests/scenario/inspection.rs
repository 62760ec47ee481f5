//! Verbs that look, and verbs that insist.

use remember::consensus::{Index, NodeId, Status, Term};

use super::cluster::ids;
use super::disk::Work;
use super::membership::must_be;
use super::message::{boot, command, entries};
use super::narration::{self, Weight};
use super::witness;
use super::word::Words;
use super::world::{Member, World};

/// - `status [n1,n2]`: how nodes see themselves
/// - `log n1`: what is on a disk, and what is not yet
/// - `peers n1`: what a disk remembers of the peers (R15)
/// - `state n1`: the commands applied
/// - `flights`: messages on their way
/// - `must leader [n1]`: one established leader in the highest term, and nobody disagrees
/// - `must no-leader [n1]`: nobody, or not n1, is an established leader
/// - `must term t3 [n1,n2]`: these nodes' terms are not above it
/// - `must agree [n1,n2]`: these nodes applied the same, and everything they committed
/// - `must part n3`: nobody has a link with n3
/// - `must hold i4 n1,n2`: the log on these disks reaches it
/// - `must witness pair`, `must witness sole n1`, `must witness nothing`: what it holds, or with
///   `of=n2` the one of n2
/// - `must members n1 n1,n2,n3`: by n1's configuration these vote, and no change is under way
///
/// A `must` that is not met fails the story, whatever it expects.
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "status" => {
            for status in statuses(world, words)? {
                world.tell(Weight::News, narration::status(&status));
            }
        }
        "log" => show_log(world, words.next()?)?,
        "peers" => {
            let id = words.next()?;
            let peers = world.member(id)?.disk.durable.peers.values();
            let peers: Vec<String> = peers
                .map(|peer| format!("{:?} {}", peer.member.id, boot(peer.boot)))
                .collect();
            let line = format!("{id:?} remembers {}", peers.join(", "));
            world.tell(Weight::News, line);
        }
        "state" => {
            let id = words.next()?;
            let machine = &world.member(id)?.machine;
            let commands: Vec<String> = machine.commands().map(command).collect();
            let line = format!("{id:?} {:?}: {}", machine.index(), commands.join(" "));
            world.tell(Weight::News, line.trim_end());
        }
        "flights" => {
            for flight in world.network.flights.clone() {
                let line = narration::sent(flight.from, flight.to, &flight.message);
                world.tell(Weight::News, line);
            }
        }
        "must" => {
            let what =
                words.take("leader, no-leader, term, agree, part, hold, members or witness")?;
            match what.as_str() {
                "leader" => must_lead(world, words.maybe())?,
                "no-leader" => must_not_lead(world, words.maybe())?,
                "term" => must_stay(world, words)?,
                "agree" => must_agree(world, words)?,
                "part" => must_part(world, words.next()?)?,
                "hold" => must_hold(world, words)?,
                "witness" => witness::must_hold(world, words)?,
                "members" => must_be(world, words.next()?, &words.next::<Vec<NodeId>>()?)?,
                _ => return Err(format!("nobody knows what must {what} means")),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The views of the named nodes, or of all that run.
fn statuses(world: &World, words: &mut Words) -> Result<Vec<Status>, String> {
    match words.maybe::<Vec<NodeId>>() {
        Some(ids) => ids
            .into_iter()
            .map(|id| Ok(world.node(id)?.status()))
            .collect(),
        None => Ok(running(world)),
    }
}

fn running(world: &World) -> Vec<Status> {
    let members = world.members.values();
    members.filter_map(Member::view).collect()
}

fn show_log(world: &mut World, id: NodeId) -> Result<(), String> {
    let disk = &world.member(id)?.disk;
    let durable = &disk.durable;
    let mut line = format!(
        "{id:?} disk: {}, base {:?}",
        narration::hard_state(&durable.hard_state),
        durable.base
    );
    if !durable.entries.is_empty() {
        line.push_str(", ");
        line.push_str(&entries(&durable.entries));
    }
    let mut lines = vec![line];
    for (seq, work) in disk.pending() {
        let what = match work {
            Work::Write(records) => {
                let records: Vec<String> = records.iter().map(narration::record).collect();
                records.join("; ")
            }
            Work::Install { position, .. } => format!("snapshot {position:?}"),
        };
        lines.push(format!("{id:?} not on disk: {seq:?} {what}"));
    }
    for line in lines {
        world.tell(Weight::News, line);
    }
    Ok(())
}

fn must_lead(world: &mut World, wanted: Option<NodeId>) -> Result<(), String> {
    let views = running(world);
    let leaders = views.iter().filter(|view| view.established);
    let leader = leaders
        .max_by_key(|view| view.term)
        .ok_or("there is no established leader")?;
    let (id, term) = (leader.id, leader.term);
    if wanted.is_some_and(|wanted| wanted != id) {
        return Err(format!("{id:?} leads {term:?}"));
    }
    let ahead = views.iter().find(|view| view.term > term);
    if let Some(view) = ahead {
        return Err(format!(
            "{:?} is in {:?}, {id:?} leads {term:?}",
            view.id, view.term
        ));
    }
    world.tell(Weight::News, format!("{id:?} leads {term:?}"));
    Ok(())
}

fn must_not_lead(world: &mut World, who: Option<NodeId>) -> Result<(), String> {
    let views = running(world);
    let leads = |view: &&Status| view.established && who.is_none_or(|id| id == view.id);
    if let Some(view) = views.iter().find(leads) {
        return Err(format!("{:?} leads {:?}", view.id, view.term));
    }
    let who = who.map_or_else(|| "nobody".to_owned(), |id| format!("not {id:?}"));
    world.tell(Weight::News, format!("{who} leads"));
    Ok(())
}

fn must_stay(world: &mut World, words: &mut Words) -> Result<(), String> {
    let limit: Term = words.next()?;
    for view in statuses(world, words)? {
        if view.term > limit {
            return Err(format!("{:?} is in {:?}", view.id, view.term));
        }
    }
    world.tell(Weight::News, format!("no term is above {limit:?}"));
    Ok(())
}

fn must_agree(world: &mut World, words: &mut Words) -> Result<(), String> {
    let views = statuses(world, words)?;
    let first = views.first().ok_or("nobody runs")?.clone();
    for view in &views {
        let (one, other) = (world.member(first.id)?, world.member(view.id)?);
        if view.commit != other.machine.index() {
            return Err(format!("{:?} has not applied {:?}", view.id, view.commit));
        }
        if one.machine != other.machine {
            let (left, right) = (one.machine.last(), other.machine.last());
            return Err(format!(
                "{:?} is at {left:?}, {:?} at {right:?}",
                first.id, view.id
            ));
        }
    }
    world.tell(Weight::News, format!("all agree up to {:?}", first.commit));
    Ok(())
}

fn must_part(world: &mut World, id: NodeId) -> Result<(), String> {
    world.member(id)?;
    let linked = |peer: &&NodeId| world.network.linked(id, **peer);
    if let Some(peer) = world.members.keys().find(linked) {
        return Err(format!("{id:?} has a link with {peer:?}"));
    }
    world.tell(Weight::News, format!("{id:?} has no link"));
    Ok(())
}

fn must_hold(world: &mut World, words: &mut Words) -> Result<(), String> {
    let index: Index = words.next()?;
    for id in ids(words)? {
        let last = world.member(id)?.disk.durable.last();
        if last.index < index {
            return Err(format!("the log on the disk of {id:?} ends at {last:?}"));
        }
    }
    world.tell(Weight::News, format!("{index:?} is on disk"));
    Ok(())
}
