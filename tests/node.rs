//! Whole nodes over real sockets and real disks, several in one process: the shell around the
//! engine does what it says. What a crash does to them is tested with processes.

#![cfg(test)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use remember::consensus::{NodeId, Role};
use remember::node::{Handle, MemberAddress, Running, Settings, start};
use remember::state::{Command, Condition, Outcome};
use remember::wire::Address;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("remember-node-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Cluster {
    scratch: Scratch,
    members: BTreeMap<NodeId, MemberAddress>,
    nodes: BTreeMap<NodeId, Running>,
}

impl Cluster {
    /// Reserves addresses for `size` nodes and starts them all.
    async fn start(name: &str, size: u64) -> Self {
        let mut members = BTreeMap::new();
        let mut listeners = Vec::new();
        for id in 1..=size {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let SocketAddr::V4(at) = listener.local_addr().unwrap() else {
                unreachable!()
            };
            let address = |port| Address {
                host: "127.0.0.1".to_owned(),
                port,
            };
            let api = address(u16::try_from(id).unwrap());
            members.insert(
                NodeId(id),
                MemberAddress {
                    peer: address(at.port()),
                    api,
                },
            );
            listeners.push((NodeId(id), listener));
        }
        let mut cluster = Self {
            scratch: Scratch::new(name),
            members,
            nodes: BTreeMap::new(),
        };
        for (id, listener) in listeners {
            cluster.start_node(id, listener);
        }
        cluster
    }

    fn start_node(&mut self, id: NodeId, listener: TcpListener) {
        let data_dir = self.scratch.0.join(id.to_string());
        let mut settings = Settings::new(id, self.members.clone(), data_dir);
        settings.snapshot_log_bytes = 64 << 10;
        self.nodes.insert(id, start(settings, listener).unwrap());
    }

    /// Stops a node as SIGTERM would and waits for its end.
    async fn stop(&mut self, id: NodeId) {
        let node = self.nodes.remove(&id).unwrap();
        node.stop();
        node.ended().await.unwrap();
    }

    async fn restart(&mut self, id: NodeId) {
        let at = &self.members[&id].peer;
        let listener = TcpListener::bind((at.host.as_str(), at.port))
            .await
            .unwrap();
        self.start_node(id, listener);
    }

    fn handle(&self, id: u64) -> Handle {
        self.nodes[&NodeId(id)].handle.clone()
    }

    /// Waits until one node leads and all follow it.
    async fn leader(&self) -> NodeId {
        loop {
            let leaders: Vec<_> = self
                .nodes
                .values()
                .map(|node| node.handle.status().leader)
                .collect();
            if let Some(Some(leader)) = leaders.first()
                && leaders.iter().all(|other| *other == Some(*leader))
                && self.nodes.contains_key(leader)
            {
                return *leader;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Runs a test on one thread, as a node does. A bound that only a hang reaches.
fn on_one_thread(test: impl Future<Output = ()>) {
    // RUST_LOG=debug tells the story of a test that fails.
    let log = tracing_subscriber::EnvFilter::from_default_env();
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(log)
            .with_test_writer()
            .try_init(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        timeout(Duration::from_mins(1), test)
            .await
            .expect("the test hangs");
    }));
}

fn put(key: &str, value: impl Into<Bytes>) -> Command {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Command::Put {
        key,
        value: value.into(),
        condition: Condition::Always,
    }
}

fn value(handle: &Handle, key: &str) -> Option<Bytes> {
    handle
        .store()
        .view()
        .find(key.as_bytes())
        .map(|record| record.value.clone())
}

#[test]
fn what_one_node_takes_every_other_node_reads() {
    on_one_thread(async {
        let cluster = Cluster::start("write-read", 3).await;
        cluster.leader().await;
        for writer in 1..=3 {
            let key = format!("from-{writer}");
            let outcome = cluster.handle(writer).write(&put(&key, "x")).await.unwrap();
            assert!(
                matches!(outcome, Outcome::Put { created: true, .. }),
                "{outcome:?}"
            );
            for reader in 1..=3 {
                let reader = cluster.handle(reader);
                reader.catch_up().await.unwrap();
                assert_eq!(value(&reader, &key).as_deref(), Some(&b"x"[..]));
            }
        }
    });
}

#[test]
fn one_node_is_a_cluster() {
    on_one_thread(async {
        let mut cluster = Cluster::start("single", 1).await;
        cluster.handle(1).write(&put("a", "1")).await.unwrap();
        cluster.stop(NodeId(1)).await;
        cluster.restart(NodeId(1)).await;
        cluster.handle(1).catch_up().await.unwrap();
        assert_eq!(value(&cluster.handle(1), "a").as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn leadership_moves_where_it_is_asked_to() {
    on_one_thread(async {
        let cluster = Cluster::start("transfer", 3).await;
        let leader = cluster.leader().await;
        cluster
            .handle(leader.0)
            .write(&put("a", "1"))
            .await
            .unwrap();
        let to = NodeId(leader.0 % 3 + 1);
        assert!(cluster.handle(leader.0).transfer(Some(to)).await.unwrap());
        while cluster.leader().await != to {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(cluster.handle(to.0).status().role, Role::Leader);
    });
}

#[test]
fn a_stopped_leader_is_replaced_and_catches_up_by_a_snapshot_when_it_is_back() {
    on_one_thread(async {
        let mut cluster = Cluster::start("catch-up", 3).await;
        let leader = cluster.leader().await;
        cluster
            .handle(leader.0)
            .write(&put("before", "1"))
            .await
            .unwrap();
        cluster.stop(leader).await;
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        // More than the log and the state retain, so that only a snapshot can bring it back.
        for n in 0..100 {
            let value = vec![n; 100 << 10];
            cluster
                .handle(next.0)
                .write(&put(&format!("k{}", n % 10), value))
                .await
                .unwrap();
        }
        cluster.restart(leader).await;
        let back = cluster.handle(leader.0);
        back.catch_up().await.unwrap();
        assert_eq!(value(&back, "k9").map(|value| value.len()), Some(100 << 10));
        assert!(
            back.status().base.index.0 > 0,
            "it came by a snapshot: {:?}",
            back.status()
        );
        let (ours, theirs) = (back.store().view().hash(), cluster.handle(next.0));
        assert_eq!(ours, theirs.store().view().hash());
    });
}

#[test]
fn a_node_back_without_its_disk_is_told_so_and_ends() {
    on_one_thread(async {
        let mut cluster = Cluster::start("wiped", 3).await;
        cluster.leader().await;
        cluster.stop(NodeId(3)).await;
        std::fs::remove_dir_all(cluster.scratch.0.join("3")).unwrap();
        cluster.restart(NodeId(3)).await;
        let ended = cluster.nodes.remove(&NodeId(3)).unwrap().ended().await;
        let sentence = ended.unwrap_err().to_string();
        assert!(
            sentence.contains("node 3 came without its disk"),
            "{sentence}"
        );
    });
}
