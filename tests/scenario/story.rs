//! The file format: comments, groups of verbs, and below each group what happened.
//!
//! ```text
//! # A comment tells the story.
//! cluster nodes=3
//! elect n1
//! ----
//! the exact output, up to an empty line or the end of the file
//! ```
//!
//! A verb with the word `quietly` tells only the news: no messages, no writes.

use std::fmt::Write as _;

use super::word::Words;
use super::world::{Voice, World};
use super::{client, cluster, delivery, inspection, link, membership, storage, time, witness};

/// A parsed script.
pub(crate) struct Story {
    parts: Vec<Part>,
}

/// A stretch of a script.
enum Part {
    /// A comment or an empty line, as it stands.
    Prose(String),
    /// Verbs and what they are expected to bring.
    Scene(Scene),
}

/// A group of verbs.
struct Scene {
    /// The line number of the first verb, from 1.
    line: usize,
    verbs: Vec<String>,
    expected: Vec<String>,
}

/// A story as it really went.
#[derive(Debug)]
pub(crate) struct Told {
    /// The whole script with what happened in place of what was expected.
    pub(crate) text: String,
    /// Where the two differ, for a reader.
    pub(crate) differences: String,
}

/// Ends the verbs of a scene.
const RULE: &str = "----";

/// What stands below verbs that brought no output.
const NOTHING: &str = "(nothing)";

impl Story {
    /// Reads a script.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            if line.is_empty() || line.starts_with('#') {
                parts.push(Part::Prose(line.to_owned()));
                continue;
            }
            let mut scene = Scene {
                line: number + 1,
                verbs: vec![line.to_owned()],
                expected: Vec::new(),
            };
            loop {
                match lines.next() {
                    Some((_, RULE)) => break,
                    Some((_, verb)) if !verb.is_empty() && !verb.starts_with('#') => {
                        scene.verbs.push(verb.to_owned());
                    }
                    _ => {
                        return Err(format!(
                            "line {}: verbs must be followed by {RULE} and what happens",
                            scene.line
                        ));
                    }
                }
            }
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
                scene.expected.push(line.to_owned());
            }
            parts.push(Part::Scene(scene));
        }
        if parts.iter().any(|part| matches!(part, Part::Scene(_))) {
            Ok(Self { parts })
        } else {
            Err("there is no verb in this story".to_owned())
        }
    }
}

/// Lets a story happen. Fails where it cannot go on: a verb that makes no sense, an unmet `must`,
/// or a broken rule of safety.
pub(crate) fn run(story: &Story) -> Result<Told, String> {
    let mut world = World::default();
    let mut text = String::new();
    let mut differences = String::new();
    for part in &story.parts {
        match part {
            Part::Prose(line) => {
                text.push_str(line);
                text.push('\n');
            }
            Part::Scene(scene) => {
                let lines = play(&mut world, scene)?;
                for line in scene.verbs.iter().map(String::as_str).chain([RULE]) {
                    text.push_str(line);
                    text.push('\n');
                }
                for line in &lines {
                    text.push_str(line);
                    text.push('\n');
                }
                if lines != scene.expected {
                    describe(&mut differences, scene, &lines);
                }
            }
        }
    }
    Ok(Told { text, differences })
}

/// Plays one scene and returns what happened in it.
fn play(world: &mut World, scene: &Scene) -> Result<Vec<String>, String> {
    let start = scene.line;
    for (offset, verb) in scene.verbs.iter().enumerate() {
        perform(world, verb).map_err(|trouble| {
            let told = world.hear().join("\n    ");
            format!("line {}: {verb}: {trouble}\n    {told}", start + offset)
        })?;
    }
    let mut lines = fold(&world.hear());
    if lines.is_empty() {
        lines.push(NOTHING.to_owned());
    }
    Ok(lines)
}

/// Shortens long runs of lines of one kind (`n1 -> n2 beat ...`) to their ends and a count.
fn fold(lines: &[String]) -> Vec<String> {
    const MANY: usize = 6;
    let kind =
        |line: &String| -> Vec<String> { line.split(' ').take(4).map(str::to_owned).collect() };
    let mut folded = Vec::new();
    for run in lines.chunk_by(|a, b| kind(a) == kind(b)) {
        match run {
            [first, between @ .., last] if run.len() > MANY => {
                let count = format!("(and {} more)", between.len());
                folded.extend([first.clone(), count, last.clone()]);
            }
            _ => folded.extend_from_slice(run),
        }
    }
    folded
}

/// Performs one verb: the first family that knows it takes it.
fn perform(world: &mut World, line: &str) -> Result<(), String> {
    let mut words = Words::of(line)?;
    let verb = words.take("a verb")?;
    world.voice = if words.flag("quietly") {
        Voice::Quiet
    } else {
        Voice::Aloud
    };
    let families = [
        cluster::perform,
        link::perform,
        delivery::perform,
        time::perform,
        storage::perform,
        client::perform,
        membership::perform,
        witness::perform,
        inspection::perform,
    ];
    for family in families {
        if family(world, &verb, &mut words)? {
            return words.end();
        }
    }
    Err(format!("there is no verb {verb}"))
}

/// Adds a small diff: the changed middle with two lines around it.
fn describe(differences: &mut String, scene: &Scene, lines: &[String]) {
    const AROUND: usize = 2;
    let expected = &scene.expected;
    let same = |pair: &(&String, &String)| pair.0 == pair.1;
    let head = expected.iter().zip(lines).take_while(same).count();
    let room = expected.len().min(lines.len()) - head;
    let tail = expected
        .iter()
        .rev()
        .zip(lines.iter().rev())
        .take(room)
        .take_while(same)
        .count();
    let mut add = |mark: char, shown: &[String]| {
        for line in shown {
            // Writing to a string cannot fail.
            let _infallible = writeln!(differences, "  {mark} {line}");
        }
    };
    let last = scene.verbs.last().map_or("", String::as_str);
    add('>', &[format!("line {}: {last}", scene.line)]);
    add(' ', &expected[head.saturating_sub(AROUND)..head]);
    add('-', &expected[head..expected.len() - tail]);
    add('+', &lines[head..lines.len() - tail]);
    let end = lines.len() - tail;
    add(' ', &lines[end..(end + AROUND).min(lines.len())]);
}
