//! What was measured, as a table for people and as JSON for programs.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::latencies::Latencies;
use super::server::tick;
use super::system::System;
use crate::cli::table::{self, row};

/// One measurement.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// What was done, and by whom if not by this program's own load generator.
    pub(super) what: String,
    pub(super) system: System,
    pub(super) nodes: u8,
    pub(super) clients: Option<usize>,
    /// How many were counted.
    pub(super) n: u64,
    pub(super) errors: u64,
    #[serde(flatten)]
    pub(super) times: Times,
    pub(super) per_second: Option<f64>,
    /// Processor time of all servers for one operation, in microseconds.
    pub(super) cpu_us: Option<f64>,
    /// Processor time of one server while nothing is asked of it, in percent of a core.
    pub(super) idle_percent: Option<f64>,
    /// Memory of the largest server, in MiB.
    pub(super) rss_mib: Option<f64>,
}

/// How long it took, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(super) struct Times {
    #[serde(rename = "p50Ms")]
    pub(super) p50: Option<f64>,
    #[serde(rename = "p90Ms")]
    pub(super) p90: Option<f64>,
    #[serde(rename = "p99Ms")]
    pub(super) p99: Option<f64>,
    #[serde(rename = "maxMs")]
    pub(super) max: Option<f64>,
}

/// All of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    version: &'static str,
    machine: Machine,
    /// How finely processor time is counted.
    tick_ms: f64,
    rows: &'a [Row],
}

#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, system: System, nodes: u8) -> Self {
        Self {
            what: what.into(),
            system,
            nodes,
            clients: None,
            n: 0,
            errors: 0,
            times: Times::default(),
            per_second: None,
            cpu_us: None,
            idle_percent: None,
            rss_mib: None,
        }
    }

    pub(super) fn of(mut self, latencies: &Latencies) -> Self {
        let at = |percent| Some(milliseconds(latencies.percentile(percent)));
        self.n = latencies.count();
        if self.n > 0 {
            self.times = Times {
                p50: at(50),
                p90: at(90),
                p99: at(99),
                max: Some(milliseconds(latencies.max())),
            };
        }
        self
    }

    fn cells(&self) -> Vec<String> {
        let or_none = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let clients = self.clients.map(|clients| clients.to_string());
        let times = self.times;
        row![
            self.what,
            self.system.name(),
            self.nodes,
            clients.unwrap_or_else(|| "-".to_owned()),
            self.n,
            self.errors,
            or_none(self.per_second, 0),
            or_none(times.p50, 2),
            or_none(times.p90, 2),
            or_none(times.p99, 2),
            or_none(times.max, 2),
            or_none(self.cpu_us, 1),
            or_none(self.idle_percent, 2),
            or_none(self.rss_mib, 1),
        ]
    }

    /// Whether two rows tell of the same thing in different rounds.
    fn is_like(&self, other: &Self) -> bool {
        (&self.what, self.system, self.clients) == (&other.what, other.system, other.clients)
    }
}

/// Prints a table, and writes everything to a file if one is named.
pub(super) fn tell(rows: &[Row], json: Option<&PathBuf>) -> anyhow::Result<()> {
    if let Some(path) = json {
        let document = Document {
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::this(),
            tick_ms: milliseconds(tick()),
            rows,
        };
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let head = row![
        "WHAT", "SYSTEM", "NODES", "CLIENTS", "N", "ERRORS", "PER S", "P50 MS", "P90 MS", "P99 MS",
        "MAX MS", "CPU US", "IDLE %", "RSS MIB",
    ];
    let middle = middle_rounds(rows);
    let cells = middle.into_iter().map(Row::cells);
    let table: Vec<_> = std::iter::once(head).chain(cells).collect();
    let mut out = std::io::stdout().lock();
    for line in table::lines(&table) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Of each thing the round in the middle, by its rate.
fn middle_rounds(rows: &[Row]) -> Vec<&Row> {
    let mut middle: Vec<&Row> = Vec::new();
    for row in rows {
        if middle.iter().any(|told| told.is_like(row)) {
            continue;
        }
        let mut rounds: Vec<_> = rows.iter().filter(|other| other.is_like(row)).collect();
        rounds.sort_by(|a, b| {
            a.per_second
                .unwrap_or(0.0)
                .total_cmp(&b.per_second.unwrap_or(0.0))
        });
        middle.extend(rounds.get(rounds.len() / 2));
    }
    middle
}

impl Machine {
    fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: model.map_or_else(String::new, |(_, model)| model.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
        }
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_in_the_middle_is_told() {
        let row = |what: &str, rate: f64| {
            let mut row = Row::new(what, System::Etcd, 3);
            row.per_second = Some(rate);
            row
        };
        let rows = [row("a", 3.0), row("b", 9.0), row("a", 1.0), row("a", 2.0)];
        let told = middle_rounds(&rows);
        let told: Vec<_> = told
            .iter()
            .map(|row| (row.what.as_str(), row.per_second))
            .collect();
        assert_eq!(told, [("a", Some(2.0)), ("b", Some(9.0))]);
    }
}
