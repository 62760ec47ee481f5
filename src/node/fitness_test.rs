//! What follows from the readiness of applications, case by case (R12).

use super::*;

const ME: NodeId = NodeId(2);
const FIT: NodeId = NodeId(1);
const ALSO_FIT: NodeId = NodeId(3);

/// What node 2 of three sees; its links and the leader's are the same.
struct World {
    fitness: Fitness,
    apps: Apps,
    leader: Option<NodeId>,
    living: Vec<NodeId>,
    now: Mono,
    /// How long an attempt to hand over takes, in vain.
    attempt_takes: Duration,
}

impl World {
    /// All live, node 1 leads, and these applications are ready, or not.
    fn new(apps: &[(NodeId, bool)]) -> Self {
        Self {
            fitness: Fitness {
                was_ready: true,
                ..Fitness::new(ME)
            },
            apps: apps.iter().copied().collect(),
            leader: Some(FIT),
            living: vec![NodeId(1), NodeId(2), NodeId(3)],
            now: Mono::default(),
            attempt_takes: Duration::ZERO,
        }
    }

    fn led_by(mut self, leader: impl Into<Option<NodeId>>) -> Self {
        self.leader = leader.into();
        self
    }

    fn without(mut self, dead: NodeId) -> Self {
        self.living.retain(|id| *id != dead);
        self
    }

    fn look(&mut self) -> Advice {
        let linked = self.living.iter().copied().filter(|id| *id != ME);
        let sight = Sight {
            apps: &self.apps,
            leader: self.leader,
            alive: &self.living,
            linked: &linked.collect(),
        };
        self.fitness.judge(self.now, sight)
    }

    fn stands(&mut self) -> bool {
        self.look().may_stand
    }

