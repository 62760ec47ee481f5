//! Partial connectivity, told as stories: the networks that made other systems elect for ever.
//!
//! Each story has its own network and no other faults, and bounds what it may cost exactly: how
//! many leaders, how many terms, how long without writes. The numbers are those of the list of
//! bugs that others shipped.

use std::time::Duration;

use remember::consensus::{Config, Input, NodeId};

use super::plan::Plan;
use super::rng::Rng;
use super::run::{Violation, drive};
use super::story::Story;
use super::tally::Counted;
use super::world::World;

/// A story.
pub(crate) struct Scenario {
    /// What it is called.
    pub(crate) name: &'static str,
    /// How many seeds it is told with.
    pub(crate) seeds: u64,
    nodes: u64,
    tell: fn(&mut World),
}

/// All stories.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("1: a leader with leaves keeps leading", 5, 300, leaves),
    scenario("1: and does so for ten minutes", 5, 4, leaves_for_long),
    scenario("2: a leader without a quorum is replaced", 5, 300, bridge),
    scenario("3: a hub that was away comes to lead", 5, 300, stale_hub),
    scenario("3: and one that led alone", 5, 300, hub_that_led_alone),
    scenario("4: a cut link in a chain changes nothing", 3, 300, chain),
    scenario(
        "5: a leader that only sends is replaced",
        5,
        300,
        leader_only_sends,
    ),
    scenario(
        "5: a leader that only receives is replaced",
        5,
        300,
        leader_only_receives,
    ),
    scenario(
        "5: a follower that only sends burns no term",
        5,
        300,
        follower_only_sends,
    ),
    scenario(
        "5: a follower that only receives burns no term",
        5,
        300,
        follower_only_receives,
    ),
    scenario(
        "6: two leaves on two nodes change nothing",
        5,
        300,
        two_leaves,
    ),
    scenario(
        "7: an hour alone ends without a new leader",
        3,
        10,
        an_hour_alone,
    ),
    scenario(
        "13: all start in the same millisecond",
        5,
        2000,
        all_start_at_once,
    ),
];

/// How many terms one new leader may take: two candidates may tie now and then (S5).
const TIES: u64 = 2;

const fn scenario(name: &'static str, nodes: u64, seeds: u64, tell: fn(&mut World)) -> Scenario {
    Scenario {
        name,
        seeds,
        nodes,
        tell,
    }
}

impl Scenario {
    /// Tells it with one seed.
    pub(crate) fn run(&self, seed: u64, lines_max: usize) -> Result<(), Box<Violation>> {
        let plan = Plan::quiet(self.nodes);
        let mut world = World::new(plan, Rng::new(seed), Story::new(lines_max));
        drive(&mut world, self.tell).map(drop)
    }
}

fn leaves(world: &mut World) {
    leader_keeps(
        world,
        n(3),
        &[(1, 2), (1, 3), (2, 3), (4, 2), (5, 3)],
        seconds(20),
    );
}

fn leaves_for_long(world: &mut World) {
    leader_keeps(
        world,
        n(3),
        &[(1, 2), (1, 3), (2, 3), (4, 2), (5, 3)],
        seconds(600),
    );
}

fn two_leaves(world: &mut World) {
    leader_keeps(
        world,
        n(1),
        &[(1, 2), (1, 3), (2, 3), (4, 2), (5, 1)],
        seconds(20),
    );
}

fn chain(world: &mut World) {
    let leader = n(world.rng.between(1, 3));
    let other = n(leader.0 % 3 + 1);
    let third = n(other.0 % 3 + 1);
    let edges = [(leader.0, other.0), (other.0, third.0)];
    leader_keeps(world, leader, &edges, seconds(20));
}

/// 1 leads and reaches only 2; 2, 3 and 4 reach each other; 5 reaches nobody.
fn bridge(world: &mut World) {
    let leader = settle(world, n(1));
    let before = Mark::of(world);
    keep_only(world, &[(1, 2), (2, 3), (2, 4), (3, 4)]);
    writes_again(world, timeouts(4));
    before.cost(world, 1, TIES);
    writes_flow(world, seconds(20), 4);
    before.cost(world, 1, TIES);
    heals(world, leader, &before, 1);
}

