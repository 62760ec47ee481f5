//! Verbs about the witness of a pair (R17).

use std::collections::BTreeSet;

use remember::consensus::{Answer, Ask, Input, NodeId, Register, Word};

use super::narration::Weight;
use super::register::Kept;
use super::registers::Registers;
use super::word::Words;
use super::world::World;

/// The register, or two by mistake, and what is on its way there and back.
#[derive(Default)]
pub(crate) struct Witness {
    pub(crate) registers: Registers,
    /// Who has the other one.
    apart: BTreeSet<NodeId>,
    /// What the node whose turn it was is to be told next.
    pub(crate) answers: Vec<Input>,
    manner: Manner,
    requests: Vec<Errand>,
}

/// How requests get there.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Manner {
    /// At once, and so does the answer.
    #[default]
    Auto,
    /// When the storyteller says so.
    Manual,
    /// Not at all, which is told at once.
    Away,
}

struct Errand {
    from: NodeId,
    /// The process that asked: which start of any node in this story.
    process: u32,
    request: u64,
    ask: Ask,
    answer: Option<Answer>,
    /// Whether the one who asked was told that nothing is certain.
    given_up: bool,
}

/// - `witness auto|manual|away`: requests are carried out and answered at once, or by the verbs
///   below, or come to nothing
/// - `witness takes n1 [newest]`: the oldest request of n1 that has not come there comes there, or
///   the newest
/// - `witness answers n1`: the oldest answer to n1 comes there, if it still waits for one
/// - `witness gives-up n1`: n1 is told that nothing is certain; what it asked may come there later
/// - `witness apart n2`: n2 asks another one from now on, by mistake
/// - `witness together`: all ask the same one again
/// - `witness forgets [of=n2]`: what it held is lost, or what the one of n2 held
/// - `witness holds [of=n2]`: tells what it holds, or the one of n2
pub(crate) fn perform(world: &mut World, verb: &str, words: &mut Words) -> Result<bool, String> {
    if verb != "witness" {
        return Ok(false);
    }
    match words.take("what it does")?.as_str() {
        "auto" => world.witness.manner = Manner::Auto,
        "manual" => world.witness.manner = Manner::Manual,
        "away" => world.witness.manner = Manner::Away,
        "takes" => {
            let newest = words.flag("newest");
            take(world, words.next()?, newest)?;
        }
        "answers" => answer(world, words.next()?)?,
        "gives-up" => give_up(world, words.next()?)?,
        "apart" => world.witness.apart.extend([words.next::<NodeId>()?]),
        "together" => world.witness.apart.clear(),
        "forgets" => {
            let of = words.value("of")?;
            *world.witness.kept(of) = Kept::default();
        }
        "holds" => {
            let of = words.value("of")?;
            let line = holds(world, of);
            world.tell(Weight::News, line);
        }
        other => return Err(format!("a witness does not do {other}")),
    }
    Ok(true)
}

/// A node asks.
pub(crate) fn asked(world: &mut World, from: NodeId, request: u64, ask: Ask) {
    let answer = match world.witness.manner {
        Manner::Auto => reach(world, from, &ask),
        Manner::Away => Answer::Unknown,
        Manner::Manual => {
            let process = world.member(from).map_or(0, |member| member.process_number);
            world.witness.requests.push(Errand {
                from,
                process,
                request,
                ask,
                answer: None,
                given_up: false,
            });
            return;
        }
    };
    let answers = &mut world.witness.answers;
    answers.push(Input::Witness { request, answer });
}

/// A request comes to the register.
fn reach(world: &mut World, from: NodeId, ask: &Ask) -> Answer {
    let answer = world.witness.kept(Some(from)).carry_out(ask);
    if answer == Answer::Swapped {
        let line = holds(world, Some(from));
        world.tell(Weight::News, line);
    }
    answer
}

