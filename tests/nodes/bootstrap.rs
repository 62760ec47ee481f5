//! Nodes that found nothing by themselves, as in pods: somebody tells them that they do (R13).

use std::time::Duration;

use remember::consensus::{ClusterId, Epoch, Membership, Role};
use remember::node::{NotFounded, Phase, Settings};
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};
use crate::node::{put, value};

fn joins(settings: &mut Settings) {
    settings.joins = true;
    settings.engine.promotes = true;
}

#[test]
fn whoever_is_told_founds_and_whoever_is_not_registers() {
    on_one_thread(async {
        let mut cluster = Cluster::configured("bootstrap", 3, joins).await;
        sleep(Duration::from_millis(300)).await;
        for id in 1..=3 {
            assert_eq!(*cluster.handle(id).phases().borrow(), Phase::Joining);
        }
        let founders = [1, 2].map(|id| cluster.handle(id).name());
        let founding = Membership::founding(ClusterId(0xab), Epoch(3), founders);
        let stranger = cluster.handle(3).bootstrap(founding.clone()).await;
        assert!(matches!(stranger, Err(NotFounded::Another(_))));
        for id in [1, 2] {
            for _ in 0..2 {
                let told = cluster.handle(id).bootstrap(founding.clone()).await;
                assert_eq!(told, Ok(()));
            }
        }
        let other = Membership::founding(ClusterId(0xac), Epoch(4), founders);
        let told = cluster.handle(1).bootstrap(other).await;
        assert_eq!(told, Err(NotFounded::Member(ClusterId(0xab))));
        let leader = cluster.leader().await;
        let status = cluster.handle(leader).status();
        assert_eq!((status.role, status.term.epoch()), (Role::Leader, Epoch(3)));
        cluster.handle(leader).write(&put("a", "1")).await.unwrap();

        // Of two voters one more makes three: the third has registered, and is let vote.
        let third = cluster.handle(3);
        let votes = |(_, seats): &remember::consensus::Placed| {
            !seats.is_joint() && seats.lets_vote(third.name()) && seats.voters().count() == 3
        };
        let mut configurations = third.configurations();
        let promoted = configurations.wait_for(|now| now.as_ref().is_some_and(votes));
        promoted.await.unwrap();
        third.catch_up().await.unwrap();
        assert_eq!(value(&third, "a").as_deref(), Some(&b"1"[..]));

        // A founder that is started again is a member like any other.
        cluster.stop(1).await;
        cluster.restart(1).await;
        cluster.handle(1).catch_up().await.unwrap();
    });
}
