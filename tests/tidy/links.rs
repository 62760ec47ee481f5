//! The links: every relative one in a document leads to a tracked file, and to a heading in it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::{demand_none, has_extension, is_name, numbered, tracked};

#[test]
fn links_lead_somewhere() {
    let files = tracked();
    let complaints: Vec<_> = files
        .iter()
        .filter(|(path, _)| has_extension(path, "md"))
        .flat_map(|(path, text)| dead_links(path, text, &files))
        .collect();
    demand_none(&complaints);
}

fn dead_links(path: &str, text: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    links(text)
        .into_iter()
        .filter(|(_, target)| !target.contains("://") && !target.starts_with("mailto:"))
        .filter(|(_, target)| !leads_somewhere(path, target, files))
        .map(|(number, target)| format!("{path}:{number}: link to nowhere: {target}"))
        .collect()
}

/// The targets of `[text](target)` outside of code, with their line numbers.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (number, line) in numbered(text) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let spoken: String = line.split('`').step_by(2).collect();
        if !in_code {
            let targets = spoken.split("](").skip(1);
            let ended = targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
            found.extend(ended.map(|target| (number, target)));
        }
    }
    found
}

fn leads_somewhere(path: &str, target: &str, files: &BTreeMap<String, String>) -> bool {
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() {
        path.to_owned()
    } else {
        resolved(path, file)
    };
    let directory = format!("{file}/");
    match files.get(&file) {
        Some(text) => fragment.is_empty() || text.lines().any(|line| anchor(line) == fragment),
        None => fragment.is_empty() && files.keys().any(|name| name.starts_with(&directory)),
    }
}

/// The path from the root that `link` means when it stands in the file `from`.
fn resolved(from: &str, link: &str) -> String {
    let mut path = PathBuf::new();
    let base = Path::new(from).parent().unwrap_or_else(|| Path::new(""));
    for part in base.join(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

/// The anchor of a heading, as forges make it; empty for any other line.
fn anchor(line: &str) -> String {
    let heading = line.trim_start_matches('#');
    if heading.len() == line.len() {
        return String::new();
    }
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| is_name(*c) || *c == '-' || *c == ' ')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_are_followed() {
    let text = "# A house, built\n[a](#a-house-built) [b](docs/b.md#top) [c](docs) [d](no.md)\n\
                [e](#nowhere) `[f](in code)`\n```\n[g](in-code)\n```\n[h](https://example.org)\n";
    let files = BTreeMap::from([
        ("a.md".to_owned(), text.to_owned()),
        ("docs/b.md".to_owned(), "## Top\n".to_owned()),
    ]);
    let dead = dead_links("a.md", text, &files);
    let expected = [
        "a.md:2: link to nowhere: no.md",
        "a.md:3: link to nowhere: #nowhere",
    ];
    assert_eq!(dead, expected);
    assert!(leads_somewhere("docs/b.md", "../a.md", &files));
}
