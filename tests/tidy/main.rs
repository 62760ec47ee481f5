//! The repository tests itself: layering, limits, links, words and licences.
//!
//! Each check is a function from text to complaints, so that it is tested against text that must
//! fail as well as run over every tracked file. What the compiler, rustfmt and clippy can check
//! is left to them.

#![cfg(test)]

mod layers;
mod licences;
mod links;
mod rules;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE_LINES_MAX: usize = 600;
const ARCHITECTURE_LINES_MAX: usize = 300;
const COLUMNS_MAX: usize = 100;

/// Asked for when the test runs: two clones that share a target directory share its binary.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test"))
}

/// The standard output of a command run in the repository's root.
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {complaint}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// All tracked text files, by path from the root. Another owner's clone is as good as one's own.
fn tracked() -> BTreeMap<String, String> {
    let listed = output_of("git", &["-c", "safe.directory=*", "ls-files", "-z"]);
    let files: BTreeMap<_, _> = listed
        .split_terminator('\0')
        .filter_map(|path| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?)))
        .collect();
    assert!(
        files.contains_key("Cargo.toml"),
        "no tracked files are seen: run the tests in a git clone"
    );
    files
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == extension)
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Runs a check over every tracked file and fails with all complaints at once.
fn demand(check: impl Fn(&str, &str) -> Vec<String>) {
    let complaints: Vec<_> = tracked()
        .iter()
        .flat_map(|(path, text)| {
            check(path, text)
                .into_iter()
                .map(move |c| format!("{path}{c}"))
        })
        .collect();
    demand_none(&complaints);
}

fn demand_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

// === Limits and shape ===

#[test]
fn files_stay_small_and_narrow() {
    demand(limits);
}

fn limits(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines_max = match path {
        "ARCHITECTURE.md" => ARCHITECTURE_LINES_MAX,
        _ if has_extension(path, "rs") => SOURCE_LINES_MAX,
        _ => usize::MAX,
    };
    let lines = text.lines().count();
    if lines > lines_max {
        complaints.push(format!(
            ": {lines} lines, at most {lines_max}: split it by nouns"
        ));
    }
    let is_code = has_extension(path, "rs") || path == "Makefile";
    for (number, line) in numbered(text) {
        let columns = line.chars().count();
        let is_literal = line.contains("r#\"");
        if is_code && columns > COLUMNS_MAX && !is_literal {
            complaints.push(format!(
                ":{number}: {columns} columns, at most {COLUMNS_MAX}"
            ));
        }
        if (is_code || has_extension(path, "md")) && line.ends_with([' ', '\t', '\r']) {
            complaints.push(format!(":{number}: ends in white space"));
        }
    }
    complaints
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.split('\n'))
}

#[test]
fn sources_open_with_prose() {
    demand(prose);
}

fn prose(path: &str, text: &str) -> Vec<String> {
    let opening: Vec<_> = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    let first = opening
        .first()
        .map_or("", |line| line.trim_start_matches("//! "));
    let is_prose = first.split_whitespace().count() >= 3
        && first.starts_with(|c: char| c.is_uppercase() || c == '`')
        && opening.iter().any(|line| line.contains(['.', ':']));
    // The tests of `store.rs` may stand in `store_test.rs`, whose prose is that of the former.
    let is_source = has_extension(path, "rs") && !path.ends_with("_test.rs");
    if is_source && !is_prose {
        return vec![
            ":1: must open with `//!` and a sentence: what it is, and what it is not".into(),
        ];
    }
    Vec::new()
}

#[test]
fn limits_are_noticed() {
    let long = "a\n".repeat(SOURCE_LINES_MAX + 1);
    let wide = "x".repeat(COLUMNS_MAX + 1);
    assert_eq!(limits("src/a.rs", &long).len(), 1);
    assert_eq!(limits("Makefile", &wide).len(), 1);
    assert_eq!(limits("README.md", "spoken \n").len(), 1);
    assert_eq!(prose("src/a.rs", "use std::fs;\n").len(), 1);
    assert_eq!(prose("src/a.rs", "//! Not written yet\n").len(), 1);
    assert_eq!(
        prose("src/a.rs", "//! One leader a term, and no other.\n").len(),
        0
    );
}
