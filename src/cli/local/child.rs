//! One node of `remember local`: its process, started again when it ends.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::{Event, News, RESTART};
use crate::cli::node_process::{NodeProcess, last_line};

/// How long a node may take to end in order.
const IN_ORDER: Duration = Duration::from_secs(5);

/// Whether the nodes are to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stop {
    No,
    /// The others are about to go on without it, so it ends by itself and is not started again.
    ByItself,
    /// By SIGTERM: a leader hands over.
    InOrder,
    /// By SIGKILL.
    AtOnce,
}

/// A process, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) process: NodeProcess,
    /// Whether it is started again when it ends.
    pub(super) restarts: bool,
}

impl Child {
    /// Keeps the process running until it is to stop; it has ended when this returns.
    pub(super) async fn keep_running(
        self,
        news: mpsc::Sender<News>,
        mut stop: watch::Receiver<Stop>,
    ) {
        loop {
            let event = match self.process.start() {
                Ok(mut process) => {
                    let pid = process.id().unwrap_or_default();
                    self.tell(&news, Event::Started { pid }).await;
                    let ended = tokio::select! {
                        ended = process.wait() => Some(ended),
                        _ = stop.wait_for(|stop| *stop >= Stop::InOrder) => None,
                    };
                    let Some(ended) = ended else {
                        return end(process, stop).await;
                    };
                    Event::Ended {
                        how: ended.map_or_else(|error| error.to_string(), |how| self.told(how)),
                        restarts: self.restarts && *stop.borrow() == Stop::No,
                    }
                }
                Err(error) => Event::NotStarted {
                    why: format!("{error:#}"),
                },
            };
            self.tell(&news, event).await;
            let restarts = self.restarts && *stop.borrow() == Stop::No;
            tokio::select! {
                () = sleep(RESTART), if restarts => {}
                _ = stop.wait_for(|stop| *stop >= Stop::InOrder) => return,
            }
        }
    }

    /// How the process ended, in words.
    fn told(&self, how: ExitStatus) -> String {
        match (how.signal(), how.code()) {
            (Some(9), _) => "was killed".to_owned(),
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, Some(0)) => "ended in order".to_owned(),
            (None, code) => {
                let code = code.unwrap_or_default();
                let last = last_line(&self.process.log).unwrap_or_default();
                format!("ended with exit code {code}: {last}")
            }
        }
    }

    async fn tell(&self, news: &mpsc::Sender<News>, what: Event) {
        let (node, at) = (self.process.node, Instant::now());
        // Nobody listens any more once all are to end.
        drop(news.send(News { node, at, what }).await);
    }
}

/// Ends the process, and does not return before.
async fn end(mut process: process::Child, mut stop: watch::Receiver<Stop>) {
    let in_order = async {
        // Until it was waited for, its number is its own.
        if let Some(pid) = process.id().and_then(|id| i32::try_from(id).ok()) {
            // If it is gone already, there is nothing to end.
            let _told = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
        }
        drop(timeout(IN_ORDER, process.wait()).await);
    };
    tokio::select! {
        () = in_order => {}
        _ = stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
    }
    drop(process.kill().await);
}
