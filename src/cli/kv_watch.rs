//! `remember kv watch`: each change once, in order, whatever becomes of single nodes.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, block_on, collect, refusal};
use super::endpoint::{Ask, Endpoint};
use super::events::{Event, Events};
use super::exit::{Exit, Failed, say};
use super::kv_entry::{Entry, encoded};
use super::status::Output;

/// How long a node may take to begin to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How long to wait after every node was asked in vain.
const ROUND: Duration = Duration::from_millis(200);

/// Prints each change of keys, until it is interrupted.
///
/// When a node is lost, another one continues behind the last change
/// that was printed; `--timeout` says for how long there may be none.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Watch {
    /// Only keys that begin so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Begin with this revision; with the next change if not said
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// How to print each change; json: one object a line, values in base64
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    client: Client,
}

/// How the stream of one node ended.
enum Ended {
    /// Another node may go on.
    Lost(Failed),
    /// None can.
    Final(anyhow::Error),
}

/// A change as JSON.
#[derive(Serialize)]
struct Change<'a> {
    event: &'a str,
    #[serde(flatten)]
    entry: Entry,
}

#[derive(Deserialize)]
struct Listed {
    revision: u64,
}

#[derive(Deserialize)]
struct Compacted {
    error: String,
}

impl Watch {
    pub(super) fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        block_on(async {
            let mut deadline = self.client.deadline();
            // Named by its number, "from now on" is the same wherever the watch goes on.
            let from = match self.from {
                Some(from) => from,
                None => self.next_revision(deadline).await?,
            };
            let mut seen = from.saturating_sub(1);
            loop {
                let mut last = None;
                for endpoint in &self.client.endpoints {
                    match self.follow(endpoint, &mut seen, &mut deadline).await {
                        Ended::Final(error) => return Err(error),
                        Ended::Lost(failed) => last = Some(failed),
                    }
                }
                if Instant::now() >= deadline {
                    let nobody = || Exit::Unreachable.because("there is no node to ask");
                    return Err(last.unwrap_or_else(nobody).into());
                }
                sleep(ROUND).await;
            }
        })
    }

    /// The revision of the next change.
    async fn next_revision(&self, deadline: Instant) -> anyhow::Result<u64> {
        let answer = self
            .client
            .ask(&Ask::read("/v1/kv?limit=1"), deadline)
            .await?;
        let Listed { revision } = serde_json::from_slice(&answer.body)
            .context("the answer is not like that of a node of remember")?;
        Ok(revision.saturating_add(1))
    }

    /// Prints what one node sends, until it ends. `seen` is the last revision that was told.
    async fn follow(&self, endpoint: &Endpoint, seen: &mut u64, deadline: &mut Instant) -> Ended {
        let mut events = match self.open(endpoint, seen.saturating_add(1)).await {
            Ok(events) => events,
            Err(ended) => return ended,
        };
        loop {
            let event = match events.next().await {
                Ok(event) => event,
                Err(ended) => {
                    *deadline = self.client.deadline();
                    say(&format!("{endpoint}: {ended}; asking the next node"));
                    return Ended::Lost(Exit::Unreachable.because(format!("{endpoint}: {ended}")));
                }
            };
            if let Err(error) = self.print(&event) {
                return Ended::Final(error);
            }
            if let Some(id) = event.id.as_deref().and_then(|id| id.parse().ok()) {
                *seen = id;
            }
        }
    }

    async fn open(&self, endpoint: &Endpoint, from: u64) -> Result<Events, Ended> {
        let prefix = encoded(self.prefix.as_bytes());
        let ask = Ask::read(format!("/v1/kv?prefix={prefix}&watch={from}"));
        let lost = |what: &dyn std::fmt::Display| {
            Ended::Lost(Exit::Unreachable.because(format!("{endpoint}: {what}")))
        };
        let asked = async { endpoint.connect().await?.send(&ask).await };
        let response = timeout(ANSWER, asked).await;
        let response = response.map_err(|_| lost(&"it did not answer in time"))?;
        let response = response.map_err(|silence| lost(&silence))?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Events::new(body));
        }
        let collected = timeout(ANSWER, collect(body)).await;
        let body = collected.unwrap_or_else(|late| Err(late.to_string()));
        let failed = refusal(endpoint, head.status, &body.unwrap_or_default());
        Err(match head.status {
            StatusCode::SERVICE_UNAVAILABLE => Ended::Lost(failed),
            _ => Ended::Final(failed.into()),
        })
    }

    fn print(&self, event: &Event) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match event.name.as_str() {
            "put" | "delete" => {}
            "compacted" => {
                let Compacted { error } = serde_json::from_str(&event.data)?;
                return Err(Exit::Failed.because(error).into());
            }
            _ => return Ok(()),
        }
        let entry: Entry = serde_json::from_str(&event.data)
            .context("the event is not like that of a node of remember")?;
        match self.output {
            Output::Table if event.name == "put" => {
                let (key, value) = (entry.key_shown(), entry.value_shown());
                writeln!(out, "{} put {key} {value}", entry.modified)?;
            }
            Output::Table => writeln!(out, "{} delete {}", entry.modified, entry.key_shown())?,
            Output::Json => {
                let change = Change {
                    event: &event.name,
                    entry,
                };
                writeln!(out, "{}", serde_json::to_string(&change)?)?;
            }
        }
        Ok(())
    }
}
