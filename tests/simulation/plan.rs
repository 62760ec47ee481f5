//! What one seed decides before anything runs: the cluster, its limits, and what will go wrong.

use std::time::Duration;

use remember::consensus::{Config, NodeId};

use super::faults::Fault;
use super::rng::Rng;
use super::upkeep::draw_upkeep;

/// One run's terms.
pub(crate) struct Plan {
    /// How many nodes the cluster is founded with.
    pub(crate) nodes: u64,
    /// How many machines there are beside, which may join later.
    pub(crate) spares: u64,
    /// The time between two changes of the members, in milliseconds, at least and at most.
    pub(crate) churn_millis: (u64, u64),
    /// The nodes' own timings and limits.
    pub(crate) config: Config,
    /// The network's manners.
    pub(crate) weather: Weather,
    /// How long a write takes to become durable, in microseconds, at least and at most.
    pub(crate) sync_micros: (u64, u64),
    /// How far a clock's rate may be off, in millionths.
    pub(crate) drift: u32,
    /// What may go wrong; the more often it is named, the more often it happens.
    pub(crate) faults: Vec<Fault>,
    /// The time between two faults, in milliseconds, at least and at most.
    pub(crate) fault_millis: (u64, u64),
    /// How long a fault lasts, in milliseconds at most.
    pub(crate) fault_lasts_millis: u64,
    /// How long things go wrong.
    pub(crate) trouble: Duration,
    /// Whether the cluster is founded from fresh disks, or its membership is there at the start.
    pub(crate) founding: bool,
    /// How many clients work at once.
    pub(crate) clients: usize,
    /// How long a client thinks between two requests, in milliseconds at most.
    pub(crate) think_millis: u64,
    /// Commands are padded by less than this, in bytes.
    pub(crate) command_bytes: u64,
    /// Whether a probe dials beside a link that is up, or only hastens the next attempt.
    pub(crate) probes_anew: bool,
    /// When the cluster is given up, so that one of its disks begins another one.
    pub(crate) given_up: Vec<Duration>,
    /// Who asks another witness than everybody else.
    pub(crate) apart: Option<NodeId>,
    /// A snapshot is taken when the log has grown beyond this.
    pub(crate) snapshot_bytes: usize,
}

/// How the network treats what it carries.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    /// The usual way of a message, in microseconds, at least and at most.
    pub(crate) micros: (u64, u64),
    /// How many of 1000 messages are lost.
    pub(crate) lost: u64,
    /// How many of 1000 messages come twice.
    pub(crate) repeated: u64,
    /// How many of 1000 messages take up to 100 times as long.
    pub(crate) late: u64,
    /// Whether messages keep their order on a link, as TCP keeps it.
    pub(crate) ordered: bool,
}

