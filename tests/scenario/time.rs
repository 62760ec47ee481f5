//! Verbs that let time pass.

use std::collections::BTreeMap;
use std::time::Duration;

use remember::consensus::{Input, Message, Mono, Node, NodeId, Role, Status};

use super::cluster::{all, build, crash};
use super::delivery::{move_once, stabilize};
use super::narration::Weight;
use super::word::Words;
use super::world::{Member, Voice, World};

/// - `tick n1 300ms`: the clock of n1 alone jumps, then it gets its turn
/// - `fire n1`: the clock of n1 alone goes on to its deadline
/// - `elect n1`: the clock of n1 alone goes on until it asks for votes; then all comes to rest
/// - `elections nodes=5 seeds=300 limit=5s [delay=2ms]`: many worlds, one for each seed: a first
///   start, then the leader loses power; it tells how long both took and how many terms
/// - `advance 50ms`: time passes for all, every deadline is met, and nothing else moves
/// - `run 10min [aloud]`: time passes and everything moves; only news is told, unless aloud
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "tick" => {
            let (id, jump): (_, Duration) = (words.next()?, words.next()?);
            world.member_mut(id)?.ahead += jump;
            world.turn(id, vec![Input::Tick])?;
        }
        "fire" => {
            let id = words.next()?;
            let jump = fire(world, id)?;
            // What fired is told first by its name, so the jump comes after it.
            world.tell(
                Weight::Routine,
                format!("({id:?} {}ms later)", jump.as_millis()),
            );
        }
        "elect" => {
            world.voice = Voice::Quiet;
            elect(world, words.next()?)?;
        }
        "elections" => elections(world, words)?,
        "advance" => pass(world, words.next()?, false)?,
        "run" => {
            let aloud = words.flag("aloud");
            let span = words.next()?;
            if !aloud {
                world.voice = Voice::Quiet;
            }
            world.timed = true;
            pass(world, span, true)?;
            world.timed = false;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Moves one node's clock to its deadline, and says how far that was.
pub(crate) fn fire(world: &mut World, id: NodeId) -> Result<Duration, String> {
    let jump = world.node(id)?.deadline().since(world.clock(id)?);
    world.member_mut(id)?.ahead += jump;
    world.turn(id, vec![Input::Tick])?;
    Ok(jump)
}

/// Fires one node until it asks for votes or leads, then lets everything come to rest.
pub(crate) fn elect(world: &mut World, id: NodeId) -> Result<(), String> {
    const FIRES_MAX: usize = 20;
    for _ in 0..FIRES_MAX {
        fire(world, id)?;
        let asks = world
            .network
            .flights
            .iter()
            .any(|it| it.from == id && matches!(it.message, Message::VoteRequest(_)));
        let leads = world.node(id)?.status().role == Role::Leader;
        if asks || leads {
            return stabilize(world);
        }
    }
    Err(format!("{id:?} does not stand"))
}

/// Lets time pass for all; with `moving`, messages arrive and writes complete meanwhile.
fn pass(world: &mut World, span: Duration, moving: bool) -> Result<(), String> {
    let end = world.now + span;
    let mut idle = 0;
    loop {
        while moving && move_once(world, false)? {}
        let next = next_moment(world, moving);
        if next > end {
            world.now = end;
            return Ok(());
        }
        idle = if next > world.now { 0 } else { idle + 1 };
        if idle > 1_000 {
            return Err("a deadline does not move".to_owned());
        }
        world.now = world.now.max(next);
        for id in all(world) {
            let due = world.node(id).map(Node::deadline);
            if due.is_ok_and(|due| world.clock(id).is_ok_and(|clock| due <= clock)) {
                world.turn(id, vec![Input::Tick])?;
            }
        }
    }
}

/// When the next deadline passes or the next message arrives, on the story's clock.
fn next_moment(world: &World, moving: bool) -> Duration {
    let mut next = Duration::MAX;
    for (&id, member) in &world.members {
        if let Some(node) = member.awake() {
            let deadline = node.deadline().since(Mono::at(member.ahead));
            next = next.min(deadline);
        }
        let waits = |it: &&super::network::Flight| it.to == id && !world.network.holds(it);
        if moving && member.awake().is_some() {
            let flights = world.network.flights.iter().filter(waits);
            next = next.min(flights.map(|it| it.due).min().unwrap_or(Duration::MAX));
        }
    }
    next
}

/// Elects a leader in many worlds, twice in each, and tells the distribution.
fn elections(world: &mut World, words: &mut Words) -> Result<(), String> {
    let nodes = words.needed("nodes")?;
    let (seeds, limit): (u64, _) = (words.needed("seeds")?, words.needed("limit")?);
    let delay = words.value("delay")?.unwrap_or(Duration::ZERO);
    let (mut starts, mut losses) = (Vec::new(), Vec::new());
    for seed in 1..=seeds {
        let mut other = World::silent(seed, delay);
        build(&mut other, nodes)?;
        let first = await_leader(&mut other, limit)?;
        starts.push(first);
        crash(&mut other, first.leader, true, None)?;
        let next = await_leader(&mut other, limit)?;
        losses.push(Election {
            terms: next.terms - first.terms,
            ..next
        });
    }
    for (what, all) in [("first start", starts), ("leader lost its power", losses)] {
        world.tell(Weight::News, format!("{what}: {}", distribution(all)));
    }
    Ok(())
}

/// How an election went.
#[derive(Clone, Copy)]
struct Election {
    leader: NodeId,
    took: Duration,
    terms: u64,
}

/// Lets time pass until a leader is established and a majority follows it.
fn await_leader(world: &mut World, limit: Duration) -> Result<Election, String> {
    let (start, step) = (world.now, Duration::from_millis(1));
    while world.now <= start + limit {
        pass(world, step, true)?;
        let views: Vec<_> = world.members.values().filter_map(Member::view).collect();
        let leader = views
            .iter()
            .filter(|view| view.established)
            .max_by_key(|view| view.term);
        let Some(leader) = leader else { continue };
        let follow = |view: &&Status| view.leader == Some(leader.id) && view.term == leader.term;
        if views.iter().filter(follow).count() > world.members.len() / 2 {
            return Ok(Election {
                leader: leader.id,
                took: world.now.saturating_sub(start),
                terms: leader.term.0,
            });
        }
    }
    Err(format!("seed {}: no leader within {limit:?}", world.seed))
}

/// Medians, extremes and burnt terms.
fn distribution(mut all: Vec<Election>) -> String {
    all.sort_by_key(|election| election.took);
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len() - 1));
    let took = |share| at(share).map_or(0, |election| election.took.as_millis());
    let mut terms = BTreeMap::new();
    for election in &all {
        *terms.entry(election.terms).or_insert(0) += 1;
    }
    let terms: Vec<String> = terms
        .into_iter()
        .map(|(terms, times)| format!("{terms} term(s) {times} times"))
        .collect();
    format!(
        "median {}ms, p99 {}ms, slowest {}ms; {}",
        took(50),
        took(99),
        took(100),
        terms.join(", ")
    )
}
