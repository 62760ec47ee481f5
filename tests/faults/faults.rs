//! Carries out one step of the plan: harms, holds, heals, and demands that the cluster goes on.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::http::{Ask, Client};
use crate::network::{self, NODES};
use crate::node::{self, Node, SMALL};
use crate::plan::{Fault, LONG, Step, Whom};
use crate::rng::Rng;

/// What is written to use up the log's room on a full disk, in bytes a write.
const BULK_BYTES: usize = 256 << 10;

/// What was done to the cluster, so that it can be undone.
#[derive(Default)]
struct Harm {
    killed: Vec<u64>,
    frozen: Vec<u64>,
    filled: Vec<u64>,
    /// Killed, and without what was on their disks.
    emptied: Vec<u64>,
    /// To be let go by the others.
    gone: Vec<u64>,
    is_network: bool,
}

/// One step. Returns what was harmed, in words.
pub(crate) fn play(cluster: &mut Cluster<'_>, step: Step) -> String {
    let mut rng = Rng::new(step.chance);
    let (harm, told) = inject(cluster, step.fault, &mut rng);
    let until = Instant::now() + step.hold;
    if !harm.filled.is_empty() {
        use_up(cluster, &harm.filled);
    }
    // Who is harmed for a moment only may hold the others up for that moment.
    if step.hold >= LONG && step.fault != Fault::KillAll {
        cluster.progress(&format!("during: {told}"));
    }
    if !harm.gone.is_empty() {
        cluster.lets_go(&harm.gone);
    }
    thread::sleep(until.saturating_duration_since(Instant::now()));
    heal(cluster, &harm);
    cluster.progress(&format!("after: {told}"));
    cluster.all_answer();
    cluster.all_vote();
    cluster.membership.exchanged += harm.emptied.len() as u64;
    // No process has ended by itself, or the wait before would have failed.
    cluster.membership.came_back += harm.gone.len() as u64;
    told
}

fn inject(cluster: &mut Cluster<'_>, fault: Fault, rng: &mut Rng) -> (Harm, String) {
    let (leader, followers) = cluster.leader();
    let mut others = followers;
    let first = others.swap_remove(rng.place(others.len()));
    let second = others.swap_remove(rng.place(others.len()));
    let mut harm = Harm::default();
    let harmed = victims(cluster, fault, [leader, first, second], rng);
    let all: Vec<u64> = NODES.collect();
    match fault {
        Fault::Kill(_) | Fault::KillTwo(_) | Fault::KillAll => harm.killed.clone_from(&harmed),
        Fault::Freeze(_) | Fault::FreezeTwo(_) => harm.frozen.clone_from(&harmed),
        Fault::Exchange(_) => {
            harm.killed.clone_from(&harmed);
            harm.emptied.clone_from(&harmed);
        }
        Fault::LetGoFrozen(_) => {
            harm.frozen.clone_from(&harmed);
            harm.gone.clone_from(&harmed);
        }
        Fault::LetGoCut(_) => {
            cut(&all, &harmed);
            cut(&harmed, &all);
            harm.gone.clone_from(&harmed);
        }
        Fault::DiskFull(_) | Fault::TwoDisksFull => harm.filled.clone_from(&harmed),
        Fault::Unplug(_) => network::unplug(harmed[0]),
        Fault::NoRoutes(_) => network::take_routes(harmed[0]),
        Fault::Isolate(_) => {
            cut(&all, &harmed);
            cut(&harmed, &all);
        }
        Fault::Deaf(_) => cut(&all, &harmed),
        Fault::Mute(_) => cut(&harmed, &all),
        Fault::DoesNotHearLeader => cut(&[leader], &[first]),
        Fault::LeaderDoesNotHear => cut(&[first], &[leader]),
        Fault::CutPair => {
            cut(&[leader], &[first]);
            cut(&[first], &[leader]);
        }
        Fault::Bridge => {
            // The leader may be the bridge, or on one side of it.
            let mut sides = [vec![leader, first, second], others].concat();
            let bridge = sides.swap_remove(rng.place(sides.len()));
            let (left, right) = sides.split_at(2);
            cut(left, right);
            cut(right, left);
            harm.is_network = true;
            let told = format!("{fault}: {left:?} and {right:?} hear only node {bridge}");
            return (harm, told);
        }
        Fault::Transfer => {
            let done = cluster.transfer(rng.chance(500).then_some(first));
            return (harm, format!("{fault} from {leader}: {}", outcome(done)));
        }
    }
    strike(cluster, &harm);
    harm.is_network = harm.killed.is_empty() && harm.frozen.is_empty() && harm.filled.is_empty();
    (harm, format!("{fault}: {harmed:?}, node {leader} leading"))
}

