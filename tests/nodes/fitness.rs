//! A leader without its application is no leader (R12), seen on whole nodes that are told whose
//! application is ready.

use std::time::Duration;

use remember::consensus::NodeId;
use remember::node::{Apps, heed_apps};
use tokio::sync::watch;
use tokio::task::{spawn_local, yield_now};
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};

/// Has all nodes heed what is told there.
fn heeded_by_all(cluster: &Cluster) -> watch::Sender<Apps> {
    let (apps, told) = watch::channel(Apps::new());
    for id in cluster.nodes.keys() {
        spawn_local(heed_apps(cluster.handle(*id), told.clone()));
    }
    apps
}

/// Tells whose application is ready, and waits until all nodes have heard.
async fn tell(cluster: &Cluster, apps: &watch::Sender<Apps>, now: [(u64, bool); 3]) {
    let now = now.into_iter().map(|(id, ready)| (NodeId(id), ready));
    apps.send_replace(now.collect());
    // All that is woken takes its turn before this one again.
    yield_now().await;
    for id in cluster.nodes.keys() {
        assert!(cluster.handle(*id).turns(Duration::MAX).await);
    }
}

/// Waits until one leads that hears all three, and so may hand over to any.
async fn leader_of_all(cluster: &Cluster) -> u64 {
    loop {
        let leader = cluster.leader().await;
        if cluster.handle(leader).status().alive.len() == 3 {
            return leader;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn led_by(cluster: &Cluster, wanted: u64) {
    while cluster.leader().await != wanted {
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_leader_without_its_application_hands_over_to_one_that_has_it() {
    on_one_thread(async {
        let mut cluster = Cluster::start("unfit-leader", 3).await;
        let leader = cluster.leader().await;
        let (fit, unfit) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let apps = heeded_by_all(&cluster);
        tell(
            &cluster,
            &apps,
            [(leader, false), (fit, true), (unfit, false)],
        )
        .await;
        led_by(&cluster, fit).await;
        // With the fit one go the reasons of the others not to stand.
        cluster.stop(fit).await;
        let next = cluster.leader().await;
        assert_ne!(next, fit);
        // It comes back, and is given the leadership back.
        cluster.restart(fit).await;
        spawn_local(heed_apps(cluster.handle(fit), apps.subscribe()));
        led_by(&cluster, fit).await;
        cluster.end().await;
    });
}

#[test]
fn a_node_without_its_application_stands_only_where_nobody_else_leads_for_too_long() {
    on_one_thread(async {
        let mut cluster = Cluster::start("unfit-follower", 3).await;
        let leader = leader_of_all(&cluster).await;
        let (fit, unfit) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let apps = heeded_by_all(&cluster);
        let to_unfit = async |cluster: &Cluster, leader| {
            let moved = cluster.handle(leader).transfer(Some(NodeId(unfit))).await;
            moved.unwrap()
        };
        tell(
            &cluster,
            &apps,
            [(leader, true), (fit, true), (unfit, false)],
        )
        .await;
        assert!(!to_unfit(&cluster, leader).await, "it stood");

        // One that is fit and lives, and yet will not lead: all that the other knows of it is old.
        cluster.handle(fit).leave().await.unwrap();
        cluster.stop(leader).await;
        led_by(&cluster, unfit).await;
        cluster.end().await;
    });
}

#[test]
fn where_no_application_is_ready_leadership_moves_as_ever() {
    on_one_thread(async {
        let cluster = Cluster::start("all-unfit", 3).await;
        let apps = heeded_by_all(&cluster);
        tell(&cluster, &apps, [1, 2, 3].map(|id| (id, false))).await;
        let to = leader_of_all(&cluster).await % 3 + 1;
        cluster.hand_over(to).await;
        cluster.end().await;
    });
}
