//! How long it takes, in phases, until a client of the leader's Service is answered by the next
//! leader. Not a test: nothing here fails for being slow. [`changes`](crate::changes) measures
//! members that come and go.
//!
//! ```text
//!   fault --> detect --> elect --> strip --> set --> endpoints --> answer
//!             sidecars' own logs   audit log of the API server     the client
//! ```
//!
//! All clocks are that of this machine. `make bench-cluster` runs it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::changes;
use crate::cluster::{Cluster, wait_for};
use crate::hello::{Hello, Leader, is_ready};
use crate::helm;
use crate::processes;
use crate::workload::make_namespace;

/// The argument by which this program becomes the client that asks.
pub(crate) const ASKS: &str = "asks-a-service";
/// The variable that asks for figures instead of stories: how many kills; a third as many pods of
/// leaders are deleted, and a fifth and a twentieth as many rounds measure changes of the members.
pub(crate) const ROUNDS: &str = "REMEMBER_FIGURES";

/// Measures something in so many rounds, or a part of them, and prints tables.
type Figure = fn(&Cluster, usize);

/// All figures, by name.
pub(crate) const FIGURES: &[(&str, Figure)] = &[
    ("failover", measure),
    ("replacement", changes::measure_replacement),
    ("scaling", changes::measure_scaling),
];

/// How often the client asks, and how long it waits for an answer.
const ASK_EVERY: Duration = Duration::from_millis(2);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// How long things may settle between two rounds.
const SETTLE: Duration = Duration::from_secs(1);

/// An election that took longer from the first suspicion, in microseconds, is told with what
/// sidecars logged meanwhile.
const SLOW: Micros = 100_000;

/// Microseconds since 1970.
pub(crate) type Micros = i128;

/// When each phase of one round ended.
#[derive(Clone, Copy, Default, Debug)]
struct Round {
    fault: Micros,
    detect: Option<Micros>,
    elect: Option<Micros>,
    strip: Option<Micros>,
    set: Option<Micros>,
    endpoints: Option<Micros>,
    answer: Option<Micros>,
}

/// How the next leader comes.
fn measure(cluster: &Cluster, rounds: usize) {
    helm::be_installed(cluster);
    make_namespace(cluster, "figures");
    let hello = Hello::apply(cluster, "figures", "hello");
    hello.settle();
    let client = Client::begin(&hello, ASKS);
    let kill: fn(&Hello<'_>, &Leader) = |hello, leader| {
        hello.node_of(&leader.pod).signal(Signal::KILL);
    };
    let delete: fn(&Hello<'_>, &Leader) = |hello, leader| {
        hello.kubectl(&["delete", "pod", &leader.pod, "--wait=false"]);
    };
    for (what, fault, count) in [
        ("the leader's sidecar is killed (-9)", kill, rounds),
        ("the leader's pod is deleted", delete, rounds.div_ceil(3)),
    ] {
        let mut measured = Vec::new();
        for number in 1..=count {
            measured.push(round(&hello, &client, fault));
            if number % 10 == 0 {
                println!("  {what}: {number} of {count}");
            }
        }
        table(what, &measured);
    }
    memory(cluster, &hello);
    drop(client);
    hello.delete();
}

fn round(hello: &Hello<'_>, client: &Client, fault: fn(&Hello<'_>, &Leader)) -> Round {
    let before = hello.leader_seen().expect("a leader");
    std::thread::sleep(SETTLE);
    let mut round = Round {
        fault: now(),
        ..Round::default()
    };
    fault(hello, &before);
    let next = wait_for("the next leader", || {
        hello.leader_seen().filter(|now| now.term > before.term)
    });
    round.answer = wait_for("an answer", || client.first_of(next.term)).into();
    let of_sidecars = logs(hello);
    let first = |text: &str| {
        let lines = of_sidecars.iter().filter(|(at, _)| *at >= round.fault);
        let lines = lines.filter(|(_, line)| line.contains(text));
        lines.map(|(at, _)| *at).min()
    };
    round.detect = first("Suspected").or_else(|| first("HandingOver"));
    round.elect = first(&format!("Established {{ term: t{} }}", next.term));
    let took = (first("Suspected").zip(round.elect)).map(|(detect, elect)| elect - detect);
    if took.is_some_and(|took| took > SLOW) {
        println!("  a slow election; what sidecars logged, in microseconds from the fault:");
        let mut lines: Vec<_> = of_sidecars.iter().collect();
        lines.sort_unstable();
        let of_round = lines.into_iter().filter(|(at, _)| *at >= round.fault);
        for (at, line) in of_round.take_while(|(at, _)| Some(*at) <= round.elect) {
            println!("    {:>7} {line}", at - round.fault);
        }
    }
    let audit = Audit::since(hello.cluster, &hello.namespace, round.fault);
    round.set = audit.labelled("leader", next.term).into_iter().min();
    round.strip = audit
        .labelled("follower", next.term)
        .into_iter()
        .filter(|at| Some(*at) <= round.set)
        .max();
    round.endpoints = round.set.and_then(|set| audit.endpoints_after(set));
    wait_for("three ready pods", || {
        let ready = hello.pods().iter().filter(|pod| is_ready(pod)).count();
        (ready == 3).then_some(())
    });
    round
}

