//! A closed loop of clients: each has one connection and one request under way, and makes the next
//! when the answer has come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::Cluster;
use super::http::Connection;
use super::latencies::Latencies;
use super::system::System;

/// How long a client waits until it connects again.
const CONNECT_AGAIN: Duration = Duration::from_millis(10);

/// How long a request may take: longer is an error, and the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many clients write what is read later.
const WRITERS: usize = 64;

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Write,
    Read,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// How they do it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) kind: Kind,
    pub(super) clients: usize,
    pub(super) keys: u64,
    pub(super) value_bytes: usize,
    /// How long the load runs before it is measured.
    pub(super) warm_up: Duration,
    /// How long it is measured.
    pub(super) time: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) latencies: Latencies,
    pub(super) errors: u64,
    pub(super) time: Duration,
    /// What all servers together used.
    pub(super) cpu: Duration,
}

/// What all clients share.
#[derive(Debug)]
struct Shared {
    system: System,
    load: Load,
    counts: Cell<bool>,
    latencies: RefCell<Latencies>,
    errors: Cell<u64>,
}

impl Load {
    /// Loads a cluster, its clients spread over all nodes.
    pub(super) async fn run(self, cluster: &Cluster) -> anyhow::Result<Measured> {
        let shared = Rc::new(Shared {
            system: cluster.system,
            load: self,
            counts: Cell::new(false),
            latencies: RefCell::default(),
            errors: Cell::new(0),
        });
        let ports = cluster.ports();
        let mut clients = JoinSet::new();
        for (client, port) in (0..self.clients).zip(ports.iter().cycle()) {
            let client = Client {
                shared: Rc::clone(&shared),
                port: *port,
                chance: client as u64,
            };
            clients.spawn_local(client.run());
        }
        sleep(self.warm_up).await;
        let (begun, cpu) = (Instant::now(), cluster.cpu()?);
        shared.counts.set(true);
        sleep(self.time).await;
        shared.counts.set(false);
        let (time, cpu) = (begun.elapsed(), cluster.cpu()?.saturating_sub(cpu));
        clients.shutdown().await;
        Ok(Measured {
            latencies: shared.latencies.take(),
            errors: shared.errors.get(),
            time,
            cpu,
        })
    }

    /// Writes every key once, so that there is something to read.
    pub(super) async fn fill(self, cluster: &Cluster) -> anyhow::Result<()> {
        let mut writers = JoinSet::new();
        let (system, ports) = (cluster.system, cluster.ports());
        let firsts = (0..self.keys).zip(ports.into_iter().cycle());
        for (first, port) in firsts.take(WRITERS) {
            writers.spawn_local(async move {
                let mut connection = Connection::open(port).await?;
                let value = vec![b'v'; self.value_bytes];
                for key in (first..self.keys).step_by(WRITERS) {
                    let put = system.put(&key_name(key), &value);
                    let answer = timeout(PATIENCE, connection.exchange(&put)).await??;
                    anyhow::ensure!(answer.is_success(), "a write failed: {}", answer.status);
                }
                Ok(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
        Ok(())
    }
}

/// Eight bytes, as etcd's own benchmark has them.
fn key_name(key: u64) -> String {
    format!("{key:08}")
}

/// One client.
struct Client {
    shared: Rc<Shared>,
    port: u16,
    chance: u64,
}

impl Client {
    async fn run(mut self) {
        loop {
            match Connection::open(self.port).await {
                Ok(connection) => self.use_up(connection).await,
                Err(_) => self.failed(),
            }
            sleep(CONNECT_AGAIN).await;
        }
    }

    /// Makes requests until the connection is of no use.
    async fn use_up(&mut self, mut connection: Connection) {
        let Shared { system, load, .. } = *self.shared;
        let value = vec![b'v'; load.value_bytes];
        loop {
            let key = key_name(self.random() % load.keys);
            let request = match load.kind {
                Kind::Write => system.put(&key, &value),
                Kind::Read => system.get(&key),
            };
            let begun = Instant::now();
            match timeout(PATIENCE, connection.exchange(&request)).await {
                Ok(Ok(answer)) if answer.is_success() => self.succeeded(begun.elapsed()),
                Ok(Ok(_)) => self.failed(),
                Ok(Err(_)) | Err(_) => return self.failed(),
            }
        }
    }

    fn succeeded(&self, took: Duration) {
        if self.shared.counts.get() {
            self.shared.latencies.borrow_mut().add(took);
        }
    }

    fn failed(&self) {
        if self.shared.counts.get() {
            self.shared.errors.set(self.shared.errors.get() + 1);
        }
    }

    /// The next number of a `SplitMix64` sequence: the same in every run.
    fn random(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
