//! The rules: each is explained in `docs/rules.md`, and none is cited that does not exist.

use crate::{demand, demand_none, has_extension, is_name, numbered, tracked};

/// The highest rule number of each letter in `docs/rules.md`.
const RULES: &[(char, u32)] = &[('S', 12), ('R', 23)];

#[test]
fn every_rule_is_explained() {
    let rules = tracked()
        .remove("docs/rules.md")
        .expect("docs/rules.md is tracked");
    let missing: Vec<_> = RULES
        .iter()
        .flat_map(|(letter, last)| (1..=*last).map(move |number| format!("### {letter}{number} ")))
        .filter(|heading| {
            rules
                .lines()
                .filter(|line| line.starts_with(heading))
                .count()
                != 1
        })
        .map(|heading| format!("docs/rules.md: needs one heading \"{heading}...\""))
        .collect();
    demand_none(&missing);
}

#[test]
fn cited_rules_exist() {
    demand(citations);
}

fn citations(path: &str, text: &str) -> Vec<String> {
    if !has_extension(path, "rs") && !has_extension(path, "md") {
        return Vec::new();
    }
    numbered(text)
        .flat_map(|(number, line)| {
            line.split(|c| !is_name(c))
                .filter(|word| !is_rule_or_no_citation(word))
                .map(|word| format!(":{number}: there is no rule {word}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a word is the number of a rule that exists, or is no citation at all.
fn is_rule_or_no_citation(word: &str) -> bool {
    RULES.iter().all(|(letter, last)| {
        let number = word
            .strip_prefix(*letter)
            .and_then(|n| n.parse::<u32>().ok());
        number.is_none_or(|n| n > 99 || (1..=*last).contains(&n))
    })
}

#[test]
fn citations_are_noticed() {
    assert_eq!(
        citations("src/a.rs", concat!("// as S1", "3 and R22 demand")).len(),
        1
    );
    assert!(citations("src/a.rs", "// as S12, R23 and S6's names").is_empty());
}