/// What the API server has answered since a time.
struct Audit(Vec<Value>);

impl Audit {
    fn since(cluster: &Cluster, namespace: &str, since: Micros) -> Self {
        let log = std::fs::read_to_string(cluster.directory().join("log/audit.log")).unwrap();
        // The newest lines are the last.
        let lines = log.lines().rev();
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let new = events.take_while(|event| instant(event) >= Some(since - 5_000_000));
        let ours = new.filter(|event| {
            event["objectRef"]["namespace"] == namespace
                && event["stage"] == "ResponseComplete"
                && event["responseStatus"]["code"].as_i64() < Some(300)
                && instant(event) >= Some(since)
        });
        Self(ours.collect())
    }

    /// When pods got a role in a term.
    fn labelled(&self, role: &str, term: u64) -> Vec<Micros> {
        let term = term.to_string();
        let is_it = |event: &&Value| {
            let meta = &event["responseObject"]["metadata"];
            event["objectRef"]["resource"] == "pods"
                && event["verb"] == "patch"
                && meta["labels"]["remember.krest.io/role"] == role
                && meta["annotations"]["remember.krest.io/term"] == term.as_str()
        };
        self.0.iter().filter(is_it).filter_map(instant).collect()
    }

    /// When the endpoints of the leader's Service were written first, from a time on.
    fn endpoints_after(&self, time: Micros) -> Option<Micros> {
        let is_it = |event: &&Value| {
            let name = event["objectRef"]["name"].as_str().unwrap_or_default();
            event["objectRef"]["resource"] == "endpointslices" && name.starts_with("hello-leader")
        };
        let written = self.0.iter().filter(is_it).filter_map(instant);
        written.filter(|at| *at >= time).min()
    }
}

fn instant(event: &Value) -> Option<Micros> {
    micros(event["stageTimestamp"].as_str()?)
}

/// Reads a time as RFC 3339 writes it, in UTC.
fn micros(text: &str) -> Option<Micros> {
    let time: k8s_openapi::jiff::Timestamp = text.parse().ok()?;
    Some(i128::from(time.as_microsecond()))
}

pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i128::try_from(since.as_micros()).unwrap()
}

/// The newest lines of all sidecars that run, with their times.
fn logs(hello: &Hello<'_>) -> Vec<(Micros, String)> {
    let mut lines = Vec::new();
    for number in 0..3 {
        let pod = format!("{}-{number}", hello.name);
        let output = hello.cluster.kubectl_output(&[
            "-n",
            &hello.namespace,
            "logs",
            &pod,
            "-c",
            "remember",
            "--tail=200",
        ]);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(at) = line.split_whitespace().next().and_then(micros) {
                lines.push((at, format!("{pod} {line}")));
            }
        }
    }
    lines
}

/// A client of the leader's Service, in a process in the network of a machine: this very program.
pub(crate) struct Client {
    process: Child,
    answers: std::path::PathBuf,
}

impl Client {
    /// One that does what this argument of the program stands for.
    pub(crate) fn begin(hello: &Hello<'_>, what: &str) -> Self {
        let answers = hello.cluster.directory().join("log").join(what);
        let process = hello
            .cluster
            .enter("n1")
            .arg(std::env::current_exe().unwrap())
            .args([what, &format!("{}:80", hello.leader_address())])
            .stdout(std::fs::File::create(&answers).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, answers }
    }

    /// What it has told so far: when, and what.
    pub(crate) fn told(&self) -> Vec<(Micros, String)> {
        let text = std::fs::read_to_string(&self.answers).unwrap();
        // Only the last line may still be written.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let told = whole.lines().filter_map(|line| line.split_once(' '));
        let told = told.map(|(at, told)| (at.parse().unwrap(), told.to_owned()));
        told.collect()
    }

