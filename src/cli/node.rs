//! `remember node`: this process becomes one node of a cluster, until it is told to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgMatches, Args as _};
use kube::Client;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::exit::{Exit, Failed};
use super::listen::bind;
use super::log::LogFlags;
use super::membership::MembershipFlags;
use super::pods::{Place, PodFlags};
use super::terminal::Terminal;
use super::tls::TlsFlags;
use super::witness_flags::WitnessFlags;
use super::{environment, print_config};
use crate::consensus::{Config, NodeId};
use crate::crd::{ADMIN_PORT, API_PORT, REPLICAS_MAX};
use crate::discovery::{Members, PodNews, PodsError, parse_address, watch_pods};
use crate::node::{Apps, Handle, Settings, heed_apps, start};
use crate::server::{Limits, Mutual, Plain, Server};
use crate::storage::WalConfig;
use crate::tls::Identity;
use crate::wire::{Address, MemberAddress};

/// How long requests that have begun may take to end, once the node has ended.
const GRACE: Duration = Duration::from_secs(1);

/// Runs one node of a cluster in this process.
///
/// Every flag can be given as the variable that stands beside it.
///
/// SIGTERM and SIGINT end the node in order: a leader hands over first. A second one ends it at
/// once. A variable that begins with REMEMBER_ and that nothing reads is refused.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Node {
    /// This node's id, from 1
    #[arg(long, env = "REMEMBER_ID", value_name = "N", hide_env_values = true)]
    #[arg(requires = "members", required_unless_present = "cluster")]
    id: Option<u64>,
    /// Every node that founds the cluster, this one among them: its id, where peers reach it, where
    /// clients do. With --join this node and at least one of the others
    #[arg(long, env = "REMEMBER_MEMBERS", hide_env_values = true)]
    #[arg(value_name = "1=HOST:PORT/HOST:PORT,2=...", requires = "id")]
    #[arg(conflicts_with = "cluster")]
    members: Option<Members>,
    #[command(flatten)]
    membership: MembershipFlags,
    #[command(flatten)]
    witness: WitnessFlags,
    #[command(flatten)]
    pods: PodFlags,
    /// The directory that is this node's alone; made if it is not there
    #[arg(
        long,
        env = "REMEMBER_DATA_DIR",
        value_name = "DIR",
        hide_env_values = true
    )]
    data_dir: PathBuf,
    /// Where to listen for peers; this node's own address in the list of members if not said
    #[arg(
        long,
        env = "REMEMBER_LISTEN_PEER",
        value_name = "HOST:PORT",
        hide_env_values = true
    )]
    #[arg(value_parser = parse_address)]
    listen_peer: Option<Address>,
    /// Where to listen for clients, several separated by commas; this node's own address in the
    /// list of members if not said, and in a pod the pod's own and 127.0.0.1:7401. With --tls-cert
    /// clients need a certificate too, but for plain HTTP on loopback; https:// before an address
    /// demands one there as well
    #[arg(
        long,
        env = "REMEMBER_LISTEN_API",
        value_name = "HOST:PORT,...",
        hide_env_values = true
    )]
    #[arg(value_delimiter = ',')]
    listen_api: Vec<ApiAddress>,
    /// Where to answer questions of health, and metrics; 127.0.0.1:7402 if not said, and in a pod
    /// the pod's own address, where Kubernetes asks
    #[arg(
        long,
        env = "REMEMBER_LISTEN_ADMIN",
        value_name = "HOST:PORT",
        hide_env_values = true
    )]
    #[arg(value_parser = parse_address)]
    listen_admin: Option<Address>,
    #[command(flatten)]
    tls: TlsFlags,
    /// Let peers and clients speak without TLS beyond this machine: whoever reaches the ports can
    /// then read and write everything. Not together with --tls-cert
    #[arg(long, env = "REMEMBER_ALLOW_PLAIN", hide_env_values = true)]
    allow_plain: bool,
    /// How often a leader beats, in milliseconds
    #[arg(
        long,
        env = "REMEMBER_HEARTBEAT_MS",
        value_name = "MS",
        hide_env_values = true
    )]
    #[arg(default_value_t = milliseconds(Config::default().heartbeat))]
    heartbeat_ms: u64,
    /// How long a leader may be silent, in milliseconds: at least three heartbeats
    #[arg(
        long,
        env = "REMEMBER_ELECTION_TIMEOUT_MS",
        value_name = "MS",
        hide_env_values = true
    )]
    #[arg(default_value_t = milliseconds(Config::default().election_timeout))]
    election_timeout_ms: u64,
    /// How long a client's request may take, in milliseconds
    #[arg(
        long,
        env = "REMEMBER_REQUEST_TIMEOUT_MS",
        value_name = "MS",
        hide_env_values = true
    )]
    #[arg(default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    request_timeout_ms: u64,
    /// How long the log may grow behind a snapshot until the next one is taken, in bytes
    #[arg(
        long,
        env = "REMEMBER_SNAPSHOT_LOG_BYTES",
        value_name = "N",
        hide_env_values = true
    )]
    #[arg(default_value_t = 16 << 20)]
    snapshot_log_bytes: usize,
    /// The length of one file of the log, in bytes: a multiple of 512, from 16 KiB to 1 GiB
    #[arg(
        long,
        env = "REMEMBER_SEGMENT_BYTES",
        value_name = "N",
        hide_env_values = true
    )]
    #[arg(default_value_t = WalConfig::default().segment_bytes)]
    segment_bytes: u64,
    #[command(flatten)]
    log: LogFlags,
    /// Print every setting with where it comes from, and end
    #[arg(long)]
    print_config: bool,
    /// End when the process with this id ends: who starts nodes leaves none behind
    #[arg(long, hide = true, value_name = "PID")]
    parent_pid: Option<i32>,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Node {
    pub(super) fn run(self, matches: &ArgMatches, terminal: Terminal) -> anyhow::Result<Exit> {
        environment::check()?;
        let settings = self.settings()?;
        if self.print_config {
            let command = Self::augment_args(clap::Command::new("node"));
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
        let ended = runtime.block_on(LocalSet::new().run_until(self.serve(settings)));
        Ok(log.end(ended))
    }

    fn settings(&self) -> Result<Settings, Failed> {
        let place = self.place()?;
        let mut settings = Settings::new(place.id, BTreeMap::new(), &self.data_dir);
        settings.members = place.members;
        settings.addresses_change = place.in_pods;
        self.membership.apply(&mut settings);
        settings.joins |= place.joins;
        settings.pod.clone_from(&self.pods.pod_uid);
        settings.engine.heartbeat = Duration::from_millis(self.heartbeat_ms);
        settings.engine.election_timeout = Duration::from_millis(self.election_timeout_ms);
        settings.request_timeout = Duration::from_millis(self.request_timeout_ms);
        settings.snapshot_log_bytes = self.snapshot_log_bytes;
        settings.wal.segment_bytes = self.segment_bytes;
        let checked = settings.check();
        checked.map_err(|error| Exit::Usage.because(error.to_string()))?;
        Ok(settings)
    }

    fn place(&self) -> Result<Place, Failed> {
        if let Some(place) = self.pods.place()? {
            return Ok(place);
        }
        let (Some(id), Some(members)) = (self.id, &self.members) else {
            return Err(Exit::Usage.because("give --id and --members, or --cluster in a pod"));
        };
        let members = members.0.clone().into_iter();
        Ok(Place {
            id: NodeId(id),
            members: members.map(|(id, address)| (id, Some(address))).collect(),
            in_pods: false,
            joins: false,
        })
    }

    /// Learns for ever where the pods of the cluster are, and whose application is ready, if that
    /// is how peers are found.
    async fn discover(&self, handle: Handle, client: Result<Option<Client>, PodsError>) {
        if let (Some(namespace), Some(cluster)) = (&self.pods.pod_namespace, &self.pods.cluster) {
            let own = handle.status().id;
            let (apps, told) = watch::channel(Apps::new());
            let tell = |news: PodNews| {
                if let Some(address) = news.address.filter(|_| news.id != own) {
                    handle.learn(news.id, address);
                }
                if news.id.0 <= REPLICAS_MAX {
                    apps.send_if_modified(|apps| {
                        apps.insert(news.id, news.is_app_ready) != Some(news.is_app_ready)
                    });
                }
            };
            let watch = async {
                match client {
                    Ok(Some(client)) => watch_pods(client, namespace, cluster, tell).await,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "peers are found by what they say themselves only");
                    }
                }
            };
            tokio::join!(watch, heed_apps(handle.clone(), told));
        }
        std::future::pending::<()>().await;
    }

    /// Where clients are answered. In a pod that is over loopback too: the application beside the
    /// node, and whoever runs a command in the pod, have no certificate.
    fn apis(&self, own: &MemberAddress) -> Vec<ApiAddress> {
        if !self.listen_api.is_empty() {
            return self.listen_api.clone();
        }
        let near = self.pods.cluster.as_ref().map(|_| loopback(API_PORT));
        let near = near.filter(|near| *near != own.api);
        near.iter()
            .chain([&own.api])
            .map(ApiAddress::from)
            .collect()
    }

    /// Where health and metrics are told. The kubelet asks at the address of the pod.
    fn admin(&self, own: &MemberAddress) -> Address {
        let default = || {
            let in_pod = self.pods.cluster.as_ref().map(|_| Address {
                host: own.api.host.clone(),
                port: ADMIN_PORT,
            });
            in_pod.unwrap_or_else(|| loopback(ADMIN_PORT))
        };
        self.listen_admin.clone().unwrap_or_else(default)
    }

    /// A port for clients, and what is shown there if it speaks TLS.
    async fn listen_api(
        &self,
        api: &ApiAddress,
        identity: Option<&Identity>,
    ) -> anyhow::Result<(TcpListener, Option<Identity>)> {
        if api.is_https && identity.is_none() {
            let sentence = format!("https://{} needs --tls-cert", api.at);
            return Err(Exit::Usage.because(sentence).into());
        }
        let plain = identity.is_some() || self.allow_plain;
        let listener = listen("clients", &api.at, plain).await?;
        let is_near = listener.local_addr()?.ip().to_canonical().is_loopback();
        let identity = identity.filter(|_| api.is_https || !is_near);
        Ok((listener, identity.cloned()))
    }

    /// What this node shows to others, if it speaks TLS.
    fn identity(&self, id: NodeId) -> Result<Option<Identity>, Failed> {
        let Some(files) = self.tls.files() else {
            return Ok(None);
        };
        if self.allow_plain {
            let sentence = "--allow-plain and --tls-cert contradict each other; give one of them";
            return Err(Exit::Usage.because(sentence));
        }
        let identity = Identity::read(files, id);
        let identity = identity.map_err(|error| Exit::Usage.because(error.to_string()))?;
        tracing::info!(name = %identity.name(), "peers and clients need a certificate");
        Ok(Some(identity))
    }

    async fn serve(&self, mut settings: Settings) -> anyhow::Result<()> {
        let identity = self.identity(settings.id)?;
        settings.tls.clone_from(&identity);
        let client = self.pods.client();
        let namespace = self.pods.pod_namespace.as_deref();
        let pod = client.as_ref().map(|client| client.as_ref().zip(namespace));
        settings.witness = (self.witness).witness(pod, identity.as_ref(), self.allow_plain)?;
        let own = settings.members.get(&settings.id).and_then(Option::as_ref);
        let own = own.context("a node without an address of its own")?;
        let at = self.listen_peer.as_ref().unwrap_or(&own.peer);
        let peer = listen("peers", at, identity.is_some() || self.allow_plain).await?;
        let mut ports = Vec::new();
        for api in self.apis(own) {
            ports.push(self.listen_api(&api, identity.as_ref()).await?);
        }
        // It shows nothing secret, and nothing there acts.
        let admin = listen("health and metrics", &self.admin(own), true).await?;
        let signals = signals()?;
        let node = start(settings, peer)?;
        let server = Server::new(node.handle.clone(), Limits::default());
        for (port, identity) in ports {
            match identity {
                Some(identity) => server.listen_api(port, Mutual(identity)),
                None => server.listen_api(port, Plain),
            }
        }
        server.listen_admin(admin, Plain);
        let discovering = self.discover(node.handle.clone(), client);
        let ended = tokio::select! {
            () = discovering => return Ok(()),
            ended = node.until(came(signals.clone(), 1)) => ended,
            () = came(signals, 2) => return Ok(()),
        };
        server.shut_down(GRACE).await;
        Ok(ended?)
    }
}

