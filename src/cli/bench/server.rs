//! One server that is measured: its process, and what the kernel says of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::cli::node_process::last_line;

/// How long a killed process may take to be gone, and how often to look.
const TO_DIE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);

/// A server, running or not. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it speaks HTTP to clients, on 127.0.0.1.
    pub(super) port: u16,
    pub(super) log: PathBuf,
    process: Option<Child>,
}

impl Server {
    pub(super) fn new(port: u16, log: PathBuf, process: Child) -> Self {
        Self {
            port,
            log,
            process: Some(process),
        }
    }

    pub(super) fn started(&mut self, process: Child) {
        self.process = Some(process);
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal).context("cannot send a signal to a server")
    }

    /// Waits until the process is gone.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process {
            process.wait().await?;
        }
        self.process = None;
        Ok(())
    }

    /// Fails if the process has ended by itself, and says what it wrote last.
    pub(super) fn demand_alive(&mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process
            && let Some(ended) = process.try_wait()?
        {
            let last = last_line(&self.log).unwrap_or_default();
            anyhow::bail!("a server ended ({ended}): {last}");
        }
        Ok(())
    }

    fn kill(process: &mut Child) -> std::io::Result<()> {
        process.start_kill()?;
        let until = Instant::now() + TO_DIE;
        while process.try_wait()?.is_none() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.process.as_ref().and_then(Child::id);
        let pid = id
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        pid.context("the server does not run")
    }

    /// The processor time that all its threads have used, in user code and in the kernel.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid()?.as_raw_pid());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        cpu_ticks(&stat)
            .map(|ticks| tick() * ticks)
            .with_context(|| format!("{path} is not as proc(5) says"))
    }

    /// The memory that it has in RAM, in bytes, the pages of its program file among it.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid()?.as_raw_pid());
        let status = std::fs::read_to_string(&path);
        let status = status.with_context(|| format!("cannot read {path}"))?;
        kibibytes(&status, "VmRSS:").with_context(|| format!("{path} is not as proc(5) says"))
    }
}

impl Drop for Server {
    /// Returns when the process is gone, so that nobody writes into its directory any more.
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // One that has ended already cannot be killed, and need not be.
            drop(Self::kill(process));
        }
    }
}

/// How finely the kernel counts processor time.
pub(super) fn tick() -> Duration {
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Duration::from_secs(1) / per_second.max(1)
}

/// Fields 14 and 15 of `/proc/PID/stat`; the second one is a name that may hold anything.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_it_is_written() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 30 9 9 20 0 2 0 5";
        assert_eq!(cpu_ticks(stat), Some(180));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        let status = "Name:\tx\nVmRSS:\t    9000 kB\nRssAnon:\t  12 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(9000 << 10));
        assert_eq!(kibibytes(status, "VmHWM:"), None);
    }
}