impl Plan {
    /// The terms that belong to a seed.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let nodes = rng.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 5, 5, 6, 7]);
        let kinds = rng.some(Fault::ALL, 2, Fault::ALL.len());
        let fault_low = rng.pick(&[50, 200, 500]);
        let churn_low = rng.pick(&[50, 200, 1000]);
        let mut plan = Self {
            nodes,
            spares: rng.pick(&[0, 0, 1, 2, 3]),
            churn_millis: (churn_low, churn_low * 4),
            config: config(rng),
            weather: Weather::of(rng),
            sync_micros: rng.pick(&[(20, 100), (100, 2000), (500, 10_000)]),
            drift: rng.pick(&[0, 1000, 50_000]),
            faults: kinds,
            fault_millis: (fault_low, fault_low * rng.between(2, 10)),
            fault_lasts_millis: rng.pick(&[300, 1000, 4000]),
            trouble: Duration::from_secs(15),
            founding: rng.chance(300),
            clients: rng.place(6) + 1,
            think_millis: rng.pick(&[5, 20, 100]),
            command_bytes: rng.pick(&[1, 50, 400]),
            probes_anew: rng.chance(500),
            given_up: Vec::new(),
            apart: None,
            snapshot_bytes: rng.pick(&[500, 4000, 30_000]),
        };
        if plan.spares > 0 {
            // Drawn apart: a run in which leaders change nothing is what it was without this.
            let mut apart = Rng::new(rng.clone().number());
            draw_upkeep(&mut plan.config, &mut apart);
        }
        let mut apart = Rng::new(rng.clone().number() ^ 1);
        plan.draw_witness(&mut apart);
        let mut apart = Rng::new(rng.clone().number() ^ 2);
        plan.draw_epochs(&mut apart);
        let mut apart = Rng::new(rng.clone().number() ^ 3);
        plan.draw_hubs(&mut apart);
        let mut apart = Rng::new(rng.clone().number() ^ 4);
        plan.draw_registers(&mut apart);
        plan
    }

    /// Lets one of four whose members change be given up, and mostly once more (R14).
    fn draw_epochs(&mut self, rng: &mut Rng) {
        if self.spares == 0 || !rng.chance(250) {
            return;
        }
        let first = rng.millis(2000, 6000);
        self.given_up.push(first);
        if rng.chance(600) {
            self.given_up.push(first + rng.millis(1500, 5000));
        }
    }

    /// Lets one of six be a pair with a witness, and mostly with others who may join it; and lets
    /// one of six more have a witness, to which it may shrink.
    fn draw_witness(&mut self, rng: &mut Rng) {
        self.config.witness = rng.chance(333);
        if self.config.witness && rng.chance(500) {
            self.nodes = 2;
            self.spares = rng.pick(&[0, 1, 1, 2]);
            self.config.promotes = self.spares > 0 && rng.chance(800);
        }
    }

    /// In one of four clusters with a witness, gives one node another register than the others.
    fn draw_registers(&mut self, rng: &mut Rng) {
        if self.config.witness && rng.chance(250) {
            self.apart = Some(NodeId(rng.between(1, self.nodes)));
        }
    }

    /// Lets two of five with four nodes or more have hubs, and little else, so that what a hub
    /// needs has the time.
    fn draw_hubs(&mut self, rng: &mut Rng) {
        if self.nodes > 3 && rng.chance(400) {
            self.faults.truncate(2);
            self.faults.extend([Fault::Hub; 2]);
            self.fault_millis = (2000, 8000);
        }
    }

    /// A quiet cluster of `nodes` with the default timings, for stories with their own faults.
    pub(crate) fn quiet(nodes: u64) -> Self {
        Self {
            nodes,
            spares: 0,
            churn_millis: (100, 100),
            config: Config::default(),
            weather: Weather {
                micros: (50, 500),
                lost: 0,
                repeated: 0,
                late: 0,
                ordered: true,
            },
            sync_micros: (100, 2000),
            drift: 1000,
            faults: Vec::new(),
            fault_millis: (100, 100),
            fault_lasts_millis: 100,
            trouble: Duration::ZERO,
            founding: false,
            clients: 3,
            think_millis: 100,
            command_bytes: 64,
            probes_anew: false,
            given_up: Vec::new(),
            apart: None,
            snapshot_bytes: 1 << 20,
        }
    }
}

impl Weather {
    fn of(rng: &mut Rng) -> Self {
        Self {
            micros: rng.pick(&[(10, 50), (50, 500), (500, 5000), (10, 5000)]),
            lost: rng.pick(&[0, 1, 20, 100]),
            repeated: rng.pick(&[0, 1, 50]),
            late: rng.pick(&[0, 1, 20]),
            ordered: rng.chance(300),
        }
    }
}

/// Timings and limits that can work together, mostly smaller than anybody would choose, so that
/// every limit is met.
fn config(rng: &mut Rng) -> Config {
    let election_timeout = rng.millis(60, 500);
    let append_bytes_max = rng.pick(&[64, 500, 4000, 100_000]);
    let inflight_bytes_max = append_bytes_max * rng.pick(&[1, 2, 16]);
    Config {
        heartbeat: election_timeout / rng.pick(&[3, 4, 6, 10]),
        election_timeout,
        preference_wait: rng.millis(1, 20),
        disk_stall: rng.millis(100, 1500),
        command_bytes_max: 4096,
        append_bytes_max,
        inflight_bytes_max,
        pending_bytes_max: inflight_bytes_max * rng.pick(&[1, 4, 64]),
        waiting_max: rng.pick(&[1, 4, 1000]),
        retained_bytes: rng.pick(&[0, 500, 10_000]),
        promotes: false,
        dead_after: None,
        witness: false,
    }
}
