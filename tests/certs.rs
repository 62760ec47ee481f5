//! Mutual TLS from the command line: files made by `remember certs`, a node that shows them, and
//! clients that do, as processes.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

#[path = "support/port.rs"]
mod port;

/// A directory that goes with the test, and everything that runs in it.
struct Desk {
    path: PathBuf,
    node: Option<Child>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take() {
            drop(node.kill());
            drop(node.wait());
        }
        drop(fs::remove_dir_all(&self.path));
    }
}

impl Desk {
    fn new(name: &str) -> Self {
        let name = format!("remember-certs-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self { path, node: None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remember"));
        command.env_clear().current_dir(&self.path).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Demands an exit code and a part of what was said.
    #[track_caller]
    fn demand(&self, arguments: &[&str], code: i32, part: &str) {
        let output = self.run(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

/// Arguments with the files of `stem` behind them.
fn showing<'a>(arguments: &[&'a str], files: &'a [String; 3]) -> Vec<&'a str> {
    let [certificate, key, authority] = files;
    let flags = [
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
        "--tls-ca",
        authority,
    ];
    [arguments, &flags].concat()
}

fn files(stem: &str) -> [String; 3] {
    let [certificate, key] = ["crt", "key"].map(|ending| format!("certs/{stem}.{ending}"));
    [certificate, key, "certs/ca.crt".to_owned()]
}

#[test]
fn certificates_are_made_for_their_owner_alone_and_never_written_over() {
    let desk = Desk::new("made");
    let first = [
        "certs",
        "certs",
        "--cluster",
        "blue",
        "--member",
        "1,2",
        "--client",
        "me",
    ];
    desk.demand(&first, 0, "wrote certs/member-2.key");
    let read = |name: &str| fs::read(desk.path.join("certs").join(name)).unwrap();
    let before = ["ca.crt", "ca.key", "member-1.key", "me.crt"].map(read);
    for entry in fs::read_dir(desk.path.join("certs")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{entry:?}");
    }
    let again = ["certs", "certs", "--member", "3,1"];
    desk.demand(
        &again,
        1,
        "certs/member-1.crt is there already, so nothing was written",
    );
    assert!(!desk.path.join("certs/member-3.crt").exists());
    desk.demand(
        &["certs", "certs", "--cluster", "blue", "--member", "3"],
        0,
        "member-3.crt",
    );
    assert_eq!(
        ["ca.crt", "ca.key", "member-1.key", "me.crt"].map(read),
        before
    );
    for name in ["ca", "member-9", "../me", ""] {
        desk.demand(&["certs", "certs", "--client", name], 2, "letters, digits");
    }
    // The authority of someone else does not sign with our key.
    desk.demand(&["certs", "others"], 0, "wrote others/ca.crt");
    fs::copy(
        desk.path.join("others/ca.crt"),
        desk.path.join("certs/ca.crt"),
    )
    .unwrap();
    desk.demand(
        &["certs", "certs", "--client", "you"],
        1,
        "not those of one authority",
    );
}

#[test]
fn a_node_says_what_is_wrong_with_its_files() {
    let desk = Desk::new("node");
    desk.demand(&["certs", "certs", "--member", "1,2"], 0, "wrote");
    let members = "1=127.0.0.1:18101/127.0.0.1:18001";
    let node = [
        "node",
        "--id",
        "1",
        "--members",
        members,
        "--data-dir",
        "data",
    ];
    let (own, second, third) = (files("member-1"), files("member-2"), files("member-3"));
    desk.demand(&showing(&node, &second), 2, "is for 2.main.remember");
    desk.demand(
        &showing(&node, &third),
        2,
        "cannot read the certificate certs/member-3.crt",
    );
    let plain = [&node[..], &["--allow-plain"]].concat();
    desk.demand(&showing(&plain, &own), 2, "contradict");
    let secured = [&node[..], &["--listen-api", "https://127.0.0.1:18001"]].concat();
    desk.demand(&secured, 2, "needs --tls-cert");
    let half = [&node[..], &["--tls-cert", "certs/member-1.crt"]].concat();
    desk.demand(&half, 2, "--tls-key");
    let printed = [&node[..], &["--print-config"]].concat();
    desk.demand(&showing(&printed, &own), 0, "certs/member-1.key");
}

#[test]
fn clients_with_a_certificate_are_served_by_a_node_that_speaks_both() {
    let mut desk = Desk::new("served");
    let certs = ["certs", "certs", "--member", "1", "--client", "me"];
    desk.demand(&certs, 0, "wrote");
    desk.demand(&["certs", "others", "--client", "me"], 0, "wrote");
    let [peer, plain, secured, admin] = [(); 4].map(|()| format!("127.0.0.1:{}", port::free()));
    let members = format!("1={peer}/{plain}");
    let listen = format!("{plain},https://{secured}");
    let node = [
        "node",
        "--id",
        "1",
        "--members",
        &members,
        "--data-dir",
        "data",
    ];
    let node = [
        &node[..],
        &["--listen-api", &listen, "--listen-admin", &admin],
    ]
    .concat();
    let mut command = desk.command(&showing(&node, &files("member-1")));
    let mut node = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(node.stderr.take().unwrap());
    desk.node = Some(node);
    let mut lines = log.lines().map(Result::unwrap);
    assert!(
        lines.any(|line| line.contains("role=Leader")),
        "it leads nobody"
    );

    let url = format!("https://{secured}");
    let me = files("me");
    let put = ["kv", "put", "colour", "blue", "--endpoint", &url];
    desk.demand(&showing(&put, &me), 0, "2");
    let get = ["kv", "get", "colour", "--endpoint"];
    desk.demand(&showing(&[&get[..], &[&url]].concat(), &me), 0, "blue");
    desk.demand(&[&get[..], &[&plain]].concat(), 0, "blue");
    desk.demand(&showing(&["status", "--endpoint", &url], &me), 0, "leader");
    // It may ask; only there is nobody in this cluster who could take over.
    let transfer = ["transfer", "--leaving", "--endpoint", &url];
    desk.demand(&showing(&transfer, &me), 1, "no follower took over");

    desk.demand(&["status", "--endpoint", &url], 2, "needs --tls-cert");
    desk.demand(
        &[&get[..], &[&secured]].concat(),
        2,
        "this port speaks HTTPS",
    );
    let plain = format!("https://{plain}");
    let wrong_port = ["status", "--endpoint", &plain];
    desk.demand(&showing(&wrong_port, &me), 5, "does not speak TLS");
    let foreign = ["crt", "key"].map(|ending| format!("others/me.{ending}"));
    let [certificate, key] = foreign;
    let foreign = [certificate, key, "others/ca.crt".to_owned()];
    let status = ["status", "--endpoint", &url];
    desk.demand(
        &showing(&status, &foreign),
        5,
        "was not issued by the authority",
    );
}
