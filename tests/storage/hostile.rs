//! Data directories that no honest node leaves behind, in numbers: a fuzzer whose seed repeats
//! every input. `tests/storage/damage.rs` tries every single bit; here files are edited, cut and
//! written over in many places, with their old checksums or with right ones.
//!
//! `REMEMBER_FUZZ_INPUTS=10000000` runs more, `REMEMBER_FUZZ_SEED` others. An input that breaks a
//! promise is printed in the form of `tests/corpus/storage`, where it stays once it is mended.

use std::fmt::Write;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::Bytes;
use remember::consensus::{Index, Payload, Position, Term};
use remember::state::{Command, Condition, Store, View};
use remember::storage::{DataDir, Disk};

use crate::corpus::{assert_bounded, number, replay};
use crate::hex;
use crate::model::{
    CONFIG, ID, INCARNATION, Model, Random, at, base, entry, founding, peer, start, vote,
};
use crate::sealing::seal;
use crate::sim_disk::SimDisk;

/// A file of the data directory.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// What an input starts from: two segments, an identity and a snapshot with a state in it.
struct Seeds {
    disk: SimDisk,
    files: Vec<File>,
    /// What it says undamaged.
    model: Model,
}

/// One change of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Edit {
    file: usize,
    at: usize,
    change: Change,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Change {
    /// These bytes stand there.
    Set(Vec<u8>),
    /// So many bytes of a file from a place in it stand there, as stale sectors do.
    Copy(usize, usize, usize),
    /// The file ends there.
    Cut,
}

/// A damaged directory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Input {
    sealed: bool,
    edits: Vec<Edit>,
}

