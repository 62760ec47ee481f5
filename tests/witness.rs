//! Real processes of a pair and of its witness: either node is killed, and the other goes on, if
//! the register says so (R17).

#![cfg(test)]

#[path = "support/port.rs"]
mod port;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(1);

/// Two nodes and their witness, with a directory that nothing is left in.
struct Pair {
    ports: Vec<u16>,
    scratch: PathBuf,
    is_secured: bool,
    /// Whether the second node has another witness than the first.
    is_apart: bool,
    nodes: [Option<Child>; 2],
    witness: Option<Child>,
    other_witness: Option<Child>,
}

impl Pair {
    /// Starts all three, and waits until the register says that there is a pair.
    fn start(name: &str, is_secured: bool) -> Self {
        let mut pair = Self::none(name, is_secured);
        if is_secured {
            let made = remember()
                .args(["certs", "--cluster", "pair", "--member", "1,2,3"])
                .arg(pair.scratch.join("certs"))
                .output();
            assert!(made.unwrap().status.success());
        }
        pair.start_witness();
        for id in [1, 2] {
            pair.start_node(id, false);
        }
        pair.until_pair();
        pair
    }

    /// None yet.
    fn none(name: &str, is_secured: bool) -> Self {
        let directory = format!("remember-pair-{name}-{}", std::process::id());
        let scratch = std::env::temp_dir().join(directory);
        std::fs::create_dir_all(&scratch).unwrap();
        Self {
            ports: (0..9).map(|_| port::free()).collect(),
            scratch,
            is_secured,
            is_apart: false,
            nodes: [None, None],
            witness: None,
            other_witness: None,
        }
    }

    /// Of the peers and the APIs of both nodes, of their health, and of the witnesses.
    fn port(&self, nth: u16) -> u16 {
        self.ports[usize::from(nth)]
    }

    fn start_witness(&mut self) {
        self.witness = Some(self.run_witness(7, "witness"));
    }

    fn run_witness(&self, port: u16, name: &str) -> Child {
        let mut command = remember();
        command
            .args([
                "witness",
                "--listen",
                &format!("127.0.0.1:{}", self.port(port)),
            ])
            .arg("--data-dir")
            .arg(self.scratch.join(name));
        self.secure(&mut command, 3);
        self.spawn(command, name)
    }

    /// Starts a node; one that was there before comes back as whoever joins does.
    fn start_node(&mut self, id: u16, joins: bool) {
        let address = |id: u16| {
            let (peer, api) = (self.port(id), self.port(2 + id));
            format!("{id}=127.0.0.1:{peer}/127.0.0.1:{api}")
        };
        let scheme = if self.is_secured { "https" } else { "http" };
        let witness = if self.is_apart && id == 2 { 8 } else { 7 };
        let mut command = remember();
        command
            .args(["node", "--id", &id.to_string()])
            .args(["--members", &format!("{},{}", address(1), address(2))])
            .args(joins.then_some("--join"))
            .args([
                "--witness",
                &format!("{scheme}://127.0.0.1:{}", self.port(witness)),
            ])
            .args([
                "--listen-admin",
                &format!("127.0.0.1:{}", self.port(4 + id)),
            ])
            .args(["--request-timeout-ms", "1000"])
            .arg("--data-dir")
            .arg(self.scratch.join(id.to_string()));
        self.secure(&mut command, id);
        let process = self.spawn(command, &id.to_string());
        self.nodes[usize::from(id - 1)] = Some(process);
    }

    fn secure(&self, command: &mut Command, id: u16) {
        if self.is_secured {
            let file = |name: &str| self.scratch.join("certs").join(name);
            command
                .arg("--tls-cert")
                .arg(file(&format!("member-{id}.crt")))
                .arg("--tls-key")
                .arg(file(&format!("member-{id}.key")))
                .arg("--tls-ca")
                .arg(file("ca.crt"));
        }
    }