fn stale_hub(world: &mut World) {
    comes_to_lead(world, n(5));
}

fn hub_that_led_alone(world: &mut World) {
    comes_to_lead(world, n(1));
}

/// The others go on without the hub, until they reach nobody but it: then nobody but the hub can
/// lead, and it lacks what they agreed on.
fn comes_to_lead(world: &mut World, hub: NodeId) {
    settle(world, n(1));
    let ways = ways_of(world);
    let of_hub = |(a, b): &&(NodeId, NodeId)| *a == hub || *b == hub;
    let (to_hub, others): (Vec<_>, Vec<_>) = ways.iter().partition(of_hub);
    world.cut(&to_hub);
    world.ask_to_write(hub, None);
    world.run_for(seconds(2));
    world.cut(&others);
    world.run_for(timeouts(3));
    let before = Mark::of(world);
    world.network.heal();
    world.cut(&others);
    writes_again(world, timeouts(8));
    assert!(world.tally.of(Counted::Supplied) > 0, "it took a log");
    before.cost(world, 1, 1 + TIES);
    writes_flow(world, seconds(10), 4);
    assert_eq!(world.status(hub).leader, Some(hub), "nobody else can");
    let before = Mark::of(world);
    heals(world, hub, &before, 0);
}

fn leader_only_sends(world: &mut World) {
    let leader = settle(world, n(2));
    let before = Mark::of(world);
    let ways: Vec<_> = ways_of(world)
        .into_iter()
        .filter(|(_, to)| *to == leader)
        .collect();
    world.cut(&ways);
    writes_again(world, timeouts(4));
    writes_flow(world, seconds(10), 4);
    heals(world, leader, &before, 1);
}

fn leader_only_receives(world: &mut World) {
    let leader = settle(world, n(2));
    let before = Mark::of(world);
    let ways: Vec<_> = ways_of(world)
        .into_iter()
        .filter(|(from, _)| *from == leader)
        .collect();
    world.cut(&ways);
    writes_again(world, timeouts(4));
    writes_flow(world, seconds(10), 4);
    heals(world, leader, &before, 1);
}

fn follower_only_sends(world: &mut World) {
    let leader = settle(world, n(2));
    let before = Mark::of(world);
    let ways: Vec<_> = ways_of(world)
        .into_iter()
        .filter(|(_, to)| *to == n(4))
        .collect();
    world.cut(&ways);
    writes_flow(world, seconds(10), 4);
    before.cost(world, 0, 0);
    heals(world, leader, &before, 0);
}

fn follower_only_receives(world: &mut World) {
    let leader = settle(world, n(2));
    let before = Mark::of(world);
    let ways: Vec<_> = ways_of(world)
        .into_iter()
        .filter(|(from, _)| *from == n(4))
        .collect();
    world.cut(&ways);
    writes_flow(world, seconds(10), 4);
    before.cost(world, 0, 0);
    heals(world, leader, &before, 0);
}

fn an_hour_alone(world: &mut World) {
    let leader = settle(world, n(1));
    let before = Mark::of(world);
    world.plan.think_millis = 2000;
    keep_only(world, &[(1, 2)]);
    writes_flow(world, seconds(3600), 60);
    world.plan.think_millis = 100;
    world.run_for(seconds(5));
    before.cost(world, 0, 0);
    heals(world, leader, &before, 0);
}

fn all_start_at_once(world: &mut World) {
    world.plan.weather.micros = (200, 210);
    world.plan.sync_micros = (500, 510);
    settle(world, n(1));
    let before = Mark::of(world);
    for id in world.ids() {
        world.stop_for(id, seconds(1));
    }
    world.run_for(seconds(1));
    let mut waited = Duration::ZERO;
    while world.agreed_leader().is_none() {
        world.run_for(Duration::from_millis(10));
        waited += Duration::from_millis(10);
        assert!(
            waited < timeouts(4),
            "no leader for {waited:?} after all started at once"
        );
    }
    before.cost(world, 1, 5);
}

