//! How far something is that may take long, told on stderr; and sizes as people read them.

use std::time::{Duration, Instant};

use super::exit::say;

/// How often it is told, and what is too short to be told at all.
const EVERY: Duration = Duration::from_secs(1);

/// Something of which so many bytes are done.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    total: Option<u64>,
    told_at: Instant,
}

impl Progress {
    /// Begins; `total` is how many bytes it will be, if that is known.
    pub(super) fn of(what: &'static str, total: Option<u64>) -> Self {
        Self {
            what,
            total,
            told_at: Instant::now(),
        }
    }

    pub(super) fn tell(&mut self, done: u64) {
        if self.told_at.elapsed() < EVERY {
            return;
        }
        self.told_at = Instant::now();
        let of = self.total.map(|total| format!(" of {}", size(total)));
        say(&format!(
            "{}: {}{}",
            self.what,
            size(done),
            of.unwrap_or_default()
        ));
    }
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} bytes"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// Some number of something.
pub(super) fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_000), "1.0 kB");
        assert_eq!(size(1_999_999), "1.9 MB");
        assert_eq!(size(12_345_678_901), "12.3 GB");
        assert_eq!(
            (count(1, "key"), count(0, "key")),
            ("1 key".into(), "0 keys".into())
        );
    }
}
