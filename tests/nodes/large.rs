//! A state of 200 MB: its snapshot is written beside the node, and sent to a follower that lacks
//! it, while everybody goes on beating.
//!
//! How long anything takes is not asserted, only what happens meanwhile: the node's thread takes
//! turns while a snapshot grows, which it could not if it wrote, read or sent the bytes itself, and
//! nobody misses the leader. `RUST_LOG=nodes=info` tells the times.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use remember::node::Settings;
use remember::state::{Command, Outcome};
use tokio::time::sleep;
use tracing::info;

use crate::cluster::{Cluster, on_one_thread};
use crate::node::put;

const VALUE_BYTES: usize = 16 << 10;
const KEYS: usize = (200 << 20) / VALUE_BYTES;
/// Writes that wait together.
const ABREAST: usize = 64;

/// A machine that is busy with other tests is no reason for an election.
fn patient(settings: &mut Settings) {
    settings.engine.election_timeout = Duration::from_secs(3);
    settings.request_timeout = Duration::from_secs(30);
    // The log of the whole state is no reason for a snapshot yet.
    settings.snapshot_log_bytes = (KEYS + KEYS / 50) * VALUE_BYTES;
}

/// What was seen while a snapshot grew.
#[derive(Debug, Default)]
struct Seen {
    /// Turns that the leader took while it grew.
    turns: u64,
    /// The lengths that its file had.
    lengths: BTreeSet<u64>,
    /// The longest time between two looks, which share the thread with the nodes.
    longest: Duration,
}

/// Writes so many keys, from the first on.
async fn write(cluster: &Cluster, leader: u64, keys: usize, byte: u8) {
    let handle = cluster.handle(leader);
    let keys: Vec<_> = (0..keys).collect();
    for keys in keys.chunks(ABREAST) {
        let writes = keys.iter().map(async |key| {
            let put = put(&format!("key-{key}"), vec![byte; VALUE_BYTES]);
            let outcome = handle.write(&put).await.unwrap();
            assert!(matches!(outcome, Outcome::Put { .. }), "{outcome:?}");
        });
        join_all(writes).await;
    }
}

/// The length of the file that is being written in a data directory, if there is one.
fn unfinished(data_dir: &Path) -> Option<u64> {
    let files = std::fs::read_dir(data_dir).unwrap().map(Result::unwrap);
    let mut files = files.filter(|file| {
        let name = file.file_name();
        name.to_string_lossy().starts_with("unfinished-")
    });
    files.next()?.metadata().ok().map(|file| file.len())
}

/// Looks on until node `id` has a snapshot, and fails if anybody misses the leader meanwhile.
async fn until_snapshot(cluster: &Cluster, leader: u64, id: u64) -> Seen {
    let term = cluster.handle(leader).status().term;
    let data_dir = cluster.data_dir(id);
    let mut seen = Seen::default();
    let mut last = Instant::now();
    while cluster.handle(id).status().base.index.0 == 0 {
        assert!(cluster.handle(leader).turns(Duration::from_secs(30)).await);
        if let Some(length) = unfinished(&data_dir) {
            seen.turns += 1;
            seen.lengths.insert(length);
        }
        seen.longest = seen.longest.max(last.elapsed());
        last = Instant::now();
        sleep(Duration::from_millis(1)).await;
    }
    let status = cluster.handle(leader).status();
    assert!(status.established && status.term == term, "{status:?}");
    seen
}

fn check(seen: &Seen, what: &str) {
    let (turns, lengths) = (seen.turns, seen.lengths.len());
    info!(what, turns, lengths, longest = ?seen.longest, memory = peak());
    assert!(turns >= 3 && lengths >= 3, "{what}: {seen:?}");
}

/// The most memory that this process held, as the system says it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn a_snapshot_of_200_mb_delays_no_heartbeat() {
    on_one_thread(async {
        let mut cluster = Cluster::configured("large", 3, patient).await;
        let leader = cluster.leader().await;
        let absent = leader % 3 + 1;
        cluster.stop(absent).await;
        let quota = Command::SetQuota { bytes: 1 << 30 };
        cluster.handle(leader).write(&quota).await.unwrap();
        write(&cluster, leader, KEYS, b'a').await;
        assert_eq!(cluster.handle(leader).status().base.index.0, 0);
        info!(memory = peak(), "filled");

        // Only now the log outgrows the state.
        let (seen, ()) = tokio::join!(
            until_snapshot(&cluster, leader, leader),
            write(&cluster, leader, KEYS / 20, b'b')
        );
        check(&seen, "written beside");

        cluster.restart(absent).await;
        while cluster.handle(absent).status().leader.is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        let seen = until_snapshot(&cluster, leader, absent).await;
        check(&seen, "received");
        let back = cluster.handle(absent);
        back.catch_up().await.unwrap();
        let (ours, theirs) = (back.store().view().hash(), cluster.handle(leader));
        assert_eq!(ours, theirs.store().view().hash());
        assert_eq!(cluster.leader().await, leader);
        cluster.end().await;
    });
}
