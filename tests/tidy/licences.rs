//! The dependencies: every licence is one that `deny.toml` allows, and no crate one that it bans.

use std::collections::BTreeSet;
use std::fs;

use crate::{demand_none, output_of, root};

#[test]
fn dependencies_are_permitted() {
    let policy = fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed = quoted(between(&policy, "\nallow = [", "\n]"));
    let banned: BTreeSet<_> = between(&policy, "\ndeny = [", "\n]")
        .lines()
        .filter_map(|line| Some(quoted(line.split_once("crate =")?.1).remove(0)))
        .collect();
    let shape = ["--prefix", "none", "--format", "{p}|{l}"];
    let edges = ["tree", "--locked", "--edges", "normal,build,dev"];
    let tree = output_of(env!("CARGO"), &[edges.as_slice(), &shape].concat());
    let complaints: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once('|'))
        .filter_map(|(package, licence)| {
            let name = package.split(' ').next().unwrap_or(package);
            if banned.contains(name) {
                return Some(format!("{package} is banned by deny.toml, which says why"));
            }
            let is_allowed = permits(&allowed, licence);
            (!is_allowed).then(|| format!("{package}: deny.toml does not allow {licence:?}"))
        })
        .collect();
    demand_none(&complaints.into_iter().collect::<Vec<_>>());
}

/// Nothing comes from anywhere but the registry or this repository.
#[test]
fn dependencies_come_from_the_registry() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let sources: BTreeSet<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(|source| source.trim_matches('"'))
        .collect();
    let foreign: Vec<_> = sources
        .iter()
        .filter(|source| !source.starts_with("registry+") || source.contains("file:"))
        .map(|source| format!("Cargo.lock: a dependency from {source}"))
        .collect();
    demand_none(&foreign);
    assert_eq!(sources.len(), 1, "more than one registry: {sources:?}");
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).expect("deny.toml has both lists");
    rest.split_once(end).expect("the list in deny.toml ends").0
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether a licence expression can be met by the allowed licences alone.
fn permits(allowed: &[String], expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(allowed, &mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(allowed: &[String], words: &mut Words<'_>) -> bool {
    let mut is_met = all_of(allowed, words);
    while words.next_if_eq(&"OR").is_some() {
        is_met |= all_of(allowed, words);
    }
    is_met
}

fn all_of(allowed: &[String], words: &mut Words<'_>) -> bool {
    let mut is_met = one(allowed, words);
    while words.next_if_eq(&"AND").is_some() {
        is_met &= one(allowed, words);
    }
    is_met
}

fn one(allowed: &[String], words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let is_met = any_of(allowed, words);
        return words.next() == Some(")") && is_met;
    }
    let mut licence = words.next().unwrap_or_default().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(&licence)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = quoted(r#""MIT", "Zlib", "Apache-2.0 WITH LLVM-exception""#);
    let understood = |expression| permits(&allowed, expression);
    assert!(understood("MIT"));
    assert!(understood("GPL-3.0 OR MIT"));
    assert!(understood("GPL-3.0/MIT"));
    assert!(understood("(GPL-3.0 OR MIT) AND Zlib"));
    assert!(understood("Apache-2.0 WITH LLVM-exception"));
    assert!(!understood("GPL-3.0 AND MIT"));
    assert!(!understood("Apache-2.0"));
    assert!(!understood("(MIT"));
    assert!(!understood(""));
}
