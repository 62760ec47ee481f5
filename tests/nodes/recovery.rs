//! A cluster loses all disks but one, or all of them but for a backup, and begins anew (R14), seen
//! through the handles of whole nodes.

use std::time::Duration;

use remember::consensus::{Epoch, NodeId, Role, Term};
use remember::node::{Backup, Handle, Recovery, Restore, Settings};
use remember::storage::WalConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};
use crate::node::{put, value};

/// Takes snapshots often, and lets those vote who join.
fn promoting(settings: &mut Settings) {
    settings.snapshot_log_bytes = 4096;
    settings.engine.promotes = true;
}

/// Waits until so many vote, and no change is under way.
async fn voters(handle: &Handle, count: usize) {
    loop {
        let seen = handle.configuration();
        if seen.is_some_and(|(_, seen)| seen.voters().count() == count && !seen.is_joint()) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn wrote(cluster: &Cluster, keys: std::ops::Range<u64>) {
    for key in keys {
        let leader = cluster.handle(cluster.leader().await);
        leader.write(&put(&format!("k{key}"), "x")).await.unwrap();
    }
}

fn has(handle: &Handle, keys: std::ops::Range<u64>) {
    for key in keys {
        let found = value(handle, &format!("k{key}"));
        assert_eq!(found.as_deref(), Some(&b"x"[..]), "k{key} is lost");
    }
}

/// Waits for a leader and says in which term.
async fn token(cluster: &Cluster) -> Term {
    let leader = cluster.handle(cluster.leader().await);
    let mut statuses = leader.statuses();
    let led = |status: &std::rc::Rc<remember::consensus::Status>| {
        status.role == Role::Leader && status.established
    };
    statuses.wait_for(led).await.unwrap().term
}

/// Two more join, vote, and take the cluster over.
async fn two_join(cluster: &mut Cluster, first: u64, others: [u64; 2]) {
    for id in others {
        cluster.join(id, first).await;
    }
    voters(&cluster.handle(first), 3).await;
    for id in others {
        cluster.handle(id).catch_up().await.unwrap();
    }
    cluster.hand_over(others[0]).await;
}

#[test]
fn one_disk_of_three_goes_on_and_two_fresh_ones_join() {
    on_one_thread(async {
        let mut cluster = Cluster::configured("recover", 3, promoting).await;
        wrote(&cluster, 0..200).await;
        let before = token(&cluster).await;
        cluster.handle(2).catch_up().await.unwrap();
        let old_disk = cluster.data_dir(1);
        let refused = Recovery::open(&cluster.data_dir(2), WalConfig::default()).unwrap_err();
        assert!(refused.to_string().contains("in use"), "{refused}");
        for id in [1, 2, 3] {
            cluster.stop(id).await;
        }
        let kept = cluster.data_dir(1).with_extension("kept");
        std::fs::rename(&old_disk, &kept).unwrap();
        std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();

        let recovery = Recovery::open(&cluster.data_dir(2), WalConfig::default()).unwrap();
        let held = recovery.held().clone();
        assert_eq!((held.member.id, held.keys), (NodeId(2), 200));
        assert_eq!(held.epoch_min, Epoch(1));
        let others: Vec<_> = held.others.keys().map(|member| member.id.0).collect();
        assert_eq!(others, [1, 3]);
        recovery.begin(Epoch(1)).unwrap();

        cluster.restart(2).await;
        let after = token(&cluster).await;
        assert!(
            after > before && after.epoch() == Epoch(1),
            "{before} {after}"
        );
        has(&cluster.handle(2), 0..200);
        two_join(&mut cluster, 2, [1, 3]).await;
        wrote(&cluster, 200..210).await;
        for id in 1..=3 {
            cluster.handle(id).catch_up().await.unwrap();
            has(&cluster.handle(id), 0..210);
        }
        assert!(token(&cluster).await > after);

        // A disk of the old cluster is told how it can belong to this one, and does no harm.
        cluster.stop(1).await;
        std::fs::remove_dir_all(&old_disk).unwrap();
        std::fs::rename(&kept, &old_disk).unwrap();
        cluster.restart(1).await;
        sleep(Duration::from_millis(300)).await;
        assert_eq!(cluster.handle(1).status().leader, None);
        assert_eq!(cluster.handle(1).status().term.epoch(), Epoch(0));
        cluster.stop(1).await;
        wrote(&cluster, 210..211).await;
        cluster.end().await;
    });
}

/// The backup that a node hands out.
async fn backup(cluster: &Cluster, id: u64) -> Vec<u8> {
    let mut stream = TcpStream::connect(cluster.api(id)).await.unwrap();
    let request = b"GET /v1/snapshot HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.0 200"),
        "{}",
        answer[..head].escape_ascii()
    );
    answer.split_off(head + 4)
}

#[test]
fn a_cluster_begins_with_a_backup_of_another() {
    on_one_thread(async {
        let mut cluster = Cluster::configured("restore", 3, promoting).await;
        wrote(&cluster, 0..50).await;
        let before = token(&cluster).await;
        let bytes = backup(&cluster, 3).await;
        wrote(&cluster, 50..51).await;
        for id in [1, 2, 3] {
            cluster.stop(id).await;
            std::fs::remove_dir_all(cluster.data_dir(id)).unwrap();
        }
        let file = cluster.data_dir(1).with_extension("backup");
        std::fs::write(&file, bytes).unwrap();
        let backup = Backup::read(&file).unwrap();
        assert_eq!((backup.view().len(), backup.epoch()), (50, Epoch(0)));
        let to = Restore {
            data_dir: cluster.data_dir(1),
            id: NodeId(1),
            epoch: Epoch(3),
            wal: WalConfig::default(),
        };
        backup.restore(&to, |_| ()).unwrap();
        let refused = backup.restore(&to, |_| ()).unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");

        cluster.restart(1).await;
        let after = token(&cluster).await;
        assert!(
            after > before && after.epoch() == Epoch(3),
            "{before} {after}"
        );
        has(&cluster.handle(1), 0..50);
        assert_eq!(value(&cluster.handle(1), "k50"), None, "that came later");
        two_join(&mut cluster, 1, [2, 3]).await;
        wrote(&cluster, 60..70).await;
        for id in 1..=3 {
            cluster.handle(id).catch_up().await.unwrap();
            has(&cluster.handle(id), 0..50);
            has(&cluster.handle(id), 60..70);
        }
        cluster.end().await;
    });
}
