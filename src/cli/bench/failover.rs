//! `remember bench failover`: how long writes stop when the leader is lost.
//!
//! One client a node writes without a pause and tries again whatever fails, so that some client is
//! always beside a node that lives. The outage lasts from the kill to the first acknowledgement of
//! a write that was *begun after* the kill.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Leader};
use super::latencies::Latencies;
use super::system::System;
use super::writers::{Acks, Writers};
use crate::cli::exit::say;

/// How long writes are watched around a hand-over.
const AROUND: Duration = Duration::from_millis(300);

/// How the leader is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum How {
    /// kill -9: its kernel closes its connections
    Kill,
    /// SIGSTOP: its connections stay, and nothing comes
    Stop,
    /// It hands over, and lives on
    Transfer,
}

/// The outages of many rounds.
#[derive(Debug)]
pub(super) struct Rounds {
    how: How,
    cluster: Cluster,
    pub(super) outages: Latencies,
    chance: u64,
}

impl How {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "failover, kill -9",
            Self::Stop => "failover, SIGSTOP",
            Self::Transfer => "gap of a transfer",
        }
    }

    /// What is long enough to be told while it happens.
    fn long(self) -> Duration {
        match self {
            Self::Kill | Self::Transfer => Duration::from_millis(100),
            Self::Stop => Duration::from_millis(700),
        }
    }
}

impl Rounds {
    pub(super) fn new(how: How, cluster: Cluster) -> Self {
        Self {
            how,
            cluster,
            outages: Latencies::default(),
            chance: 1,
        }
    }

    pub(super) fn system(&self) -> System {
        self.cluster.system
    }

    /// One round, from a whole cluster to a whole cluster.
    pub(super) async fn round(&mut self) -> anyhow::Result<()> {
        let leader = self.cluster.whole().await?;
        // Not always at the same time after a heartbeat.
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005) | 1;
        sleep(Duration::from_millis(20 + (self.chance >> 32) % 100)).await;
        // Dropped at the end of the round, whatever ends it.
        let writers = Writers::start(self.cluster.system, &self.cluster.ports()).await?;
        let acks = &writers.acks;
        let outage = match self.how {
            How::Kill => self.kill(leader, acks).await?,
            How::Stop => self.stop(leader, acks).await?,
            How::Transfer => self.transfer(leader, acks).await?,
        };
        drop(writers);
        if self.system() == System::Remember && outage > self.how.long() {
            // The time leads to the place in the servers' logs, which --keep keeps.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            let (name, round) = (self.system().name(), self.outages.count() + 1);
            let (took, now) = (outage.as_millis(), now.as_millis());
            say(&format!(
                "{name}, round {round}: {took} ms, over at {now} ms since 1970"
            ));
        }
        self.outages.add(outage);
        Ok(())
    }

    async fn kill(&mut self, leader: Leader, acks: &Acks) -> anyhow::Result<Duration> {
        let lost = Instant::now();
        self.cluster.signal(leader.at, Signal::KILL)?;
        let acked = acks.of_one_begun_after(Instant::now()).await?;
        self.cluster.start_again(leader.at).await?;
        Ok(acked - lost)
    }

    async fn stop(&mut self, leader: Leader, acks: &Acks) -> anyhow::Result<Duration> {
        let lost = Instant::now();
        self.cluster.signal(leader.at, Signal::STOP)?;
        let acked = acks.of_one_begun_after(Instant::now()).await;
        self.cluster.signal(leader.at, Signal::CONT)?;
        Ok(acked? - lost)
    }

    async fn transfer(&mut self, leader: Leader, acks: &Acks) -> anyhow::Result<Duration> {
        acks.watch_gaps();
        self.cluster.hand_over(leader).await?;
        sleep(AROUND).await;
        let gap = acks.longest_gap();
        let now = self.cluster.whole().await?;
        anyhow::ensure!(now.term > leader.term, "the leader did not hand over");
        Ok(gap)
    }
}
