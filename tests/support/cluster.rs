//! A cluster of whole nodes with their HTTP surfaces, all on the thread of the test, on loopback
//! and in a directory that goes with the test.
//!
//! Not a place for faults: whoever wants a node killed runs it as a process.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use remember::consensus::NodeId;
use remember::node::{Handle, Running, Settings, start};
use remember::server::{Limits, Mutual, Plain, Server};
use remember::wire::{Address, MemberAddress};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("remember-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nodes that were not stopped have threads that write for a moment more.
        let gone = |_: &u32| std::fs::remove_dir_all(&self.0).is_ok() || !self.0.exists();
        (0..100).take_while(|tried| !gone(tried)).for_each(|_| {
            std::thread::sleep(Duration::from_millis(10));
        });
    }
}

/// A node that runs, and what it serves.
pub(crate) struct Node {
    pub(crate) running: Running,
    pub(crate) admin: SocketAddr,
    server: Server,
}

/// Nodes `1..=size`, some of which may be stopped, and those that joined them.
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Where each is, and where those of the founding were.
    members: BTreeMap<NodeId, MemberAddress>,
    founders: BTreeMap<NodeId, MemberAddress>,
    /// Whom else a node knows at its start that joins.
    joiners: BTreeMap<u64, u64>,
    configure: Box<dyn Fn(&mut Settings)>,
    scratch: Scratch,
}

impl Cluster {
    /// Reserves addresses for `size` nodes and starts them all.
    pub(crate) async fn start(name: &str, size: u64) -> Self {
        Self::configured(name, size, |_| ()).await
    }

