//! `remember local` for real: processes, ports, kills, and nothing left behind.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use remember::state::ClusterInfo;
use rustix::process::{Pid, Signal, kill_process};

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(1);

/// A cluster under test, with a directory that nothing may be left in.
struct Local {
    process: Child,
    lines: Receiver<String>,
    /// All lines that came so far.
    heard: Vec<String>,
    base: u16,
    nodes: u16,
    scratch: PathBuf,
}

impl Local {
    fn start(nodes: u16, arguments: &[&str]) -> Self {
        let base = free_base(nodes);
        let scratch = scratch(base);
        let mut process = command(&scratch, base)
            .args(["--nodes", &nodes.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            process,
            lines,
            heard: Vec::new(),
            base,
            nodes,
            scratch,
        }
    }

    /// Waits for a line that is not told before line number `from`, and returns it.
    fn line(&mut self, from: usize, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + HANGS;
        let mut next = from;
        loop {
            while let Some(line) = self.heard.get(next) {
                if wanted(line) {
                    return line.clone();
                }
                next += 1;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.heard.push(line),
                Err(error) => panic!("{error}; what came is: {:#?}", self.heard),
            }
        }
    }

    /// The process of a node, as it was last started.
    fn pid(&mut self, node: u64, from: usize) -> Pid {
        let start = format!("node {node} runs as process ");
        let line = self.line(from, |line| line.starts_with(&start));
        Pid::from_raw(line[start.len()..].parse().unwrap()).unwrap()
    }

    fn pids(&mut self) -> Vec<Pid> {
        (1..=u64::from(self.nodes))
            .map(|node| self.pid(node, 0))
            .collect()
    }

    fn ask(&self, node: u64, request: &str, body: &str) -> Option<(u16, String)> {
        ask(self.base + u16::try_from(node).unwrap(), request, body)
    }

    /// Waits until every node tells of one leader with a term above `above`.
    fn agreed(&self, above: u64) -> ClusterInfo {
        let until = Instant::now() + HANGS;
        loop {
            let seen: Vec<ClusterInfo> = (1..=u64::from(self.nodes))
                .filter_map(|node| self.ask(node, "GET /v1/cluster", ""))
                .map(|(_, document)| serde_json::from_str(&document).unwrap())
                .collect();
            let all = seen.len() == usize::from(self.nodes);
            if let Some(first) = seen.first()
                && all
                && first.term > above
                && first.leader.is_some()
                && seen.iter().all(|other| {
                    other.leader == first.leader
                        && other.term == first.term
                        && other.alive_followers.len() == seen.len()
                })
            {
                return first.clone();
            }
            assert!(Instant::now() < until, "no agreement: {seen:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types how many nodes there are to be.
    fn resize(&mut self, nodes: u16) {
        let stdin = self.process.stdin.as_mut().unwrap();
        writeln!(stdin, "{nodes}").unwrap();
        self.nodes = nodes;
    }

    /// Waits until node 1 tells of so many voters, and of nobody else.
    fn all_vote(&self, voters: usize) {
        let until = Instant::now() + HANGS;
        loop {
            let (_, seen) = self.ask(1, "GET /v1/members", "").unwrap_or_default();
            let vote = seen.matches(r#""role":"voter""#).count();
            if (vote, seen.matches(r#""role""#).count()) == (voters, voters) {
                return;
            }
            assert!(Instant::now() < until, "not {voters} voters: {seen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for the end, and returns the exit code.
    fn ended(&mut self) -> Option<i32> {
        let until = Instant::now() + HANGS;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until none of the processes and ports is left.
    fn demand_nothing_runs(&self, pids: &[Pid]) {
        let until = Instant::now() + HANGS;
        while pids.iter().any(|pid| runs(*pid)) || !is_free(self.base, self.nodes) {
            assert!(Instant::now() < until, "something is left of {pids:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.scratch).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A test that failed leaves nothing either: the nodes die with their parent.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.scratch));
    }
}

fn command(scratch: &Path, base: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
    command
        .env_clear()
        .env("TMPDIR", scratch)
        .args(["local", "--base-port", &base.to_string()])
        .stdin(Stdio::null());
    command
}

fn scratch(base: u16) -> PathBuf {
    let name = format!("remember-local-test-{}-{base}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Whether all ports of a cluster are free.
fn is_free(base: u16, nodes: u16) -> bool {
    let ports = (1..=nodes).flat_map(|node| [0, 100, 200].map(|apart| base + apart + node));
    ports
        .into_iter()
        .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

/// Ports below those that the kernel gives to clients. A block of 300 has room for five clusters,
/// whose hundreds do not meet.
fn free_base(nodes: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 60).unwrap() * 5;
    loop {
        let slot = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 300;
        let base = 12_000 + slot / 5 * 300 + slot % 5 * 20;
        if is_free(base, nodes) {
            return base;
        }
    }
}

fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // A zombie that waits for whoever adopted it runs no more.
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn ask(port: u16, request: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(HANGS)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// S7: who is added has a vote, and who is taken away leaves nothing.
#[test]
fn a_cluster_grows_and_shrinks_to_the_number_that_is_typed() {
    let mut local = Local::start(3, &["--tls"]);
    local.agreed(0);
    assert_eq!(local.ask(1, "PUT /v1/kv/colour", "blue").unwrap().0, 201);
    local.resize(5);
    local.all_vote(5);
    local.agreed(0);
    let leader = local.agreed(0).leader.unwrap().id;
    // With three of five there, two of whom were not at the founding.
    let before = local.heard.len();
    for node in [1, 2] {
        kill_process(local.pid(node, 0), Signal::KILL).unwrap();
    }
    assert_eq!(
        local.ask(4, "GET /v1/kv/colour", ""),
        Some((200, "blue".to_owned()))
    );
    let again = |line: &str| line.starts_with("node 1 runs") || line.starts_with("node 2 runs");
    local.line(before, again);
    if leader > 2 {
        local.agreed(0);
    }
    let before = local.heard.len();
    local.resize(1);
    for node in [5, 4, 3, 2] {
        let left = format!("node {node} has left");
        local.line(before, |line| line == left);
    }
    local.all_vote(1);
    local.agreed(0);
    assert_eq!(
        local.ask(1, "GET /v1/kv/colour", ""),
        Some((200, "blue".to_owned()))
    );
    local.resize(3);
    local.all_vote(3);
    local.signal(Signal::INT);
    assert_eq!(local.ended(), Some(0));
    assert_eq!(local.left(), [] as [PathBuf; 0]);
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back_and_nothing_is_left() {
    let mut local = Local::start(3, &[]);
    let mut pids = local.pids();
    let first = local.agreed(0);
    let leader = first.leader.clone().unwrap().id;

    assert_eq!(local.ask(1, "PUT /v1/kv/colour", "blue").unwrap().0, 201);
    assert_eq!(
        local.ask(3, "GET /v1/kv/colour", ""),
        Some((200, "blue".to_owned()))
    );

    let before = local.heard.len();
    kill_process(local.pid(leader, 0), Signal::KILL).unwrap();
    let killed = format!("node {leader} was killed");
    local.line(before, |line| line.starts_with(&killed));
    let behind = format!(" ms after node {leader} was killed");
    local.line(before, |line| line.ends_with(&behind));
    pids.push(local.pid(leader, before));
    let second = local.agreed(first.term);
    assert_ne!(second.leader.clone().unwrap().id, leader);
    assert_eq!(
        local.ask(leader, "GET /v1/kv/colour", ""),
        Some((200, "blue".to_owned()))
    );

    assert!(
        !local.left().is_empty(),
        "the data is where it may be looked for"
    );
    local.signal(Signal::INT);
    assert_eq!(local.ended(), Some(0));
    local.demand_nothing_runs(&pids);
    assert_eq!(local.left(), [] as [PathBuf; 0]);
}

#[test]
fn the_clients_see_through_a_failover() {
    let mut local = Local::start(3, &["--no-restart"]);
    local.agreed(0);
    let endpoints = (1..=3).map(|node| format!("127.0.0.1:{}", local.base + node));
    let endpoints = endpoints.collect::<Vec<_>>().join(",");
    let client = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
        command.env_clear().env("REMEMBER_ENDPOINT", &endpoints);
        command.args(arguments).stdin(Stdio::null());
        command
    };
    let run = |arguments: &[&str]| {
        let output = client(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    assert_eq!(run(&["kv", "put", "first", "0"]).0, 0);
    let watch = client(&["kv", "watch", "--from", "1"]);
    let mut watch = Watch::start(watch);
    // There and back, so that node 1 leads: the node that the watch follows, and that is killed.
    let first = local.agreed(0).leader.unwrap().id;
    let there = if first == 1 {
        vec!["2", "1"]
    } else {
        vec!["1"]
    };
    for to in there {
        let (code, moved) = run(&["transfer", "--to", to]);
        assert_eq!(code, 0);
        let begins = format!("node {to} leads in term ");
        assert!(
            moved.starts_with(&begins) && moved.contains(" ms after node "),
            "{moved}"
        );
    }
    let (code, status) = run(&["status"]);
    let row = status.lines().nth(1).unwrap();
    assert!(code == 0 && row.starts_with("1     leader"), "{status}");
    assert_eq!(run(&["transfer", "--to", "1"]).0, 0);

    let mut expected = vec!["put first 0".to_owned()];
    for n in 0..20 {
        if n == 10 {
            kill_process(local.pid(1, 0), Signal::KILL).unwrap();
        }
        let (key, value) = (format!("key-{n}"), n.to_string());
        // What is not written may be written again. A node that is being killed may still take a
        // request: what became of that one tells a read, for the dead do nothing later.
        while run(&["kv", "put", &key, &value]).0 != 0 {
            if run(&["kv", "get", &key]) == (0, value.clone()) {
                break;
            }
        }
        expected.push(format!("put {key} {value}"));
    }
    assert_eq!(run(&["kv", "delete", "first"]).0, 0);
    expected.push("delete first".to_owned());
    assert_eq!(watch.lines(expected.len()), expected);

    let (code, listed) = run(&["kv", "list", "key-1", "-o", "json"]);
    assert_eq!((code, listed.lines().count()), (0, 11));
    assert_eq!(run(&["kv", "get", "key-7"]), (0, "7".to_owned()));
    assert_eq!(run(&["kv", "get", "first"]).0, 3);
    assert_eq!(run(&["kv", "put", "key-7", "x", "--create-only"]).0, 1);
}

/// A running `kv watch`.
struct Watch {
    process: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        Self { process, lines }
    }

    /// The next lines, without their revisions, which only ever rise.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let mut last = 0;
        let mut line = || {
            let line = self.lines.recv_timeout(HANGS).unwrap();
            let (revision, rest) = line.split_once(' ').unwrap();
            let revision: u64 = revision.parse().unwrap();
            assert!(revision > last, "{line} came after {last}");
            last = revision;
            rest.to_owned()
        };
        (0..count).map(|_| line()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn whoever_leaves_hands_over_and_does_not_stand_again() {
    let local = Local::start(3, &[]);
    let first = local.agreed(0);
    let leader = first.leader.clone().unwrap().id;
    let leave = |node: u64| {
        let at = format!("127.0.0.1:{}", u64::from(local.base) + node);
        Command::new(env!("CARGO_BIN_EXE_remember"))
            .env_clear()
            .args(["transfer", "--leaving", "--timeout", "2", "--endpoint", &at])
            .output()
            .unwrap()
    };
    let follower = leader % 3 + 1;
    let left = leave(follower);
    assert_eq!(left.status.code(), Some(0), "{left:?}");
    assert_eq!(local.agreed(0).term, first.term, "the leader stays");

    let left = leave(leader);
    assert_eq!(left.status.code(), Some(0), "{left:?}");
    let second = local.agreed(first.term).leader.unwrap().id;
    assert_eq!(second, follower % 3 + 1, "neither of those that leave");
    // Asked twice, as a hook may be.
    assert_eq!(leave(leader).status.code(), Some(0));
}

#[test]
fn no_node_outlives_the_one_that_started_it() {
    let mut local = Local::start(2, &[]);
    let pids = local.pids();
    local.agreed(0);
    local.signal(Signal::KILL);
    assert_eq!(local.ended(), None);
    local.demand_nothing_runs(&pids);
}

#[test]
fn what_is_to_stay_stays_and_is_found_again() {
    let named = scratch(1);
    let data = named.join("data");
    let arguments = ["--data-dir", data.to_str().unwrap()];
    {
        let mut local = Local::start(1, &arguments);
        local.agreed(0);
        assert_eq!(local.ask(1, "PUT /v1/kv/a", "1").unwrap().0, 201);
        local.signal(Signal::TERM);
        assert_eq!(local.ended(), Some(0));
    }
    let mut local = Local::start(1, &arguments);
    local.agreed(0);
    assert_eq!(
        local.ask(1, "GET /v1/kv/a", ""),
        Some((200, "1".to_owned()))
    );
    local.signal(Signal::HUP);
    assert_eq!(local.ended(), Some(0));
    assert!(data.join("node-1").is_dir());
    std::fs::remove_dir_all(named).unwrap();
}

#[test]
fn a_node_that_is_not_to_come_back_stays_away_and_a_fresh_directory_can_be_kept() {
    let mut local = Local::start(3, &["--no-restart", "--keep"]);
    let pids = local.pids();
    let first = local.agreed(0);
    let leader = first.leader.unwrap().id;
    let before = local.heard.len();
    kill_process(local.pid(leader, 0), Signal::KILL).unwrap();
    local.line(before, |line| line == format!("node {leader} was killed"));
    let behind = format!(" ms after node {leader} was killed");
    local.line(before, |line| line.ends_with(&behind));
    local.signal(Signal::INT);
    assert_eq!(local.ended(), Some(0));
    local.demand_nothing_runs(&pids);
    let starts = local
        .heard
        .iter()
        .filter(|line| line.contains(" runs as process "));
    assert_eq!(starts.count(), 3);
    let left = local.left();
    assert_eq!(left.len(), 1);
    // Those that still ran were asked to end, and did it themselves.
    for node in (1..=3).filter(|node| *node != leader) {
        let log = std::fs::read_to_string(left[0].join(format!("node-{node}.log"))).unwrap();
        assert!(log.contains("SIGTERM: ending"), "{log}");
    }
}

#[test]
fn nothing_is_started_if_a_port_is_taken() {
    let base = free_base(3);
    let scratch = scratch(base);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 102)).unwrap();
    let output = command(&scratch, base)
        .args(["--nodes", "3"])
        .output()
        .unwrap();
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let port = taken.local_addr().unwrap().port();
    assert!(
        sentence.contains(&format!("port {port} on 127.0.0.1")),
        "{sentence}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    std::fs::remove_dir_all(scratch).unwrap();
}
