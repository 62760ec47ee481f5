//! The command line from outside: what it prints, and how it ends.

#![cfg(test)]

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

#[path = "support/port.rs"]
mod port;

const MEMBERS: &str = "1=127.0.0.1:18101/127.0.0.1:18001";

fn remember(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
    command
        .env_clear()
        .env("COLUMNS", "100")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    remember(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Demands an exit code and a part of the only stream that says anything.
fn demand(output: &Output, code: i32, part: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    let said = if code == 0 { &out } else { &err };
    assert!(said.contains(part), "{out}{err}");
}

/// A node that answers everything with one answer, and notes the requests.
struct StandIn {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// `None` closes each connection when the request has come.
    fn answering(answer: Option<(u16, &str)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let answer = answer.map(|(code, body)| {
            let length = body.len();
            format!("HTTP/1.1 {code} x\r\ncontent-length: {length}\r\n\r\n{body}")
        });
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        // Ends with the process.
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                }
                let line = head.lines().next().unwrap_or_default().to_owned();
                noted.lock().unwrap().push(line);
                if let Some(answer) = &answer {
                    drop(stream.write_all(answer.as_bytes()));
                }
            }
        });
        Self { endpoint, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// An endpoint that refuses connections.
fn refusing() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn help_is_as_it_was_agreed() {
    let pages: [&[&str]; 32] = [
        &[],
        &["node"],
        &["witness"],
        &["local"],
        &["status"],
        &["transfer"],
        &["members"],
        &["members", "list"],
        &["members", "promote"],
        &["members", "remove"],
        &["kv"],
        &["kv", "get"],
        &["kv", "put"],
        &["kv", "delete"],
        &["kv", "list"],
        &["kv", "watch"],
        &["kv", "quota"],
        &["snapshot"],
        &["snapshot", "save"],
        &["snapshot", "restore"],
        &["snapshot", "inspect"],
        &["recover"],
        &["bench"],
        &["bench", "failover"],
        &["bench", "write"],
        &["bench", "idle"],
        &["bench", "members"],
        &["hello"],
        &["ask"],
        &["completion"],
        &["version"],
        &["-h"],
    ];
    let mut transcript = String::new();
    for page in pages {
        let mut arguments = page.to_vec();
        if !page.contains(&"-h") {
            arguments.push("--help");
        }
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{page:?}");
        assert!(output.stderr.is_empty());
        writeln!(transcript, "$ remember {}", arguments.join(" ")).unwrap();
        for line in text(&output.stdout).lines() {
            transcript.push_str(line.trim_end());
            transcript.push('\n');
        }
        transcript.push('\n');
    }
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let path = PathBuf::from(root).join("tests/golden/cli/help.txt");
    if std::env::var_os("REMEMBER_BLESS").is_some() {
        std::fs::write(&path, &transcript).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap();
    assert!(
        transcript == agreed,
        "the help changed; if that is meant, take it by REMEMBER_BLESS=1 and review the diff:\n\
         {transcript}"
    );
}

#[test]
fn wrong_usage_is_2_and_goes_to_stderr() {
    let wrong: [&[&str]; 10] = [
        &[],
        &["lead"],
        &["node"],
        &["local", "--nodes", "10"],
        &["local", "--nodes", "0"],
        &["status", "--endpoint", "https://127.0.0.1:8001"],
        &["kv", "put", "a"],
        &["kv", "put", "a", "1", "--create-only", "--if-revision", "1"],
        &["kv", "get", ""],
        &["transfer", "--to", "1", "--leaving"],
    ];
    for arguments in wrong {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

fn node(extra: &[&str]) -> Command {
    let known = [
        "node",
        "--id",
        "1",
        "--members",
        MEMBERS,
        "--data-dir",
        "nowhere",
    ];
    remember(&[&known[..], extra].concat())
}

#[test]
fn a_node_says_what_is_wrong_with_its_settings() {
    let wrong: [(&[&str], &str); 13] = [
        (&["--members", "1=a:1"], "is not like 1=host:8101/host:8001"),
        (
            &["--members", "1=a:1/b:2,1=a:3/b:4"],
            "node 1 is listed twice",
        ),
        (&["--id", "2"], "node 2 is not in the list of members"),
        (&["--id", "0"], "node 0 is not in the list of members"),
        (&["--heartbeat-ms", "200"], "at least 3 heartbeats"),
        (&["--heartbeat-ms", "0"], "must not be zero"),
        (&["--segment-bytes", "1000"], "a multiple of 512"),
        (&["--log", "remember=loud"], "it is like info"),
        (&["--listen-api", "127.0.0.1"], "host:port"),
        (&["--witness", "127.0.0.1:1"], "it is like http://host:port"),
        (&["--witness", "http://10.0.0.1:1"], "add --allow-plain"),
        (&["--witness", "https://127.0.0.1:1"], "needs --tls-cert"),
        (&["--witness-object", "a"], "--cluster <CLUSTER>"),
    ];
    for (arguments, sentence) in wrong {
        // The last one given counts, except that clap refuses a flag that is given twice.
        let mut flags = vec![
            ("--id", "1"),
            ("--members", MEMBERS),
            ("--data-dir", "nowhere"),
        ];
        flags.retain(|(flag, _)| *flag != arguments[0]);
        let given: Vec<_> = flags
            .iter()
            .flat_map(|(flag, value)| [*flag, *value])
            .collect();
        let output = run(&[&["node"], &given[..], arguments].concat());
        demand(&output, 2, sentence);
    }
    assert!(!PathBuf::from("nowhere").exists());
}

#[test]
fn a_node_does_not_listen_for_the_world_in_plain_unless_told_so() {
    let directory = std::env::temp_dir().join(format!("remember-cli-{}", std::process::id()));
    let members = "1=127.0.0.1:1/127.0.0.1:2";
    let data_dir = directory.to_str().unwrap();
    let given = [
        "node",
        "--id",
        "1",
        "--members",
        members,
        "--data-dir",
        data_dir,
    ];
    let output = run(&[&given[..], &["--listen-peer", "0.0.0.0:19999"]].concat());
    demand(&output, 2, "add --allow-plain");
    assert!(!directory.exists(), "nothing was made");
}

#[test]
fn a_variable_that_nothing_reads_is_refused_and_its_neighbour_named() {
    let output = node(&["--print-config"])
        .env("REMEMBER_MEMBER", "x")
        .output()
        .unwrap();
    demand(&output, 2, "no flag reads the variable REMEMBER_MEMBER");
    demand(&output, 2, "is REMEMBER_MEMBERS meant?");
    let output = node(&["--print-config"])
        .env("REMEMBER_COLOUR_OF_LOGO", "x")
        .output()
        .unwrap();
    demand(&output, 2, "`remember node --help` lists all");
    // Kubernetes sets these for a Service of that name.
    let output = node(&["--print-config"])
        .env("REMEMBER_SERVICE_HOST", "10.0.0.1")
        .env("REMEMBER_PORT_7401_TCP_PROTO", "tcp")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_setting_is_printed_with_where_it_comes_from() {
    let output = node(&["--print-config", "--log", "warn"])
        .env("REMEMBER_HEARTBEAT_MS", "20")
        .env("REMEMBER_LOG", "debug")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let rows: Vec<Vec<_>> = printed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for row in [
        vec!["id", "1", "flag", "--id"],
        vec!["members", MEMBERS, "flag", "--members"],
        vec!["listen-peer", "-", "default"],
        vec!["heartbeat-ms", "20", "variable", "REMEMBER_HEARTBEAT_MS"],
        vec!["election-timeout-ms", "300", "default"],
        vec!["allow-plain", "false", "default"],
        vec!["log", "warn", "flag", "--log"],
        vec!["log-format", "text", "default"],
    ] {
        assert!(rows.contains(&row), "{row:?} is missing in\n{printed}");
    }
}

#[test]
fn a_node_that_cannot_start_says_why_and_ends_with_1() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let output = node(&["--listen-peer", &at]).output().unwrap();
    demand(&output, 1, &format!("cannot listen for peers at {at}"));
}

#[test]
fn what_a_node_answers_decides_the_exit_code() {
    let get = ["kv", "get", "a"];
    let put = ["kv", "put", "a", "1"];
    let answers: [(&[&str], u16, i32); 11] = [
        (&get, 200, 0),
        (&get, 404, 3),
        (&get, 503, 1),
        (&put, 400, 2),
        (&put, 403, 4),
        (&put, 412, 1),
        (&put, 413, 2),
        (&put, 500, 1),
        (&put, 503, 1),
        (&put, 504, 6),
        (&put, 507, 4),
    ];
    for (arguments, status, code) in answers {
        let body = r#"{"error":"because"}"#;
        let node = StandIn::answering(Some((status, body)));
        let output = run(&[arguments, &["--endpoint", &node.endpoint]].concat());
        demand(&output, code, "because");
    }
}

#[test]
fn any_url_can_be_asked() {
    let server = StandIn::answering(Some((200, "all is well")));
    let url = format!("http://{}/readyz?verbose", server.endpoint);
    demand(&run(&["ask", &url]), 0, "all is well");
    // An address in brackets is one of IPv6, or of IPv4: who writes it need not know.
    let (host, port) = server.endpoint.split_once(':').unwrap();
    let url = format!("http://[{host}]:{port}");
    demand(&run(&["ask", &url]), 0, "all is well");
    let asked = ["GET /readyz?verbose HTTP/1.1", "GET / HTTP/1.1"];
    assert_eq!(server.requests(), asked);

    for (status, code) in [(404, 3), (500, 1), (503, 1)] {
        let server = StandIn::answering(Some((status, "not yet")));
        let url = format!("http://{}/readyz", server.endpoint);
        demand(&run(&["ask", &url]), code, &format!("it answers {status}"));
    }
    let nobody = format!("http://{}/", refusing());
    demand(
        &run(&["ask", &nobody]),
        5,
        &nobody["http://".len()..nobody.len() - 1],
    );
    for url in [
        "127.0.0.1:1/",
        "https://127.0.0.1:1/",
        "http://a/",
        "http://a:1/b c",
    ] {
        demand(&run(&["ask", url]), 2, "invalid value");
    }
}

#[test]
fn nobody_there_is_5_and_nobody_answering_is_6() {
    let output = run(&["kv", "get", "a", "--endpoint", &refusing()]);
    demand(&output, 5, "no node can be reached");
    let output = run(&["status", "--endpoint", &refusing()]);
    assert_eq!(output.status.code(), Some(5));
    // Its backlog takes the connection; nobody ever answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = silent.local_addr().unwrap().to_string();
    for arguments in [&["kv", "get", "a"][..], &["kv", "put", "a", "1"]] {
        let output = run(&[arguments, &["--timeout", "0.2", "--endpoint", &at]].concat());
        demand(&output, 6, "did not answer in time");
    }
}

#[test]
fn a_read_goes_on_to_the_next_node_and_a_write_only_if_nothing_was_written() {
    let through = |arguments: &[&str], first: &str, second: &str| {
        let endpoints = format!("{first},{second}");
        run(&[arguments, &["--endpoint", &endpoints]].concat())
    };
    let (get, put) = (["kv", "get", "a"], ["kv", "put", "a", "1"]);
    let good = || StandIn::answering(Some((200, "x")));
    let nobody = refusing();
    for arguments in [&get[..], &put[..]] {
        let node = good();
        assert!(through(arguments, &nobody, &node.endpoint).status.success());
        let leaderless = StandIn::answering(Some((503, "")));
        assert!(
            through(arguments, &leaderless.endpoint, &node.endpoint)
                .status
                .success()
        );
        assert_eq!(node.requests().len(), 2);
    }
    // It took the request, and nobody knows what became of it (R20).
    let lossy = StandIn::answering(None);
    let node = good();
    assert!(
        through(&get, &lossy.endpoint, &node.endpoint)
            .status
            .success()
    );
    let output = through(&put, &lossy.endpoint, &node.endpoint);
    demand(&output, 6, "may or may not be done");
    assert_eq!(node.requests(), ["GET /v1/kv/a HTTP/1.1"]);
    assert_eq!(lossy.requests().len(), 2);
}

#[test]
fn a_node_whose_log_nobody_reads_goes_on_and_ends_when_it_is_asked_to() {
    let (_reader, writer) = io::pipe().unwrap();
    // Full to the last byte before the node says its first word.
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while (&writer).write(&[b'.'; 1024]).is_ok() {}
    while (&writer).write(b".").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();

    let directory = std::env::temp_dir().join(format!("remember-mute-{}", std::process::id()));
    let (peer, api, admin) = (port::free(), port::free(), port::free());
    let at = format!("127.0.0.1:{api}");
    let mut node = remember(&["node", "--id", "1", "--log", "debug"])
        .args(["--members", &format!("1=127.0.0.1:{peer}/{at}")])
        .args(["--listen-admin", &format!("127.0.0.1:{admin}")])
        .arg("--data-dir")
        .arg(&directory)
        .stderr(writer)
        .spawn()
        .unwrap();
    // It is being started; a bound that only a hang reaches.
    let until = Instant::now() + Duration::from_mins(1);
    while !run(&["kv", "put", "a", "1", "--endpoint", &at])
        .status
        .success()
    {
        assert!(Instant::now() < until, "the node waits for its reader");
    }
    demand(&run(&["kv", "get", "a", "--endpoint", &at]), 0, "1");
    kill_process(Pid::from_child(&node), Signal::TERM).unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(0));
    std::fs::remove_dir_all(directory).unwrap();
}

const CLUSTER: &str = concat!(
    r#"{"leader":{"id":1,"ip":"localhost","port":"8001"},"term":7,"tickets":2,"status":1,"#,
    r#""currentNode":{"id":1,"ip":"localhost","port":"8001"},"#,
    r#""aliveFollowers":[{"id":1,"ip":"localhost","port":"8001"}]}"#
);

#[test]
fn status_is_1_unless_all_who_answer_follow_one_leader() {
    let leader = StandIn::answering(Some((200, CLUSTER)));
    let output = run(&["status", "--endpoint", &leader.endpoint]);
    demand(&output, 0, "1     leader  7     1       2        1");

    let leaderless = CLUSTER
        .replace(
            r#""leader":{"id":1,"ip":"localhost","port":"8001"}"#,
            r#""leader":null"#,
        )
        .replace(r#""status":1"#, r#""status":3"#);
    let leaderless = StandIn::answering(Some((200, &leaderless)));
    let output = run(&["status", "--endpoint", &leaderless.endpoint]);
    assert_eq!(output.status.code(), Some(1));

    let older = StandIn::answering(Some((200, &CLUSTER.replace(r#""term":7"#, r#""term":6"#))));
    let both = format!("{},{}", older.endpoint, leader.endpoint);
    let output = run(&["status", "-o", "json", "--endpoint", &both]);
    assert_eq!(output.status.code(), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["agreed"], false);
    assert_eq!(document["nodes"].as_array().unwrap().len(), 2);
}

#[test]
fn what_answers_unlike_a_node_is_told_so() {
    let other = StandIn::answering(Some((200, "<html>")));
    let output = run(&["status", "--endpoint", &other.endpoint]);
    demand(&output, 1, "does not answer like a node of remember");
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let node = StandIn::answering(Some((200, CLUSTER)));
    let pages: [&[&str]; 4] = [
        &["--help"],
        &["completion", "bash"],
        &["status", "--endpoint", &node.endpoint],
        &["kv", "get", "a", "--endpoint", &node.endpoint],
    ];
    for arguments in pages {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = remember(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

/// What a command prints on a terminal.
fn on_a_terminal(mut command: Command) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let inner = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name)
        .unwrap();
    let status = command.stdout(inner).status().unwrap();
    assert_eq!(status.code(), Some(0));
    drop(command);
    let mut printed = Vec::new();
    // Reading ends with an error once the last writer is gone.
    drop(std::fs::File::from(terminal).read_to_end(&mut printed));
    text(&printed)
}

#[test]
fn colour_is_for_terminals_whose_owners_want_it() {
    let node = StandIn::answering(Some((200, CLUSTER)));
    let status = |color: &str| {
        let mut command = remember(&["--color", color, "status"]);
        command
            .args(["--endpoint", &node.endpoint])
            .env("TERM", "xterm");
        command
    };
    let escape = '\x1b';
    assert!(on_a_terminal(status("auto")).contains(escape));
    let mut unwanted = status("auto");
    unwanted.env("NO_COLOR", "1");
    assert!(!on_a_terminal(unwanted).contains(escape));
    assert!(!on_a_terminal(status("never")).contains(escape));
    let piped = status("auto").output().unwrap();
    assert!(!text(&piped.stdout).contains(escape));
    let forced = status("always").env("NO_COLOR", "1").output().unwrap();
    assert!(text(&forced.stdout).contains(escape));
}

#[test]
fn version_and_completion_are_there() {
    demand(
        &run(&["version"]),
        0,
        concat!("remember ", env!("CARGO_PKG_VERSION")),
    );
    for shell in ["bash", "zsh", "fish"] {
        demand(&run(&["completion", shell]), 0, "transfer");
    }
}