    /// When the leader of a term answered first.
    fn first_of(&self, term: u64) -> Option<Micros> {
        let mut told = self.told().into_iter();
        let of_term = told.find(|(_, told)| *told == term.to_string());
        of_term.map(|(at, _)| at)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Is the client, until it is killed: tells when it was answered by the leader of which term,
/// whenever that is another one than before.
pub(crate) fn ask_for_ever(address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let mut known = String::new();
    loop {
        if let Some(term) = ask(address)
            && term != known
        {
            tell(&term);
            known = term;
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Tells something with the time.
pub(crate) fn tell(what: &str) {
    println!("{} {what}", now());
    std::io::stdout().flush().unwrap();
}

/// The term of the leader that answers, if it says that it leads.
fn ask(address: SocketAddr) -> Option<String> {
    let (_, body) = exchange(address, "GET / HTTP/1.1", "").ok()?;
    let told: Value = serde_json::from_str(&body).ok()?;
    (told["role"] == "leader").then(|| told["term"].to_string())
}

/// What was waited for in vain, or ended too early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missed {
    Connection,
    Answer,
}

/// One request on a connection of its own: the head of the answer, and its body.
pub(crate) fn exchange(
    address: SocketAddr,
    line: &str,
    body: &str,
) -> Result<(String, String), Missed> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN);
    let stream = stream.map_err(|_| Missed::Connection)?;
    let request = [
        line,
        &format!("Host: {address}"),
        "Connection: close",
        &format!("Content-Length: {}", body.len()),
        "",
        body,
    ];
    let answer = answer_to(stream, &request.join("\r\n")).map_err(|_| Missed::Answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(Missed::Answer)?;
    Ok((head.to_owned(), body.to_owned()))
}

fn answer_to(mut stream: TcpStream, request: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How long a phase of a round took, if both its ends were seen.
type Of = fn(&Round) -> Option<Micros>;

/// One row for each phase, counted from the end of the one before.
fn table(what: &str, rounds: &[Round]) {
    println!("\n{what}, n {}, in ms:\n", rounds.len());
    head("phase");
    let phases: [(&str, Of); 8] = [
        ("detect", |round| Some(round.detect? - round.fault)),
        ("elect", |round| Some(round.elect? - round.detect?)),
        ("strip", |round| Some(round.strip? - round.elect?)),
        ("set", |round| Some(round.set? - round.strip?)),
        ("endpoints", |round| Some(round.endpoints? - round.set?)),
        ("answer", |round| Some(round.answer? - round.endpoints?)),
        ("elected -> label set", |round| {
            Some(round.set? - round.elect?)
        }),
        ("fault -> client answered", |round| {
            Some(round.answer? - round.fault)
        }),
    ];
    for (phase, of) in phases {
        row(phase, rounds.iter().filter_map(of).collect());
    }
}

/// The head of a table.
pub(crate) fn head(what: &str) {
    println!("| {what} | n | p50 | p90 | p99 | max |\n|---|---|---|---|---|---|");
}

/// One row of a table: how many there are, and what half of them, nine tenths, and so on do not
/// exceed, in ms.
pub(crate) fn row(what: &str, mut taken: Vec<Micros>) {
    taken.sort_unstable();
    let at = |part: usize| {
        let last = taken.len().saturating_sub(1);
        let place = (taken.len() * part / 100).min(last);
        let micros = taken.get(place).copied().unwrap_or_default();
        format!("{}.{}", micros / 1000, (micros % 1000).abs() / 100)
    };
    println!(
        "| {what} | {} | {} | {} | {} | {} |",
        taken.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

/// What the programs take of memory, after all that.
fn memory(cluster: &Cluster, hello: &Hello<'_>) {
    let mut resident = BTreeMap::new();
    for operator in processes::operators(cluster) {
        resident.insert(
            format!("operator {}", operator.pod),
            operator.resident_bytes(),
        );
    }
    for node in processes::nodes(cluster, &hello.namespace) {
        resident.insert(format!("sidecar of {}", node.pod), node.resident_bytes());
    }
    println!("\n| program | resident, MiB | of that its own |\n|---|---|---|");
    let mib = |bytes: u64| format!("{}.{}", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20);
    for (program, [all, own]) in resident {
        println!("| {program} | {} | {} |", mib(all), mib(own));
    }
}