    /// What it does when it looks again at the time that it named: when, and to whom it hands over,
    /// which is in vain.
    fn next_attempt(&mut self) -> (u64, NodeId) {
        loop {
            let advice = self.look();
            if let Some(to) = advice.hand_over {
                let began = self.now.since(Mono::default()).as_secs();
                self.wait(self.attempt_takes);
                return (began, to);
            }
            let until = advice.until.unwrap();
            assert!(until > self.now, "it looks again for nothing");
            self.now = until;
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_node_whose_application_is_ready_stands() {
    assert!(World::new(&[(ME, true), (FIT, true)]).stands());
    assert!(World::new(&[(ME, true), (FIT, false)]).stands());
}

#[test]
fn a_node_that_never_heard_of_its_application_stands() {
    assert!(World::new(&[]).stands());
    assert!(World::new(&[(FIT, true)]).stands());
}

#[test]
fn where_no_application_is_ready_all_stand() {
    assert!(World::new(&[(ME, false)]).stands());
    assert!(World::new(&[(ME, false), (FIT, false), (ALSO_FIT, false)]).stands());
}

#[test]
fn a_node_without_its_application_does_not_stand_where_a_living_one_has_its_own() {
    let apps = [(ME, false), (FIT, true)];
    assert!(!World::new(&apps).stands());
    assert!(World::new(&apps).led_by(ALSO_FIT).without(FIT).stands());
    assert!(!World::new(&apps).led_by(None).stands());
    assert!(World::new(&apps).led_by(None).without(FIT).stands());
}

#[test]
fn a_leader_that_is_lost_does_not_count_as_living_even_if_its_link_does() {
    let mut world = World::new(&[(ME, false), (FIT, true)]);
    assert!(!world.stands());
    world.leader = None;
    assert!(world.stands());
    world.leader = Some(FIT);
    assert!(!world.stands());
    // Somebody else might take over who should.
    world.apps.insert(ALSO_FIT, true);
    world.leader = None;
    assert!(!world.stands());
}

#[test]
fn a_node_that_is_without_a_leader_for_too_long_stands_until_there_is_one() {
    let mut world = World::new(&[(ME, false), (ALSO_FIT, true)]).led_by(None);
    assert!(!world.stands());
    let until = world.look().until.unwrap();
    assert_eq!(until, Mono::at(LEADERLESS_MAX));
    world.now = until;
    assert!(world.stands());
    assert_eq!(world.look().until, None, "time alone changes nothing more");
    world.leader = Some(FIT);
    assert!(!world.stands());
    // And it waits as long the next time.
    world.leader = None;
    assert!(!world.stands());
    world.wait(Duration::from_millis(2999));
    assert!(!world.stands());
    world.wait(MOMENT);
    assert!(world.stands());
}

#[test]
fn a_leader_without_its_application_hands_over_once_that_has_settled() {
    let mut world = World::new(&[(ME, false), (ALSO_FIT, true)]).led_by(ME);
    assert_eq!(world.look().hand_over, None);
    assert_eq!(world.next_attempt(), (1, ALSO_FIT));
    assert_eq!(world.look().hand_over, None, "not twice at once");

    let mut world = World::new(&[(ME, false), (ALSO_FIT, true)]).led_by(ME);
    world.look();
    world.wait(Duration::from_millis(999));
    world.apps.insert(ME, true);
    assert_eq!(world.look().hand_over, None);
    world.apps.insert(ME, false);
    world.wait(MOMENT);
    assert_eq!(world.look().hand_over, None, "it was ready in between");
}

#[test]
fn pods_that_start_together_do_not_pass_the_leadership_around() {
    let mut world = World::new(&[(ME, false), (ALSO_FIT, true)]).led_by(ME);
    world.fitness.was_ready = false;
    assert_eq!(world.next_attempt(), (5, ALSO_FIT));
    // Once it was ready, its end is noticed sooner.
    world.apps.insert(ME, true);
    world.look();
    world.apps.insert(ME, false);
    assert_eq!(world.next_attempt(), (6, ALSO_FIT));
}

#[test]
fn a_leader_keeps_leading_where_nobody_is_better() {
    for apps in [[(ME, false), (FIT, false)], [(ME, true), (FIT, true)]] {
        let mut world = World::new(&apps).led_by(ME);
        world.look();
        world.wait(Duration::from_mins(1));
        let advice = world.look();
        assert_eq!(advice.hand_over, None);
        assert_eq!(advice.until, None);
    }
}

#[test]
fn members_are_tried_in_turn_and_less_often_when_none_takes_over() {
    let apps = [(FIT, true), (ME, false), (ALSO_FIT, true)];
    let mut world = World::new(&apps).led_by(ME);
    let attempts: Vec<_> = (0..6).map(|_| world.next_attempt()).collect();
    let in_turn = [
        (1, FIT),
        (2, ALSO_FIT),
        (3, FIT),
        (5, ALSO_FIT),
        (7, FIT),
        (11, ALSO_FIT),
    ];
    assert_eq!(attempts, in_turn);
    for _ in 0..20 {
        world.next_attempt();
    }
    let (before, _) = world.next_attempt();
    let (after, _) = world.next_attempt();
    let most = NEXT_AFTER * (1 << DOUBLINGS_MAX);
    assert_eq!(after - before, most.as_secs(), "but never for good");
}

#[test]
fn what_an_attempt_costs_is_spent_seldom() {
    let apps = [(FIT, true), (ME, false), (ALSO_FIT, true)];
    let mut world = World::new(&apps).led_by(ME);
    // An election timeout of the longest that there are.
    world.attempt_takes = Duration::from_mins(1);
    let attempts: Vec<_> = (0..3).map(|_| world.next_attempt()).collect();
    assert_eq!(attempts, [(1, FIT), (661, ALSO_FIT), (1321, FIT)]);
    // One that is short is followed as soon as one may be.
    world.attempt_takes = MOMENT;
    assert_eq!(world.next_attempt(), (1981, ALSO_FIT));
    assert_eq!(world.next_attempt(), (1983, FIT));
}

#[test]
fn a_member_whose_application_comes_and_goes_is_tried_no_more_often() {
    let mut world = World::new(&[(ME, false), (ALSO_FIT, true)]).led_by(ME);
    for _ in 0..10 {
        world.next_attempt();
    }
    let most = NEXT_AFTER * (1 << DOUBLINGS_MAX);
    for _ in 0..3 {
        let (before, _) = world.next_attempt();
        world.apps.insert(ALSO_FIT, false);
        let advice = world.look();
        assert_eq!((advice.hand_over, advice.until), (None, None));
        world.wait(Duration::from_secs(2));
        world.apps.insert(ALSO_FIT, true);
        let (after, _) = world.next_attempt();
        assert_eq!(after - before, most.as_secs());
    }
    // Another time as the leader begins anew.
    world.leader = Some(FIT);
    world.look();
    world.leader = Some(ME);
    world.look();
    let (before, _) = world.next_attempt();
    let (after, _) = world.next_attempt();
    assert_eq!(after - before, 1);
}
