//! A client that writes all the time, through the leader's Service, and believes nothing but an
//! acknowledgement: in the end every acknowledged write must be there.
//!
//! Each key is written once. Each write is sent from another machine of the cluster than the one
//! before, since any of them may be without power.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use crate::cluster::{Cluster, demand, output_of, say, wait_for};
use crate::hello::Hello;

/// How long to wait between two writes.
const PAUSE: Duration = Duration::from_millis(20);
/// How many writes must be acknowledged between two faults.
const BETWEEN: usize = 10;

/// Reads keys, writes each, and tells the status of each answer; 000 for none.
const LOOP: &str = r#"
    while read -r url value; do
        code=$(curl -s -o /dev/null -m 2 -w '%{http_code}' -X PUT -d "$value" "$url") || true
        echo "$code"
    done
"#;

/// A client in a thread of its own.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// The number of the next key.
    tried: AtomicUsize,
    acknowledged: Mutex<Vec<usize>>,
}

impl Writer {
    /// Begins to write through the leader's Service of a cluster.
    pub(crate) fn begin(hello: &Hello<'_>) -> Self {
        Self::begin_at(hello, 0)
    }

    /// The same, with other keys than an earlier writer, which has stopped.
    pub(crate) fn begin_after(hello: &Hello<'_>, earlier: &Self) -> Self {
        Self::begin_at(hello, earlier.shared.tried.load(Ordering::Relaxed))
    }

    fn begin_at(hello: &Hello<'_>, first: usize) -> Self {
        let shared = Arc::new(Shared {
            tried: AtomicUsize::new(first),
            ..Shared::default()
        });
        let url = format!("http://{}/notes", hello.leader_address());
        let mut clients = Clients {
            cluster: hello.cluster.clone(),
            machines: hello.cluster.node_names().collect(),
            running: BTreeMap::new(),
        };
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for number in first.. {
                    if shared.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    shared.tried.fetch_add(1, Ordering::Relaxed);
                    let code = clients.put(number, &format!("{url}/w{number} {number}"));
                    if matches!(code.as_deref(), Some("200" | "201" | "204")) {
                        shared.acknowledged.lock().unwrap().push(number);
                    }
                    sleep(PAUSE);
                }
            })
        };
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// How many writes are acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Waits until some writes more are acknowledged.
    pub(crate) fn goes_on(&self) {
        let before = self.count();
        wait_for("writes to be acknowledged", || {
            (self.count() >= before + BETWEEN).then_some(())
        });
    }

    /// Stops, and demands that every acknowledged write is there.
    pub(crate) fn finish(mut self, hello: &Hello<'_>) {
        self.stop();
        let acknowledged = self.shared.acknowledged.lock().unwrap().clone();
        let tried = self.shared.tried.load(Ordering::Relaxed);
        let lost = lost(hello.cluster, &hello.leader_address(), &acknowledged);
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        say!(
            "    {} writes of those below {tried} were acknowledged, and all of those are there",
            acknowledged.len()
        );
    }

    /// Writes no more; what was acknowledged is kept in mind.
    pub(crate) fn stop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads every key, and tells those that are not as they were written, each with the status and
/// what was read. No answer says nothing of what is there, so it is asked for again.
fn lost(cluster: &Cluster, address: &str, acknowledged: &[usize]) -> Vec<String> {
    let url = |number: usize| format!("http://{address}/notes/w{number}");
    let (mut all, mut doubtful) = (String::new(), String::new());
    for number in acknowledged {
        writeln!(all, "url = \"{}\"\noutput = \"-\"", url(*number)).unwrap();
    }
    // One process for all of them; a line for each, in their order.
    let curl = ["curl", "-s", "-m", "5", "-w", " %{http_code}\n", "-K"];
    let mut once = cluster.enter("n1");
    let once = output_of(once.args(curl).arg(written(cluster, &all)));
    let read = String::from_utf8_lossy(&once.stdout).into_owned();
    let mut read = read.lines();
    for number in acknowledged {
        if read.next() != Some(&format!("{number} 200")) {
            writeln!(doubtful, "{} {number}", url(*number)).unwrap();
        }
    }
    let again = r#"
        while read -r url value; do
            for _ in {1..20}; do
                read=$(curl -s -m 5 -w ' %{http_code}' "$url")
                [[ $read == "$value 200" || $read == *' 404' ]] && break
                sleep 0.5
            done
            [[ $read == "$value 200" ]] || echo "w$value: '$read'"
        done <"$1"
    "#;
    let mut patient = cluster.enter("n1");
    patient.args(["bash", "-c", again, "again"]);
    let lost = demand(patient.arg(written(cluster, &doubtful)));
    lost.lines().map(str::to_owned).collect()
}

/// A file with this text, which a process on a machine can read.
fn written(cluster: &Cluster, text: &str) -> PathBuf {
    let file = cluster.directory().join("written");
    std::fs::write(&file, text).unwrap();
    file
}

/// A process on each machine that sends what it is told.
struct Clients {
    cluster: Cluster,
    machines: Vec<String>,
    running: BTreeMap<usize, Client>,
}

struct Client {
    process: Child,
    keys: ChildStdin,
    codes: BufReader<ChildStdout>,
}

impl Clients {
    /// Writes one key from the next machine; `None` if that has ended.
    fn put(&mut self, number: usize, line: &str) -> Option<String> {
        let machine = number % self.machines.len();
        if !self.running.contains_key(&machine) {
            let client = Client::start(self.cluster.enter(&self.machines[machine]))?;
            self.running.insert(machine, client);
        }
        let client = self.running.get_mut(&machine)?;
        let code = client.put(line);
        if code.is_none() {
            self.running.remove(&machine);
        }
        code
    }
}

impl Client {
    fn start(mut enter: Command) -> Option<Self> {
        let command = enter
            .args(["bash", "-c", LOOP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let keys = process.stdin.take()?;
        let codes = BufReader::new(process.stdout.take()?);
        Some(Self {
            process,
            keys,
            codes,
        })
    }

    fn put(&mut self, line: &str) -> Option<String> {
        writeln!(self.keys, "{line}").ok()?;
        let mut code = String::new();
        let read = self.codes.read_line(&mut code).ok()?;
        (read > 0).then(|| code.trim().to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
