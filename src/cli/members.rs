//! `remember members`: who belongs to the cluster, and changing that.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::client::{Client, ask_one, block_on};
use super::endpoint::Ask;
use super::exit::{Exit, Failed};
use super::leader::Leader;
use super::status::Output;
use super::table::{self, row};

/// How often to look whether a change is done.
const LOOK: Duration = Duration::from_millis(50);

/// Says who belongs to the cluster, or changes that.
///
/// A node joins by itself: start it with --join, and it is a learner as soon as the leader has
/// registered it. A learner is fed and has no vote until it is promoted.
#[derive(clap::Subcommand, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) enum Members {
    /// Lists everybody, dead or alive, as one node knows it
    List {
        /// How to print the result
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
        #[command(flatten)]
        client: Client,
    },
    /// Lets learners vote, all in one step. A learner whose id has a voter on an earlier disk takes
    /// the place of that
    Promote {
        /// The ids of the learners
        #[arg(value_name = "ID", required = true)]
        ids: Vec<u64>,
        #[command(flatten)]
        client: Client,
    },
    /// Removes members, all in one step; those who stay must be there and caught up. A member that
    /// still runs ends, and one that is started with --join comes back as a learner
    Remove {
        /// The ids of the members
        #[arg(value_name = "ID", required = true)]
        ids: Vec<u64>,
        #[command(flatten)]
        client: Client,
    },
}

/// The request, as the node reads it.
#[derive(Serialize, Default)]
pub(super) struct Wish {
    pub(super) promote: Vec<u64>,
    pub(super) remove: Vec<u64>,
}

/// What a node says of the members.
#[derive(Deserialize)]
pub(super) struct Document {
    /// The entry that they came with; `None` before the cluster is founded.
    pub(super) since: Option<u64>,
    pub(super) members: Vec<Member>,
}

#[derive(Deserialize)]
pub(super) struct Member {
    pub(super) id: u64,
    ip: String,
    port: String,
    pub(super) incarnation: Option<String>,
    pub(super) role: Option<String>,
    leader: bool,
    alive: Option<bool>,
}

impl Document {
    /// Whether a member has this id.
    pub(super) fn names(&self, id: u64) -> bool {
        self.members.iter().any(|member| member.id == id)
    }
}

impl Wish {
    /// Whether nothing is wished for.
    pub(super) fn is_empty(&self) -> bool {
        self.promote.is_empty() && self.remove.is_empty()
    }

    /// Whether it is so already.
    fn is_done(&self, seen: &Document) -> bool {
        let is_voter = |member: &Member| member.role.as_deref() == Some("voter");
        let votes = |id: &u64| {
            let mut disks = seen.members.iter().filter(|member| member.id == *id);
            seen.names(*id) && disks.all(is_voter)
        };
        self.promote.iter().all(votes) && !self.remove.iter().any(|id| seen.names(*id))
    }
}

impl Members {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::List { output, mut client } => {
                client.open()?;
                block_on(list(&client, output))
            }
            Self::Promote { ids, mut client } => {
                client.open()?;
                let promote = ids;
                let wish = Wish {
                    promote,
                    ..Wish::default()
                };
                block_on(carry_out(&client, &wish))
            }
            Self::Remove { ids, mut client } => {
                client.open()?;
                let remove = ids;
                let wish = Wish {
                    remove,
                    ..Wish::default()
                };
                block_on(carry_out(&client, &wish))
            }
        }
    }
}

async fn list(client: &Client, output: Output) -> anyhow::Result<Exit> {
    let deadline = client.deadline();
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            let answer = client.ask(&Ask::read("/v1/members"), deadline).await?;
            out.write_all(&answer.body)?;
        }
        Output::Table => {
            for line in table::lines(&rows(&members(client, deadline).await?)) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Asks one node after the other who belongs to the cluster.
pub(super) async fn members(client: &Client, deadline: Instant) -> Result<Document, Failed> {
    let answer = client.ask(&Ask::read("/v1/members"), deadline).await?;
    let document = serde_json::from_slice(&answer.body);
    document.map_err(|error| {
        Exit::Failed.because(format!(
            "no node of this version of remember answers: {error}"
        ))
    })
}

fn rows(document: &Document) -> Vec<Vec<String>> {
    let head = row!["NODE", "ROLE", "ALIVE", "ADDRESS", "DISK"];
    let row = |member: &Member| {
        let role = member.role.as_deref().unwrap_or("-");
        let alive = match member.alive {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let address = if member.ip.is_empty() {
            "-".to_owned()
        } else {
            format!("{}:{}", member.ip, member.port)
        };
        row![
            member.id,
            if member.leader { "leader" } else { role },
            alive,
            address,
            member.incarnation.as_deref().unwrap_or("-"),
        ]
    };
    let members = document.members.iter().map(row);
    std::iter::once(head).chain(members).collect()
}

async fn carry_out(client: &Client, wish: &Wish) -> anyhow::Result<Exit> {
    if let Err(failed) = change(client, wish).await {
        // A leader that is to go hands over in the midst, and cannot say how it ends. And it may
        // have done by itself what it was asked for.
        let patience = match failed.exit {
            Exit::TimedOut => client.deadline(),
            _ => Instant::now(),
        };
        if !comes_true(client, wish, patience).await {
            return Err(failed.into());
        }
    }
    let told = |ids: &[u64], what: &str| {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        (!ids.is_empty()).then(|| format!("{what} {}", ids.join(", ")))
    };
    let done = [
        told(&wish.promote, "promoted"),
        told(&wish.remove, "removed"),
    ];
    for line in done.into_iter().flatten() {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(Exit::Done)
}

/// Looks at least once, and until then, whether some node tells that it is done.
async fn comes_true(client: &Client, wish: &Wish, until: Instant) -> bool {
    loop {
        let seen = members(client, client.deadline()).await;
        if seen.is_ok_and(|seen| wish.is_done(&seen)) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK).await;
    }
}

/// Asks the leader; done once that is agreed on.
pub(super) async fn change(client: &Client, wish: &Wish) -> Result<(), Failed> {
    let deadline = client.deadline();
    let leader = Leader::find(client, deadline, |_| true).await?;
    let mut ask = Ask::new(Method::POST, "/v1/members").with(CONTENT_TYPE, "application/json");
    ask.body = Bytes::from(serde_json::to_vec(wish).unwrap_or_default());
    ask_one(&leader.endpoint, &ask, deadline).await?;
    Ok(())
}
