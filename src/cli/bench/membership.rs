//! `remember bench members`: how long nodes take to join a cluster under load and to take a lost
//! one's place, and how long writes stop meanwhile.
//!
//! Time begins with the start of the processes, or with the loss of the disk, and ends when a vote
//! is agreed on. etcd takes one learner at a time, this program two.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::cluster::{Cluster, Voter};
use super::latencies::Latencies;
use super::load::{Kind, Load};
use super::report::Row;
use super::system::System;
use super::writers::Writers;

/// The length of a value of the state, in bytes.
const VALUE_BYTES: u64 = 64 << 10;

/// What was measured of one cluster.
pub(super) struct Membership {
    cluster: Cluster,
    state_mib: u64,
    /// By which number the system knows each node, by place.
    names: Vec<u64>,
    grown: Latencies,
    replaced: Latencies,
    gaps: Latencies,
}

impl Membership {
    /// Fills a whole cluster.
    pub(super) async fn new(mut cluster: Cluster, state_mib: u64) -> anyhow::Result<Self> {
        let load = Load {
            kind: Kind::Write,
            clients: 1,
            keys: (state_mib << 20) / VALUE_BYTES,
            value_bytes: usize::try_from(VALUE_BYTES)?,
            warm_up: Duration::ZERO,
            time: Duration::ZERO,
        };
        cluster.make_room(2 * (state_mib << 20)).await?;
        load.fill(&cluster).await?;
        cluster.whole().await?;
        Ok(Self {
            names: cluster.names().await?,
            cluster,
            state_mib,
            grown: Latencies::default(),
            replaced: Latencies::default(),
            gaps: Latencies::default(),
        })
    }

    /// From three to five, back to three, and a lost disk, under writers at the first three.
    pub(super) async fn round(&mut self) -> anyhow::Result<()> {
        let founders = self.cluster.nodes();
        let ports = self.cluster.ports();
        let writers = Writers::start(self.cluster.system, &ports).await?;
        writers.acks.watch_gaps();
        let begun = Instant::now();
        self.grow(&[founders + 1, founders + 2]).await?;
        self.grown.add(begun.elapsed());
        self.shrink(2).await?;
        self.gaps.add(writers.acks.longest_gap());
        let leader = self.cluster.whole().await?;
        self.replace(leader.other.0).await?;
        drop(writers);
        self.cluster.whole().await?;
        Ok(())
    }

    async fn grow(&mut self, nodes: &[u8]) -> anyhow::Result<()> {
        let system = self.cluster.system;
        match system {
            System::Remember => {
                for node in nodes {
                    self.cluster.join(*node)?;
                    self.names.push(u64::from(*node));
                }
                // The leader does the rest by itself.
                let all = self.names.len();
                self.cluster.until_members(|seen| seen.len() == all).await?;
            }
            System::Etcd => {
                for node in nodes {
                    let name = self.join_etcd(*node).await?;
                    self.names.push(name);
                }
            }
        }
        Ok(())
    }

    async fn join_etcd(&mut self, node: u8) -> anyhow::Result<u64> {
        let add = System::add_to_etcd(self.cluster.peer_port(node));
        let name = System::added_to_etcd(&self.cluster.demand(&add).await?)?;
        self.cluster.join(node)?;
        let promote = System::Etcd.promote(&[name]);
        self.cluster.demand(&promote).await?;
        Ok(name)
    }

    async fn shrink(&mut self, count: usize) -> anyhow::Result<()> {
        let system = self.cluster.system;
        let gone = self.names.split_off(self.names.len() - count);
        let steps = match system {
            System::Remember => vec![gone.as_slice()],
            System::Etcd => gone.chunks(1).collect(),
        };
        for step in steps {
            self.cluster.demand(&system.remove(step)).await?;
        }
        for _ in 0..count {
            self.cluster.let_go();
        }
        Ok(())
    }

    /// The disk of a follower is lost with its process.
    async fn replace(&mut self, at: usize) -> anyhow::Result<()> {
        let node = u8::try_from(at + 1)?;
        self.cluster.signal(at, Signal::KILL)?;
        self.cluster.servers[at].ended().await?;
        let begun = Instant::now();
        match self.cluster.system {
            System::Remember => {
                let before = self.cluster.until_members(|_| true).await?;
                let lost = before.into_iter().find(|(id, _)| *id == u64::from(node));
                self.cluster.join(node)?;
                let is_gone = |seen: &[Voter]| !seen.iter().any(|it| Some(it) == lost.as_ref());
                self.cluster.until_members(is_gone).await?;
            }
            System::Etcd => {
                let remove = System::Etcd.remove(&[self.names[at]]);
                self.cluster.demand(&remove).await?;
                self.names[at] = self.join_etcd(node).await?;
            }
        }
        self.replaced.add(begun.elapsed());
        Ok(())
    }

    /// One row for each thing.
    pub(super) fn rows(&self) -> Vec<Row> {
        let (system, nodes, mib) = (self.cluster.system, self.cluster.nodes(), self.state_mib);
        let row = |what: String, times| Row::new(what, system, nodes).of(times);
        vec![
            row(format!("two join, {mib} MiB, to votes"), &self.grown),
            row(format!("lost disk, {mib} MiB, to a vote"), &self.replaced),
            row("gap of writes, 3 to 5 to 3".to_owned(), &self.gaps),
        ]
    }
}
