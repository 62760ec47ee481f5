//! Verbs of clients and operators.

use bytes::Bytes;
use remember::consensus::Input;

use super::cluster::ids;
use super::word::Words;
use super::world::World;

/// - `propose n1 "a" "b" [times=10]`: commands in one turn, each with its own ticket
/// - `read n2 [times=10]`: linearizable reads in one turn
/// - `transfer n1 [to=n3]`: hand leadership over
/// - `may-stand n2 on|off`: whether it may ever become leader (R9, R12)
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    match verb {
        "propose" => {
            let (id, times) = (words.next()?, words.value("times")?.unwrap_or(1_usize));
            let commands: Vec<Bytes> = words.all();
            if commands.is_empty() {
                return Err("there is no command".to_owned());
            }
            let repeated = std::iter::repeat_n(commands, times).flatten();
            let inputs = repeated
                .map(|command| Input::Propose {
                    ticket: world.ticket(),
                    command,
                })
                .collect();
            world.turn(id, inputs)?;
        }
        "read" => {
            let (id, times) = (words.next()?, words.value("times")?.unwrap_or(1_usize));
            let mut inputs = Vec::new();
            for _ in 0..times {
                let ticket = world.ticket();
                world.ledger.record_read(ticket);
                inputs.push(Input::Read { ticket });
            }
            world.turn(id, inputs)?;
        }
        "transfer" => {
            let (id, to, within) = (words.next()?, words.value("to")?, words.value("within")?);
            let ticket = world.ticket();
            world.turn(id, vec![Input::Transfer { ticket, to, within }])?;
        }
        "may-stand" => {
            let (nodes, may) = (ids(words)?, words.next()?);
            for id in nodes {
                world.turn(id, vec![Input::MayStand(may)])?;
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}