    fn spawn(&self, mut command: Command, name: &str) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(name));
        command
            .args(["--parent-pid", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.log"))
    }

    /// Kills a node, as kill -9 does.
    fn kill(&mut self, id: u16) {
        end(self.nodes[usize::from(id - 1)].take());
    }

    fn kill_witness(&mut self) {
        end(self.witness.take());
    }

    fn ask(&self, id: u16, request: &str, body: &str) -> (u16, String) {
        self.try_to_ask(id, request, body).unwrap_or_default()
    }

    fn try_to_ask(&self, id: u16, request: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port(2 + id))).ok()?;
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
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let until = Instant::now() + HANGS;
        while !wanted(self) {
            assert!(
                Instant::now() < until,
                "not until {what}: {:?}",
                self.register()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the register says that these two are a pair, and both of them vote.
    fn until_pair(&self) {
        self.until("there is a pair", |pair| {
            let is_written = pair
                .register()
                .is_some_and(|text| text.contains(": pair 1."));
            is_written && [1, 2].iter().all(|id| pair.roles(*id) == "1v2v")
        });
    }

    /// Waits until a node takes this write, by itself or with the other.
    fn until_written(&self, id: u16, key: &str) {
        self.until("a write is taken", |pair| {
            let (code, _) = pair.ask(id, &format!("PUT /v1/kv/{key}"), key);
            (200..300).contains(&code)
        });
    }

    fn demand_read(&self, id: u16, keys: &[&str]) {
        for key in keys {
            let read = self.ask(id, &format!("GET /v1/kv/{key}"), "");
            assert_eq!(read, (200, (*key).to_owned()), "of node {id}");
        }
    }

    /// Nobody leads, so nothing is written.
    fn demand_refused(&self, id: u16) {
        let (code, said) = self.ask(id, "PUT /v1/kv/refused", "x");
        assert!([503, 504].contains(&code), "{code} {said}");
    }

    /// Who belongs to the cluster, with the first letter of what for.
    fn roles(&self, id: u16) -> String {
        let (_, seen) = self.ask(id, "GET /v1/members", "");
        let seen: Value = serde_json::from_str(&seen).unwrap_or_default();
        let members = seen["members"].as_array().into_iter().flatten();
        let role = |member: &Value| {
            let role = member["role"].as_str().unwrap_or("?");
            format!("{}{}", member["id"], &role[..1])
        };
        members.map(role).collect()
    }

    fn leader(&self) -> u16 {
        let leads = |id: &u16| {
            let (_, said) = self.ask(*id, "GET /v1/leader", "");
            said.contains(r#""self":true"#)
        };
        self.until("one leads", |_| [1, 2].iter().any(leads));
        [1, 2].into_iter().find(leads).unwrap()
    }

    /// The file of the register.
    fn file(&self) -> Option<PathBuf> {
        self.file_of("witness")
    }

    /// The file of the register of one of two witnesses.
    fn file_of(&self, witness: &str) -> Option<PathBuf> {
        let files = std::fs::read_dir(self.scratch.join(witness)).ok()?;
        let files = files.map(|file| file.unwrap().path());
        let is_register = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("register-") && path.extension().is_none()
        };
        files.filter(is_register).last()
    }

    fn register(&self) -> Option<String> {
        std::fs::read_to_string(self.file()?).ok()
    }

    /// Waits until a node has said something of its witness, again.
    fn until_said(&self, id: u16, what: &str) {
        let log = self.log(&id.to_string());
        self.until(what, |_| {
            std::fs::read_to_string(&log).unwrap().contains(what)
        });
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for process in &mut self.nodes {
            end(process.take());
        }
        self.kill_witness();
        end(self.other_witness.take());
        if thread::panicking() {
            for name in ["1", "2", "witness", "other-witness"] {
                let said = std::fs::read_to_string(self.log(name)).unwrap_or_default();
                eprintln!("{name}:\n{said}");
            }
        }
        drop(std::fs::remove_dir_all(&self.scratch));
    }
}

fn end(process: Option<Child>) {
    if let Some(mut process) = process {
        drop(process.kill());
        drop(process.wait());
    }
}

fn remember() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
    command.env_clear();
    command
}

