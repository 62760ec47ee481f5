//! The layers: which module of `src` may import which, and which may not know what time it is.

use std::collections::BTreeSet;

use crate::{demand, is_name, numbered, without_comment};

/// The modules of `src`, each with those it may import. A module names only modules above it, so
/// that no cycle can be written down here. `node` and `operator` never meet but in `crd`.
const LAYERS: &[(&str, &[&str])] = &[
    ("consensus", &[]),
    ("state", &["consensus"]),
    ("storage", &["consensus"]),
    ("wire", &["consensus"]),
    ("tls", &["consensus"]),
    ("crd", &[]),
    ("discovery", &["consensus", "wire", "crd"]),
    (
        "witness",
        &["consensus", "storage", "wire", "tls", "discovery"],
    ),
    (
        "node",
        &[
            "consensus",
            "state",
            "storage",
            "wire",
            "tls",
            "crd",
            "discovery",
            "witness",
        ],
    ),
    (
        "server",
        &["consensus", "state", "tls", "crd", "witness", "node"],
    ),
    ("operator", &["consensus", "tls", "crd"]),
    (
        "cli",
        &[
            "consensus",
            "state",
            "storage",
            "wire",
            "tls",
            "crd",
            "discovery",
            "witness",
            "node",
            "server",
            "operator",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// What has no order, or no exact value, or yields to a runtime.
const UNSTEADY: &[&str] = &["HashMap", "HashSet", "f32", "f64", "async", "await"];

/// The modules that fetch neither time nor randomness, and touch nothing outside themselves.
const DETERMINISTIC: &[&str] = &["consensus", "state", "wire"];

#[test]
fn layers_are_listed_in_order() {
    let mut above = BTreeSet::new();
    for (module, imports) in LAYERS {
        for import in *imports {
            assert!(
                above.contains(import),
                "{module} names {import}, which is not above it"
            );
        }
        above.insert(*module);
    }
}

#[test]
fn imports_point_down() {
    demand(edges);
}

#[test]
fn deterministic_modules_stay_so() {
    demand(whims);
}

/// Complains of imports that [`LAYERS`] does not list.
fn edges(path: &str, text: &str) -> Vec<String> {
    let Some(inner) = path
        .strip_prefix("src/")
        .and_then(|p| p.strip_suffix(".rs"))
    else {
        return Vec::new();
    };
    let module = inner.split('/').next().unwrap_or(inner);
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        return vec![format!(
            ": module {module} is missing from LAYERS in tests/tidy/layers.rs"
        )];
    };
    let depth = inner.trim_end_matches("/mod").split('/').count();
    let code: Vec<_> = text.lines().map(without_comment).collect();
    imports(&code.join("\n"), depth)
        .into_iter()
        .filter(|import| LAYERS.iter().any(|(name, _)| name == import))
        .filter(|import| import != module && !allowed.contains(&import.as_str()))
        .map(|import| {
            format!(": {module} must not import {import} (LAYERS in tests/tidy/layers.rs)")
        })
        .collect()
}

/// The first names behind `crate::`, behind the package's own name, and behind as many `super::`
/// as lead out of a module at `depth`.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let ascent = "super::".repeat(depth);
    ["crate::", "remember::", ascent.as_str()]
        .iter()
        .flat_map(|root| {
            code.match_indices(root)
                .map(|(at, _)| (at, at + root.len()))
        })
        .filter(|(at, _)| !code[..*at].ends_with(is_name))
        .flat_map(|(_, behind)| first_names(&code[behind..]))
        .collect()
}

/// The name at the start of a path, or the first name of each path in a braced group.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|c| is_name(*c))
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut names = vec![name(group)];
    let mut open = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    names
}

/// Complains of whatever could make a deterministic module do something else the next time.
fn whims(path: &str, text: &str) -> Vec<String> {
    let mut parts = path.split('/').skip_while(|part| *part == "src");
    let module = parts.next().unwrap_or_default();
    if !path.starts_with("src/") || !DETERMINISTIC.contains(&module) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    let has_code = text
        .lines()
        .any(|line| !without_comment(line).trim().is_empty());
    let denial = "#![deny(clippy::disallowed_methods";
    if path.ends_with("/mod.rs") && parts.count() == 1 && has_code && !text.contains(denial) {
        complaints.push(format!(": must say {denial})] (clippy.toml tells why)"));
    }
    for (number, line) in numbered(text) {
        let code = without_comment(line);
        let unsteady = code
            .split(|c| !is_name(c))
            .find(|word| UNSTEADY.contains(word));
        complaints
            .extend(unsteady.map(|word| format!(":{number}: {word} has no place in {module}")));
    }
    complaints
}

#[test]
fn edges_catch_every_way_up() {
    let imported = |path: &str, text: &str| edges(path, text).len();
    assert_eq!(imported("src/consensus/a.rs", "use crate::wire::Frame;"), 1);
    assert_eq!(
        imported("src/consensus/a.rs", "let x = crate::state::new();"),
        1
    );
    assert_eq!(
        imported("src/storage/a.rs", "use super::super::state::Store;"),
        1
    );
    assert_eq!(imported("src/storage/mod.rs", "use super::wire;"), 1);
    let group = "use crate::{\n    consensus::{Term, state},\n    wire::Frame,\n};";
    assert_eq!(imported("src/state/a.rs", group), 1);
    assert_eq!(imported("src/main.rs", "remember::node::run()"), 1);
    assert_eq!(imported("src/unheard_of/mod.rs", ""), 1);
    assert_eq!(imported("src/node/a.rs", "use crate::operator::x;"), 1);
    assert_eq!(imported("src/state/a.rs", "// not crate::wire"), 0);
    assert_eq!(imported("src/state/a.rs", "use super::wire;"), 0);
    assert_eq!(imported("src/state/a.rs", "use crate::consensus::Term;"), 0);
}

#[test]
fn whims_are_noticed() {
    let noticed = |path: &str, text: &str| whims(path, text).len();
    let denial = "#![deny(clippy::disallowed_methods)]\nmod a;";
    assert_eq!(
        noticed("src/state/a.rs", "use std::collections::HashMap;"),
        1
    );
    assert_eq!(noticed("src/consensus/a/b.rs", "let share: f64 = 0.5;"), 1);
    assert_eq!(noticed("src/wire/mod.rs", "//! Frames.\nmod frame;"), 1);
    assert_eq!(noticed("src/wire/mod.rs", denial), 0);
    assert_eq!(
        noticed("src/node/a.rs", "use std::collections::HashMap;"),
        0
    );
    assert_eq!(noticed("src/state/a.rs", "// not a HashMap"), 0);
}
