//! `remember recover` and `remember snapshot` from the command line, on processes that are killed.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

#[path = "support/port.rs"]
mod port;

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(1);

/// A directory that goes with the test, and everything that runs in it.
struct Desk {
    path: PathBuf,
    /// Where peers and clients reach the nodes 1 and 2.
    members: String,
    apis: [String; 2],
    nodes: Vec<Node>,
}

/// A node, and what it says.
struct Node {
    process: Child,
    log: Receiver<String>,
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.nodes.clear();
        drop(fs::remove_dir_all(&self.path));
    }
}

impl Desk {
    fn new(name: &str) -> Self {
        let name = format!("remember-recover-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        let [p1, a1, p2, a2] = [(); 4].map(|()| format!("127.0.0.1:{}", port::free()));
        Self {
            path,
            members: format!("1={p1}/{a1},2={p2}/{a2}"),
            apis: [a1, a2],
            nodes: Vec::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
        command.env_clear().current_dir(&self.path).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn start(&mut self, id: &str, data_dir: &str, extra: &[&str]) {
        let node = ["node", "--id", id, "--members", &self.members];
        let mut command = self.command(&node);
        let admin = format!("127.0.0.1:{}", port::free());
        command.args(["--data-dir", data_dir, "--listen-admin", &admin]);
        let mut process = command.args(extra).stderr(Stdio::piped()).spawn().unwrap();
        let (said, log) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        thread::spawn(move || {
            let mut lines = lines.map_while(Result::ok);
            lines.try_for_each(|line| said.send(line)).ok();
        });
        self.nodes.push(Node { process, log });
    }

    /// Waits until the node that was started last says so.
    fn hears(&self, part: &str) {
        let log = &self.nodes.last().unwrap().log;
        loop {
            let line = log.recv_timeout(HANGS).unwrap();
            if line.contains(part) {
                return;
            }
        }
    }

    /// What a command said, once it ends with that code.
    #[track_caller]
    fn demand(&self, arguments: &[&str], code: i32, parts: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(code), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        said
    }

    /// Asks node 1 until it does as it is asked.
    fn insist(&self, arguments: &[&str]) -> String {
        let until = Instant::now() + HANGS;
        loop {
            let mut command = self.command(arguments);
            let output = command
                .args(["--endpoint", &self.apis[0]])
                .output()
                .unwrap();
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            assert!(Instant::now() < until, "{output:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn token(&self) -> u64 {
        let seen = self.insist(&["status", "--output", "json"]);
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        seen["nodes"][0]["cluster"]["term"].as_u64().unwrap()
    }
}

#[test]
fn one_of_two_disks_goes_on_and_says_what_it_leaves_behind() {
    let mut desk = Desk::new("alone");
    desk.start("1", "one", &[]);
    desk.start("2", "two", &[]);
    desk.insist(&["kv", "put", "colour", "blue"]);
    let before = desk.token();
    let look = ["recover", "--from", "one"];
    desk.demand(&look, 1, &["one", "is in use by another process"]);
    // Killed, not ended: both keep what was acknowledged.
    desk.nodes.clear();

    let parts = [
        "cluster",
        "epoch 0",
        "node                1, disk ",
        "state there         1 key, ",
        "left behind         node 2, disk ",
        ", voter",
        "in epoch 1:",
        "is lost for ever",
        "end them first",
        "Tokens go on above 4294967296.",
        "Nothing was changed.",
        "remember recover --from one --epoch 1 --yes",
    ];
    let told = desk.demand(&look, 0, &parts);
    assert_eq!(desk.demand(&look, 0, &[]), told, "it changes nothing");
    desk.demand(&[&look[..], &["--yes"]].concat(), 2, &["--epoch"]);
    let epoch = |number| [&look[..], &["--epoch", number, "--yes"]].concat();
    desk.demand(&epoch("0"), 2, &["epoch 0 cannot be begun", "from 1 to"]);
    desk.demand(&epoch("2147483648"), 2, &["from 1 to 2147483647"]);
    desk.demand(&epoch("7"), 0, &["Node 1 is the only voter", "in epoch 7"]);
    desk.demand(&epoch("7"), 2, &["epoch 7 already", "from 8 to"]);

    desk.start("1", "one", &[]);
    assert_eq!(desk.insist(&["kv", "get", "colour"]).trim(), "blue");
    let after = desk.token();
    assert!(after > before && after >> 32 == 7, "{before} {after}");
    // The other one's disk is of no use, and its node says what is.
    desk.start("2", "two", &[]);
    desk.hears("set its data directory aside and start it with an empty one and --join");
    desk.nodes.pop();
    desk.start("2", "fresh", &["--join"]);
    desk.hears("registered");
    desk.insist(&["members", "promote", "2"]);
    desk.insist(&["kv", "put", "colour", "green"]);
}

#[test]
fn a_backup_is_saved_looked_at_and_begun_with() {
    let mut desk = Desk::new("backup");
    let alone = desk.members.split(',').next().unwrap().to_owned();
    let both = std::mem::replace(&mut desk.members, alone);
    desk.start("1", "one", &[]);
    for key in ["a", "b", "c"] {
        desk.insist(&["kv", "put", key, "1"]);
    }
    let before = desk.token();
    let save = |to| ["snapshot", "save", "--to", to, "--endpoint", &desk.apis[0]];
    desk.demand(&save("backup"), 0, &["saved 3 keys, ", "(epoch 0)"]);
    desk.demand(&save("backup"), 2, &["is there already"]);
    desk.demand(&save("none/backup"), 1, &["cannot write"]);
    let nobody = [
        "snapshot",
        "save",
        "--to",
        "other",
        "--endpoint",
        "127.0.0.1:1",
    ];
    desk.demand(&nobody, 5, &["127.0.0.1:1"]);
    let left: Vec<_> = fs::read_dir(&desk.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "one")
        .collect();
    assert_eq!(left, ["backup"], "what failed leaves nothing");
    let inspect = ["snapshot", "inspect", "backup"];
    desk.demand(&inspect, 0, &["keys        3", "member      node 1, voter"]);
    desk.nodes.clear();

    let restore = |from, to, epoch| {
        let flags = ["snapshot", "restore", "--id", "1", "--from", from];
        [&flags[..], &["--data-dir", to, "--epoch", epoch]].concat()
    };
    desk.demand(&restore("backup", "new", "0"), 1, &["from 1 to"]);
    assert!(!desk.path.join("new").exists());
    desk.demand(&restore("backup", "one", "1"), 1, &["is not empty"]);
    let mut bytes = fs::read(desk.path.join("backup")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(desk.path.join("damaged"), &bytes).unwrap();
    desk.demand(&restore("damaged", "new", "1"), 1, &["is damaged", "byte"]);
    desk.demand(&["snapshot", "inspect", "damaged"], 1, &["another copy"]);
    desk.demand(&["snapshot", "inspect", "one"], 1, &[]);
    desk.demand(
        &restore("backup", "new", "1"),
        0,
        &["restored 3 keys", "in epoch 1"],
    );
    desk.demand(&restore("backup", "new", "2"), 1, &["is not empty"]);

    desk.start("1", "new", &[]);
    for key in ["a", "b", "c"] {
        assert_eq!(desk.insist(&["kv", "get", key]).trim(), "1");
    }
    let after = desk.token();
    assert!(after > before && after >> 32 == 1, "{before} {after}");
    desk.members = both;
    desk.start("2", "two", &["--join"]);
    desk.hears("registered");
}

#[test]
fn what_belongs_to_no_cluster_is_not_recovered() {
    let desk = Desk::new("nothing");
    let look = |from| ["recover", "--from", from];
    desk.demand(&look("missing"), 1, &["missing", "No such file"]);
    assert!(!desk.path.join("missing").exists(), "nor is it made");
    fs::create_dir(desk.path.join("empty")).unwrap();
    desk.demand(&look("empty"), 1, &["belongs to no cluster"]);
}