impl Witness {
    /// The register of this node, or the one that all are to have.
    fn kept(&mut self, of: Option<NodeId>) -> &mut Kept {
        let is_apart = of.is_some_and(|of| self.apart.contains(&of));
        self.registers.of(is_apart)
    }
}

/// What the register of this node holds, or the one that all are to have.
fn holds(world: &mut World, of: Option<NodeId>) -> String {
    let held = value(world.witness.kept(of).0);
    match of.filter(|of| world.witness.apart.contains(of)) {
        Some(of) => format!("the witness of {of:?} holds {held}"),
        None => format!("the witness holds {held}"),
    }
}

fn take(world: &mut World, from: NodeId, newest: bool) -> Result<(), String> {
    let waits = |it: &Errand| it.from == from && it.answer.is_none();
    let mut places = world.witness.requests.iter();
    let place = if newest {
        places.rposition(waits)
    } else {
        places.position(waits)
    };
    let place = place.ok_or_else(|| format!("nothing of {from:?} is on its way to the witness"))?;
    let ask = world.witness.requests[place].ask.clone();
    let answer = reach(world, from, &ask);
    if answer != Answer::Swapped && ask != Ask::Read {
        world.tell(Weight::News, format!("the witness finds no {}", asks(&ask)));
    }
    world.witness.requests[place].answer = Some(answer);
    Ok(())
}

fn answer(world: &mut World, to: NodeId) -> Result<(), String> {
    let done = |it: &Errand| it.from == to && it.answer.is_some();
    let place = world.witness.requests.iter().position(done);
    let place = place.ok_or_else(|| format!("no answer to {to:?} is on its way"))?;
    let asked = world.witness.requests.remove(place);
    let process = world.member(to)?.process_number;
    if asked.process != process || asked.given_up {
        world.tell(Weight::News, format!("{to:?} waits for that no more"));
        return Ok(());
    }
    let answer = asked.answer.ok_or("it has an answer")?;
    let request = asked.request;
    world.turn(to, vec![Input::Witness { request, answer }])
}

fn give_up(world: &mut World, to: NodeId) -> Result<(), String> {
    let process = world.member(to)?.process_number;
    let waits = |it: &&mut Errand| it.from == to && it.process == process && !it.given_up;
    let asked = world.witness.requests.iter_mut().find(waits);
    let asked = asked.ok_or_else(|| format!("{to:?} waits for no answer"))?;
    asked.given_up = true;
    let (request, answer) = (asked.request, Answer::Unknown);
    world.turn(to, vec![Input::Witness { request, answer }])
}

/// What a node asks, in words.
pub(crate) fn asks(ask: &Ask) -> String {
    match ask {
        Ask::Read => "what it holds".to_owned(),
        Ask::Swap { from, to } => format!("{} to become {}", value(*from), value(Some(*to))),
    }
}

/// A value, as the documents write it.
fn value(held: Option<Register>) -> String {
    let Some(Register { number, word, made }) = held else {
        return "nothing".to_owned();
    };
    let (said, at) = match word {
        Word::Pair([a, b], at) => (format!("pair {:?},{:?}", a.id, b.id), at),
        Word::Sole(named, at) => (format!("sole {:?}", named.id), at),
    };
    format!("{number}: {said} @ {at:?}, made {made:?}")
}

/// Insists on what it says: `pair`, `sole n1` or `nothing`.
pub(crate) fn must_hold(world: &mut World, words: &mut Words) -> Result<(), String> {
    let of = words.value("of")?;
    let held = world.witness.kept(of).0;
    let wanted = words.take("pair, sole or nothing")?;
    let is_so = match (wanted.as_str(), held.map(|it| it.word)) {
        ("nothing", None) | ("pair", Some(Word::Pair(..))) => true,
        ("sole", Some(Word::Sole(named, _))) => named.id == words.next::<NodeId>()?,
        _ => false,
    };
    let line = holds(world, of);
    if !is_so {
        return Err(line);
    }
    world.tell(Weight::News, line);
    Ok(())
}
