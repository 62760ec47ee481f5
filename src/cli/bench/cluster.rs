//! A cluster that is measured: processes on 127.0.0.1, with their data in one directory.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::http::{Connection, request};
use super::server::Server;
use super::system::{System, View};
use crate::cli::exit::Exit;
use crate::cli::home::Home;
use crate::cli::members::{Document, Member};
use crate::cli::node_process::{self, NodeProcess};

/// How long a cluster may take to be whole: longer only if something is broken.
const WHOLE: Duration = Duration::from_mins(1);

/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(5);

/// How long a node may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many nodes may join.
const JOINERS: u8 = 2;

/// How far apart the ports of one purpose are from those of the next.
const PORTS: u16 = 100;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: u8,
    /// Ports are this plus 100 for each purpose, plus the number of the node.
    pub(super) base_port: u16,
    /// Whether data and logs stay when a cluster ends.
    pub(super) keep: bool,
    /// The etcd program, if etcd is measured at all.
    pub(super) etcd: Option<PathBuf>,
}

/// A running cluster. Dropped, its servers end and its data goes.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) system: System,
    /// Ended before the home goes.
    pub(super) servers: Vec<Server>,
    plan: Plan,
    home: Home,
}

/// A voter: its id, and its disk.
pub(super) type Voter = (u64, Option<String>);

/// The leader, as all nodes see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leader {
    /// Its place among the servers.
    pub(super) at: usize,
    pub(super) term: u64,
    /// The place of another node, and the number by which the system knows it.
    pub(super) other: (usize, u64),
}

impl Plan {
    /// Starts a cluster with fresh data, and waits until it is whole.
    pub(super) async fn start(&self, system: System) -> anyhow::Result<Cluster> {
        self.demand_free_ports(system)?;
        let home = Home::open("bench", None, self.keep)?;
        let mut servers = Vec::new();
        for node in 1..=self.nodes {
            let process = self.start_node(system, node, home.path(), false)?;
            let log = log(home.path(), node);
            servers.push(Server::new(self.ports(system, node)[0], log, process));
        }
        let mut cluster = Cluster {
            system,
            servers,
            plan: self.clone(),
            home,
        };
        cluster.whole().await?;
        Ok(cluster)
    }

    /// The ports of a node: for clients, for peers, for health.
    fn ports(&self, system: System, node: u8) -> [u16; 3] {
        let first = match system {
            System::Remember => 0,
            System::Etcd => 3 * PORTS,
        };
        [0, PORTS, 2 * PORTS].map(|purpose| self.base_port + first + purpose + u16::from(node))
    }