    /// The same, with settings that differ from the defaults.
    pub(crate) async fn configured(
        name: &str,
        size: u64,
        configure: impl Fn(&mut Settings) + 'static,
    ) -> Self {
        let mut members = BTreeMap::new();
        let mut listeners = Vec::new();
        for id in 1..=size {
            let (peer, api) = (bind(0).await, bind(0).await);
            let member = MemberAddress {
                peer: address(&peer),
                api: address(&api),
            };
            members.insert(NodeId(id), member);
            listeners.push((id, peer, api));
        }
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            founders: members.clone(),
            members,
            joiners: BTreeMap::new(),
            configure: Box::new(configure),
            scratch: Scratch::new(name),
        };
        for (id, peer, api) in listeners {
            cluster.start_node(id, peer, api).await;
        }
        cluster
    }

    async fn start_node(&mut self, id: u64, peer: TcpListener, api: TcpListener) {
        let data_dir = self.data_dir(id);
        let joins = self.joiners.get(&id);
        let listed = |other: u64| (NodeId(other), self.members[&NodeId(other)].clone());
        let members = match joins {
            Some(known) => [listed(id), listed(*known)].into(),
            None => self.founders.clone(),
        };
        let mut settings = Settings::new(NodeId(id), members, data_dir);
        settings.joins = joins.is_some();
        (self.configure)(&mut settings);
        let identity = settings.tls.clone();
        let running = start(settings, peer).unwrap();
        let server = Server::new(running.handle.clone(), Limits::default());
        match identity {
            Some(identity) => server.listen_api(api, Mutual(identity)),
            None => server.listen_api(api, Plain),
        }
        let admin_listener = bind(0).await;
        let admin = admin_listener.local_addr().unwrap();
        server.listen_admin(admin_listener, Plain);
        let node = Node {
            running,
            admin,
            server,
        };
        self.nodes.insert(id, node);
    }

    /// Starts a node that joins, and knows nobody but `known`. One that was there before, and is
    /// stopped, keeps its address.
    pub(crate) async fn join(&mut self, id: u64, known: u64) {
        let (peer, api) = match self.members.get(&NodeId(id)) {
            Some(at) => (bind(at.peer.port).await, bind(at.api.port).await),
            None => (bind(0).await, bind(0).await),
        };
        let member = MemberAddress {
            peer: address(&peer),
            api: address(&api),
        };
        self.members.insert(NodeId(id), member);
        self.joiners.insert(id, known);
        self.start_node(id, peer, api).await;
    }

    /// Starts another node of an id that runs, elsewhere and on a disk of its own, which joins.
    pub(crate) async fn twin(&self, id: u64, known: u64) -> Running {
        let (peer, api) = (bind(0).await, bind(0).await);
        let own = MemberAddress {
            peer: address(&peer),
            api: address(&api),
        };
        let known = (NodeId(known), self.members[&NodeId(known)].clone());
        let members = [(NodeId(id), own), known].into();
        let data_dir = self.scratch.0.join(format!("twin-{id}"));
        let mut settings = Settings::new(NodeId(id), members, data_dir);
        settings.joins = true;
        start(settings, peer).unwrap()
    }

    /// A stopped node comes back elsewhere, if it does.
    pub(crate) fn abandon(&mut self, id: u64) {
        std::fs::remove_dir_all(self.data_dir(id)).unwrap();
        self.members.remove(&NodeId(id));
    }

    /// Stops a node as SIGTERM would and waits for its end.
    pub(crate) async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        node.server.shut_down(Duration::from_secs(1)).await;
        node.running.stop();
        node.running.ended().await.unwrap();
    }

    /// Starts a stopped node where it was.
    pub(crate) async fn restart(&mut self, id: u64) {
        let member = &self.members[&NodeId(id)];
        let (peer, api) = (bind(member.peer.port).await, bind(member.api.port).await);
        self.start_node(id, peer, api).await;
    }

    /// Stops every node.
    pub(crate) async fn end(mut self) {
        while let Some(id) = self.nodes.keys().next().copied() {
            self.stop(id).await;
        }
    }

    pub(crate) fn handle(&self, id: u64) -> Handle {
        self.nodes[&id].running.handle.clone()
    }

    /// Where a node takes its peers, whether it runs or not.
    pub(crate) fn peer(&self, id: u64) -> SocketAddr {
        let peer = &self.members[&NodeId(id)].peer;
        (Ipv4Addr::LOCALHOST, peer.port).into()
    }

    /// Where a node's API is, whether the node runs or not.
    pub(crate) fn api(&self, id: u64) -> SocketAddr {
        let api = &self.members[&NodeId(id)].api;
        (Ipv4Addr::LOCALHOST, api.port).into()
    }

    pub(crate) fn data_dir(&self, id: u64) -> PathBuf {
        self.scratch.0.join(id.to_string())
    }

    /// Waits until one node leads and all that run follow it.
    pub(crate) async fn leader(&self) -> u64 {
        loop {
            let nodes = self.nodes.values();
            let mut leaders = nodes.map(|node| node.running.handle.status().leader);
            if let Some(Some(leader)) = leaders.next()
                && leaders.all(|other| other == Some(leader))
                && self.nodes.contains_key(&leader.0)
            {
                return leader.0;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has leadership handed over until this node leads: a machine that is busy may take longer
    /// than one hand-over may.
    pub(crate) async fn hand_over(&self, to: u64) {
        while self.leader().await != to {
            let leader = self.handle(self.leader().await);
            leader.transfer(Some(NodeId(to))).await.unwrap();
        }
    }
}

async fn bind(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap()
}

fn address(listener: &TcpListener) -> Address {
    let at = listener.local_addr().unwrap();
    Address {
        host: at.ip().to_string(),
        port: at.port(),
    }
}

/// Runs a test on one thread, as a node does. A bound that only a hang reaches.
pub(crate) fn on_one_thread(test: impl Future<Output = ()>) {
    // RUST_LOG=debug tells the story of a test that fails.
    let log = tracing_subscriber::EnvFilter::from_default_env();
    let log = tracing_subscriber::fmt().with_env_filter(log);
    drop(log.with_test_writer().try_init());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let bounded = async { timeout(Duration::from_mins(5), test).await };
    let ended = tokio::task::LocalSet::new().block_on(&runtime, bounded);
    ended.expect("the test hangs");
}
