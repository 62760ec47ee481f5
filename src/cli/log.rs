//! A log that never waits: lines go to stderr on a thread of their own.
//!
//! Whoever reads stderr may stop reading. Then a bounded number of lines wait, later ones are
//! dropped and counted, and the node goes on; the count is told once there is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::exit::{self, Exit};
use super::terminal::Terminal;

/// How many lines may wait; further ones are dropped.
const LINES_MAX: usize = 1024;

/// The longest line, in bytes; what is behind is cut off.
const LINE_BYTES_MAX: usize = 8 << 10;

/// How long the last lines may take to be written when the process ends.
const LAST_LINES: Duration = Duration::from_millis(500);

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What a process that runs for long logs, and how.
#[derive(clap::Args, Debug)]
pub(super) struct LogFlags {
    /// What to log: a level, or levels by module
    #[arg(
        long,
        env = "REMEMBER_LOG",
        value_name = "FILTER",
        hide_env_values = true
    )]
    #[arg(default_value = "info", value_parser = log_filter)]
    log: String,
    /// How the log looks
    #[arg(
        long,
        env = "REMEMBER_LOG_FORMAT",
        value_name = "FORMAT",
        hide_env_values = true
    )]
    #[arg(value_enum, default_value = "text")]
    log_format: Format,
}

fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; it is like info, or like remember::node=debug"
        )),
    }
}

impl LogFlags {
    /// Starts the log; `before` is a filter that what was asked for comes after.
    pub(super) fn start(&self, before: &str, terminal: Terminal) -> anyhow::Result<Log> {
        let filter = format!("{before}{}", self.log);
        Log::start(&filter, self.log_format, terminal.colours_log)
    }
}

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub(super) struct Log {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

enum Line {
    Text(Vec<u8>),
    /// Everything before this is to be written; then its sender is told.
    Mark(SyncSender<()>),
}

impl Log {
    /// Starts the thread, and sends all that this process traces to it.
    fn start(filter: &str, format: Format, colours: bool) -> anyhow::Result<Self> {
        let log = Self::writing_to(io::stderr())?;
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(filter)?)
            .with_ansi(colours && format == Format::Text)
            .with_writer(log.clone());
        let set = match format {
            Format::Text => subscriber.try_init(),
            Format::Json => subscriber.json().try_init(),
        };
        set.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))?;
        Ok(log)
    }

    fn writing_to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = mpsc::sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&waiting, &count, sink))?;
        Ok(Self { lines, dropped })
    }

    /// Writes a line that no filter sees.
    pub(super) fn say(&self, line: &str) {
        self.send(format!("{line}\n").into_bytes());
    }

    /// Writes how a process ended that runs for long, and waits for that; its exit code.
    pub(super) fn end(&self, ended: anyhow::Result<()>) -> Exit {
        // Not by way of stderr itself: whoever should read it may not.
        if let Err(error) = &ended {
            self.say(&format!("error: {error:#}"));
        }
        self.flush();
        ended.map_or_else(|error| exit::of(&error), |()| Exit::Done)
    }

    /// Waits until what was logged is written, but not for a reader that does not read.
    pub(super) fn flush(&self) {
        let (mark, written) = mpsc::sync_channel(1);
        if self.lines.try_send(Line::Mark(mark)).is_ok() {
            // Written or not, the process ends.
            let _written = written.recv_timeout(LAST_LINES).is_ok();
        }
    }

    fn send(&self, mut line: Vec<u8>) {
        if line.len() > LINE_BYTES_MAX {
            line.truncate(LINE_BYTES_MAX - 1);
            line.push(b'\n');
        }
        if self.lines.try_send(Line::Text(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Log {
    /// Takes a whole line: that is how the subscriber writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what comes. If stderr is closed, the log is lost and nothing else is.
fn write_all(lines: &Receiver<Line>, dropped: &AtomicU64, mut sink: impl Write) {
    while let Ok(line) = lines.recv() {
        match line {
            Line::Text(text) => drop(sink.write_all(&text)),
            Line::Mark(written) => drop(written.send(())),
        }
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            count => drop(writeln!(
                sink,
                "{count} lines were dropped: stderr was not read"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Takes nothing while its gate is locked.
    #[derive(Clone, Default)]
    struct Gate(Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_time() {
        let gate = Gate::default();
        let log = Log::writing_to(gate.clone()).unwrap();
        let shut = gate.0.lock().unwrap();
        let said = LINES_MAX * 2;
        for n in 0..said {
            log.say(&n.to_string());
        }
        log.flush();
        drop(shut);
        // The queue is full until the thread has taken a line.
        let text = loop {
            log.flush();
            let text = String::from_utf8(gate.0.lock().unwrap().clone()).unwrap();
            if text.contains("were dropped") && text.lines().count() > LINES_MAX {
                break text;
            }
            thread::yield_now();
        };
        let told: usize = text
            .lines()
            .filter_map(|line| line.strip_suffix(" lines were dropped: stderr was not read"))
            .map(|count| count.parse::<usize>().unwrap())
            .sum();
        let written = text.lines().filter(|line| !line.contains("dropped"));
        assert_eq!(written.count() + told, said);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let gate = Gate::default();
        let log = Log::writing_to(gate.clone()).unwrap();
        log.say(&"x".repeat(LINE_BYTES_MAX * 2));
        log.flush();
        assert_eq!(gate.0.lock().unwrap().len(), LINE_BYTES_MAX);
    }
}
