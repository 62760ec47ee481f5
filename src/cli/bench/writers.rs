//! Clients that write without a pause, and try again whatever fails: one a node, so that some
//! client is always beside a node that lives.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::http::Connection;
use super::system::System;

/// How long one write may take until its client tries again.
const ATTEMPT: Duration = Duration::from_millis(100);

/// How long a client waits after a failure.
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// How long an outage may last: longer only if something is broken.
const OUTAGE_MAX: Duration = Duration::from_mins(1);

/// Writes that must be acknowledged before anything is measured.
const STEADY: u64 = 20;

/// All of them; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Writers {
    pub(super) acks: Rc<Acks>,
    _writing: JoinSet<()>,
}

impl Writers {
    /// Starts them, and waits until writes flow.
    pub(super) async fn start(system: System, ports: &[u16]) -> anyhow::Result<Self> {
        let acks = Rc::new(Acks::new());
        let mut writing = JoinSet::new();
        for port in ports {
            writing.spawn_local(write(system, *port, Rc::clone(&acks)));
        }
        timeout(OUTAGE_MAX, acks.steady()).await?;
        Ok(Self {
            acks,
            _writing: writing,
        })
    }
}

/// What was acknowledged, to any of the writers.
#[derive(Debug)]
pub(super) struct Acks {
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

    /// From now on the longest gap counts.
    pub(super) fn watch_gaps(&self) {
        self.longest_gap.take();
    }

    /// The longest time without an acknowledgement; what stands still to this moment counts as
    /// well.
    pub(super) fn longest_gap(&self) -> Duration {
        self.longest_gap.get().max(self.last.get().elapsed())
    }

    /// Waits until writes flow.
    async fn steady(&self) {
        while self.count.get() < STEADY {
            self.came.notified().await;
        }
    }

    /// Waits for the acknowledgement of a write that was begun after `moment`.
    pub(super) async fn of_one_begun_after(&self, moment: Instant) -> anyhow::Result<Instant> {
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
