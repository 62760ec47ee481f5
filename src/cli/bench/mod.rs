//! `remember bench`: measures this program on this machine, and etcd beside it.
//!
//! ```text
//!   bench --starts--> cluster: processes of this very program, or of etcd, on 127.0.0.1
//!     |                  ^
//!     +-- load, HTTP ----+     one process, whose own processor time is not counted
//! ```
//!
//! It asserts nothing about speed. What its figures mean is told in `docs/benchmarks.md`.

mod cluster;
mod etcd_tool;
mod failover;
mod guard;
mod http;
mod latencies;
mod load;
mod membership;
mod report;
mod server;
mod system;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::client::block_on;
use super::environment;
use super::exit::{Exit, say};
use super::stops::stops;
use cluster::{Cluster, Plan};
use etcd_tool::per_operation;
use failover::{How, Rounds};
pub(super) use guard::Exec;
use load::{Kind, Load};
use membership::Membership;
use report::Row;
use system::System;

/// Where `make bench-deps` puts what it builds, below the cache.
const ETCD: &str = "etcd-3.7.3/etcd";
const ETCD_BENCHMARK: &str = "etcd-benchmark-3.6.8/etcd-benchmark";

/// How long a cluster rests before its idle time is measured.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures this program on this machine, and etcd beside it if asked.
///
/// Starts clusters of its own on 127.0.0.1, with data in a directory that goes at the end, and
/// loads them; TMPDIR says on which disk. The figures mean something only while the machine has
/// nothing else to do.
#[derive(Subcommand, Debug)]
pub(super) enum Bench {
    Failover(Failover),
    Write(Throughput),
    Read(Throughput),
    Idle(Idle),
    Members(Members),
    #[command(hide = true)]
    Exec(Exec),
}

/// How long writes stop when the leader is killed, stopped, or hands over.
#[derive(Args, Debug)]
pub(super) struct Failover {
    /// How the leader is lost
    #[arg(long, value_enum, default_value = "kill")]
    how: How,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// How many times etcd's leader is lost, in between
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    etcd_rounds: u32,
    #[command(flatten)]
    common: Common,
}

/// Requests a second, their latency and what they cost the servers, under a load of clients that
/// are spread over all nodes.
#[derive(Args, Debug)]
pub(super) struct Throughput {
    /// How many clients; several numbers are measured one after the other
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,64,256,1000"
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: Vec<u16>,
    /// Over how many keys the requests are spread
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,
    /// The length of a value, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    value_size: u32,
    /// How long each is measured
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How often everything is measured, with fresh clusters; the table tells the round in the
    /// middle
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Drive etcd by this load generator too, through its JSON gateway
    #[arg(long, requires = "against")]
    gateway: bool,
    #[command(flatten)]
    common: Common,
}

/// What a cluster costs while nobody asks anything of it.
#[derive(Args, Debug)]
pub(super) struct Idle {
    /// How long it is measured
    #[arg(long, value_name = "N", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// How long it takes until two nodes that join have a vote, until a lost disk is replaced, and how
/// long writes stop meanwhile.
#[derive(Args, Debug)]
pub(super) struct Members {
    /// How often three nodes become five and three again, and one loses its disk
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How much state there is, in MiB
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1000))]
    state_mib: u64,
    #[command(flatten)]
    common: Common,
}

/// What all have in common.
#[derive(Args, Debug)]
struct Common {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// What to measure beside this program
    #[arg(long, value_enum)]
    against: Option<Against>,
    /// Where `make bench-deps` has put etcd; ~/.cache/remember if not said
    #[arg(
        long,
        env = "REMEMBER_CACHE",
        value_name = "DIR",
        hide_env_values = true
    )]
    cache: Option<PathBuf>,
    /// Servers listen on this port and the thousand after it
    #[arg(long, value_name = "PORT", default_value_t = 18_000)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64_000))]
    base_port: u16,
    /// Do not remove the data and the logs of the servers at the end
    #[arg(long)]
    keep: bool,
    /// Write every figure of every round to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Against {
    Etcd,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if let Self::Exec(exec) = self {
            return exec.run();
        }
        environment::check()?;
        block_on(LocalSet::new().run_until(async {
            let mut stopped = stops()?;
            // Whichever ends first, what was started is dropped with it, and so ends.
            tokio::select! {
                measured = self.measure() => measured,
                _ = stopped.recv() => Err(Exit::Failed.because("interrupted").into()),
            }
        }))
    }

    async fn measure(self) -> anyhow::Result<Exit> {
        match self {
            Self::Failover(failover) => failover.measure().await,
            Self::Write(throughput) => throughput.measure(Kind::Write).await,
            Self::Read(throughput) => throughput.measure(Kind::Read).await,
            Self::Idle(idle) => idle.measure().await,
            Self::Members(members) => members.measure().await,
            Self::Exec(_) => Ok(Exit::Usage),
        }
    }
}

impl Common {
    fn systems(&self) -> &'static [System] {
        match self.against {
            None => &[System::Remember],
            Some(Against::Etcd) => &[System::Remember, System::Etcd],
        }
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let etcd = match self.against {
            None => None,
            Some(Against::Etcd) => Some(self.cached(ETCD)?),
        };
        Ok(Plan {
            nodes: self.nodes,
            base_port: self.base_port,
            keep: self.keep,
            etcd,
        })
    }

    /// A program that `make bench-deps` has built.
    fn cached(&self, name: &str) -> anyhow::Result<PathBuf> {
        let cache = self.cache.clone().or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cache/remember"))
        });
        let path = cache.unwrap_or_default().join(name);
        if path.is_file() {
            return Ok(path);
        }
        let path = path.display();
        Err(Exit::Failed
            .because(format!("{path} is not there; `make bench-deps` builds it"))
            .into())
    }
}

