//! Drives etcd by its own `benchmark`: that is how its project measures it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;

use super::cluster::Cluster;
use super::load::{Kind, Load};
use super::report::{Row, Times};
use crate::cli::exit::say;

/// The keys that etcd's benchmark writes: with its default of one, every write would hit the same.
const KEY_SPACE: &str = "--key-space-size=1000000";

/// Operations of the run that finds out how many fit in the time.
const PROBE: u64 = 4000;

/// What the tool said at its end.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Summary {
    per_second: f64,
    times: Times,
}

/// Loads an etcd cluster for about as long as `load` says.
pub(super) async fn run(tool: &Path, load: Load, cluster: &Cluster) -> anyhow::Result<Row> {
    let probe = operate(tool, load, PROBE.max(load.clients as u64 * 8), cluster).await?;
    let total = probe.per_second * load.time.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of operations times some seconds, not negative"
    )]
    let total = (total as u64).max(PROBE);
    let cpu = cluster.cpu()?;
    let summary = operate(tool, load, total, cluster).await?;
    let cpu = cluster.cpu()?.saturating_sub(cpu);
    let mut row = Row::new(load.kind.name(), cluster.system, cluster.nodes());
    row.clients = Some(load.clients);
    row.n = total;
    row.times = summary.times;
    row.per_second = Some(summary.per_second);
    row.cpu_us = Some(per_operation(cpu, total));
    row.rss_mib = Some(cluster.memory_mib()?);
    Ok(row)
}

/// Processor time of one operation, in microseconds.
pub(super) fn per_operation(cpu: Duration, count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the quotient has three digits")]
    let count = count.max(1) as f64;
    cpu.as_secs_f64() * 1e6 / count
}

async fn operate(
    tool: &Path,
    load: Load,
    total: u64,
    cluster: &Cluster,
) -> anyhow::Result<Summary> {
    let endpoints: Vec<_> = cluster
        .ports()
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let mut command = super::guard::guarded(tool)?;
    match load.kind {
        Kind::Write => command
            .args(["put", KEY_SPACE])
            .arg(format!("--val-size={}", load.value_bytes)),
        Kind::Read => command.args(["range", "whole"]),
    };
    command
        .args(["--precise", "--endpoints", &endpoints.join(",")])
        .arg(format!("--conns={}", load.clients))
        .arg(format!("--clients={}", load.clients))
        .arg(format!("--total={total}"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let output = command
        .output()
        .await
        .context("cannot run etcd's benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    summary(&text).with_context(|| {
        say(&text);
        "etcd's benchmark ended without a summary"
    })
}

fn summary(text: &str) -> Option<Summary> {
    let number = |text: &str| text.trim().split(' ').next()?.parse::<f64>().ok();
    let named = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(name))?;
        number(line.trim_start_matches(':'))
    };
    let percentile = |percent: &str| Some(named(&format!("{percent}% in"))? * 1e3);
    Some(Summary {
        per_second: named("Requests/sec")?,
        times: Times {
            p50: percentile("50"),
            p90: percentile("90"),
            p99: percentile("99"),
            max: Some(named("Slowest")? * 1e3),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "\nSummary:\n  Total:\t0.5 secs.\n  Slowest:\t0.25 secs.\n  \
                    Requests/sec:\t2263.5858\n\nLatency distribution:\n  10% in 0.001 secs.\n  \
                    50% in 0.002 secs.\n  90% in 0.004 secs.\n  99% in 0.0125 secs.\n  \
                    99.9% in 0.1 secs.\n";
        let found = summary(text).unwrap();
        assert!((found.per_second - 2263.5858).abs() < 1e-9);
        let times = Times {
            p50: Some(2.0),
            p90: Some(4.0),
            p99: Some(12.5),
            max: Some(250.0),
        };
        assert_eq!(found.times, times);
        assert_eq!(summary("dial tcp: refused"), None);
    }
}
