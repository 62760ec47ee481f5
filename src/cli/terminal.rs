//! Whether someone is looking, and colours if so. Colour is never the only sign of anything.

use std::io::{self, IsTerminal as _};

use clap::ColorChoice;

/// What the standard streams of this process may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terminal {
    /// Whether stdout may be redrawn.
    pub(super) redraws: bool,
    /// Whether stdout is coloured.
    colours: bool,
    /// Whether stderr is coloured.
    pub(super) colours_log: bool,
}

/// What a piece of text should stand out as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// The leader, or what went well.
    Good,
    /// What is about to change.
    Passing,
    /// What is gone.
    Bad,
}

impl Terminal {
    pub(super) fn new(choice: ColorChoice) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = |is_terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && !dumb && !unwanted,
        };
        let (out, log) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            redraws: out && !dumb,
            colours: colours(out),
            colours_log: colours(log),
        }
    }

    /// A line for stdout in its style.
    pub(super) fn styled(self, style: Option<Style>, text: &str) -> String {
        let code = match style {
            _ if !self.colours => return text.to_owned(),
            None => return text.to_owned(),
            Some(Style::Good) => "32",
            Some(Style::Passing) => "33",
            Some(Style::Bad) => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
