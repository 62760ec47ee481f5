//! Scenario scripts: stories of a cluster, told by verbs, with the exact words of what happens.
//!
//! Every file in `tests/scenarios/` is run against the real consensus core. Below each group of
//! verbs stands what the nodes said, wrote and did; a word that differs fails the file.
//!
//! ```text
//! cargo test --test scenarios                            run all stories
//! REMEMBER_STORY=c18 cargo test --test scenarios         only those whose name holds "c18"
//! REMEMBER_BLESS=1 cargo test --test scenarios           rewrite what they expect, then review
//! ```
//!
//! Blessing rewrites words and nothing else: a broken rule of safety, an unmet `must`, an unknown
//! verb or an empty story fails even then. `tests/scenarios/README.md` lists verbs and stories.

mod scenario;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, iter, thread};

use scenario::{Story, run};

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Reads the story in a file; what is wrong with it, if its words are not to be rewritten.
fn read(file: &Path, bless: bool) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let told = Story::parse(&text).and_then(|story| run(&story))?;
    if told.text == text {
        Ok(())
    } else if bless {
        fs::write(file, told.text).map_err(|error| error.to_string())
    } else {
        Err(told.differences)
    }
}

#[test]
fn every_story_happens_as_told() {
    let bless = std::env::var_os("REMEMBER_BLESS").is_some();
    let wanted = std::env::var("REMEMBER_STORY").unwrap_or_default();
    let mut files: Vec<PathBuf> = fs::read_dir(stories())
        .expect("tests/scenarios is part of the repository")
        .map(|file| file.expect("a readable directory").path())
        .filter(|file| file.extension().is_some_and(|end| end == "txt"))
        .filter(|file| file.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no story's name holds {wanted:?}");
    let left = Mutex::new(files.iter());
    let next = || left.lock().ok()?.next();
    let trouble_with = |file: &PathBuf| {
        let trouble = read(file, bless).err()?;
        let name = file.file_name().unwrap_or_default().display();
        Some(format!("{name}: {trouble}"))
    };
    let read_all = || iter::from_fn(next).filter_map(trouble_with);
    let mut failures: Vec<String> = thread::scope(|scope| {
        let readers = thread::available_parallelism().map_or(1, usize::from);
        let readers: Vec<_> = (0..readers)
            .map(|_| scope.spawn(|| read_all().collect::<Vec<_>>()))
            .collect();
        let ends = readers.into_iter().map(thread::ScopedJoinHandle::join);
        ends.flat_map(|end| end.expect("a story is told to its end"))
            .collect()
    });
    failures.sort();
    let (failed, all) = (failures.len(), files.len());
    assert!(
        failures.is_empty(),
        "{failed} of {all} stories went another way\n\n{}\n\n\
         If the new way is right, run with REMEMBER_BLESS=1 and review the diff.",
        failures.join("\n\n")
    );
}

/// The runner itself must notice: a test that cannot fail proves nothing.
#[test]
fn a_story_that_tells_too_little_or_nonsense_fails() {
    let fails = |text: &str| {
        Story::parse(text)
            .and_then(|story| run(&story))
            .expect_err("this story must not pass")
    };
    assert!(fails("").contains("no verb"));
    assert!(fails("# only a comment\n").contains("no verb"));
    assert!(fails("cluster nodes=3\n").contains("----"));
    assert!(fails("dance n1\n----\n").contains("dance"));
    assert!(fails("cluster nodes=3 colour=red\n----\n").contains("colour"));
    assert!(fails("cluster nodes=3\nmust leader\n----\n").contains("leader"));
    assert!(fails("cluster nodes=3\npropose n4 \"a\"\n----\n").contains("n4"));
    assert!(fails("cluster nodes=3\ninject n1->n2 vote-request\n----\n").contains("ballot"));
}

#[test]
fn a_story_that_expects_something_else_differs() {
    let story = "cluster nodes=3\n----\nnothing of the kind\n";
    let told = Story::parse(story).and_then(|story| run(&story)).unwrap();
    assert_ne!(told.text, story);
    assert!(
        told.differences.contains("- nothing of the kind"),
        "{}",
        told.differences
    );
    let again = Story::parse(&told.text).and_then(|story| run(&story));
    assert_eq!(again.unwrap().text, told.text);
}
