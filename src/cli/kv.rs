//! `remember kv`: the replicated keys, read and written through any node.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Subcommand;
use hyper::Method;
use hyper::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use serde::Deserialize;

use super::client::{Answer, Client, block_on};
use super::endpoint::Ask;
use super::exit::Exit;
use super::kv_entry::{Entry, encoded};
use super::kv_quota::Quota;
use super::kv_watch::Watch;
use super::status::Output;
use super::table::{self, row};
use crate::state::VALUE_BYTES_MAX;

/// Reads and writes the replicated keys.
#[derive(Subcommand, Debug)]
pub(super) enum Kv {
    Get(Get),
    Put(Put),
    Delete(Delete),
    List(List),
    Watch(Watch),
    Quota(Quota),
}

/// Prints the value of a key, as it is.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Get {
    /// The key
    key: String,
    /// Take what the node has, even if it is behind
    #[arg(long)]
    stale: bool,
    #[command(flatten)]
    client: Client,
}

/// Sets a key to a value, and prints the new revision.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Put {
    /// The key
    key: String,
    /// The value; - reads it from stdin
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Only if the key is at this revision
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_revision")]
    create_only: bool,
    #[command(flatten)]
    client: Client,
}

/// Removes a key, and prints the revision of that.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Delete {
    /// The key
    key: String,
    /// Only if the key is at this revision
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    client: Client,
}

/// Lists keys.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct List {
    /// Only keys that begin so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Take what the node has, even if it is behind
    #[arg(long)]
    stale: bool,
    /// How to print each key; json: one object a line, values in base64
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    client: Client,
}

/// A page of a list, as a node sends it.
#[derive(Deserialize)]
struct Page {
    more: bool,
    entries: Vec<Entry>,
}

impl Kv {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Get(get) => get.run(),
            Self::Put(put) => put.run(),
            Self::Delete(delete) => delete.run(),
            Self::List(list) => list.run(),
            Self::Watch(watch) => watch.run(),
            Self::Quota(quota) => quota.run(),
        }
    }
}

impl Get {
    fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        let suffix = if self.stale { "?consistency=stale" } else { "" };
        let ask = Ask::read(format!("{}{suffix}", path(&self.key)?));
        let answer = block_on(async { Ok(self.client.ask(&ask, self.client.deadline()).await?) })?;
        std::io::stdout().write_all(&answer.body)?;
        Ok(Exit::Done)
    }
}

impl Put {
    fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        let mut ask = Ask::new(Method::PUT, path(&self.key)?);
        if self.create_only {
            ask = ask.with(IF_NONE_MATCH, "*");
        }
        ask = at_revision(ask, self.if_revision);
        ask.body = match self.value.as_str() {
            "-" => value_from_stdin()?,
            text => Bytes::copy_from_slice(text.as_bytes()),
        };
        write(&self.client, &ask)
    }
}

impl Delete {
    fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        let ask = Ask::new(Method::DELETE, path(&self.key)?);
        write(&self.client, &at_revision(ask, self.if_revision))
    }
}

fn at_revision(ask: Ask, revision: Option<u64>) -> Ask {
    match revision {
        Some(revision) => ask.with(IF_MATCH, format!("\"{revision}\"")),
        None => ask,
    }
}

fn value_from_stdin() -> anyhow::Result<Bytes> {
    let mut value = Vec::new();
    // One byte more than may be, so that too long a value is noticed.
    let most = VALUE_BYTES_MAX as u64 + 1;
    let read = std::io::stdin().lock().take(most).read_to_end(&mut value);
    read.context("cannot read the value from stdin")?;
    if value.len() > VALUE_BYTES_MAX {
        let sentence = format!("the value is longer than {VALUE_BYTES_MAX} bytes");
        return Err(Exit::Usage.because(sentence).into());
    }
    Ok(value.into())
}

fn write(client: &Client, ask: &Ask) -> anyhow::Result<Exit> {
    let answer = block_on(async { Ok(client.ask(ask, client.deadline()).await?) })?;
    let Answer { headers, .. } = answer;
    let revision = headers.get(ETAG).and_then(|tag| tag.to_str().ok());
    let revision = revision.unwrap_or_default().trim_matches('"');
    writeln!(std::io::stdout(), "{revision}")?;
    Ok(Exit::Done)
}

impl List {
    fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        block_on(async {
            let deadline = self.client.deadline();
            let mut after: Option<Vec<u8>> = None;
            loop {
                let mut query = format!("/v1/kv?prefix={}", encoded(self.prefix.as_bytes()));
                if let Some(after) = &after {
                    // Writing to a string does not fail.
                    let _ok = write!(query, "&after={}", encoded(after));
                }
                if self.stale {
                    query.push_str("&consistency=stale");
                }
                let answer = self.client.ask(&Ask::read(query), deadline).await?;
                let page: Page = serde_json::from_slice(&answer.body)
                    .context("the answer is not like that of a node of remember")?;
                self.print(&page.entries, after.is_none())?;
                match page.entries.last() {
                    Some(last) if page.more => after = Some(last.key_bytes()?),
                    _ => return Ok(Exit::Done),
                }
            }
        })
    }

    fn print(&self, entries: &[Entry], is_first: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Json => {
                for entry in entries {
                    writeln!(out, "{}", serde_json::to_string(entry)?)?;
                }
            }
            Output::Table => {
                let head = is_first.then(|| row!["REVISION", "VERSION", "KEY", "VALUE"]);
                let rows = entries.iter().map(|entry| {
                    let version = entry.version.unwrap_or_default();
                    row![
                        entry.modified,
                        version,
                        entry.key_shown(),
                        entry.value_shown()
                    ]
                });
                let rows: Vec<_> = head.into_iter().chain(rows).collect();
                for line in table::lines(&rows) {
                    writeln!(out, "{line}")?;
                }
            }
        }
        Ok(())
    }
}

/// Where a key is.
fn path(key: &str) -> anyhow::Result<String> {
    if key.is_empty() {
        return Err(Exit::Usage.because("a key has at least one letter").into());
    }
    Ok(format!("/v1/kv/{}", encoded(key.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_fits_in_a_url() {
        assert_eq!(
            path("a/b c%?#\u{e4}").unwrap(),
            "/v1/kv/a/b%20c%25%3F%23%C3%A4"
        );
        assert!(path("").is_err());
    }
}
