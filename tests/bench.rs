//! `remember bench` for real: it measures something, fails where it should, and leaves nothing. No
//! word about how fast anything is.

#![cfg(test)]

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(2);

/// One run, with a directory that nothing may be left in.
struct Bench {
    scratch: PathBuf,
    base: u16,
}

impl Bench {
    fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let first = u16::try_from(std::process::id() % 12).unwrap() * 10;
        let base = loop {
            let nth = first + NEXT.fetch_add(1, Ordering::Relaxed);
            // Below the ports that the kernel gives to clients; no two runs share a hundred.
            let base = 19_000 + nth % 20 * 600 + nth / 20 * 10 % 100;
            let mut ports = [1, 2, 101, 102, 201, 202]
                .map(|port| base + port)
                .into_iter();
            if ports.all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
                break base;
            }
        };
        let name = format!("remember-bench-test-{}-{base}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(scratch.join("data")).unwrap();
        Self { scratch, base }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
        command
            .env_clear()
            .env("TMPDIR", self.scratch.join("data"))
            .arg("bench")
            .args(arguments)
            .args(["--base-port", &self.base.to_string()])
            .arg("--json")
            .arg(self.scratch.join("figures.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to a good end and returns the rows of the figures.
    fn figures(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.command(arguments).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("PER S"), "{said}");
        self.assert_clean();
        let text = std::fs::read(self.scratch.join("figures.json")).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert!(
            document["machine"]["cores"].as_u64() > Some(0),
            "{document}"
        );
        document["rows"].as_array().unwrap().clone()
    }

    fn assert_clean(&self) {
        let left = std::fs::read_dir(self.scratch.join("data")).unwrap();
        assert_eq!(left.count(), 0, "data was left behind");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.scratch));
    }
}

/// A run that is ended with the test, however that ends; its nodes die with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

fn children(of: u32) -> Vec<Pid> {
    let path = format!("/proc/{of}/task/{of}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.map(|pid: i32| Pid::from_raw(pid).unwrap()).collect()
}

#[test]
fn a_load_is_measured() {
    for kind in ["write", "read"] {
        let load = [
            "--nodes",
            "2",
            "--seconds",
            "1",
            "--clients",
            "1,5",
            "--keys",
            "50",
        ];
        let rows = Bench::new().figures(&[&[kind], &load[..]].concat());
        assert_eq!(rows.len(), 2);
        for (row, clients) in rows.iter().zip([1, 5]) {
            assert_eq!(row["what"], kind);
            assert_eq!(row["clients"], clients);
            assert_eq!(row["errors"], 0, "{row}");
            assert!(row["n"].as_u64() > Some(0), "{row}");
            assert!(row["p50Ms"].as_f64() <= row["maxMs"].as_f64(), "{row}");
            assert!(row["rssMib"].as_f64() > Some(0.0), "{row}");
        }
    }
}

#[test]
fn every_way_to_lose_a_leader_is_measured() {
    for how in ["kill", "stop", "transfer"] {
        let rows = Bench::new().figures(&["failover", "--rounds", "2", "--how", how]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["n"], 2, "{}", rows[0]);
        assert!(rows[0]["p50Ms"].as_f64() > Some(0.0), "{}", rows[0]);
    }
}

#[test]
fn idle_nodes_are_measured_one_by_one() {
    let rows = Bench::new().figures(&["idle", "--nodes", "2", "--seconds", "1"]);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["rssMib"].as_f64() > Some(0.0)));
}

#[test]
fn members_that_come_and_go_are_measured() {
    let rows = Bench::new().figures(&["members", "--rounds", "1", "--state-mib", "1"]);
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row["n"], 1, "{row}");
        assert!(row["maxMs"].as_f64() > Some(0.0), "{row}");
    }
}

#[test]
fn without_etcd_it_says_how_to_get_it() {
    let bench = Bench::new();
    let cache = bench.scratch.join("data");
    let mut command = bench.command(&["write", "--against", "etcd"]);
    let output = command.env("REMEMBER_CACHE", cache).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("make bench-deps"),
        "{}",
        said(&output)
    );
    bench.assert_clean();
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let bench = Bench::new();
    let mut command = bench.command(&["write", "--nodes", "2", "--seconds", "600"]);
    let mut running = Running(command.spawn().unwrap());
    let until = Instant::now() + HANGS;
    let pid = running.0.id();
    let nodes = loop {
        let nodes = children(pid);
        if nodes.len() == 2 {
            break nodes;
        }
        assert!(Instant::now() < until, "no nodes are started");
        thread::yield_now();
    };
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
    for node in nodes {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.as_raw_pid()));
        assert!(!status.is_ok_and(|status| status.contains(&format!("PPid:\t{pid}\n"))));
    }
    bench.assert_clean();
}

#[test]
fn a_taken_port_is_told_before_anything_starts() {
    let bench = Bench::new();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, bench.base + 102)).unwrap();
    let output = bench.command(&["idle", "--nodes", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--base-port"), "{}", said(&output));
    bench.assert_clean();
}
