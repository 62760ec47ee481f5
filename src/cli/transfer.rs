//! `remember transfer`: hands leadership over, and waits until it has moved.

use std::io::Write as _;

use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::time::Instant;

use super::client::{Client, ask_one, block_on};
use super::endpoint::Ask;
use super::exit::Exit;
use super::leader::Leader;

/// Hands leadership over to another node.
///
/// Asks the leader and waits for the next one. The leader takes the request from its own machine,
/// or over TLS.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Transfer {
    /// The id of the next leader; the follower that is furthest if not said
    #[arg(long, value_name = "ID", conflicts_with = "leaving")]
    to: Option<u64>,
    /// The node at the one endpoint is about to end: it hands over if it leads, and does not stand
    /// again until it is restarted
    #[arg(long)]
    leaving: bool,
    #[command(flatten)]
    client: Client,
}

/// The request, as the node reads it.
#[derive(Serialize)]
struct Document {
    to: Option<u64>,
    leaving: bool,
}

impl Transfer {
    pub(super) fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        block_on(async {
            let deadline = self.client.deadline();
            if self.leaving {
                return self.leave(deadline).await;
            }
            let old = Leader::find(&self.client, deadline, |_| true).await?;
            if self.to == Some(old.node.id) {
                let (id, term) = (old.node.id, old.term);
                writeln!(std::io::stdout(), "node {id} leads already, in term {term}")?;
                return Ok(Exit::Done);
            }
            let begun = Instant::now();
            ask_one(&old.endpoint, &self.ask()?, deadline).await?;
            let newer = |leader: &Leader| leader.term > old.term;
            let new = Leader::find(&self.client, deadline, newer).await?;
            let took = begun.elapsed();
            writeln!(
                std::io::stdout(),
                "node {} leads in term {}, {:.1} ms after node {} was asked to hand over",
                new.node.id,
                new.term,
                took.as_secs_f64() * 1e3,
                old.node.id,
            )?;
            // Another node may have been quicker than the one that was named.
            let is_meant = self.to.is_none_or(|to| to == new.node.id);
            Ok(if is_meant { Exit::Done } else { Exit::Failed })
        })
    }

    async fn leave(&self, deadline: Instant) -> anyhow::Result<Exit> {
        let [endpoint] = self.client.endpoints.as_slice() else {
            let sentence = "--leaving is for one node: name it by one --endpoint";
            return Err(Exit::Usage.because(sentence).into());
        };
        ask_one(endpoint, &self.ask()?, deadline).await?;
        writeln!(
            std::io::stdout(),
            "the node at {endpoint} does not stand again"
        )?;
        Ok(Exit::Done)
    }

    fn ask(&self) -> anyhow::Result<Ask> {
        let (to, leaving) = (self.to, self.leaving);
        let mut ask =
            Ask::new(Method::POST, "/v1/leader/transfer").with(CONTENT_TYPE, "application/json");
        ask.body = Bytes::from(serde_json::to_vec(&Document { to, leaving })?);
        Ok(ask)
    }
}
