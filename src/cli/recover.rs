//! `remember recover`: a cluster that lost its majority goes on with what one disk holds (R14).

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Exit;
use super::progress::{count, size};
use super::table::{self, row};
use crate::consensus::{Epoch, MemberId, Position, Seat};
use crate::node::{Held, Recovery};
use crate::storage::WalConfig;

/// Lets one data directory begin a new cluster, when a majority of the old one is lost for ever.
///
/// Says what the directory holds and what is lost without the others; only with --yes does it
/// change anything. Of several directories take the one whose log ends latest: by term first, then
/// by entry. Then start its node as before, and the others with empty data directories and --join.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Recover {
    /// The data directory of a node that does not run
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The epoch to begin: higher than every one that this cluster, or any made of its disks or
    /// backups, was ever in. Tokens begin with it, and so never come again
    #[arg(long, value_name = "N", required_if_eq("yes", "true"))]
    epoch: Option<u32>,
    /// Do it
    #[arg(long)]
    yes: bool,
}

impl Recover {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let opened = Recovery::open(&self.from, WalConfig::default());
        let opened = opened.with_context(|| self.from.display().to_string());
        let recovery = opened?;
        let held = recovery.held().clone();
        let epoch = self.epoch.map_or(held.epoch_min, Epoch);
        if let Err(error) = recovery.check(epoch) {
            return Err(Exit::Usage.because(error.to_string()).into());
        }
        let mut out = std::io::stdout();
        for line in self.report(&held, epoch) {
            writeln!(out, "{line}")?;
        }
        if !self.yes {
            let again = format!("--from {} --epoch {epoch} --yes", self.from.display());
            writeln!(
                out,
                "\nNothing was changed. To do it: remember recover {again}"
            )?;
            return Ok(Exit::Done);
        }
        out.flush()?;
        let membership = recovery.begin(epoch)?;
        let (id, cluster) = (held.member.id, membership.cluster.0);
        writeln!(
            out,
            "\nNode {id} is the only voter of cluster {cluster:016x} in epoch {epoch}. Start it as \
             before, and the others with empty data directories and --join."
        )?;
        Ok(Exit::Done)
    }

    fn report(&self, held: &Held, epoch: Epoch) -> Vec<String> {
        let mut rows = vec![
            row!["data directory", self.from.display()],
            row!["node", named(&held.member, held.seat)],
            row![
                "cluster",
                format!("{:016x}, epoch {}", held.cluster.0, held.epoch)
            ],
            row!["agreed for certain", place(held.base)],
            row!["log ends", place(held.last)],
            row!["state there", state(held)],
        ];
        for (member, seat) in &held.others {
            rows.push(row![
                "left behind",
                format!("node {}", named(member, Some(*seat)))
            ]);
        }
        let mut lines = table::lines(&rows);
        lines.push(String::new());
        lines.push(format!(
            "This disk alone would begin a new cluster, in epoch {epoch}:"
        ));
        lines.extend(consequences(held, epoch));
        lines
    }
}

fn consequences(held: &Held, epoch: Epoch) -> Vec<String> {
    let ends = held.last.index;
    let mut lines = vec![format!(
        "- All that its log holds, up to entry {ends}, counts as agreed from then on, also what \
         was never acknowledged."
    )];
    if held.others.is_empty() {
        lines.push("- No other member is known, so nothing that was acknowledged is lost.".into());
    } else {
        lines.push(format!(
            "- Whatever was acknowledged and is not in its log, which ends at entry {ends}, is \
             lost for ever."
        ));
        lines.push(
            "- Those who are left behind do not hear of it. If a majority of them was only cut \
             off, it goes on and takes writes until somebody ends it: end them first."
                .into(),
        );
        lines.push(
            "- Their disks can never join the new cluster; their nodes can, with empty ones."
                .into(),
        );
    }
    let floor = epoch.floor();
    lines.push(format!(
        "- Tokens go on above {floor}. Do this with one disk only: two would hand out the same."
    ));
    lines
}

fn place(position: Position) -> String {
    if position == Position::START {
        return "nothing".to_owned();
    }
    format!("up to entry {} of term {}", position.index, position.term)
}

fn state(held: &Held) -> String {
    let keys = count(held.keys, "key");
    format!(
        "{keys}, {}, revision {}",
        size(held.used_bytes),
        held.revision
    )
}

/// A member, and what it counts in.
fn named(member: &MemberId, seat: Option<Seat>) -> String {
    let what = match seat {
        Some(Seat { votes: true, .. }) => "voter",
        Some(Seat { outgoing: true, .. }) => "leaving",
        Some(_) => "learner",
        None => "removed",
    };
    format!("{}, disk {:016x}, {what}", member.id, member.incarnation.0)
}