impl Seeds {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let mut opened = start(&disk).unwrap();
        let mut store = Store::default();
        for index in 1..=3 {
            let put = Command::Put {
                key: Bytes::from(vec![b'a' + index]),
                value: Bytes::from(vec![index; 40]),
                condition: Condition::Always,
            };
            let index = Index(index.into());
            let position = Position {
                term: Term(1),
                index,
            };
            store.apply(position, &Payload::Command(put.encode()));
        }
        let mut append = |records: &[_]| {
            opened.wal.append(records).unwrap();
            opened.wal.sync().unwrap();
        };
        append(&[vote(1, 1), entry(1, 1, b"first"), peer(2, 3)]);
        append(&[entry(1, 2, &[0; 900])]);
        append(&[entry(1, 3, b"")]);
        let mut writer = opened.snapshots.write(at(1, 3), &founding()).unwrap();
        store.view().write_to(&mut writer).unwrap();
        writer.flush().unwrap();
        writer.finish().unwrap();
        append(&[base(1, 3, true), entry(1, 4, &[1; 7000])]);
        append(&[vote(2, 0), entry(2, 5, &[2; 7000])]);
        append(&[entry(2, 6, b"last but one")]);
        append(&[entry(2, 7, b"last")]);
        assert_eq!(opened.wal.segments(), 2);
        drop(opened);
        let mut files = disk.list().unwrap();
        files.retain(|name| name != "lock" && !name.starts_with("wal-spare"));
        let mut files: Vec<_> = (files.into_iter())
            .map(|name| File {
                content: disk.content(&name),
                name,
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let model = look(&disk.fork(0)).unwrap();
        assert_eq!((files.len(), model.last()), (4, Index(7)));
        Self { disk, files, model }
    }

    /// One hostile input, mostly of small changes near the beginnings of things.
    fn input(&self, random: &mut Random) -> Input {
        let sealed = random.below(3) > 0;
        let count = 1 + random.below(4);
        let edits = (0..count).map(|_| self.edit(random)).collect();
        Input { sealed, edits }
    }

    fn edit(&self, random: &mut Random) -> Edit {
        const NUMBERS: [u64; 8] = [0, 1, 7, 0xff, 0xffff, 1 << 31, u32::MAX as u64, u64::MAX];
        let file = size(random, self.files.len());
        let content = &self.files[file].content;
        let filled = content.iter().rposition(|byte| *byte != 0).unwrap() + 64;
        let filled = filled.min(content.len());
        // Mostly where a header may stand: the first bytes of a sector, a slot or the file.
        let at = match random.below(3) {
            0 => size(random, filled),
            1 => size(random, filled.min(120)),
            _ => (size(random, filled) / 512 * 512 + size(random, 90)).min(filled - 1),
        };
        let room = content.len() - at;
        let change = match random.below(10) {
            0 => Change::Cut,
            1 | 2 => Change::Set(vec![content[at] ^ 1 << random.below(8)]),
            3 | 4 => {
                let number = NUMBERS[size(random, NUMBERS.len())].to_le_bytes();
                let length = [1, 2, 4, 8][size(random, 4)];
                Change::Set(number[..length.min(room)].to_vec())
            }
            5 => {
                let length = random.below(24);
                let mut noise = random.bytes(length);
                noise.truncate(room);
                Change::Set(noise)
            }
            // A number a little larger or smaller than it is.
            6 | 7 => {
                let step = [1, 2, 16, 255][size(random, 4)];
                Change::Set(vec![content[at].wrapping_add(step)])
            }
            _ => {
                let other = size(random, self.files.len());
                let end = self.files[other].content.len();
                let from = size(random, end) / 512 * 512;
                let length = [8, 40, 512, 4096][size(random, 4)];
                Change::Copy(other, from, length.min(room).min(end - from))
            }
        };
        Edit { file, at, change }
    }

    /// The files after the damage.
    fn damaged(&self, input: &Input) -> Vec<File> {
        let mut files = self.files.clone();
        for Edit { file, at, change } in &input.edits {
            let content = &mut files[*file].content;
            let bytes = match change {
                Change::Cut => {
                    content.truncate(*at);
                    continue;
                }
                Change::Set(bytes) => bytes,
                Change::Copy(file, from, length) => {
                    &self.files[*file].content[*from..from + length]
                }
            };
            // A cut may have come before.
            let end = content.len().max(at + bytes.len());
            content.resize(end, 0);
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        if input.sealed {
            seal(&mut files);
        }
        files
    }

    /// What a node says to a damaged directory.
    fn outcome(&self, input: &Input) -> String {
        let files = self.damaged(input);
        let disk = self.disk.fork(1);
        for (file, before) in files.iter().zip(&self.files) {
            if file.content != before.content {
                disk.put(&file.name, &file.content);
            }
        }
        let found = look(&disk);
        let said = match &found {
            Ok(model) => {
                let (term, base, last) = (model.hard_state.term, model.base.index, model.last());
                format!("term {term}, entries behind {base} up to {last}")
            }
            Err(error) => return error.clone(),
        };
        if let Ok(model) = found
            && !input.sealed
        {
            self.check(&model, &files);
        }
        // What was taken once is taken again: recovery leaves nothing that it would refuse.
        let again = look(&disk);
        assert!(again.is_ok(), "{said}, and at the next start {again:?}");
        said
    }

    /// Whatever happened to the files, nothing is taken that was never written, and nothing that a
    /// later batch proves is lost in silence (R22).
    fn check(&self, found: &Model, files: &[File]) {
        for (index, entry) in &found.log {
            assert_eq!(self.model.log.get(index), Some(entry), "was never written");
        }
        let (now, before) = (&files[3].content, &self.files[3].content);
        let batches = (512..before.len()).step_by(512);
        let batches: Vec<_> = batches
            .filter(|at| before[*at..].starts_with(b"btch"))
            .collect();
        let whole = |at: &usize| now.get(*at..at + 40) == Some(&before[*at..at + 40]);
        // One entry in each of the last three batches.
        let lost = batches.iter().rev().take_while(|at| !whole(at)).count();
        let proven = 6 - lost.min(2) as u64;
        assert!(found.last().0 >= proven, "{:?} is the last", found.last());
        assert!(lost > 1 || found.hard_state == self.model.hard_state);
    }

    /// The form in which an input is kept.
    fn text(&self, input: &Input) -> String {
        let mut text = String::new();
        for Edit { file, at, change } in &input.edits {
            let name = &self.files[*file].name;
            match change {
                Change::Cut => writeln!(text, "{name} {at} cut").unwrap(),
                Change::Copy(other, from, length) => {
                    let other = &self.files[*other].name;
                    writeln!(text, "{name} {at} copy {other} {from} {length}").unwrap();
                }
                Change::Set(bytes) => {
                    let bytes = hex::write(bytes).replace('\n', " ");
                    writeln!(text, "{name} {at} {}", bytes.trim()).unwrap();
                }
            }
        }
        text
    }

    fn read(&self, sealed: bool, text: &str) -> Input {
        let file = |name: &str| {
            let mut files = self.files.iter();
            files.position(|file| file.name == name).unwrap()
        };
        let edits = text.lines().map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let change = match &words[2..] {
                ["cut"] => Change::Cut,
                ["copy", other, from, length] => {
                    Change::Copy(file(other), from.parse().unwrap(), length.parse().unwrap())
                }
                bytes => Change::Set(hex::read(&bytes.join(" "))),
            };
            Edit {
                file: file(words[0]),
                at: words[1].parse().unwrap(),
                change,
            }
        });
        let edits = edits.collect();
        Input { sealed, edits }
    }
}

