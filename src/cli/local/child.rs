//! One node of `remember local`: its process, started again when it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{self, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::{Event, News, RESTART};

/// How long a node may take to end in order.
const IN_ORDER: Duration = Duration::from_secs(5);

/// How much of the end of a log is searched for the last line, in bytes.
const LAST_LINE_BYTES: u64 = 1 << 10;

/// Whether the nodes are to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stop {
    No,
    /// By SIGTERM: a leader hands over.
    InOrder,
    /// By SIGKILL.
    AtOnce,
}

/// What a node's process is started with.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) node: u8,
    pub(super) members: String,
    /// Where it answers questions of health.
    pub(super) admin: String,
    pub(super) data_dir: PathBuf,
    /// Where its output goes.
    pub(super) log: PathBuf,
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
            let event = match self.start() {
                Ok(mut process) => {
                    let pid = process.id().unwrap_or_default();
                    self.tell(&news, Event::Started { pid }).await;
                    let ended = tokio::select! {
                        ended = process.wait() => Some(ended),
                        _ = stop.wait_for(|stop| *stop > Stop::No) => None,
                    };
                    let Some(ended) = ended else {
                        return end(process, stop).await;
                    };
                    Event::Ended {
                        how: ended.map_or_else(|error| error.to_string(), |how| self.told(how)),
                        restarts: self.restarts,
                    }
                }
                Err(error) => Event::NotStarted {
                    why: format!("{error:#}"),
                },
            };
            self.tell(&news, event).await;
            tokio::select! {
                () = sleep(RESTART), if self.restarts => {}
                _ = stop.wait_for(|stop| *stop > Stop::No) => return,
            }
        }
    }

    fn start(&self) -> anyhow::Result<process::Child> {
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(program);
        command
            .args(["--color", "never", "node", "--id", &self.node.to_string()])
            .args(["--members", &self.members])
            .args(["--listen-admin", &self.admin])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--parent-pid", &std::process::id().to_string()])
            // These would lead a node to where another one is.
            .env_remove("REMEMBER_LISTEN_PEER")
            .env_remove("REMEMBER_LISTEN_API")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this process, which then ends its children in order.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().context("cannot start a process")
    }

    /// How the process ended, in words.
    fn told(&self, how: ExitStatus) -> String {
        match (how.signal(), how.code()) {
            (Some(9), _) => "was killed".to_owned(),
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, Some(0)) => "ended in order".to_owned(),
            (None, code) => {
                let code = code.unwrap_or_default();
                let last = last_line(&self.log).unwrap_or_default();
                format!("ended with exit code {code}: {last}")
            }
        }
    }

    async fn tell(&self, news: &mpsc::Sender<News>, what: Event) {
        let (node, at) = (self.node, Instant::now());
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

fn last_line(log: &PathBuf) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_BYTES)))?;
    let mut end = Vec::new();
    file.take(LAST_LINE_BYTES).read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    Ok(end.lines().next_back().unwrap_or_default().to_owned())
}
