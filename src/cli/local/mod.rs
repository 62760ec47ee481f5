//! `remember local`: a whole cluster on this machine, each node a process of its own.
//!
//! ```text
//!   child (one a node) --- started, ended ---+
//!                                            +--> News --> board --> table or lines on stdout
//!   follow (one a node) -- role, commit -----+
//! ```
//!
//! A child that ends is started again. When this process ends, its children do, whatever ends it.
//! A number on stdin is how many nodes there are to be from then on.

mod board;
mod child;
mod follow;
mod nodes;

use std::io::{BufRead as _, IsTerminal as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use tokio::sync::{mpsc, watch};

use super::certs;
use super::client::block_on;
use super::environment;
use super::exit::{Exit, Failed, say};
use super::home::Home;
use super::stops::stops;
use super::terminal::Terminal;
use board::Board;
use child::Stop;
use nodes::Nodes;

/// News that wait to be shown; who has more waits.
const NEWS_MAX: usize = 256;

/// How far apart the ports for clients, for peers and for health are.
const PORTS: u16 = 100;

/// The most nodes: node i has a port of its own in each hundred.
const NODES_MAX: u8 = 9;

/// How often to look whether this process has the terminal.
const LOOK_FOR_TERMINAL: Duration = Duration::from_millis(500);

/// How long a node that ended stays so.
const RESTART: Duration = Duration::from_secs(3);

/// Runs a whole cluster on this machine, for trying it out.
///
/// Each node is a process with its own data directory, and a table shows who leads. Kill any of
/// them with kill -9 and see the next leader; a node that ended is started again after 3 s. Type a
/// number and Enter to have so many nodes from then on. Ctrl-C ends it all and leaves nothing
/// behind.
///
/// REMEMBER_* variables reach the nodes, but for what this command says itself.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Local {
    /// How many nodes; a cluster that --data-dir holds already grows or shrinks to that
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
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
    /// The others go on without it.
    Left,
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
        (1..=self.nodes).try_for_each(|node| self.demand_free_ports(node))?;
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

    /// Fails before a node is started if one of its ports is taken.
    fn demand_free_ports(&self, node: u8) -> Result<(), Failed> {
        let secured = self.tls.then(|| self.secured_port(node));
        let ports = self.ports(node).into_iter().chain(secured);
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
            "{word} {ports} on 127.0.0.1 cannot be used, so node {node} was not started; is \
             another `remember local` running? End it, or choose other ports with --base-port"
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

    /// The first so many nodes as a list of members.
    fn members(&self, nodes: u8) -> String {
        let member = |node| {
            let [api, peer, _] = self.ports(node);
            format!("{node}=127.0.0.1:{peer}/127.0.0.1:{api}")
        };
        (1..=nodes).map(member).collect::<Vec<_>>().join(",")
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
             \x20 kill -9 PID                       # of the leader\n\
             or type how many nodes there are to be, and Enter\n",
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
        let mut nodes = Nodes::new(&self, home, news, terminal.redraws);
        nodes.start()?;
        let mut board = Board::new(terminal);
        let wanted = sizes(self.nodes);
        let shown = tokio::select! {
            shown = board.show(&mut happened) => shown,
            () = nodes.follow(wanted) => Ok(()),
            _ = stops.recv() => Ok(()),
        };
        // Whatever comes now, the children are ended before this process.
        drop(happened);
        say("ending all nodes");
        let children = nodes.stops();
        let ended = nodes.end_all();
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => {}
            // Asked twice: at once.
            _ = stops.recv() => {
                for child in children {
                    child.send_replace(Stop::AtOnce);
                }
                ended.await;
            }
        }
        shown?;
        Ok(Exit::Done)
    }
}

/// How many nodes there are to be: as the flag says, and then as the last number on stdin does.
fn sizes(first: u8) -> watch::Receiver<u8> {
    let (sender, sizes) = watch::channel(first);
    // It waits for a line as long as this process lives.
    std::thread::spawn(move || {
        while let Some(line) = typed() {
            let size = line.trim().parse().ok();
            match size.filter(|size| (1..=NODES_MAX).contains(size)) {
                Some(size) if sender.send(size).is_err() => return,
                Some(_) => {}
                None => say(&format!(
                    "type how many nodes there are to be, 1 to {NODES_MAX}"
                )),
            }
        }
        // The last number still counts.
        std::thread::park();
        drop(sender);
    });
    sizes
}

/// The next line on stdin. A process in the background must not read from its terminal: it would be
/// stopped.
fn typed() -> Option<String> {
    let stdin = std::io::stdin();
    while stdin.is_terminal() && tcgetpgrp(&stdin).ok() != Some(getpgrp()) {
        std::thread::sleep(LOOK_FOR_TERMINAL);
    }
    let mut line = String::new();
    match stdin.lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line),
    }
}

/// Where the certificates of all nodes are.
fn certificates(home: &Home) -> PathBuf {
    home.path().join("certs")
}
