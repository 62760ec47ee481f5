//! Nodes join a cluster that runs, vote, and leave it (S7), seen through the handles of whole
//! nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use remember::consensus::{Change, ChangeRefusal, Configuration, MemberId};
use remember::node::{Handle, Phase, Settings, Unchanged};
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};
use crate::node::{put, value};

/// Whoever may register does so in a tenth of it.
const LONG_ENOUGH_TO_REGISTER: Duration = Duration::from_millis(1500);

fn ids(members: impl Iterator<Item = MemberId>) -> Vec<u64> {
    members.map(|member| member.id.0).collect()
}

fn members(configuration: &Configuration) -> Vec<u64> {
    ids(configuration.members())
}

fn voters(configuration: &Configuration) -> Vec<u64> {
    ids(configuration.voters())
}

/// Waits until a node sees its cluster like that, and no change under way: until then those count
/// who are to go.
async fn sees(handle: &Handle, wanted: impl Fn(&Configuration) -> bool) {
    let settled = |seen: &Configuration| wanted(seen) && !seen.is_joint();
    let looks = || {
        let seen = handle.configuration();
        seen.is_some_and(|(_, seen)| settled(&seen))
    };
    while !looks() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Asks whoever leads, as often as it says that it cannot be done yet.
async fn change(cluster: &Cluster, promote: &[u64], remove: &[u64]) {
    loop {
        let leader = cluster.handle(cluster.leader().await);
        let (_, present) = leader.configuration().unwrap();
        let learner = |member: &MemberId| !present.counts(*member);
        let named = |ids: &[u64]| -> BTreeSet<MemberId> {
            let named = present.members();
            named.filter(|member| ids.contains(&member.id.0)).collect()
        };
        let promoted: BTreeSet<_> = named(promote).into_iter().filter(learner).collect();
        let replaced = named(promote).difference(&promoted).copied().collect();
        let removed = &named(remove) | &replaced;
        match leader.change(Change::Vote { promoted, removed }).await {
            Ok(()) => return,
            Err(Unchanged::Refused(
                ChangeRefusal::NotLeader
                | ChangeRefusal::Unsettled
                | ChangeRefusal::UnderWay
                | ChangeRefusal::Behind(_),
            )) => sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{promote:?} and {remove:?}: {other}"),
        }
    }
}

async fn reads_what_another_wrote(cluster: &Cluster, reader: u64, key: &str) {
    let leader = cluster.handle(cluster.leader().await);
    leader.write(&put(key, "x")).await.unwrap();
    let reader = cluster.handle(reader);
    reader.catch_up().await.unwrap();
    assert_eq!(value(&reader, key).as_deref(), Some(&b"x"[..]));
}

/// Three, then five, each new one knowing one other; all of them stopped and started; then three.
#[test]
fn a_cluster_grows_and_shrinks_while_it_runs() {
    on_one_thread(async {
        let mut cluster = Cluster::start("grow", 3).await;
        cluster.leader().await;
        // Whoever is asked knows who leads; the second new one asks a learner.
        cluster.join(4, 2).await;
        sees(&cluster.handle(1), |seen| members(seen) == [1, 2, 3, 4]).await;
        reads_what_another_wrote(&cluster, 4, "by-a-learner").await;
        cluster.join(5, 4).await;
        sees(&cluster.handle(1), |seen| members(seen) == [1, 2, 3, 4, 5]).await;
        let (_, seen) = cluster.handle(1).configuration().unwrap();
        assert_eq!(voters(&seen), [1, 2, 3], "a learner has no vote");
        change(&cluster, &[4, 5], &[]).await;
        for id in 1..=5 {
            sees(&cluster.handle(id), |seen| voters(seen) == [1, 2, 3, 4, 5]).await;
        }
        for id in [1, 2] {
            cluster.stop(id).await;
        }
        reads_what_another_wrote(&cluster, 5, "by-three-of-five").await;
        for id in [3, 4, 5] {
            cluster.stop(id).await;
        }
        // Whom they met later is still known.
        for id in [4, 5, 1, 2, 3] {
            cluster.restart(id).await;
        }
        reads_what_another_wrote(&cluster, 1, "after-all-were-down").await;
        change(&cluster, &[], &[1, 2]).await;
        for id in [1, 2] {
            let removed = cluster.nodes.remove(&id).unwrap().running;
            let sentence = removed.ended().await.unwrap_err().to_string();
            assert!(sentence.contains("goes on without"), "{sentence}");
        }
        reads_what_another_wrote(&cluster, 5, "by-the-three-who-stay").await;
        for id in 3..=5 {
            sees(&cluster.handle(id), |seen| members(seen) == [3, 4, 5]).await;
        }
        cluster.end().await;
    });
}

/// A removed node keeps its disk, and comes back with it.
#[test]
fn a_member_that_was_removed_joins_again() {
    on_one_thread(async {
        let mut cluster = Cluster::start("again", 4).await;
        cluster.leader().await;
        cluster.stop(4).await;
        change(&cluster, &[], &[4]).await;
        cluster.restart(4).await;
        let refused = cluster.nodes.remove(&4).unwrap().running;
        let sentence = refused.ended().await.unwrap_err().to_string();
        assert!(sentence.contains("goes on without"), "{sentence}");
        cluster.join(4, 3).await;
        sees(&cluster.handle(1), |seen| members(seen) == [1, 2, 3, 4]).await;
        reads_what_another_wrote(&cluster, 4, "back").await;
        change(&cluster, &[4], &[]).await;
        sees(&cluster.handle(4), |seen| voters(seen) == [1, 2, 3, 4]).await;
        cluster.end().await;
    });
}

/// R13: an empty disk is another member, and takes the place of the one before it in one step. It
/// is elsewhere, and found there by whoever starts later, too, whatever the list of the founding
/// says.
#[test]
fn a_lost_machine_is_replaced() {
    on_one_thread(async {
        let mut cluster = Cluster::start("replaced", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        cluster.abandon(3);
        cluster.join(3, 1).await;
        sees(&cluster.handle(1), |seen| members(seen) == [1, 2, 3, 3]).await;
        change(&cluster, &[3], &[]).await;
        let disk = cluster.handle(3).incarnation();
        for id in 1..=3 {
            let handle = cluster.handle(id);
            sees(&handle, |seen| voters(seen) == [1, 2, 3]).await;
            let (_, seen) = handle.configuration().unwrap();
            assert!(seen.members().any(|member| member.incarnation == disk));
        }
        cluster.stop(1).await;
        reads_what_another_wrote(&cluster, 3, "with-its-vote").await;
        cluster.stop(2).await;
        cluster.restart(1).await;
        reads_what_another_wrote(&cluster, 1, "by-who-was-away").await;
        cluster.end().await;
    });
}

/// R13: somebody has started one id twice. The second one waits, and comes in once the first is
/// gone.
#[test]
fn an_id_that_runs_is_not_taken_twice() {
    on_one_thread(async {
        let mut cluster = Cluster::start("twice", 3).await;
        cluster.leader().await;
        let twin = cluster.twin(3, 1).await;
        sleep(LONG_ENOUGH_TO_REGISTER).await;
        assert_eq!(*twin.handle.phases().borrow(), Phase::Joining);
        let (_, seen) = cluster.handle(1).configuration().unwrap();
        assert_eq!(members(&seen), [1, 2, 3]);
        cluster.stop(3).await;
        sees(&cluster.handle(1), |seen| members(seen) == [1, 2, 3, 3]).await;
        twin.stop();
        twin.ended().await.unwrap();
        cluster.end().await;
    });
}

/// R15: a copy of a disk from before it was told that it is a member's has forgotten its votes.
#[test]
fn a_copy_from_before_the_welcome_is_not_taken() {
    on_one_thread(async {
        let mut cluster = Cluster::start("copy", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        cluster.join(4, 3).await;
        let (data, copy) = (cluster.data_dir(4), cluster.data_dir(40));
        while !data.join("identity").exists() {
            sleep(Duration::from_millis(5)).await;
        }
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(data.join("identity"), copy.join("identity")).unwrap();
        cluster.restart(3).await;
        sees(&cluster.handle(1), |seen| members(seen) == [1, 2, 3, 4]).await;
        change(&cluster, &[4], &[]).await;
        sees(&cluster.handle(4), |seen| voters(seen) == [1, 2, 3, 4]).await;
        cluster.stop(4).await;
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&copy, &data).unwrap();
        cluster.join(4, 3).await;
        sleep(LONG_ENOUGH_TO_REGISTER).await;
        assert_eq!(*cluster.handle(4).phases().borrow(), Phase::Joining);
        cluster.end().await;
    });
}

fn keeps_itself(settings: &mut Settings) {
    settings.engine.promotes = true;
    settings.engine.dead_after = Some(settings.engine.election_timeout * 10);
}

/// S10, R16: five survive the loss of three, one after the other, and whoever comes back votes
/// again.
#[test]
fn a_cluster_follows_the_living() {
    on_one_thread(async {
        let mut cluster = Cluster::configured("living", 5, keeps_itself).await;
        cluster.leader().await;
        for id in [4, 5] {
            cluster.stop(id).await;
        }
        sees(&cluster.handle(1), |seen| voters(seen) == [1, 2, 3]).await;
        cluster.stop(3).await;
        reads_what_another_wrote(&cluster, 1, "by-two-of-three").await;
        // It was away, and takes the place of the one that is dead by now.
        cluster.join(4, 2).await;
        sees(&cluster.handle(4), |seen| voters(seen) == [1, 2, 4]).await;
        for id in [3, 5] {
            cluster.join(id, 4).await;
        }
        for id in 1..=5 {
            sees(&cluster.handle(id), |seen| voters(seen) == [1, 2, 3, 4, 5]).await;
        }
        reads_what_another_wrote(&cluster, 5, "by-all").await;
        cluster.end().await;
    });
}
