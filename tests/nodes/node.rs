//! The shell around the engine does what it says, seen through the handles of whole nodes.

use bytes::Bytes;
use remember::consensus::Role;
use remember::node::{Handle, Settings};
use remember::state::{Command, Condition, Outcome};

use crate::cluster::{Cluster, on_one_thread};

/// Takes snapshots often.
fn small_logs(settings: &mut Settings) {
    settings.snapshot_log_bytes = 64 << 10;
}

pub(crate) fn put(key: &str, value: impl Into<Bytes>) -> Command {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Command::Put {
        key,
        value: value.into(),
        condition: Condition::Always,
    }
}

pub(crate) fn value(handle: &Handle, key: &str) -> Option<Bytes> {
    handle
        .store()
        .view()
        .find(key.as_bytes())
        .map(|record| record.value.clone())
}

#[test]
fn what_one_node_takes_every_other_node_reads() {
    on_one_thread(async {
        let cluster = Cluster::start("write-read", 3).await;
        cluster.leader().await;
        for writer in 1..=3 {
            let key = format!("from-{writer}");
            let outcome = cluster.handle(writer).write(&put(&key, "x")).await.unwrap();
            assert!(
                matches!(outcome, Outcome::Put { created: true, .. }),
                "{outcome:?}"
            );
            for reader in 1..=3 {
                let reader = cluster.handle(reader);
                reader.catch_up().await.unwrap();
                assert_eq!(value(&reader, &key).as_deref(), Some(&b"x"[..]));
            }
        }
    });
}

#[test]
fn one_node_is_a_cluster() {
    on_one_thread(async {
        let mut cluster = Cluster::start("single", 1).await;
        cluster.handle(1).write(&put("a", "1")).await.unwrap();
        cluster.stop(1).await;
        cluster.restart(1).await;
        cluster.handle(1).catch_up().await.unwrap();
        assert_eq!(value(&cluster.handle(1), "a").as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn leadership_moves_where_it_is_asked_to() {
    on_one_thread(async {
        let cluster = Cluster::start("transfer", 3).await;
        let leader = cluster.leader().await;
        cluster.handle(leader).write(&put("a", "1")).await.unwrap();
        let to = leader % 3 + 1;
        cluster.hand_over(to).await;
        assert_eq!(cluster.handle(to).status().role, Role::Leader);
    });
}

#[test]
fn a_stopped_leader_is_replaced_and_catches_up_by_a_snapshot_when_it_is_back() {
    on_one_thread(async {
        let mut cluster = Cluster::configured("catch-up", 3, small_logs).await;
        let leader = cluster.leader().await;
        cluster
            .handle(leader)
            .write(&put("before", "1"))
            .await
            .unwrap();
        cluster.stop(leader).await;
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        // More than the log and the state retain, so that only a snapshot can bring it back.
        for n in 0..100 {
            let value = vec![n; 100 << 10];
            cluster
                .handle(next)
                .write(&put(&format!("k{}", n % 10), value))
                .await
                .unwrap();
        }
        cluster.restart(leader).await;
        let back = cluster.handle(leader);
        back.catch_up().await.unwrap();
        assert_eq!(value(&back, "k9").map(|value| value.len()), Some(100 << 10));
        assert!(
            back.status().base.index.0 > 0,
            "it came by a snapshot: {:?}",
            back.status()
        );
        let (ours, theirs) = (back.store().view().hash(), cluster.handle(next));
        assert_eq!(ours, theirs.store().view().hash());
    });
}

#[test]
fn a_node_back_without_its_disk_is_told_so_and_ends() {
    on_one_thread(async {
        let mut cluster = Cluster::start("wiped", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
        cluster.restart(3).await;
        let ended = cluster.nodes.remove(&3).unwrap().running.ended().await;
        let sentence = ended.unwrap_err().to_string();
        assert!(
            sentence.contains("node 3 came without its disk"),
            "{sentence}"
        );
    });
}