/// Where to listen for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
struct ApiAddress {
    at: Address,
    /// Whether it speaks TLS on loopback too.
    is_https: bool,
}

impl FromStr for ApiAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim().strip_prefix("https://");
        let is_https = bare.is_some();
        let at = parse_address(bare.unwrap_or(text))?;
        Ok(Self { at, is_https })
    }
}

impl From<&Address> for ApiAddress {
    fn from(at: &Address) -> Self {
        let (at, is_https) = (at.clone(), false);
        Self { at, is_https }
    }
}

fn loopback(port: u16) -> Address {
    let host = std::net::Ipv4Addr::LOCALHOST.to_string();
    Address { host, port }
}

pub(super) async fn listen(whom: &str, at: &Address, plain: bool) -> anyhow::Result<TcpListener> {
    let listener = bind(at).await;
    let listener = listener.with_context(|| format!("cannot listen for {whom} at {at}"))?;
    let bound: SocketAddr = listener.local_addr()?;
    if !plain && !bound.ip().to_canonical().is_loopback() {
        let sentence = format!(
            "{at} can be reached from other machines, and what {whom} say there would be plain to \
             all; give --tls-cert, --tls-key and --tls-ca, listen on a loopback address, or add \
             --allow-plain"
        );
        return Err(Exit::Usage.because(sentence).into());
    }
    tracing::info!(at = %bound, "listening for {whom}");
    Ok(listener)
}