    fn demand_free_ports(&self, system: System) -> anyhow::Result<()> {
        for port in (1..=self.nodes + JOINERS).flat_map(|node| self.ports(system, node)) {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                let sentence = format!("port {port}: {error}; choose others with --base-port");
                return Err(Exit::Failed.because(sentence).into());
            }
        }
        Ok(())
    }

    fn start_node(
        &self,
        system: System,
        node: u8,
        home: &Path,
        joins: bool,
    ) -> anyhow::Result<Child> {
        match system {
            System::Remember => self.start_remember(node, home, joins),
            System::Etcd => self.start_etcd(node, home, joins),
        }
    }

    /// Those of the founding, and `node` if it came later.
    fn known(&self, node: u8) -> impl Iterator<Item = u8> {
        (1..=self.nodes).chain((node > self.nodes).then_some(node))
    }

    fn start_remember(&self, node: u8, home: &Path, joins: bool) -> anyhow::Result<Child> {
        let member = |node| {
            let [api, peer, _] = self.ports(System::Remember, node);
            format!("{node}=127.0.0.1:{peer}/127.0.0.1:{api}")
        };
        let members: Vec<_> = self.known(node).map(member).collect();
        let [_, _, admin] = self.ports(System::Remember, node);
        let process = NodeProcess {
            node,
            members: members.join(","),
            joins_if: joins.then(|| home.to_owned()),
            admin: format!("127.0.0.1:{admin}"),
            data_dir: data_dir(System::Remember, home, node),
            log: log(home, node),
            tls: None,
        };
        process.start()
    }

    /// With all its defaults, but for who it is and where it listens.
    fn start_etcd(&self, node: u8, home: &Path, joins: bool) -> anyhow::Result<Child> {
        let program = self.etcd.as_ref().context("etcd is not to be measured")?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let member = |node| format!("m{node}={}", url(self.ports(System::Etcd, node)[1]));
        // It wants to be told of everybody who is there by then, too.
        let known = if joins {
            node.max(self.nodes)
        } else {
            self.nodes
        };
        let members: Vec<_> = (1..=known).map(member).collect();
        let [client, peer, _] = self.ports(System::Etcd, node);
        let mut command = super::guard::guarded(program)?;
        command
            .args(["--name", &format!("m{node}")])
            .arg("--data-dir")
            .arg(data_dir(System::Etcd, home, node))
            .args(["--listen-client-urls", &url(client)])
            .args(["--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &members.join(",")])
            .args(joins.then_some("--initial-cluster-state=existing"));
        node_process::start(command, &log(home, node))
    }
}

fn data_dir(system: System, home: &Path, node: u8) -> PathBuf {
    match system {
        System::Remember => home.join(format!("node-{node}")),
        System::Etcd => home.join(format!("etcd-{node}")),
    }
}

fn log(home: &Path, node: u8) -> PathBuf {
    home.join(format!("node-{node}.log"))
}

impl Cluster {
    pub(super) fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// Waits until all nodes run and follow one leader, which answers reads at every node.
    pub(super) async fn whole(&mut self) -> anyhow::Result<Leader> {
        let until = Instant::now() + WHOLE;
        loop {
            for server in &mut self.servers {
                server.demand_alive()?;
            }
            if let Some(leader) = self.leader().await
                && self.reads_everywhere().await
            {
                return Ok(leader);
            }
            if Instant::now() >= until {
                let name = self.system.name();
                anyhow::bail!("the cluster of {name} is not whole after {WHOLE:?}");
            }
            sleep(LOOK).await;
        }
    }

    /// The leader, if all nodes agree on it and it hears all of them.
    async fn leader(&self) -> Option<Leader> {
        let mut views = Vec::new();
        for server in &self.servers {
            views.push(self.view(server.port).await?);
        }
        let first = *views.first()?;
        let agreed = |view: &View| (view.leader, view.term) == (first.leader, first.term);
        let at = views
            .iter()
            .position(|view| Some(view.node) == first.leader)?;
        let hears_all = views[at].alive.is_none_or(|alive| alive == views.len());
        let next = (at + 1) % views.len();
        (hears_all && views.iter().all(agreed)).then_some(Leader {
            at,
            term: first.term,
            other: (next, views[next].node),
        })
    }

    /// By which number the system knows each node, by place.
    pub(super) async fn names(&self) -> anyhow::Result<Vec<u64>> {
        let mut names = Vec::new();
        for server in &self.servers {
            let view = self.view(server.port).await;
            names.push(view.context("a node does not say who it is")?.node);
        }
        Ok(names)
    }

    async fn view(&self, port: u16) -> Option<View> {
        let answer = ask(port, &self.system.ask_view()).await?;
        self.system.view(&answer).ok()
    }

    async fn reads_everywhere(&self) -> bool {
        let read = self.system.get("whole");
        for server in &self.servers {
            let asked = timeout(PATIENCE, async {
                let mut connection = Connection::open(server.port).await?;
                connection.exchange(&read).await
            });
            match asked.await {
                Ok(Ok(answer)) if answer.is_success() || answer.status == 404 => {}
                _ => return false,
            }
        }
        true
    }

    pub(super) fn signal(&self, at: usize, signal: Signal) -> anyhow::Result<()> {
        self.servers[at].signal(signal)
    }

    /// Starts a server again that was killed, with the data that it left.
    pub(super) async fn start_again(&mut self, at: usize) -> anyhow::Result<()> {
        self.servers[at].ended().await?;
        let node = u8::try_from(at + 1).context("there are not as many nodes")?;
        let home = self.home.path();
        let process = self.plan.start_node(self.system, node, home, false)?;
        self.servers[at].started(process);
        Ok(())
    }

    /// Where peers reach a node, running or not.
    pub(super) fn peer_port(&self, node: u8) -> u16 {
        self.plan.ports(self.system, node)[1]
    }

    /// Starts a node that joins, on a fresh disk: one more, or in place of one that has ended.
    pub(super) fn join(&mut self, node: u8) -> anyhow::Result<()> {
        let home = self.home.path();
        let data = data_dir(self.system, home, node);
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        let process = self.plan.start_node(self.system, node, home, true)?;
        if let Some(server) = self.servers.get_mut(usize::from(node) - 1) {
            server.started(process);
        } else {
            let port = self.plan.ports(self.system, node)[0];
            let server = Server::new(port, log(home, node), process);
            self.servers.push(server);
        }
        Ok(())
    }

    /// Lets go of the last node, which belongs to the cluster no more.
    pub(super) fn let_go(&mut self) {
        self.servers.pop();
    }

    /// Lets the state grow to so many bytes.
    pub(super) async fn make_room(&self, bytes: u64) -> anyhow::Result<()> {
        let any = self.servers.first().map_or(0, |server| server.port);
        if let Some(room) = self.system.make_room(bytes) {
            let answer = ask(any, &room).await;
            answer.context("the quota was not raised")?;
        }
        Ok(())
    }

    /// Waits until all members vote and are as wanted: each by its id and its disk.
    pub(super) async fn until_members(
        &self,
        wanted: impl Fn(&[Voter]) -> bool,
    ) -> anyhow::Result<Vec<Voter>> {
        let until = Instant::now() + WHOLE;
        let read = request("GET", "/v1/members", None, b"");
        loop {
            for server in &self.servers {
                let answer = ask(server.port, &read).await;
                let seen =
                    answer.and_then(|answer| serde_json::from_slice::<Document>(&answer).ok());
                let voters = seen.and_then(|seen| {
                    let voters = seen.members.into_iter();
                    let voter = |it: Member| {
                        (it.role.as_deref() == Some("voter")).then_some((it.id, it.incarnation))
                    };
                    voters.map(voter).collect::<Option<Vec<_>>>()
                });
                if let Some(voters) = voters.filter(|voters| wanted(voters)) {
                    return Ok(voters);
                }
            }
            anyhow::ensure!(Instant::now() < until, "not all vote after {WHOLE:?}");
            sleep(LOOK).await;
        }
    }

    /// Asks the leader, as often as it says no.
    pub(super) async fn demand(&self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let until = Instant::now() + WHOLE;
        loop {
            for server in &self.servers {
                // Whoever does not lead says no.
                if let Some(answer) = ask(server.port, request).await {
                    return Ok(answer);
                }
            }
            let name = self.system.name();
            anyhow::ensure!(Instant::now() < until, "{name} says no for {WHOLE:?}");
            sleep(LOOK).await;
        }
    }

    /// Asks the leader to hand over to another node; returns when it has answered.
    pub(super) async fn hand_over(&self, leader: Leader) -> anyhow::Result<()> {
        let ask = self.system.hand_over(leader.other.1);
        let mut connection = Connection::open(self.servers[leader.at].port).await?;
        let answer = timeout(PATIENCE, connection.exchange(&ask)).await??;
        let sentence = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(answer.is_success(), "no hand-over: {sentence}");
        Ok(())
    }

    /// The processor time of all servers together.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        self.servers.iter().map(Server::cpu).sum()
    }

    /// The memory of the largest server, in MiB.
    pub(super) fn memory_mib(&self) -> anyhow::Result<f64> {
        let mut most = 0;
        for server in &self.servers {
            most = most.max(server.memory()?);
        }
        Ok(mebibytes(most))
    }

    pub(super) fn nodes(&self) -> u8 {
        self.plan.nodes
    }
}

#[expect(clippy::cast_precision_loss, reason = "told with a few digits")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn ask(port: u16, request: &[u8]) -> Option<Vec<u8>> {
    let asked = timeout(PATIENCE, async {
        let mut connection = Connection::open(port).await?;
        connection.exchange(request).await
    });
    let answer = asked.await.ok()?.ok()?;
    answer.is_success().then(|| answer.body.to_vec())
}
