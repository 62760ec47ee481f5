//! What happened in a run, for a person to read; costs nothing unless a run is told to keep it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::request::PADDING;

/// The last lines of a run, each with its simulated time.
pub(crate) struct Story {
    lines_max: usize,
    lines: VecDeque<String>,
}

impl Story {
    /// A story that keeps the last `lines_max` lines; 0 keeps none and builds none.
    pub(crate) fn new(lines_max: usize) -> Self {
        Self {
            lines_max,
            lines: VecDeque::new(),
        }
    }

    /// Whether anybody listens; ask before building a costly line.
    pub(crate) fn is_told(&self) -> bool {
        self.lines_max > 0
    }

    /// Adds a line.
    pub(crate) fn tell(&mut self, now: Duration, line: fmt::Arguments<'_>) {
        if !self.is_told() {
            return;
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        let mut line = format!("{:>12.6} {line}", now.as_secs_f64());
        // The padding of commands says nothing.
        line.retain(|c| c != char::from(PADDING));
        self.lines.push_back(line);
    }

    /// The kept lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
