//! Real processes that stand still, are let go as dead, and come back by themselves (S7, S10, R16).

#![cfg(test)]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(1);

/// How many nodes found the cluster; the others join it.
const FOUNDERS: u16 = 3;

/// Five nodes, with a directory that nothing is left in.
struct Nodes {
    base: u16,
    scratch: PathBuf,
    processes: Vec<Child>,
}

impl Nodes {
    /// Starts three that found a cluster and two that join it, and waits until all of them vote.
    fn start() -> Self {
        let mut nodes = Self::none();
        for id in 1..=5 {
            if id == FOUNDERS + 1 {
                nodes.until("three vote", |seen| roles(seen) == "1v2v3v");
            }
            nodes.start_one(id);
        }
        nodes.until("five vote", |seen| roles(seen) == "1v2v3v4v5v");
        nodes
    }

    /// None yet, below the ports that the kernel gives to clients.
    fn none() -> Self {
        let first = u16::try_from(std::process::id() % 50).unwrap() * 20;
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let bases = (0..50).map(|n| 31_000 + (first + n * 20) % 1000);
        let base = bases
            .into_iter()
            .find(|base| (1..=15).all(|port| free(base + port)))
            .unwrap();
        let name = format!("remember-let-go-{}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&scratch).unwrap();
        Self {
            base,
            scratch,
            processes: Vec::new(),
        }
    }

    fn start_one(&mut self, id: u16) {
        let joins = id > FOUNDERS;
        let mut members = String::new();
        for other in (1..=FOUNDERS).chain(joins.then_some(id)) {
            let (peer, api) = (self.base + other, self.base + 5 + other);
            write!(members, "{other}=127.0.0.1:{peer}/127.0.0.1:{api},").unwrap();
        }
        let log = std::fs::File::create(self.log(id)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_remember"))
            .env_clear()
            .args(["node", "--id", &id.to_string()])
            .args(["--members", members.trim_end_matches(',')])
            .args(joins.then_some("--join"))
            .args(["--dead-after-ms", "3000"])
            .args([
                "--listen-admin",
                &format!("127.0.0.1:{}", self.base + 10 + id),
            ])
            .arg("--data-dir")
            .arg(self.scratch.join(id.to_string()))
            .args(["--parent-pid", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.processes.push(process.unwrap());
    }

    fn log(&self, id: u16) -> PathBuf {
        self.scratch.join(format!("{id}.log"))
    }

    fn process(&mut self, id: u16) -> &mut Child {
        &mut self.processes[usize::from(id - 1)]
    }

    fn signal(&mut self, id: u16, signal: Signal) {
        kill_process(Pid::from_child(self.process(id)), signal).unwrap();
    }

    fn ask(&self, id: u16, request: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.base + 5 + id)).ok()?;
        stream.set_read_timeout(Some(HANGS)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until node 1 sees its cluster like that.
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) {
        self.until_seen_by(1, what, wanted);
    }

    fn until_seen_by(&mut self, id: u16, what: &str, wanted: impl Fn(&Value) -> bool) {
        let until = Instant::now() + HANGS;
        loop {
            let (_, seen) = self.ask(id, "GET /v1/members", "").unwrap_or_default();
            let seen = serde_json::from_str(&seen).unwrap_or_default();
            if wanted(&seen) {
                return;
            }
            assert!(Instant::now() < until, "not until {what}: {seen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks all, one of which leads, for the three founders alone, until that is so.
    fn remove_the_others(&self) {
        let wish = r#"{"remove": [4, 5]}"#;
        for id in (1..=5).cycle() {
            // One that removes itself cannot tell what came of it.
            drop(self.ask(id, "POST /v1/members", wish));
            let (_, seen) = self.ask(1, "GET /v1/members", "").unwrap_or_default();
            if roles(&serde_json::from_str(&seen).unwrap_or_default()) == "1v2v3v" {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a process has ended, and returns what it said last.
    fn ended(&mut self, id: u16) -> String {
        let until = Instant::now() + HANGS;
        while self.process(id).try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "node {id} does not end");
            thread::sleep(Duration::from_millis(10));
        }
        let said = std::fs::read_to_string(self.log(id)).unwrap();
        said.lines().next_back().unwrap_or_default().to_owned()
    }

    fn runs(&mut self, id: u16) -> bool {
        self.process(id).try_wait().unwrap().is_none()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
        if thread::panicking() {
            for id in 1..=5 {
                let said = std::fs::read_to_string(self.log(id)).unwrap_or_default();
                eprintln!("node {id}:\n{said}");
            }
        }
        drop(std::fs::remove_dir_all(&self.scratch));
    }
}

/// Who belongs to the cluster, with the first letter of what for.
fn roles(seen: &Value) -> String {
    let members = seen["members"].as_array().into_iter().flatten();
    let role = |member: &Value| {
        let role = member["role"].as_str().unwrap_or("?");
        format!("{}{}", member["id"], &role[..1])
    };
    members.map(role).collect()
}

#[test]
fn who_stood_still_comes_back_and_who_was_removed_ends() {
    let mut nodes = Nodes::start();
    for id in [4, 5] {
        nodes.signal(id, Signal::STOP);
    }
    nodes.until("both are let go", |seen| roles(seen) == "1v2v3v");
    for id in [4, 5] {
        nodes.signal(id, Signal::CONT);
    }
    // Beats wait for them, which are no news. It is the same processes that vote again.
    nodes.until("five vote again", |seen| roles(seen) == "1v2v3v4v5v");
    assert!(nodes.runs(4) && nodes.runs(5));
    // Whoever has just come may be removed before it knows that it is heard, and comes again.
    for id in [4, 5] {
        nodes.until_seen_by(id, "all are heard", |seen| {
            let mut members = seen["members"].as_array().into_iter().flatten();
            members.all(|member| member["alive"] == true) && roles(seen) == "1v2v3v4v5v"
        });
    }

    nodes.remove_the_others();
    for id in [4, 5] {
        let last_words = nodes.ended(id);
        assert!(last_words.contains("goes on without"), "{last_words}");
    }
}
