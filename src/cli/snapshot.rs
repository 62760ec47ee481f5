//! `remember snapshot`: backups, and clusters that begin with one (R14).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::time::{Instant, timeout_at};

use super::client::{Client, block_on, collect, refusal, summary};
use super::endpoint::{Ask, Endpoint, Silence};
use super::exit::{Exit, Failed};
use super::progress::{Progress, count, size};
use super::table::{self, row};
use crate::consensus::{Epoch, NODE_ID_MAX, NodeId, Seat};
use crate::node::{Backup, Restore};
use crate::storage::WalConfig;

/// Saves the whole state to a file, or begins a new cluster with such a file.
#[derive(clap::Subcommand, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) enum Snapshot {
    /// Saves the state of a running cluster, with all that was acknowledged before. The node takes
    /// the request from its own machine, or over TLS
    Save {
        /// The file to write; it must not be there
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Save what the node has, be it old: for a cluster that has lost its majority
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Makes the data directory of the only voter of a new cluster, which begins with a backup.
    /// Start its node on it, and others with empty data directories and --join
    Restore {
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The data directory to make; there must be nothing in it
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The id of the node that it is to be of
        #[arg(long, value_name = "N")]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=NODE_ID_MAX))]
        id: u64,
        /// The epoch to begin: higher than every one that the cluster of the backup, or any made of
        /// its disks or backups, was ever in. Tokens begin with it, and so never come again
        #[arg(long, value_name = "N")]
        epoch: u32,
    },
    /// Reads all of a backup, and says what it holds
    Inspect {
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Snapshot {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Save {
                to,
                stale,
                mut client,
            } => {
                client.open()?;
                block_on(save(&client, &to, stale))
            }
            Self::Restore {
                from,
                data_dir,
                id,
                epoch,
            } => restore(&from, data_dir, NodeId(id), Epoch(epoch)),
            Self::Inspect { file } => inspect(&file),
        }
    }
}

async fn save(client: &Client, to: &Path, stale: bool) -> anyhow::Result<Exit> {
    // Before anything is asked; what comes in between is noticed in the end.
    if to.exists() {
        return Err(taken(to).into());
    }
    let path = if stale {
        "/v1/snapshot?consistency=stale"
    } else {
        "/v1/snapshot"
    };
    let (ask, deadline) = (Ask::read(path), client.deadline());
    let mut failures = Vec::new();
    for endpoint in &client.endpoints {
        let unfinished = Unfinished::beside(to)?;
        match fetch(endpoint, &ask, deadline, &unfinished).await {
            Ok(()) => {
                let backup = unfinished.become_backup(to)?;
                writeln!(std::io::stdout(), "saved {}", described(&backup))?;
                return Ok(Exit::Done);
            }
            Err(failed) if matches!(failed.exit, Exit::Usage | Exit::Denied) => {
                return Err(failed.into());
            }
            Err(failed) => failures.push(failed),
        }
    }
    Err(summary(&failures).into())
}

fn taken(path: &Path) -> Failed {
    let path = path.display();
    Exit::Usage.because(format!(
        "{path} is there already, and nothing is written over; choose another name"
    ))
}

/// Writes what a node answers.
async fn fetch(
    endpoint: &Endpoint,
    ask: &Ask,
    deadline: Instant,
    into: &Unfinished,
) -> Result<(), Failed> {
    let lost = |error: &dyn std::fmt::Display| {
        Exit::Unreachable.because(format!("{endpoint}: the backup broke off: {error}"))
    };
    let fetching = async {
        let silence =
            |silence: Silence| Exit::Unreachable.because(format!("{endpoint}: {silence}"));
        let mut connection = endpoint.connect().await.map_err(silence)?;
        let (head, mut body) = connection.send(ask).await.map_err(silence)?.into_parts();
        if !head.status.is_success() {
            let body = collect(body).await.unwrap_or_default();
            return Err(refusal(endpoint, head.status, &body));
        }
        let mut progress = Progress::of("saving", None);
        let mut written = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| lost(&error))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            let mut file = &into.file;
            let wrote = file.write_all(&piece);
            wrote.map_err(|error| into.failed(&error))?;
            written += piece.len() as u64;
            progress.tell(written);
        }
        Ok(())
    };
    let fetched = timeout_at(deadline, fetching).await;
    fetched.unwrap_or_else(|_| {
        let sentence = format!("{endpoint}: the backup did not end in time; give more --timeout");
        Err(Exit::TimedOut.because(sentence))
    })
}

/// A file that becomes a backup, or is removed.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    /// In the same directory, so that it only needs another name in the end.
    fn beside(to: &Path) -> anyhow::Result<Self> {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let path = to.with_file_name(format!(".{name}.{}.unfinished", std::process::id()));
        let mut options = OpenOptions::new();
        // It holds its users' values: nobody but its owner reads it.
        let options = options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Failed {
        Exit::Failed.because(format!("cannot write {}: {error}", self.path.display()))
    }

    /// Gives it its name, once all of it is read and found whole.
    fn become_backup(self, to: &Path) -> anyhow::Result<Backup> {
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        let backup = Backup::read(&self.path).context("what came is not whole")?;
        match renameat_with(CWD, &self.path, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken(to).into()),
            Err(error) => return Err(self.failed(&error).into()),
        }
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.with_context(|| format!("cannot make {} durable", to.display()))?;
        Ok(backup)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it has its name, there is nothing under this one.
        drop(std::fs::remove_file(&self.path));
    }
}

fn restore(from: &Path, data_dir: PathBuf, id: NodeId, epoch: Epoch) -> anyhow::Result<Exit> {
    let backup = Backup::read(from)?;
    let mut progress = Progress::of("restoring", Some(backup.bytes()));
    let wal = WalConfig::default();
    let to = Restore {
        data_dir,
        id,
        epoch,
        wal,
    };
    let made = backup.restore(&to, |done| progress.tell(done))?;
    let data_dir = to.data_dir.display();
    writeln!(
        std::io::stdout(),
        "restored {} to {data_dir}\nNode {id} is the only voter of cluster {:016x} in epoch \
         {epoch}. Start it on that directory, and others with empty ones and --join.",
        described(&backup),
        made.cluster.0
    )?;
    Ok(Exit::Done)
}

fn inspect(file: &Path) -> anyhow::Result<Exit> {
    let backup = Backup::read(file)?;
    let view = backup.view();
    let position = view.position();
    let (epoch, revision) = (backup.epoch(), view.revision());
    let mut rows = vec![
        row![
            "file",
            format!("{}, {}", file.display(), size(backup.bytes()))
        ],
        row![
            "state",
            format!("behind entry {} of term {}", position.index, position.term)
        ],
        row!["epoch", format!("{epoch}: restore into a higher one")],
        row!["keys", view.len()],
        row![
            "their size",
            format!(
                "{} of {}",
                size(view.used_bytes()),
                size(view.quota_bytes())
            )
        ],
        row!["revision", revision],
    ];
    let is_voter = |seat: Seat| if seat.votes { "voter" } else { "learner" };
    for (member, seat) in backup.configuration().1.seats() {
        rows.push(row![
            "member",
            format!("node {}, {}", member.id, is_voter(seat))
        ]);
    }
    for line in table::lines(&rows) {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(Exit::Done)
}

/// A backup in a few words.
fn described(backup: &Backup) -> String {
    let (view, epoch) = (backup.view(), backup.epoch());
    let keys = count(view.len(), "key");
    let position = view.position();
    format!(
        "{keys}, {}, as of entry {} of term {} (epoch {epoch})",
        size(view.used_bytes()),
        position.index,
        position.term
    )
}