fn size(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound.max(1) as u64)).unwrap()
}

/// Starts on the disk, restores the state, and says what there is.
fn look(disk: &SimDisk) -> Result<Model, String> {
    let said = |error: remember::storage::Error| error.to_string();
    let directory = DataDir::open(disk.clone(), ID, INCARNATION).map_err(said)?;
    if directory.identity().membership.is_none() {
        return Err("founded nowhere".to_owned());
    }
    let opened = directory.recover(CONFIG).map_err(said)?;
    if let Some(snapshot) = opened.snapshots.newest().map_err(said)? {
        let view = View::read_from(&mut snapshot.state());
        view.map_err(|error| error.to_string())?;
    }
    Ok(Model::from(&opened.recovered))
}

#[test]
fn sealing_changes_nothing_that_is_sealed() {
    let seeds = Seeds::new();
    let mut files = seeds.files.clone();
    seal(&mut files);
    for (file, before) in files.iter().zip(&seeds.files) {
        assert!(file.content == before.content, "{} differs", file.name);
    }
}

#[test]
fn every_recorded_directory_is_answered_as_recorded() {
    let seeds = Seeds::new();
    replay("corpus/storage", 10, |recorded| {
        let sealed = recorded.surface == "sealed";
        let input = seeds.read(sealed, &recorded.input);
        assert_eq!(seeds.text(&input), recorded.input);
        seeds.outcome(&input)
    });
}

#[test]
fn no_directory_breaks_a_promise() {
    let inputs = number("REMEMBER_FUZZ_INPUTS", 5_000);
    let mut random = Random(number("REMEMBER_FUZZ_SEED", 1));
    let seeds = Seeds::new();
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for _ in 0..inputs {
        let input = seeds.input(&mut random);
        let found = catch_unwind(AssertUnwindSafe(|| seeds.outcome(&input)));
        let said = found.unwrap_or_else(|panic| {
            let surface = if input.sealed { "sealed" } else { "damaged" };
            println!("# about:\n# surface: {surface}\n{}", seeds.text(&input));
            resume_unwind(panic)
        });
        *if said.starts_with("term ") {
            &mut taken
        } else {
            &mut refused
        } += 1;
    }
    println!("{inputs} directories: {taken} were taken, {refused} were refused");
    assert!(taken > inputs / 100, "the inputs never reach the records");
    assert!(refused > inputs / 10, "the inputs are not hostile");
    assert_bounded();
}
