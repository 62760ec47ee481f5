//! Hostile bytes worth keeping: each file is what arrived, where, and what the node said.
//! `REMEMBER_BLESS=1` records what it says now.

use crate::hex;
use crate::hostile::{Surface, outcome};

#[test]
fn every_recorded_input_is_answered_as_recorded() {
    let mut paths: Vec<_> = std::fs::read_dir(hex::folder("corpus"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "the corpus is gone");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let word = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim()
        };
        let named = word("# surface:");
        let surface = Surface::ALL.into_iter().find(|(_, name)| *name == named);
        let (surface, _) = surface.unwrap_or_else(|| panic!("{}: where?", path.display()));
        let bytes = hex::read(&text);
        let said = outcome(surface, &bytes, bytes.len().max(1));
        if hex::bless() {
            let about = word("# about:");
            let bytes = hex::write(&bytes);
            let text = format!("# about: {about}\n# surface: {named}\n# says: {said}\n{bytes}");
            std::fs::write(&path, text).unwrap();
        } else {
            assert_eq!(word("# says:"), said, "{}", path.display());
        }
        for piece in 1..=bytes.len() {
            assert_eq!(outcome(surface, &bytes, piece), said, "{}", path.display());
        }
    }
}
