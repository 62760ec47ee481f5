//! Verbs about messages on their way.

use remember::consensus::{Incarnation, Input, MemberId, NodeId};

use super::cluster::all;
use super::message::{KINDS, kind, parse};
use super::narration::Weight;
use super::network::{Choice, Flight};
use super::word::{Meaning, Routes, Words};
use super::world::World;

/// - `deliver [n1->n2] [<kind>] [<count>] [at-once]`: in order of sending, each as its own turn or
///   all of a receiver's as one
/// - `drop ...`, `duplicate ...`, `delay ...`: lose them, repeat them, or let all others overtake
/// - `hold [n1->n2] [<kind>]`, `release ...`: nothing moves such messages but `deliver`
/// - `inject n1->n2 <message>`: n2 hears this from n1, which never said it
/// - `stabilize`: deliver and complete writes until nothing moves; no time passes
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "deliver" => {
            let at_once = words.flag("at-once");
            let flights = choose(world, words)?;
            remove(world, &flights);
            let flights = flights.into_iter().map(|(_, flight)| flight).collect();
            deliver(world, flights, at_once)?;
        }
        "drop" => {
            let flights = choose(world, words)?;
            remove(world, &flights);
        }
        "duplicate" => {
            let copies = choose(world, words)?.into_iter().map(|(_, flight)| flight);
            world.network.flights.extend(copies);
        }
        "delay" => {
            let flights = choose(world, words)?;
            remove(world, &flights);
            let late = flights.into_iter().map(|(_, flight)| flight);
            world.network.flights.extend(late);
        }
        "hold" => {
            let choice = choice(words);
            world.network.hold(choice);
        }
        "release" => {
            let choice = choice(words);
            world.network.release(&choice);
        }
        "inject" => {
            let Routes(routes) = words.next()?;
            let message = parse(words)?;
            for (from, to) in routes {
                // Somebody who does not belong here may speak, too.
                let stranger = MemberId {
                    id: from,
                    incarnation: Incarnation(0),
                };
                let from = world.name(from).unwrap_or(stranger);
                let message = message.clone();
                world.turn(to, vec![Input::Message { from, message }])?;
            }
        }
        "stabilize" => stabilize(world)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Which messages a line speaks of: `[n1->n2] [<kind>]`.
fn choice(words: &mut Words) -> Choice {
    let routes = words.maybe::<Routes>().map_or(Vec::new(), |it| it.0);
    let kind = words.maybe::<Kind>().map(|it| it.0);
    Choice { routes, kind }
}

/// A word that names a kind of message.
struct Kind(String);

impl Meaning for Kind {
    const LOOKS: &'static str = "append";

    fn of(word: &str) -> Option<Self> {
        KINDS.contains(&word).then(|| Self(word.to_owned()))
    }
}

/// The chosen messages on their way and their places; choosing none is a mistake in the story.
fn choose(world: &World, words: &mut Words) -> Result<Vec<(usize, Flight)>, String> {
    let choice = choice(words);
    let count = words.maybe::<usize>().unwrap_or(usize::MAX);
    let flights = world.network.flights.iter().cloned().enumerate();
    let chosen: Vec<_> = flights
        .filter(|(_, flight)| choice.takes(flight))
        .take(count)
        .collect();
    if chosen.is_empty() {
        Err("there is no such message on its way".to_owned())
    } else {
        Ok(chosen)
    }
}

fn remove(world: &mut World, chosen: &[(usize, Flight)]) {
    for (place, _) in chosen.iter().rev() {
        world.network.flights.remove(*place);
    }
}

fn deliver(world: &mut World, flights: Vec<Flight>, at_once: bool) -> Result<(), String> {
    let input = |world: &World, flight: Flight| -> Result<Input, String> {
        let (from, message) = (world.name(flight.from)?, flight.message);
        Ok(Input::Message { from, message })
    };
    if !at_once {
        for flight in flights {
            world.tell(
                Weight::Routine,
                format!(
                    "{:?} hears {:?}: {}",
                    flight.to,
                    flight.from,
                    kind(&flight.message)
                ),
            );
            let (to, heard) = (flight.to, input(world, flight)?);
            world.turn(to, vec![heard])?;
        }
        return Ok(());
    }
    let mut flights = flights;
    while let Some(to) = flights.first().map(|flight| flight.to) {
        let (now, later): (Vec<_>, Vec<_>) =
            flights.into_iter().partition(|flight| flight.to == to);
        flights = later;
        world.tell(
            Weight::Routine,
            format!("{to:?} hears {} messages", now.len()),
        );
        let heard: Result<_, _> = now.into_iter().map(|flight| input(world, flight)).collect();
        world.turn(to, heard?)?;
    }
    Ok(())
}

/// Lets everything move that can, without time: messages, then writes, dials and snapshots.
pub(crate) fn stabilize(world: &mut World) -> Result<(), String> {
    const ROUNDS_MAX: usize = 10_000;
    for _ in 0..ROUNDS_MAX {
        if !move_once(world, true)? {
            return Ok(());
        }
    }
    Err("it does not come to rest".to_owned())
}

/// One round: everything that is on its way now, and says whether there was anything. Messages
/// that are still due later move only if `hurry`.
pub(crate) fn move_once(world: &mut World, hurry: bool) -> Result<bool, String> {
    let now = world.now;
    let mut arrived = Vec::new();
    let mut still = Vec::new();
    for flight in std::mem::take(&mut world.network.flights) {
        let ready = hurry || flight.due <= now;
        let awake = world.node(flight.to).is_ok();
        if ready && awake && !world.network.holds(&flight) {
            arrived.push(flight);
        } else {
            still.push(flight);
        }
    }
    world.network.flights = still;
    let mut moved = !arrived.is_empty();
    deliver(world, arrived, false)?;
    for id in all(world) {
        moved |= move_local(world, id)?;
    }
    Ok(moved)
}

/// Completes the writes, dials and snapshots of one node.
fn move_local(world: &mut World, id: NodeId) -> Result<bool, String> {
    if world.node(id).is_err() {
        return Ok(false);
    }
    let mut moved = false;
    if let Some(upto) = world.member(id)?.disk.ready() {
        world.complete(id, upto)?;
        moved = true;
    }
    let dials: Vec<NodeId> = std::mem::take(&mut world.member_mut(id)?.dials)
        .into_iter()
        .collect();
    for peer in dials {
        world.dial(id, peer)?;
        moved = true;
    }
    let due: Vec<NodeId> = world.member(id)?.due.keys().copied().collect();
    for to in due {
        let passes = world.network.linked(id, to) && world.network.passes(id, to);
        if world.node(to).is_ok() && passes {
            world.carry_snapshot(id, to, true)?;
            moved = true;
        }
    }
    Ok(moved)
}