/// `leader` leads whatever the network is reduced to, at no cost at all.
fn leader_keeps(world: &mut World, leader: NodeId, edges: &[(u64, u64)], hold: Duration) {
    let leader = settle(world, leader);
    let before = Mark::of(world);
    keep_only(world, edges);
    writes_flow(world, hold, 4);
    assert_eq!(
        world.status(leader).leader,
        Some(leader),
        "it leads as before"
    );
    before.cost(world, 0, 0);
    heals(world, leader, &before, 0);
}

/// Runs until the cluster works, and makes `wanted` its leader.
fn settle(world: &mut World, wanted: NodeId) -> NodeId {
    world.run_for(seconds(1));
    for _ in 0..20 {
        match world.agreed_leader() {
            Some(leader) if leader == wanted => return leader,
            Some(leader) => {
                let requests = &mut world.member(leader).requests;
                let ticket = requests.ticket();
                requests.transfers.insert(ticket);
                world.input(
                    leader,
                    Input::Transfer {
                        ticket,
                        to: Some(wanted),
                        within: None,
                    },
                );
            }
            None => {}
        }
        world.run_for(timeouts(1));
    }
    panic!("{wanted:?} never came to lead a quiet cluster");
}

/// After healing, nothing but what `before` allows has changed, and everybody agrees.
fn heals(world: &mut World, leader: NodeId, before: &Mark, changes: usize) {
    world.network.heal();
    world.run_for(timeouts(8));
    let now = world.agreed_leader();
    let now = now.expect("a whole, quiet network agrees on a leader");
    assert_eq!(now == leader, changes == 0, "{leader:?} led, {now:?} leads");
    before.cost(world, changes, if changes == 0 { 0 } else { TIES });
    writes_flow(world, seconds(2), 1);
}

/// Lets both ways of these pairs of nodes be the whole network.
fn keep_only(world: &mut World, edges: &[(u64, u64)]) {
    let kept = |a: NodeId, b: NodeId| edges.contains(&(a.0, b.0)) || edges.contains(&(b.0, a.0));
    let ways = ways_of(world).into_iter().filter(|(a, b)| !kept(*a, *b));
    let ways: Vec<_> = ways.collect();
    world.cut(&ways);
}

fn ways_of(world: &World) -> Vec<(NodeId, NodeId)> {
    let ids = world.ids();
    let all = ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b)));
    all.filter(|(a, b)| a != b).collect()
}

/// Somebody's write is acknowledged again within `patience`.
fn writes_again(world: &mut World, patience: Duration) {
    let (begin, led) = (world.now, world.oracle.led_terms());
    // What was on its way to the old leader may still succeed; a new one must take over.
    while world.oracle.led_terms() == led {
        world.run_for(Duration::from_millis(10));
        assert!(
            world.now <= begin + patience,
            "no new leader within {patience:?}"
        );
    }
    let acked = world.tally.of(Counted::WritesAcked);
    while world.tally.of(Counted::WritesAcked) == acked {
        for id in world.ids() {
            world.ask_to_write(id, None);
        }
        world.run_for(Duration::from_millis(10));
        assert!(
            world.now <= begin + patience,
            "no write within {patience:?}"
        );
    }
}

/// Writes are acknowledged in every window of `hold`, which are so many seconds long.
fn writes_flow(world: &mut World, hold: Duration, window: u64) {
    let end = world.now + hold;
    while world.now < end {
        let acked = world.tally.of(Counted::WritesAcked);
        world.run_for(seconds(window));
        assert!(
            world.tally.of(Counted::WritesAcked) > acked,
            "no writes for {window} s"
        );
    }
}

/// How things stood before something happened.
struct Mark {
    led: usize,
    term: u64,
}

impl Mark {
    fn of(world: &World) -> Self {
        Self {
            led: world.oracle.led_terms(),
            term: world.newest_term().0,
        }
    }

    /// What happened since cost no more than these new leaders and new terms.
    fn cost(&self, world: &World, leaders: usize, terms: u64) {
        let now = Self::of(world);
        let (led, burnt) = (now.led - self.led, now.term - self.term);
        assert!(
            led <= leaders,
            "{led} new leaders, and no more than {leaders} may be"
        );
        assert!(
            burnt <= terms,
            "{burnt} new terms, and no more than {terms} may be"
        );
    }
}

fn n(id: u64) -> NodeId {
    NodeId(id)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn timeouts(count: u32) -> Duration {
    Config::default().election_timeout * count
}
