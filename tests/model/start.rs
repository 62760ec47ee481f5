//! Where a world begins: deterministic, and reached by the very nodes.

use std::sync::Arc;

use bytes::Bytes;
use remember::consensus::{
    Change, ClusterId, Configuration, Epoch, Incarnation, Input, MemberId, Membership, NodeId,
    Ticket,
};

use super::bounds::{Bounds, Start};
use super::ledger::{Breach, Ledger};
use super::memory::Memory;
use super::nature::Nature;
use super::network::Flights;
use super::place::Place;
use super::world::World;

/// How many messages it takes at most until nothing is on its way.
const MESSAGES_MAX: usize = 200;

pub(crate) fn member(id: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(id),
    }
}

/// The world that is explored from here on.
pub(crate) fn start(bounds: &Bounds) -> Result<World, Breach> {
    // What must happen before is not slow, and loses nothing.
    let calm = Nature {
        bounds: bounds.before_the_start(),
        memory: Memory::new(),
    };
    let voters: Vec<_> = (1..=bounds.voters).map(member).collect();
    let founding = Membership::founding(ClusterId(1), Epoch::FIRST, voters.iter().copied());
    let places = voters
        .iter()
        .map(|voter| Place::new(*voter, founding.clone(), bounds.witness));
    let mut world = World {
        places: places.map(Arc::new).collect(),
        flights: Flights::default(),
        asked: Vec::new(),
        ledger: Arc::new(Ledger::new(Configuration::of_voters(voters))),
        left: bounds.left,
        hushed: None,
        refused: false,
        breach: None,
    };
    for a in 0..world.places.len() {
        for b in 0..a {
            world.link(a, b, &calm)?;
        }
    }
    if bounds.start != Start::Fresh {
        settle(&mut world, None, &calm)?;
        if bounds.start == Start::Parted {
            part(&mut world, &calm)?;
        }
        if !bounds.promoted.is_empty() {
            welcome(&mut world, &calm)?;
        }
    }
    Ok(world)
}

/// Lets everything arrive until nothing is on its way, in the order of the links; but not to or
/// from one who is cut off.
fn settle(world: &mut World, cut: Option<usize>, calm: &Nature) -> Result<(), Breach> {
    for _ in 0..MESSAGES_MAX {
        let Some(flight) = world.flights.iter().next().cloned() else {
            break;
        };
        world.flights.remove(&flight);
        if [flight.from, flight.to].map(Some).contains(&cut) {
            continue;
        }
        world.deliver(&flight, calm)?;
    }
    world.flights.clear();
    Ok(())
}

/// The first node writes for itself alone, and the others go on without it.
fn part(world: &mut World, calm: &Nature) -> Result<(), Breach> {
    let (ticket, command) = (Ticket(0), Bytes::from_static(b"alone"));
    world.take(0, &Input::Propose { ticket, command }, calm)?;
    for at in [2, 1] {
        settle(world, Some(0), calm)?;
        world.tick(at, calm)?;
    }
    settle(world, Some(0), calm)?;
    assert!(world.places[1].leads, "the others elected one of them");
    Ok(())
}

/// A third node learns, and has caught up.
fn welcome(world: &mut World, calm: &Nature) -> Result<(), Breach> {
    let leader = world.places.iter().position(|place| place.leads);
    let leader = leader.expect("two voters elected one of them");
    let (ticket, change) = (Ticket(0), Change::Learn(member(3)));
    world.take(leader, &Input::Change { ticket, change }, calm)?;
    settle(world, None, calm)?;
    let node = &world.places[leader].node;
    let membership = Membership {
        cluster: ClusterId(1),
        epoch: Epoch::FIRST,
        settled: node.configuration_at(node.status().commit),
    };
    world
        .places
        .push(Arc::new(Place::new(member(3), membership, false)));
    for peer in 0..2 {
        world.link(2, peer, calm)?;
    }
    settle(world, None, calm)
}