#[test]
fn either_is_killed_and_the_other_goes_on_with_all_that_was_written() {
    let mut pair = Pair::start("either", false);
    let first = pair.leader();
    let second = 3 - first;
    pair.until_written(first, "by-both");
    pair.kill(first);
    pair.until_written(second, "by-the-second");
    pair.demand_read(second, &["by-both", "by-the-second"]);
    let sole = format!(": sole {second}.");
    assert!(
        pair.register().unwrap().contains(&sole),
        "{:?}",
        pair.register()
    );
    pair.until("it is the only one", |pair| {
        pair.roles(second) == format!("{second}v")
    });

    pair.start_node(first, true);
    pair.until_pair();
    pair.until_written(second, "by-both-again");
    pair.kill(second);
    pair.until_written(first, "by-the-first");
    let all = ["by-both", "by-the-second", "by-both-again", "by-the-first"];
    pair.demand_read(first, &all);

    pair.start_node(second, true);
    pair.until_pair();
    for id in [first, second] {
        pair.kill(id);
    }
    for id in [first, second] {
        pair.start_node(id, true);
    }
    let leader = pair.leader();
    pair.until_written(leader, "after-all-were-down");
    pair.demand_read(first, &all);
    pair.demand_read(second, &all);
}

#[test]
fn without_its_register_nobody_goes_on_alone() {
    let mut pair = Pair::start("without", false);
    let lost = pair.leader();
    let left = 3 - lost;
    pair.until_written(lost, "by-both");
    pair.kill_witness();
    pair.kill(lost);
    pair.until_said(left, "the witness does not answer");
    pair.demand_refused(left);

    let (file, text) = (pair.file().unwrap(), pair.register().unwrap());
    std::fs::write(&file, "nonsense").unwrap();
    pair.start_witness();
    pair.until_said(left, "nonsense");
    pair.demand_refused(left);

    let cluster = &text[..text.find(',').unwrap()];
    std::fs::write(&file, text.replace(cluster, "cluster 00000000000000c1")).unwrap();
    pair.until_said(left, "it is the register of cluster 00000000000000c1");
    pair.demand_refused(left);

    // What it held when it was killed is what it holds.
    std::fs::write(&file, &text).unwrap();
    pair.until_written(left, "alone");
    pair.demand_read(left, &["by-both", "alone"]);
}

/// Each has a witness of its own, by mistake, and each leads once, so that it makes its register.
#[test]
fn two_that_have_two_witnesses_go_by_one() {
    let mut pair = Pair::none("apart", false);
    pair.is_apart = true;
    pair.start_witness();
    pair.other_witness = Some(pair.run_witness(8, "other-witness"));
    for id in [1, 2] {
        pair.start_node(id, false);
    }
    let first = pair.leader();
    let witness = |id| ["witness", "other-witness"][usize::from(id == 2)];
    let until_made = |pair: &Pair, id| {
        pair.until("its register is made", |pair| {
            pair.file_of(witness(id)).is_some()
        });
    };
    until_made(&pair, first);
    let second = 3 - first;
    pair.until("the other leads", |pair| {
        let is_done = pair.leader() == second;
        if !is_done {
            pair.ask(first, "POST /v1/leader/transfer", "");
        }
        is_done
    });
    until_made(&pair, second);
    pair.until_written(second, "by-both");
    // The register of the first is void now, and stays as it was.
    pair.until_said(
        first,
        "this register is another than the one that the pair agreed on",
    );
    let void = std::fs::read_to_string(pair.file_of(witness(first)).unwrap());
    pair.kill(second);
    pair.until("it has lost the other", |pair| {
        let (_, said) = pair.ask(first, "GET /v1/leader", "");
        !said.contains(r#""self":true"#)
    });
    pair.demand_refused(first);
    let after = std::fs::read_to_string(pair.file_of(witness(first)).unwrap());
    assert_eq!(void.unwrap(), after.unwrap());
    pair.kill(first);

    // The other one goes on alone.
    pair.start_node(second, true);
    pair.until_written(second, "alone");
    pair.demand_read(second, &["by-both", "alone"]);
}

#[test]
fn a_witness_and_its_nodes_show_each_other_their_certificates() {
    let mut pair = Pair::start("secured", true);
    let lost = pair.leader();
    pair.until_written(lost, "by-both");
    pair.kill(lost);
    pair.until_written(3 - lost, "alone");
    // Whoever has no certificate is told so.
    let at = format!(
        "http://127.0.0.1:{}/v1/register/00000000000000c1",
        pair.port(7)
    );
    let asked = remember().args(["ask", &at]).output().unwrap();
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(
        !asked.status.success() && said.contains("speaks HTTPS"),
        "{said}"
    );
}
