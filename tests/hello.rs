//! The example application beside real nodes, and beside nodes that fail it.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[path = "support/port.rs"]
mod port;

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(1);

fn remember(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// Waits for the thing itself; only what hangs fails.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + HANGS;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// One request, as it stands on the wire: status, head and body of what comes back.
fn exchange(port: u16, request: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(HANGS))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let lower = head.to_ascii_lowercase();
    Ok((status.unwrap_or(0), lower, body.to_owned()))
}

/// The application of one pod.
struct Hello {
    process: Child,
    port: u16,
}

impl Hello {
    /// Starts it, once more if its port was taken meanwhile.
    fn beside(node: &str, pod: &str) -> Self {
        for _ in 0..5 {
            let mut hello = Self::start(node, pod);
            let listens = eventually("the application", || {
                let there = TcpStream::connect((Ipv4Addr::LOCALHOST, hello.port)).is_ok();
                let has_ended = hello.process.try_wait().unwrap().is_some();
                (there || has_ended).then_some(there && !has_ended)
            });
            if listens {
                return hello;
            }
        }
        panic!("the application ends as often as it is started");
    }

    fn start(node: &str, pod: &str) -> Self {
        let port = port::free();
        let process = remember(&["hello", "--node", node, "--pod", pod])
            .env("REMEMBER_HELLO_LISTEN", format!("127.0.0.1:{port}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port }
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: hello\r\n{headers}content-length: {length}\r\n\r\n\
             {body}"
        );
        exchange(self.port, &request).unwrap()
    }

    fn leader(&self) -> Option<Value> {
        let (status, _, body) = self.ask("GET", "/", "", "");
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Real nodes, each with an application beside it, in pods hello-0 and so on.
struct Pods {
    nodes: Vec<Child>,
    apps: Vec<Hello>,
    directory: PathBuf,
}

impl Pods {
    fn start(count: usize, name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("remember-{name}-{}", std::process::id()));
        let ports: Vec<_> = (0..count).map(|_| port::free()).collect();
        let members: Vec<_> = (ports.iter().enumerate())
            .map(|(nth, api)| format!("{}=127.0.0.1:{}/127.0.0.1:{api}", nth + 1, port::free()))
            .collect();
        let nodes = (1..=count).map(|id| {
            remember(&[
                "node",
                "--id",
                &id.to_string(),
                "--members",
                &members.join(","),
            ])
            .args(["--listen-admin", &format!("127.0.0.1:{}", port::free())])
            .arg("--data-dir")
            .arg(directory.join(id.to_string()))
            .args(["--parent-pid", &std::process::id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
        });
        let nodes = nodes.collect();
        let apps = (ports.iter().enumerate())
            .map(|(nth, api)| Hello::beside(&format!("127.0.0.1:{api}"), &format!("hello-{nth}")));
        let apps = apps.collect();
        Self {
            nodes,
            apps,
            directory,
        }
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            drop(node.kill());
            drop(node.wait());
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

#[test]
fn every_pod_names_one_leader_which_is_the_one_that_says_so() {
    let mut pods = Pods::start(3, "hello-lead");
    let agreed = |apps: &[&Hello], after: u64| {
        eventually("one leader", || {
            let said: Option<Vec<_>> = apps.iter().map(|app| app.leader()).collect();
            let said = said?;
            let leader = said[0]["leader"].as_str()?.to_owned();
            let of_one_term = said.iter().all(|one| {
                one["leader"] == leader.as_str()
                    && one["term"] == said[0]["term"]
                    && one["token"] == one["term"]
            });
            let leads = |one: &&Value| one["role"] == "leader";
            let leading: Vec<_> = said.iter().filter(leads).map(|one| &one["pod"]).collect();
            let is_new = said[0]["term"].as_u64()? > after;
            (is_new && of_one_term && leading == [leader.as_str()]).then(|| said[0].clone())
        })
    };
    let apps: Vec<_> = pods.apps.iter().collect();
    let first = agreed(&apps, 0);
    let leader: usize = first["leader"].as_str().unwrap()["hello-".len()..]
        .parse()
        .unwrap();
    pods.nodes[leader].kill().unwrap();

    let others = pods
        .apps
        .iter()
        .enumerate()
        .filter(|(nth, _)| *nth != leader);
    let others: Vec<_> = others.map(|(_, app)| app).collect();
    let second = agreed(&others, first["term"].as_u64().unwrap());
    assert_ne!(second["leader"], first["leader"]);
    // Beside a node that is gone nobody pretends to know.
    let (status, head, body) = pods.apps[leader].ask("GET", "/", "", "");
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert!(body.contains("cannot be reached"), "{body}");
    // But the application itself is well.
    assert_eq!(pods.apps[leader].ask("GET", "/healthz", "", "").0, 200);
}

#[test]
fn notes_are_written_by_one_pod_and_read_by_another() {
    let pods = Pods::start(2, "hello-notes");
    let [one, other] = &pods.apps[..] else {
        panic!("two pods");
    };
    eventually("a leader", || {
        (one.ask("PUT", "/notes/a%20b/c", "", "first").0 == 201).then_some(())
    });
    let (status, head, body) = other.ask("GET", "/notes/a%20b/c", "", "");
    assert_eq!((status, body.as_str()), (200, "first"));
    assert!(head.contains("etag: "), "{head}");
    assert_eq!(other.ask("PUT", "/notes/a%20b/c", "", "second").0, 204);
    assert_eq!(one.ask("GET", "/notes/a%20b/c", "", "").2, "second");
    // A condition is the node's to judge.
    let only_new = "if-none-match: *\r\n";
    assert_eq!(one.ask("PUT", "/notes/a%20b/c", only_new, "third").0, 412);
    assert_eq!(one.ask("GET", "/notes/a%20b/c", "", "").2, "second");
    let (status, _, body) = one.ask("GET", "/notes/none", "", "");
    assert_eq!(status, 404, "{body}");
    let (status, _, body) = one.ask("HEAD", "/notes/a%20b/c", "", "");
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(
        one.ask("PUT", "/notes/large", "", &"x".repeat((64 << 10) + 1))
            .0,
        413
    );
    assert_eq!(one.ask("GET", "/notes/large", "", "").0, 404);
}

/// A node that answers every request with the same, or ends the connection.
fn stand_in(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap().to_string();
    // Ends with the process.
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
            }
            if let Some(answer) = answer {
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
    at
}

/// R20: what nobody knows, nobody says.
#[test]
fn a_write_is_acknowledged_by_the_node_or_by_nobody() {
    let unknown = "HTTP/1.1 504 x\r\ncontent-length: 2\r\n\r\n{}";
    let leaderless = "HTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}";
    let full = "HTTP/1.1 507 x\r\ncontent-length: 2\r\n\r\n{}";
    for (node, write, read) in [
        (stand_in(Some(unknown)), 504, 504),
        (stand_in(Some(leaderless)), 503, 503),
        (stand_in(Some(full)), 507, 507),
        // It took the request, and was never heard of again.
        (stand_in(None), 504, 503),
        // Nobody is there, so nothing was written.
        (format!("127.0.0.1:{}", port::free()), 503, 503),
    ] {
        let hello = Hello::beside(&node, "hello-0");
        let (status, _, body) = hello.ask("PUT", "/notes/a", "", "1");
        assert_eq!(status, write, "{body}");
        let (status, head, body) = hello.ask("GET", "/notes/a", "", "");
        assert_eq!(status, read, "{body}");
        assert!(status != 503 || head.contains("retry-after"), "{head}");
    }
}

#[test]
fn a_node_that_answers_nonsense_is_no_leader() {
    let nonsense = "HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}";
    let refusal = "HTTP/1.1 403 x\r\ncontent-length: 2\r\n\r\n{}";
    for answer in [nonsense, refusal] {
        let hello = Hello::beside(&stand_in(Some(answer)), "hello-0");
        let (status, _, body) = hello.ask("GET", "/", "", "");
        assert_eq!(status, 503);
        assert!(body.contains("does not answer like a node"), "{body}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let hello = Hello::beside("127.0.0.1:1", "hello-0");
    for (method, path, code) in [
        ("GET", "/nothing", 404),
        ("GET", "/notes/", 404),
        ("GET", "/?a=1", 400),
        ("GET", "/notes/a?consistency=stale", 400),
        ("POST", "/", 405),
        ("PUT", "/healthz", 405),
        ("DELETE", "/notes/a", 405),
    ] {
        let (status, head, body) = hello.ask(method, path, "", "");
        assert_eq!(status, code, "{method} {path}");
        assert!(body.starts_with(r#"{"error":"#), "{body}");
        assert_eq!(status == 405, head.contains("allow: "), "{head}");
    }
}

#[test]
fn it_ends_at_once_and_in_order_when_it_is_told_to() {
    let mut hello = Hello::beside("127.0.0.1:1", "hello-0");
    // A client that never finishes its request keeps nobody.
    let mut half = TcpStream::connect((Ipv4Addr::LOCALHOST, hello.port)).unwrap();
    half.write_all(b"PUT /notes/a HTTP/1.1\r\nhost: a\r\n")
        .unwrap();
    kill_process(Pid::from_child(&hello.process), Signal::TERM).unwrap();
    assert_eq!(hello.process.wait().unwrap().code(), Some(0));
}

#[test]
fn clients_that_say_nothing_keep_nobody_out_for_ever() {
    let hello = Hello::beside("127.0.0.1:1", "hello-0");
    let silent: Vec<_> = (0..64)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, hello.port)).unwrap())
        .collect();
    // All places are taken until their time is up.
    assert_eq!(hello.ask("GET", "/healthz", "", "").0, 200);
    drop(silent);
}

#[test]
fn wrong_settings_are_refused() {
    for (arguments, sentence) in [
        (&["--node", "https://127.0.0.1:1"][..], "without TLS"),
        (&["--listen", "8080"][..], "is not like host:port"),
    ] {
        let output = remember(&[&["hello"], arguments].concat())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    let mut misspelt = remember(&["hello"]);
    let output = misspelt.env("REMEMBER_HELO_NODE", "x").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("is REMEMBER_HELLO_NODE meant?"), "{said}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let output = remember(&["hello", "--listen", &at]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
