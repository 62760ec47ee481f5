//! `remember witness`: this process keeps the registers of pairs (R17), until it is told to end.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args as _};
use tokio::task::LocalSet;

use super::exit::Exit;
use super::log::LogFlags;
use super::node::{came, die_with, listen, signals};
use super::terminal::Terminal;
use super::tls::TlsFlags;
use super::{environment, print_config};
use crate::discovery::parse_address;
use crate::server::{Certified, Plain, WitnessServer};
use crate::tls::Service;
use crate::wire::Address;
use crate::witness::Keeper;

/// How long requests that have begun may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Keeps the register by which one of two nodes goes on alone.
///
/// Two nodes cannot tell whether the other is dead or only cut off. Given --witness with the URL of
/// this, whoever loses the other asks here, and one of them gets it. Run it on a third machine: it
/// needs next to nothing, and both nodes go on without it as long as they have each other. One
/// keeps the registers of many clusters, each by the cluster's own name.
///
/// Keep the directory: where it is lost together with a node, the other waits for that node.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Witness {
    /// Where to listen for nodes
    #[arg(
        long,
        env = "REMEMBER_LISTEN",
        value_name = "HOST:PORT",
        hide_env_values = true
    )]
    #[arg(value_parser = parse_address)]
    listen: Address,
    /// The directory that is this process's alone; made if it is not there
    #[arg(
        long,
        env = "REMEMBER_DATA_DIR",
        value_name = "DIR",
        hide_env_values = true
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    tls: TlsFlags,
    /// Let nodes speak without TLS beyond this machine: whoever reaches the port can then decide
    /// who goes on. Not together with --tls-cert
    #[arg(long, env = "REMEMBER_ALLOW_PLAIN", hide_env_values = true)]
    #[arg(conflicts_with = "tls_cert")]
    allow_plain: bool,
    #[command(flatten)]
    log: LogFlags,
    /// Print every setting with where it comes from, and end
    #[arg(long)]
    print_config: bool,
    /// End when the process with this id ends: who starts this leaves none behind
    #[arg(long, hide = true, value_name = "PID")]
    parent_pid: Option<i32>,
}

impl Witness {
    pub(super) fn run(self, matches: &ArgMatches, terminal: Terminal) -> anyhow::Result<Exit> {
        environment::check()?;
        if self.print_config {
            let command = Self::augment_args(clap::Command::new("witness"));
            print_config::print(&command, matches)?;
            return Ok(Exit::Done);
        }
        if let Some(parent) = self.parent_pid {
            die_with(parent)?;
        }
        let log = self.log.start("", terminal)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ended = runtime.block_on(LocalSet::new().run_until(self.serve()));
        Ok(log.end(ended))
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let service = self.tls.files().map(Service::read).transpose();
        let service = service.map_err(|error| Exit::Usage.because(error.to_string()))?;
        let plain = service.is_some() || self.allow_plain;
        let listener = listen("nodes", &self.listen, plain).await?;
        let signals = signals()?;
        let server = WitnessServer::new(Keeper::open(&self.data_dir)?);
        match service {
            Some(service) => server.listen(listener, Certified(service)),
            None => server.listen(listener, Plain),
        }
        tokio::select! {
            () = came(signals, 1) => {}
            why = server.failed() => anyhow::bail!(why),
        }
        server.shut_down(GRACE).await;
        Ok(())
    }
}
