//! `remember bench failover`: how long writes stop when the leader is lost.
//!
//! One client a node writes without a pause and tries again whatever fails, so that some client is
//! always beside a node that lives. The outage lasts from the kill to the first acknowledgement of
//! a write that was *begun after* the kill.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, Leader};
use super::http::Connection;
use super::latencies::Latencies;
use super::system::System;
use crate::cli::exit::say;

/// How long one write may take until its client tries again.
const ATTEMPT: Duration = Duration::from_millis(100);

/// How long a client waits after a failure.
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// How long an outage may last: longer only if something is broken.
const OUTAGE_MAX: Duration = Duration::from_mins(1);

/// Writes that must be acknowledged before the leader is lost.
const STEADY: u64 = 20;

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
        let acks = Rc::new(Acks::new());
        // Dropped at the end of the round, whatever ends it.
        let mut writers = JoinSet::new();
        for port in self.cluster.ports() {
            writers.spawn_local(write(self.cluster.system, port, Rc::clone(&acks)));
        }
        timeout(OUTAGE_MAX, acks.steady()).await?;
        let outage = match self.how {
            How::Kill => self.kill(leader, &acks).await?,
            How::Stop => self.stop(leader, &acks).await?,
            How::Transfer => self.transfer(leader, &acks).await?,
        };
        writers.shutdown().await;
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
        acks.longest_gap.take();
        self.cluster.hand_over(leader).await?;
        sleep(AROUND).await;
        // What stands still to this moment counts as well.
        let gap = acks.longest_gap.get().max(acks.last.get().elapsed());
        let now = self.cluster.whole().await?;
        anyhow::ensure!(now.term > leader.term, "the leader did not hand over");
        Ok(gap)
    }
}

/// What was acknowledged, to any of the writers.
#[derive(Debug)]
struct Acks {
    count: Cell<u64>,
    last: Cell<Instant>,
    longest_gap: Cell<Duration>,
    /// The first acknowledgement of a write that was begun after a moment.
    begun_after: Cell<Option<Instant>>,
    first: Cell<Option<Instant>>,
    came: Notify,
}

impl Acks {
    fn new() -> Self {
        Self {
            count: Cell::new(0),
            last: Cell::new(Instant::now()),
            longest_gap: Cell::default(),
            begun_after: Cell::default(),
            first: Cell::default(),
            came: Notify::new(),
        }
    }

    fn add(&self, begun: Instant) {
        let now = Instant::now();
        let gap = now - self.last.replace(now);
        self.longest_gap.set(self.longest_gap.get().max(gap));
        self.count.set(self.count.get() + 1);
        let counts = self.begun_after.get().is_some_and(|after| begun > after);
        if counts && self.first.get().is_none() {
            self.first.set(Some(now));
        }
        self.came.notify_one();
    }

    /// Waits until writes flow.
    async fn steady(&self) {
        while self.count.get() < STEADY {
            self.came.notified().await;
        }
    }

    /// Waits for the acknowledgement of a write that was begun after `moment`.
    async fn of_one_begun_after(&self, moment: Instant) -> anyhow::Result<Instant> {
        self.begun_after.set(Some(moment));
        let acked = async {
            loop {
                if let Some(first) = self.first.get() {
                    return first;
                }
                self.came.notified().await;
            }
        };
        Ok(timeout(OUTAGE_MAX, acked).await?)
    }
}

/// Writes through one node, for ever.
async fn write(system: System, port: u16, acks: Rc<Acks>) {
    let mut number = 0_u64;
    loop {
        if let Ok(mut connection) = Connection::open(port).await {
            loop {
                number += 1;
                let put = system.put(&format!("{:08}", number % 1000), &[b'v'; 256]);
                let begun = Instant::now();
                match timeout(ATTEMPT, connection.exchange(&put)).await {
                    Ok(Ok(answer)) if answer.is_success() => acks.add(begun),
                    Ok(Ok(_)) => sleep(TRY_AGAIN).await,
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
        sleep(TRY_AGAIN).await;
    }
}
