//! `remember local`: a whole cluster on this machine, each node a process of its own.
//!
//! ```text
//!   child (one a node) --- started, ended ---+
//!                                            +--> News --> board --> table or lines on stdout
//!   follow (one a node) -- role, commit -----+
//! ```
//!
//! A child that ends is started again. When this process ends, its children do, whatever ends it.

mod board;
mod child;
mod follow;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::certs;
use super::client::block_on;
use super::endpoint::Endpoint;
use super::environment;
use super::exit::{Exit, Failed, say};
use super::home::Home;
use super::node_process::NodeProcess;
use super::stops::stops;
use super::terminal::Terminal;
use board::Board;
use child::{Child, Stop};

/// News that wait to be shown; who has more waits.
const NEWS_MAX: usize = 256;

/// How far apart the ports for clients, for peers and for health are.
const PORTS: u16 = 100;

/// How long a node that ended stays so.
const RESTART: Duration = Duration::from_secs(3);

/// Runs a whole cluster on this machine, for trying it out.
///
/// Each node is a process with its own data directory, and a table shows who leads. Kill any of
/// them with kill -9 and see the next leader; a node that ended is started again after 3 s. Ctrl-C
/// ends it all and leaves nothing behind.
///
/// REMEMBER_* variables reach the nodes, but for what this command says itself.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Local {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Node i listens for clients on this port + i, for peers on this + 100 + i, for questions of
    /// health on this + 200 + i
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=65_000))]
    base_port: u16,
    /// Where the nodes keep their data, which then stays; a fresh directory that is removed at the
    /// end if not said
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Do not remove the fresh directory at the end
    #[arg(long)]
    keep: bool,
    /// Do not start a node again that ended
    #[arg(long)]
    no_restart: bool,
    /// Have the nodes speak mutual TLS to each other, and to clients on this port + 300 + i; the
    /// certificates are made beside the data
    #[arg(long)]
    tls: bool,
}

/// What happened to a node.
#[derive(Clone, Debug)]
struct News {
    /// Which node.
    node: u8,
    at: Instant,
    what: Event,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    /// Its process runs.
    Started { pid: u32 },
    /// Its process ended by itself or by someone else.
    Ended { how: String, restarts: bool },
    /// It could not be started.
    NotStarted { why: String },
    /// It says where it stands.
    Standing(Standing),
    /// It says how far the log is agreed.
    Committed(u64),
}

/// Where a node stands in its cluster, by its own word.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Standing {
    role: String,
    term: u64,
    leader: Option<u64>,
    tickets: u32,
    /// Whether it leads and its claim is established.
    established: bool,
}

impl Local {
    pub(super) fn run(self, terminal: Terminal) -> anyhow::Result<Exit> {
        environment::check()?;
        self.demand_free_ports()?;
        let home = Home::open("local", self.data_dir.clone(), self.keep)?;
        if self.tls {
            certs::provide(&certificates(&home), &"local".parse()?, self.nodes)?;
        }
        self.advise(&home);
        if self.tls {
            self.advise_tls(&home);
        }
        block_on(self.watch_over(&home, terminal))
    }

    /// Fails before anything is started if a port is taken.
    fn demand_free_ports(&self) -> Result<(), Failed> {
        let ports = (1..=self.nodes).flat_map(|node| self.ports(node));
        let secured = (1..=self.nodes).filter(|_| self.tls);
        let ports = ports.chain(secured.map(|node| self.secured_port(node)));
        let taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
        let taken: Vec<_> = ports.filter(taken).map(|port| port.to_string()).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let (word, ports) = (
            if taken.len() > 1 { "ports" } else { "port" },
            taken.join(", "),
        );
        Err(Exit::Failed.because(format!(
            "{word} {ports} on 127.0.0.1 cannot be used, so nothing was started; is another \
             `remember local` running? End it, or choose other ports with --base-port"
        )))
    }

    /// The ports of a node: for clients, for peers, for health.
    fn ports(&self, node: u8) -> [u16; 3] {
        let api = self.base_port + u16::from(node);
        [api, api + PORTS, api + 2 * PORTS]
    }

