//! `remember status`: who leads, as each node sees it.

use std::io::Write as _;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::client::{Client, block_on};
use super::endpoint::Endpoint;
use super::exit::{Exit, Failed, say};
use super::table::{self, row};
use super::terminal::{Style, Terminal};
use crate::state::ClusterInfo;

/// How long one node may take; it answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says who leads, as each node sees it.
///
/// Asks every endpoint for its cluster-info document and shows them side by side, the leader's
/// first. Ends with 1 if the nodes know no leader, or do not agree.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Status {
    /// How to print the result
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    client: Client,
}

/// How a result is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// The result as JSON.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether all nodes that answered follow one leader in one term.
    agreed: bool,
    nodes: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    endpoint: String,
    /// What the node answered (S6).
    cluster: Option<&'a ClusterInfo>,
    /// Why it did not.
    error: Option<String>,
}

type Seen<'a> = (&'a Endpoint, Result<ClusterInfo, Failed>);

impl Status {
    pub(super) fn run(mut self, terminal: Terminal) -> anyhow::Result<Exit> {
        self.client.open()?;
        block_on(async {
            let deadline = self.client.deadline();
            let patience = deadline.min(tokio::time::Instant::now() + PATIENCE);
            let mut seen = self.client.clusters(patience).await;
            seen.sort_by_key(|(_, cluster)| match cluster {
                Ok(cluster) => (cluster.status, cluster.current_node.id),
                Err(_) => (u8::MAX, 0),
            });
            match self.output {
                Output::Table => print_table(&seen, terminal)?,
                Output::Json => print_json(&seen)?,
            }
            Ok(judge(&seen))
        })
    }
}

fn print_table(seen: &[Seen<'_>], terminal: Terminal) -> std::io::Result<()> {
    let head = row![
        "NODE", "ROLE", "TERM", "LEADER", "TICKETS", "ALIVE", "ENDPOINT"
    ];
    let rows = seen.iter().map(|(endpoint, cluster)| match cluster {
        Ok(cluster) => row![
            cluster.current_node.id,
            role(cluster.status),
            cluster.term,
            (cluster.leader.as_ref())
                .map_or_else(|| "-".to_owned(), |leader| leader.id.to_string()),
            cluster.tickets,
            alive(cluster),
            endpoint,
        ],
        Err(_) => row!["-", "unknown", "-", "-", "-", "-", endpoint],
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let mut out = std::io::stdout().lock();
    let styles = std::iter::once(None).chain(seen.iter().map(style));
    for (line, style) in table::lines(&rows).iter().zip(styles) {
        writeln!(out, "{}", terminal.styled(style, line))?;
    }
    for (_, cluster) in seen {
        if let Err(failed) = cluster {
            say(&failed.to_string());
        }
    }
    Ok(())
}

fn style((_, cluster): &Seen<'_>) -> Option<Style> {
    match cluster {
        Ok(cluster) if cluster.status == 1 => Some(Style::Good),
        Ok(cluster) if cluster.leader.is_none() => Some(Style::Passing),
        Ok(_) => None,
        Err(_) => Some(Style::Bad),
    }
}

/// The word for `status` in the cluster-info document (S6).
pub(super) fn role(status: u8) -> &'static str {
    match status {
        1 => "leader",
        2 => "follower",
        3 => "candidate",
        _ => "unknown",
    }
}

fn alive(cluster: &ClusterInfo) -> String {
    let ids = cluster.alive_followers.iter();
    let ids: Vec<_> = ids.map(|member| member.id.to_string()).collect();
    ids.join(",")
}

fn print_json(seen: &[Seen<'_>]) -> anyhow::Result<()> {
    let nodes = seen.iter().map(|(endpoint, cluster)| Row {
        endpoint: endpoint.to_string(),
        cluster: cluster.as_ref().ok(),
        error: cluster.as_ref().err().map(ToString::to_string),
    });
    let document = Document {
        agreed: judge(seen) == Exit::Done,
        nodes: nodes.collect(),
    };
    let text = serde_json::to_string_pretty(&document)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Whether all who answered follow one leader in one term.
fn judge(seen: &[Seen<'_>]) -> Exit {
    let answers = seen.iter().filter_map(|(_, cluster)| cluster.as_ref().ok());
    let mut views: Vec<_> = answers
        .map(|cluster| {
            (
                cluster.term,
                cluster.leader.as_ref().map(|leader| leader.id),
            )
        })
        .collect();
    views.sort_unstable();
    views.dedup();
    match views.as_slice() {
        [] => {
            let failures = seen
                .iter()
                .filter_map(|(_, cluster)| cluster.as_ref().err());
            let mut exits = failures.map(|failed| failed.exit);
            let first = exits.next().unwrap_or(Exit::Unreachable);
            if exits.all(|exit| exit == first) {
                first
            } else {
                Exit::Unreachable
            }
        }
        [(_, Some(_))] => Exit::Done,
        _ => Exit::Failed,
    }
}