/// Whom a fault hits, of the leader and two followers.
fn victims(
    cluster: &mut Cluster<'_>,
    fault: Fault,
    [leader, first, second]: [u64; 3],
    rng: &mut Rng,
) -> Vec<u64> {
    let one = |whom| if whom == Whom::Leader { leader } else { first };
    match fault {
        Fault::KillTwo(whom)
        | Fault::FreezeTwo(whom)
        | Fault::LetGoFrozen(whom)
        | Fault::LetGoCut(whom) => vec![one(whom), second],
        Fault::KillAll => NODES.collect(),
        Fault::Kill(whom)
        | Fault::Freeze(whom)
        | Fault::Unplug(whom)
        | Fault::Isolate(whom)
        | Fault::Deaf(whom)
        | Fault::Mute(whom)
        | Fault::NoRoutes(whom)
        | Fault::Exchange(whom) => vec![one(whom)],
        Fault::DoesNotHearLeader | Fault::LeaderDoesNotHear | Fault::CutPair => {
            vec![leader, first]
        }
        Fault::Bridge => vec![leader, first, second],
        Fault::DiskFull(whom) => vec![small_disk(cluster, whom, rng)],
        Fault::TwoDisksFull => rng.some(&SMALL, 2, 2),
        Fault::Transfer => Vec::new(),
    }
}

/// Does to processes and disks what is planned for them.
fn strike(cluster: &mut Cluster<'_>, harm: &Harm) {
    for id in &harm.killed {
        cluster.node(*id).kill();
    }
    for id in &harm.emptied {
        cluster.node(*id).exchange_disk();
        cluster.record.disks.fetch_add(1, Ordering::SeqCst);
    }
    for id in &harm.frozen {
        cluster.node(*id).signal(Signal::STOP);
    }
    for id in &harm.filled {
        cluster.node(*id).fill();
    }
}

fn outcome(done: bool) -> &'static str {
    if done { "done" } else { "not done" }
}

/// None of the receivers hears any of the senders.
fn cut(senders: &[u64], receivers: &[u64]) {
    for receiver in receivers {
        for sender in senders.iter().filter(|sender| *sender != receiver) {
            network::drop_from(*sender, *receiver);
        }
    }
}

/// A node with a small disk, which leads or follows as wanted if that can be had.
fn small_disk(cluster: &mut Cluster<'_>, whom: Whom, rng: &mut Rng) -> u64 {
    let (leader, followers) = cluster.leader();
    let followers: Vec<u64> = followers
        .into_iter()
        .filter(|id| SMALL.contains(id))
        .collect();
    if whom == Whom::Follower {
        return rng.pick(&followers);
    }
    if SMALL.contains(&leader) {
        return leader;
    }
    // Whether it comes to lead or not, its disk is the one.
    let wanted = rng.pick(&followers);
    cluster.transfer(Some(wanted));
    wanted
}

/// Writes until the nodes notice that their disks are full: the log has room prepared.
fn use_up(cluster: &mut Cluster<'_>, filled: &[u64]) {
    let full = |node: &Node| node.times_full();
    let before: Vec<usize> = filled.iter().map(|id| full(cluster.node(*id))).collect();
    let value = vec![b'x'; BULK_BYTES];
    let healthy = NODES.filter(|id| !filled.contains(id)).collect::<Vec<_>>();
    let mut clients: Vec<_> = healthy
        .iter()
        .map(|id| Client::new(node::api(*id)))
        .collect();
    let mut turn = 0;
    cluster.wait("the disk is found full", |cluster| {
        let ask = Ask {
            method: "PUT",
            path: "/v1/kv/bulk",
            header: "",
            body: &value,
        };
        // Whether it is taken matters to nobody: the next one may be.
        drop(clients[turn].ask(ask));
        turn = (turn + 1) % clients.len();
        let mut pairs = filled.iter().zip(&before);
        pairs
            .all(|(id, before)| full(cluster.node(*id)) > *before)
            .then_some(())
    });
}

fn heal(cluster: &mut Cluster<'_>, harm: &Harm) {
    if harm.is_network {
        network::heal();
    }
    for id in &harm.frozen {
        cluster.node(*id).signal(Signal::CONT);
    }
    for id in &harm.filled {
        cluster.node(*id).free();
    }
    for id in &harm.killed {
        cluster.node(*id).start();
    }
}

/// Everything heals that may be harmed.
pub(crate) fn heal_all(cluster: &mut Cluster<'_>) {
    network::heal();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.all_answer();
}