impl Failover {
    async fn measure(self) -> anyhow::Result<Exit> {
        let plan = self.common.plan()?;
        let mut ours = Rounds::new(self.how, plan.start(System::Remember).await?);
        let mut etcd = match self.common.against {
            None => None,
            Some(Against::Etcd) => Some(Rounds::new(self.how, plan.start(System::Etcd).await?)),
        };
        let etcd_every = (self.rounds / self.etcd_rounds).max(1);
        for round in 1..=self.rounds {
            ours.round().await?;
            if let Some(etcd) = &mut etcd
                && round % etcd_every == 0
                && etcd.outages.count() < u64::from(self.etcd_rounds)
            {
                etcd.round().await?;
            }
            if round.is_multiple_of(100) || round == self.rounds {
                say(&format!("{}: {round} of {}", self.how.name(), self.rounds));
            }
        }
        let rows: Vec<_> = std::iter::once(ours)
            .chain(etcd)
            .map(|rounds| {
                Row::new(self.how.name(), rounds.system(), plan.nodes).of(&rounds.outages)
            })
            .collect();
        report::tell(&rows, self.common.json.as_ref())?;
        Ok(Exit::Done)
    }
}

impl Throughput {
    async fn measure(self, kind: Kind) -> anyhow::Result<Exit> {
        let plan = self.common.plan()?;
        let tool = match self.common.against {
            None => None,
            Some(Against::Etcd) => Some(self.common.cached(ETCD_BENCHMARK)?),
        };
        let mut rows = Vec::new();
        let mut exit = Exit::Done;
        for round in 1..=self.rounds {
            for clients in &self.clients {
                let load = self.load(kind, *clients);
                for system in self.common.systems() {
                    let name = system.name();
                    say(&format!(
                        "{}: round {round} of {}, {clients} client(s), {name}",
                        kind.name(),
                        self.rounds
                    ));
                    let mut cluster = plan.start(*system).await?;
                    let leader = cluster.whole().await?;
                    rows.extend(self.rows(load, &cluster, tool.as_ref()).await?);
                    let now = cluster.whole().await?;
                    let changes = now.term - leader.term;
                    say(&format!("{name}: {changes} change(s) of term under load"));
                    if changes > 0 && *system == System::Remember {
                        exit = Exit::Failed;
                    }
                }
            }
        }
        report::tell(&rows, self.common.json.as_ref())?;
        Ok(exit)
    }

    fn load(&self, kind: Kind, clients: u16) -> Load {
        Load {
            kind,
            clients: usize::from(clients),
            keys: self.keys,
            value_bytes: self.value_size as usize,
            warm_up: Duration::from_secs(self.seconds.clamp(1, 2)),
            time: Duration::from_secs(self.seconds),
        }
    }

    /// What one fresh cluster does under one load.
    async fn rows(
        &self,
        load: Load,
        cluster: &Cluster,
        tool: Option<&PathBuf>,
    ) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let by_tool = tool.filter(|_| cluster.system == System::Etcd);
        if let Some(tool) = by_tool {
            rows.push(etcd_tool::run(tool, load, cluster).await?);
        }
        if by_tool.is_none() || self.gateway {
            if load.kind == Kind::Read {
                load.fill(cluster).await?;
            }
            let by_gateway = if by_tool.is_some() { ", by HTTP" } else { "" };
            let measured = load.run(cluster).await?;
            let what = format!("{}{by_gateway}", load.kind.name());
            let mut row = Row::new(what, cluster.system, cluster.nodes()).of(&measured.latencies);
            row.clients = Some(load.clients);
            row.errors = measured.errors;
            let count = measured.latencies.count();
            #[expect(clippy::cast_precision_loss, reason = "a rate has a few digits")]
            let rate = count as f64 / measured.time.as_secs_f64();
            row.per_second = Some(rate);
            row.cpu_us = Some(per_operation(measured.cpu, count));
            row.rss_mib = Some(cluster.memory_mib()?);
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Idle {
    async fn measure(self) -> anyhow::Result<Exit> {
        let plan = self.common.plan()?;
        let time = Duration::from_secs(self.seconds);
        let mut rows = Vec::new();
        for system in self.common.systems() {
            let mut cluster = plan.start(*system).await?;
            let leader = cluster.whole().await?;
            sleep(SETTLE).await;
            let mut before = Vec::new();
            for server in &cluster.servers {
                before.push(server.cpu()?);
            }
            say(&format!("idle: {} for {time:?}", system.name()));
            sleep(time).await;
            for (at, (server, before)) in cluster.servers.iter().zip(before).enumerate() {
                let used = server.cpu()?.saturating_sub(before);
                let role = if at == leader.at {
                    "leader"
                } else {
                    "follower"
                };
                let mut row = Row::new(format!("idle {role} {}", at + 1), *system, plan.nodes);
                row.idle_percent = Some(used.as_secs_f64() / time.as_secs_f64() * 1e2);
                row.rss_mib = Some(cluster::mebibytes(server.memory()?));
                rows.push(row);
            }
        }
        report::tell(&rows, self.common.json.as_ref())?;
        Ok(Exit::Done)
    }
}

impl Members {
    async fn measure(self) -> anyhow::Result<Exit> {
        let plan = self.common.plan()?;
        let mut rows = Vec::new();
        for system in self.common.systems() {
            let cluster = plan.start(*system).await?;
            let mut measured = Membership::new(cluster, self.state_mib).await?;
            for round in 1..=self.rounds {
                measured.round().await?;
                say(&format!(
                    "members: {round} of {}, {}",
                    self.rounds,
                    system.name()
                ));
            }
            rows.extend(measured.rows());
        }
        report::tell(&rows, self.common.json.as_ref())?;
        Ok(Exit::Done)
    }
}
