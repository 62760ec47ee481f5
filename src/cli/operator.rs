//! `remember operator`: this process looks after the RememberClusters of a Kubernetes.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::{ArgMatches, Args as _};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::listen::bind;
use super::log::LogFlags;
use super::terminal::Terminal;
use super::{environment, print_config};
use crate::discovery::parse_address;
use crate::operator::build::Defaults;
use crate::operator::{Settings, run};
use crate::wire::Address;

/// The client of the API server logs each call that fails as an error of its own, which is told
/// here anyway where it matters; --log can ask for it.
const QUIET: &str = "kube_client=off,";

/// Looks after the RememberClusters of a Kubernetes: makes their pods, leads traffic to leaders.
///
/// Any number of operators may run at once. It finds the API server as kubectl does, or as a pod.
/// Every flag can be given as the variable that stands beside it. SIGTERM and SIGINT end it; no
/// cluster needs it in order to elect.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Operator {
    /// The image of the sidecars, which is this program's own: its pods run `remember node`
    #[arg(
        long,
        env = "REMEMBER_IMAGE",
        value_name = "IMAGE",
        hide_env_values = true
    )]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    image: String,
    /// When kubelets fetch it: Always, IfNotPresent or Never; as Kubernetes chooses if not said
    #[arg(
        long,
        env = "REMEMBER_IMAGE_PULL_POLICY",
        value_name = "WHEN",
        hide_env_values = true
    )]
    #[arg(value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// The namespaces whose clusters to look after, several separated by commas; all if none is
    /// named
    #[arg(
        long,
        env = "REMEMBER_NAMESPACES",
        value_name = "NAMESPACE,...",
        hide_env_values = true
    )]
    #[arg(value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Where to answer questions of health, and metrics; where a machine has no IPv6, [::] means
    /// 0.0.0.0
    #[arg(
        long,
        env = "REMEMBER_LISTEN_ADMIN",
        value_name = "HOST:PORT",
        hide_env_values = true
    )]
    #[arg(value_parser = parse_address, default_value = "[::]:7402")]
    listen_admin: Address,
    /// The name of this operator's pod, for events
    #[arg(
        long,
        env = "REMEMBER_POD_NAME",
        value_name = "POD",
        hide_env_values = true
    )]
    pod_name: Option<String>,
    #[command(flatten)]
    log: LogFlags,
    /// Print every setting with where it comes from, and end
    #[arg(long)]
    print_config: bool,
}

impl Operator {
    pub(super) fn run(self, matches: &ArgMatches, terminal: Terminal) -> anyhow::Result<Exit> {
        environment::check()?;
        if self.print_config {
            let command = Self::augment_args(clap::Command::new("operator"));
            print_config::print(&command, matches)?;
            return Ok(Exit::Done);
        }
        let log = self.log.start(QUIET, terminal)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ended = runtime.block_on(self.serve());
        runtime.shutdown_background();
        Ok(log.end(ended))
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let at = &self.listen_admin;
        let listener = bind(at).await;
        let listener = listener.with_context(|| format!("cannot listen for health at {at}"))?;
        let bound: SocketAddr = listener.local_addr()?;
        tracing::info!(at = %bound, "listening for health and metrics");
        let namespaces = self.namespaces.iter().map(|name| name.trim().to_owned());
        let settings = Settings {
            defaults: Defaults {
                image: self.image.clone(),
                image_pull_policy: self.image_pull_policy.clone(),
            },
            namespaces: namespaces.filter(|name| !name.is_empty()).collect(),
            instance: self.pod_name.clone(),
        };
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
                _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
            }
        };
        run(settings, listener, stop).await?;
        Ok(())
    }
}
