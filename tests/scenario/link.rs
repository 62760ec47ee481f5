//! Verbs about links and cuts.

use remember::consensus::{LinkEvent, NodeId};

use super::cluster::all;
use super::word::{Routes, Words};
use super::world::World;

/// - `link up n1-n2`: both shake hands, and each may turn the other away
/// - `link ended n1-n2`: the link ends, what was on it is lost, and both are told
/// - `link refused n1->n2`, `link unreachable n1->n2`: n1 is told so of a dial to n2, whatever
///   links there are
/// - `cut n1->n2 ...`, `cut all`: messages vanish and nobody is told; `n1-n2` cuts both ways
/// - `heal n1-n2 ...`, `heal all`: messages pass again, and broken links are made anew
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "link" => {
            let how = words.take("up, ended, refused or unreachable")?;
            for (from, to) in read_routes(world, words)? {
                change(world, &how, from, to)?;
            }
        }
        "cut" => {
            for (from, to) in read_routes(world, words)? {
                world.network.cut(from, to);
            }
        }
        "heal" => {
            let routes = read_routes(world, words)?;
            for &(from, to) in &routes {
                world.network.heal(from, to);
            }
            for (from, to) in routes {
                let run = [from, to].map(|id| world.node(id).is_ok()) == [true; 2];
                if run && world.network.passes(from, to) && !world.network.linked(from, to) {
                    world.connect(from, to)?;
                }
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// All routes named in the line; `all` is every route there is.
fn read_routes(world: &World, words: &mut Words) -> Result<Vec<(NodeId, NodeId)>, String> {
    let ids = all(world);
    let mut routes = Vec::new();
    if words.flag("all") {
        for &from in &ids {
            routes.extend(ids.iter().filter(|to| **to != from).map(|to| (from, *to)));
        }
        return Ok(routes);
    }
    for Routes(more) in words.all() {
        routes.extend(more);
    }
    let unknown = |id: &NodeId| !ids.contains(id);
    match routes
        .iter()
        .find(|(from, to)| unknown(from) || unknown(to))
    {
        Some((from, to)) => Err(format!("there is no {from:?} or no {to:?}")),
        None if routes.is_empty() => Err("a route is missing".to_owned()),
        None => Ok(routes),
    }
}

fn change(world: &mut World, how: &str, from: NodeId, to: NodeId) -> Result<(), String> {
    let event = match how {
        "up" if world.network.linked(from, to) => return Ok(()),
        "up" => return world.connect(from, to),
        "ended" => {
            world.network.unlink(from, to);
            LinkEvent::Ended
        }
        "refused" => LinkEvent::Refused,
        "unreachable" => LinkEvent::Unreachable,
        _ => return Err(format!("a link cannot be {how}")),
    };
    world.tell_link(from, to, event)
}