    /// The port of a node for clients that speak TLS.
    fn secured_port(&self, node: u8) -> u16 {
        self.base_port + u16::from(node) + 3 * PORTS
    }

    fn members(&self) -> String {
        let member = |node| {
            let [api, peer, _] = self.ports(node);
            format!("{node}=127.0.0.1:{peer}/127.0.0.1:{api}")
        };
        (1..=self.nodes).map(member).collect::<Vec<_>>().join(",")
    }

    fn child(&self, node: u8, home: &Home) -> Child {
        let [api, _, admin] = self.ports(node);
        let secured = self.secured_port(node);
        let listen_api = format!("127.0.0.1:{api},https://127.0.0.1:{secured}");
        let process = NodeProcess {
            node,
            members: self.members(),
            admin: format!("127.0.0.1:{admin}"),
            data_dir: home.path().join(format!("node-{node}")),
            log: home.path().join(format!("node-{node}.log")),
            tls: self.tls.then(|| (listen_api, certificates(home))),
        };
        Child {
            process,
            restarts: !self.no_restart,
        }
    }

    /// Says what can be done now.
    fn advise(&self, home: &Home) {
        let api = |node: u8| self.ports(node)[0];
        let (first, last) = (api(1), api(self.nodes));
        say(&format!(
            "{} node(s), data and logs in {}; Ctrl-C ends them all. Try:\n\
             \x20 curl 127.0.0.1:{first}/v1/cluster\n\
             \x20 curl -X PUT 127.0.0.1:{first}/v1/kv/colour -d blue\n\
             \x20 curl 127.0.0.1:{last}/v1/kv/colour\n\
             \x20 curl -N 127.0.0.1:{last}/v1/watch\n\
             \x20 kill -9 PID                       # of the leader\n",
            self.nodes,
            home.path().display(),
        ));
    }

    /// Says what can be done over TLS.
    fn advise_tls(&self, home: &Home) {
        let (port, dir) = (self.secured_port(1), certificates(home));
        let dir = dir.display();
        say(&format!(
            "The nodes speak mutual TLS to each other, and to clients. Try:\n\
             \x20 export REMEMBER_TLS_CERT={dir}/client.crt REMEMBER_TLS_KEY={dir}/client.key \
             REMEMBER_TLS_CA={dir}/ca.crt\n\
             \x20 remember status --endpoint https://127.0.0.1:{port}\n\
             \x20 curl --cacert {dir}/ca.crt --cert {dir}/client.crt --key {dir}/client.key \
             https://127.0.0.1:{port}/v1/cluster\n",
        ));
    }

    async fn watch_over(self, home: &Home, terminal: Terminal) -> anyhow::Result<Exit> {
        let mut stops = stops()?;
        let (news, mut happened) = mpsc::channel(NEWS_MAX);
        let (stop, stopping) = watch::channel(Stop::No);
        let mut children = JoinSet::new();
        let mut followers = JoinSet::new();
        for node in 1..=self.nodes {
            let [api, _, admin] = self.ports(node);
            let child = self.child(node, home);
            children.spawn(child.keep_running(news.clone(), stopping.clone()));
            let endpoint = |port| Endpoint::new("127.0.0.1", port);
            followers.spawn(follow::standing(node, endpoint(api), news.clone()));
            if terminal.redraws {
                followers.spawn(follow::commit(node, endpoint(admin), news.clone()));
            }
        }
        drop(news);
        let mut board = Board::new(self.nodes, terminal);
        let shown = tokio::select! {
            shown = board.show(&mut happened) => shown,
            _ = stops.recv() => Ok(()),
        };
        // Whatever comes now, the children are ended before this process.
        followers.abort_all();
        drop(happened);
        stop.send_replace(Stop::InOrder);
        say("ending all nodes");
        let ended = async { while children.join_next().await.is_some() {} };
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => {}
            // Asked twice: at once.
            _ = stops.recv() => {
                stop.send_replace(Stop::AtOnce);
                ended.await;
            }
        }
        shown?;
        Ok(Exit::Done)
    }
}

/// Where the certificates of all nodes are.
fn certificates(home: &Home) -> PathBuf {
    home.path().join("certs")
}
