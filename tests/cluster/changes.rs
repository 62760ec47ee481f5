//! How long it takes until a pod that lost its disk has its vote back, and for how long writes stop
//! while pods come and go. Not a test: nothing here fails for being slow.
//!
//! `make bench-cluster` runs it, beside [`figures`](crate::figures).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, wait_for};
use crate::figures::{Client, Micros, exchange, head, now, row, tell};
use crate::hello::Hello;
use crate::helm;
use crate::seats::Members;
use crate::workload::make_namespace;

/// The argument by which this program becomes the client that writes.
pub(crate) const WRITES: &str = "writes-to-a-service";

/// How long the client waits between two writes.
const PAUSE: Duration = Duration::from_millis(2);
/// The word by which it tells of an acknowledged write.
const ACKNOWLEDGED: &str = "acknowledged";
/// A time without one that is to be explained.
const LONG: Micros = 200_000;
/// How often it is looked who votes.
const LOOK: Duration = Duration::from_millis(20);
/// How long things may settle before each round.
const SETTLE: Duration = Duration::from_secs(2);

/// Deletes pods whose disks end with them, one after the other whoever leads, and tells how long it
/// takes until the node of the next pod has joined, and until it votes.
pub(crate) fn measure_replacement(cluster: &Cluster, rounds: usize) {
    helm::be_installed(cluster);
    make_namespace(cluster, "replacement");
    let hello = Hello::apply_ephemeral_with_defaults(cluster, "replacement", "hello");
    hello.settle();
    let client = Client::begin(&hello, WRITES);
    let (mut joined, mut whole, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..rounds.div_ceil(5) {
        std::thread::sleep(SETTLE);
        let id = u64::try_from(number % 3).unwrap() + 1;
        let pod = format!("{}-{}", hello.name, id - 1);
        let before = wait_for("the members", || hello.members_told());
        let is_new = |members: &Members| members.keys().any(|member| !before.contains_key(member));
        let begun = now();
        hello.kubectl(&["delete", "pod", &pod, "--wait=false"]);
        joined.push(await_members(&hello, is_new) - begun);
        let are_whole = |members: &Members| is_new(members) && vote(members, 3);
        whole.push(await_members(&hello, are_whole) - begun);
        hello.settle_labels();
        gaps.push(longest_gap(&client, begun, now()));
    }
    println!("\na pod without a volume is deleted, in ms from then:\n");
    head("what");
    row("the next pod's node has joined", joined);
    row("all three vote again", whole);
    row("longest time without an acknowledged write", gaps);
    drop(client);
    hello.delete();
}

/// Scales from three to five and back, and tells how long each takes, and the longest time in each
/// without an acknowledged write.
pub(crate) fn measure_scaling(cluster: &Cluster, rounds: usize) {
    helm::be_installed(cluster);
    make_namespace(cluster, "scaling");
    let hello = Hello::apply(cluster, "scaling", "hello");
    hello.settle();
    let client = Client::begin(&hello, WRITES);
    let (mut times, mut gaps) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..rounds.div_ceil(20) {
        for (place, replicas) in [5, 3].into_iter().enumerate() {
            std::thread::sleep(SETTLE);
            let begun = now();
            hello.scale(replicas);
            let voted = await_members(&hello, |members| vote(members, replicas));
            times[place].push(voted - begun);
            hello.settle_labels();
            gaps[place].push(longest_gap(&client, begun, now()));
        }
    }
    println!("\nthree to five and back, in ms:\n");
    head("what");
    let [up, down] = times;
    row("3 to 5: all five vote", up);
    row("5 to 3: three vote, the others have left", down);
    let [up, down] = gaps;
    row("3 to 5: longest time without an acknowledged write", up);
    row("5 to 3: the same", down);
    drop(client);
    hello.delete();
}

/// Whether there are so many members, and all of them vote.
fn vote(members: &Members, count: usize) -> bool {
    members.len() == count && members.values().all(|role| role == "voter")
}

/// Waits until the members are as they should be, by the nodes' own word, and says when.
fn await_members(hello: &Hello<'_>, is_it: impl Fn(&Members) -> bool) -> Micros {
    let begun = Instant::now();
    loop {
        if hello.members_told().is_some_and(|members| is_it(&members)) {
            return now();
        }
        assert!(begun.elapsed() < Duration::from_mins(4), "no such members");
        std::thread::sleep(LOOK);
    }
}

/// The longest time between two acknowledgements, both of them between these times; if it is long,
/// what became of the writes in it is told.
fn longest_gap(client: &Client, from: Micros, to: Micros) -> Micros {
    let told: Vec<_> = (client.told().into_iter())
        .filter(|(at, _)| (from..=to).contains(at))
        .collect();
    let acknowledged = told
        .iter()
        .filter(|(_, told)| told.starts_with(ACKNOWLEDGED));
    let acknowledged: Vec<_> = acknowledged.map(|(at, _)| *at).collect();
    let gaps = acknowledged.windows(2).map(|two| (two[0], two[1]));
    let longest = gaps.max_by_key(|(begun, ended)| ended - begun);
    let (begun, ended) = longest.expect("several writes are acknowledged in each round");
    if ended - begun > LONG {
        println!("  no write acknowledged for long; what became of them, in microseconds of it:");
        for (at, told) in (told.iter()).filter(|(at, _)| (begun..=ended).contains(at)) {
            println!("    {:>8} {told}", at - begun);
        }
    }
    ended - begun
}

/// Is the client, until it is killed: writes one key after the other, and tells what became of it.
pub(crate) fn write_for_ever(address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    for number in 0_u64.. {
        let line = format!("PUT /notes/f{number} HTTP/1.1");
        match exchange(address, &line, &number.to_string()) {
            Ok((head, _)) if head.starts_with("HTTP/1.1 20") => {
                tell(&format!("{ACKNOWLEDGED} f{number}"));
            }
            Ok((head, _)) => tell(&format!("refused f{number}: {head:?}")),
            Err(missed) => tell(&format!("{missed:?} missed for f{number}")),
        }
        std::thread::sleep(PAUSE);
    }
}
