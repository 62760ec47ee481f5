//! Hostile inputs worth keeping: each file of a corpus is what arrived, where, and what was said to
//! it. `REMEMBER_BLESS=1` records what is said now.

/// One recorded input.
pub(crate) struct Recorded {
    /// Where it arrives.
    pub(crate) surface: String,
    /// The input, as text.
    pub(crate) input: String,
}

/// Replays the corpus in `folder` and compares what is said to each input with what it is recorded
/// to be; there are at least `count` of them.
pub(crate) fn replay(folder: &str, count: usize, mut say: impl FnMut(&Recorded) -> String) {
    let mut paths: Vec<_> = std::fs::read_dir(super::hex::folder(folder))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= count, "the corpus is gone");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let word = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim()
        };
        let input = text.lines().filter(|line| !line.starts_with('#'));
        let recorded = Recorded {
            surface: word("# surface:").to_owned(),
            input: input.flat_map(|line| [line, "\n"]).collect(),
        };
        let said = say(&recorded);
        if super::hex::bless() {
            let (about, Recorded { surface, input }) = (word("# about:"), recorded);
            let text = format!("# about: {about}\n# surface: {surface}\n# says: {said}\n{input}");
            std::fs::write(&path, text).unwrap();
        } else {
            assert_eq!(word("# says:"), said, "{}", path.display());
        }
    }
}

/// The number in an environment variable.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(given) => given
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number")),
        Err(_) => otherwise,
    }
}

/// Fails if this process ever held more memory than any input is worth, where the system tells.
pub(crate) fn assert_bounded() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return;
    };
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().nth(1));
    if let Some(kilobytes) = words.and_then(|word| word.parse::<u64>().ok()) {
        assert!(kilobytes < 512 << 10, "{kilobytes} KiB were held at once");
    }
}