/// Counts the signals that ask this process to end.
pub(super) fn signals() -> std::io::Result<watch::Receiver<usize>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (count, counted) = watch::channel(0);
    spawn_local(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
                _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(counted)
}

pub(super) async fn came(mut signals: watch::Receiver<usize>, count: usize) {
    if signals.wait_for(|came| *came >= count).await.is_err() {
        // Nobody counts any more, so none will come.
        std::future::pending::<()>().await;
    }
}

/// Has the kernel end this process when its parent ends, however that ends.
pub(super) fn die_with(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the kernel was told.
    if getppid().map(Pid::as_raw_pid) == Some(parent) {
        return Ok(());
    }
    anyhow::bail!("process {parent}, which should be this one's parent, is gone")
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    const POD: [&str; 9] = [
        "--cluster=store",
        "--replicas=3",
        "--pod-name=store-1",
        "--pod-namespace=default",
        "--pod-uid=uid-1",
        "--data-dir=/data",
        "--tls-cert=/tls/tls.crt",
        "--tls-key=/tls/tls.key",
        "--tls-ca=/tls/ca.crt",
    ];

    /// The addresses for clients and that for health, of a node with these flags.
    fn listens(flags: &[&str]) -> (Vec<String>, String) {
        let command = Node::augment_args(clap::Command::new("node").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).unwrap();
        let node = Node::from_arg_matches(&matches).unwrap();
        let place = node.place().unwrap();
        let own = place.members[&place.id].as_ref().unwrap();
        let apis = node.apis(own);
        let apis = apis.iter().map(|api| {
            let scheme = if api.is_https { "https://" } else { "" };
            format!("{scheme}{}", api.at)
        });
        (apis.collect(), node.admin(own).to_string())
    }

    fn in_pod<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&POD, more].concat()
    }

    #[test]
    fn a_pod_answers_at_its_own_address_and_whoever_is_in_it() {
        let (apis, admin) = listens(&in_pod(&["--pod-ip=10.1.2.3"]));
        assert_eq!(apis, ["127.0.0.1:7401", "10.1.2.3:7401"]);
        assert_eq!(admin, "10.1.2.3:7402");
        let (apis, admin) = listens(&in_pod(&["--pod-ip=fd00::7"]));
        assert_eq!(apis, ["127.0.0.1:7401", "[fd00::7]:7401"]);
        assert_eq!(admin, "[fd00::7]:7402");
        let (apis, _) = listens(&in_pod(&["--pod-ip=127.0.0.1"]));
        assert_eq!(apis, ["127.0.0.1:7401"], "one address is listened at once");
    }

    #[test]
    fn what_is_said_wins_over_what_a_pod_does_by_itself() {
        let said = [
            "--pod-ip=10.1.2.3",
            "--listen-api=https://127.0.0.1:1,10.1.2.3:2",
            "--listen-admin=[::]:3",
        ];
        let (apis, admin) = listens(&in_pod(&said));
        assert_eq!(apis, ["https://127.0.0.1:1", "10.1.2.3:2"]);
        assert_eq!(admin, "[::]:3");
    }

    #[test]
    fn outside_of_pods_health_is_told_to_this_machine_alone() {
        let members = "--members=1=10.0.0.1:1/10.0.0.1:2";
        let (apis, admin) = listens(&["--id=1", members, "--data-dir=/data"]);
        assert_eq!(apis, ["10.0.0.1:2"]);
        assert_eq!(admin, "127.0.0.1:7402");
    }

    #[tokio::test]
    async fn an_address_of_version_6_is_listened_at() {
        let at = Address {
            host: std::net::Ipv6Addr::LOCALHOST.to_string(),
            port: 0,
        };
        let listener = listen("tests", &at, false).await.unwrap();
        assert!(listener.local_addr().unwrap().is_ipv6());
    }
}
