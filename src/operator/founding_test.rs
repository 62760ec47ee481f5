use super::*;
use crate::consensus::{Configuration, Index, Position};
use crate::operator::SidecarState;
use crate::operator::route::Witness;

const NAME: ClusterId = ClusterId(0xa);
const NEW: ClusterId = ClusterId(0xb);

/// Three pods, whose nodes can be heard, and what is recorded of them.
struct World {
    pods: BTreeMap<Arc<str>, PodView>,
    reports: Reports,
    seated: Option<(ClusterId, Placed)>,
    claims: Option<BTreeMap<NodeId, String>>,
    founding: Option<Founding>,
    voters: Vec<Voter>,
    highest: Term,
}

fn member(id: u64, disk: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(disk),
    }
}

fn pod(id: u64, uid: &str) -> PodView {
    PodView {
        uid: uid.into(),
        role: None,
        term: None,
        sidecar: SidecarState::Running,
        ..PodView::of_store(id)
    }
}

impl World {
    /// Three fresh disks, on volumes if that is said.
    fn fresh(volumes: bool) -> Self {
        let mut world = Self {
            pods: BTreeMap::new(),
            reports: Reports::new(),
            seated: None,
            claims: volumes.then(BTreeMap::new),
            founding: None,
            voters: Vec::new(),
            highest: Term::default(),
        };
        (1..=3).for_each(|id| world.replace(id, 10 + id));
        world
    }

    /// The same once it is founded, recorded and told.
    fn founded(volumes: bool) -> Self {
        let mut world = Self::fresh(volumes);
        world.record();
        (1..=3).for_each(|id| world.join(id));
        world.highest = Term((1 << 32) + 5);
        world.seat(&[(1, 11), (2, 12), (3, 13)]);
        assert_eq!(world.next(), Next::Settled);
        world
    }

    /// Another pod of this id, on a disk of its own and fresh.
    fn replace(&mut self, id: u64, disk: u64) {
        let uid = format!("pod-{disk}");
        let pod = pod(id, &uid);
        let report = Report {
            pod: Arc::clone(&pod.uid),
            term: Term::default(),
            leader: None,
            claim: None,
            incarnation: Incarnation(disk),
            cluster: None,
            seats: None,
            witness: None,
        };
        self.pods.insert(Arc::clone(&pod.name), pod);
        self.reports.insert(NodeId(id), report);
        if let Some(claims) = &mut self.claims {
            claims.insert(NodeId(id), format!("claim-{disk}"));
        }
    }

    /// Its disk belongs to the cluster that was founded.
    fn join(&mut self, id: u64) {
        let cluster = self
            .founding
            .as_ref()
            .map(|founding| ClusterId(founding.cluster.0));
        let report = self.reports.get_mut(&NodeId(id)).unwrap();
        (report.cluster, report.term) = (cluster, Term((1 << 32) + 5));
    }

    fn silence(&mut self, id: u64) {
        self.reports.remove(&NodeId(id));
    }

    /// A majority agrees that these vote.
    fn seat(&mut self, voters: &[(u64, u64)]) {
        let voters = voters.iter().map(|(id, disk)| member(*id, *disk));
        let since = Position {
            term: Term((1 << 32) + 5),
            index: Index(7),
        };
        let cluster = self
            .founding
            .as_ref()
            .map_or(NAME, |founding| ClusterId(founding.cluster.0));
        self.seated = Some((cluster, (since, Configuration::of_voters(voters))));
    }

    fn next(&self) -> Next {
        let sight = Sight {
            pods: &self.pods,
            replicas: 3,
            reports: &self.reports,
            seated: self.seated.as_ref(),
            claims: self.claims.as_ref(),
            founding: self.founding.as_ref(),
            voters: &self.voters,
            highest: self.highest,
            name: NEW,
        };
        sight.next()
    }

    /// Records what is to be recorded; what is lost with it.
    fn record(&mut self) -> Option<String> {
        let Next::Record {
            founding,
            voters,
            lost,
        } = self.next()
        else {
            panic!("nothing is to be recorded: {:?}", self.next());
        };
        (self.founding, self.voters) = (Some(founding), voters);
        lost
    }

    fn stalled(&self) -> &'static str {
        match self.next() {
            Next::Stalled(refusal) => refusal.reason,
            other => panic!("not stalled: {other:?}"),
        }
    }
}

#[test]
fn what_is_founded_is_recorded_before_anybody_is_told() {
    for volumes in [false, true] {
        let mut world = World::fresh(volumes);
        assert_eq!(world.record(), None);
        let founding = world.founding.clone().unwrap();
        assert_eq!((founding.epoch, founding.cluster), (1, Hex(NEW.0)));
        let expected = if volumes {
            Disk::Claim("claim-12".to_owned())
        } else {
            Disk::Pod("pod-12".to_owned())
        };
        assert_eq!(world.voters[1].disk, Some(expected));
        assert_eq!(world.next(), Next::Tell([1, 2, 3].map(NodeId).into()));
        world.join(1);
        world.join(3);
        assert_eq!(world.next(), Next::Tell(vec![NodeId(2)]));
    }
}

#[test]
fn nothing_is_founded_before_all_are_heard() {
    let mut world = World::fresh(false);
    world.silence(2);
    assert!(matches!(world.next(), Next::Wait(why) if why.ends_with("not heard of: 2")));
}

#[test]
fn tokens_go_on_where_the_record_was_lost_with_the_disks() {
    let mut world = World::fresh(false);
    world.highest = Term((4 << 32) + 9);
    let lost = world.record().unwrap();
    assert!(
        lost.starts_with("the record of the cluster is lost"),
        "{lost}"
    );
    assert_eq!(world.founding.unwrap().epoch, 5);
}

#[test]
fn volumes_that_outlived_their_cluster_are_taken_over() {
    let mut world = World::founded(true);
    let before = world.founding.take().unwrap();
    world.voters.clear();
    world.seated = Some((NAME, world.seated.unwrap().1));
    for report in world.reports.values_mut() {
        report.cluster = Some(NAME);
    }
    world.record();
    let after = world.founding.clone().unwrap();
    assert_eq!((after.cluster, after.epoch), (Hex(NAME.0), before.epoch));
    assert_eq!(world.next(), Next::Settled);
    // With those of another cluster among them nobody can say which should count.
    world.reports.get_mut(&NodeId(2)).unwrap().cluster = Some(NEW);
    assert_eq!(world.stalled(), "DisksDiffer");
    world.founding = None;
    assert_eq!(world.stalled(), "DisksDiffer");
}

#[test]
fn who_votes_is_recorded_with_its_disk() {
    let mut world = World::founded(false);
    world.replace(2, 22);
    world.join(2);
    world.seat(&[(1, 11), (2, 22), (3, 13)]);
    // One that is not heard keeps the disk that it was seen on.
    world.silence(3);
    world.record();
    let disks: Vec<_> = world
        .voters
        .iter()
        .map(|voter| voter.disk.clone())
        .collect();
    let expected = ["pod-11", "pod-22", "pod-13"].map(|uid| Some(Disk::Pod(uid.to_owned())));
    assert_eq!(disks, expected);
    assert_eq!(world.next(), Next::Settled);
}

#[test]
fn a_fresh_disk_among_members_registers_by_itself() {
    let mut world = World::founded(false);
    world.replace(2, 22);
    assert_eq!(world.next(), Next::Settled);
}

#[test]
fn all_disks_gone_begin_the_next_epoch_and_say_what_is_lost() {
    for volumes in [false, true] {
        let mut world = World::founded(volumes);
        world.seated = None;
        (1..=3).for_each(|id| world.replace(id, 20 + id));
        let lost = world.record().unwrap();
        assert!(lost.starts_with("every disk of epoch 1 is gone"), "{lost}");
        let founding = world.founding.clone().unwrap();
        assert_eq!(founding.epoch, 2);
        assert_eq!(world.next(), Next::Tell([1, 2, 3].map(NodeId).into()));
    }
}

#[test]
fn a_disk_that_may_come_back_stops_the_next_epoch() {
    // A pod that is still there, though its id has another one: it ends, or its machine is silent.
    let mut world = World::founded(false);
    (1..=3).for_each(|id| world.replace(id, 20 + id));
    world.seated = None;
    let mut ending = pod(2, "pod-12");
    ending.name = "store-1-before".into();
    world.pods.insert(Arc::clone(&ending.name), ending);
    assert!(matches!(world.next(), Next::Wait(_)));

    // A claim that is still there, and fresh: nobody knows what was on it.
    let mut world = World::founded(true);
    (1..=3).for_each(|id| world.replace(id, 20 + id));
    world.seated = None;
    let claims = world.claims.as_mut().unwrap();
    claims.insert(NodeId(3), "claim-13".to_owned());
    assert_eq!(world.stalled(), "DisksUnproven");

    // A voter whose disk was never seen.
    let mut world = World::founded(false);
    world.voters[0].disk = None;
    (1..=3).for_each(|id| world.replace(id, 20 + id));
    world.seated = None;
    assert_eq!(world.stalled(), "DisksUnproven");

    // One that cannot be heard.
    let mut world = World::founded(false);
    (1..=3).for_each(|id| world.replace(id, 20 + id));
    world.seated = None;
    world.silence(2);
    assert_eq!(world.next(), Next::Settled);
}

#[test]
fn volumes_without_pods_stop_a_new_cluster() {
    let mut world = World::fresh(true);
    let claims = world.claims.as_mut().unwrap();
    claims.insert(NodeId(4), "claim-14".to_owned());
    assert_eq!(world.stalled(), "DisksUnproven");
}

#[test]
fn one_node_of_another_cluster_takes_nothing_over() {
    let mut world = World::founded(true);
    let report = world.reports.get_mut(&NodeId(3)).unwrap();
    (report.cluster, report.term) = (Some(NEW), Term(9 << 32));
    report.cluster = Some(ClusterId(0xc));
    let (_, placed) = world.seated.take().unwrap();
    world.seated = Some((ClusterId(0xc), placed));
    assert_eq!(world.stalled(), "DisksDiffer");
}

#[test]
fn a_minority_of_volumes_that_outlived_its_cluster_is_not_waited_for() {
    let mut world = World::founded(true);
    world.founding = None;
    world.seated = None;
    world.replace(1, 21);
    world.replace(2, 22);
    assert_eq!(world.stalled(), "QuorumLost");
}

#[test]
fn behind_the_last_epoch_none_begins() {
    let mut world = World::fresh(false);
    world.highest = Term::MAX;
    assert_eq!(world.stalled(), "EpochsUsedUp");
}

#[test]
fn a_majority_of_disks_that_is_gone_is_told() {
    let mut world = World::founded(false);
    world.seated = None;
    world.replace(1, 21);
    assert_eq!(world.next(), Next::Settled);
    world.replace(2, 22);
    assert_eq!(world.stalled(), "QuorumLost");
}

#[test]
fn a_cluster_that_somebody_recovered_is_taken_over() {
    let mut world = World::founded(true);
    let later = Term((2 << 32) + 1);
    let report = world.reports.get_mut(&NodeId(1)).unwrap();
    (report.cluster, report.term) = (Some(NEW), later);
    report.cluster = Some(ClusterId(0xc));
    world.silence(2);
    world.silence(3);
    world.seat(&[(1, 11)]);
    let (_, placed) = world.seated.take().unwrap();
    world.seated = Some((ClusterId(0xc), placed));
    world.record();
    let founding = world.founding.unwrap();
    assert_eq!((founding.cluster, founding.epoch), (Hex(0xc), 2));
}

#[test]
fn a_founding_reads_as_it_is_written() {
    let founding = Founding {
        cluster: Hex(0xab),
        epoch: 3,
        voters: vec![Founder {
            id: 1,
            incarnation: Hex(u64::MAX),
        }],
    };
    let text = serde_json::to_string(&founding).unwrap();
    let expected = concat!(
        r#"{"cluster":"00000000000000ab","epoch":3,"#,
        r#""voters":[{"id":1,"incarnation":"ffffffffffffffff"}]}"#,
    );
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<Founding>(&text).unwrap(), founding);
    let voter = Voter {
        id: 1,
        incarnation: Hex(1),
        disk: Some(Disk::Claim("u".to_owned())),
    };
    let text = serde_json::to_string(&voter).unwrap();
    assert!(text.ends_with(r#""disk":{"claim":"u"}}"#), "{text}");
}

#[test]
fn of_a_pair_that_lost_a_disk_the_other_goes_on_if_its_witness_lets_it() {
    let mut world = World::founded(true);
    world.silence(3);
    world.seat(&[(1, 11), (2, 12)]);
    world.record();
    world.replace(2, 22);
    let Next::Stalled(refusal) = world.next() else {
        panic!("{:?}", world.next());
    };
    assert_eq!(refusal.reason, "QuorumLost");
    // That another disk was told of one is nothing to this one.
    let told = world.reports.get_mut(&NodeId(1)).unwrap();
    (told.witness, told.incarnation) = (Some(Witness::Answers), Incarnation(21));
    assert_eq!(world.stalled(), "QuorumLost");
    let told = world.reports.get_mut(&NodeId(1)).unwrap();
    told.incarnation = Incarnation(11);
    let Next::Wait(why) = world.next() else {
        panic!("{:?}", world.next());
    };
    assert!(why.contains("node 1 goes on without it once"), "{why}");
    // One that is not heard may come back, and its pod is mended meanwhile.
    let heard = world.reports.remove(&NodeId(1)).unwrap();
    assert_eq!(world.next(), Next::Settled);
    world.reports.insert(NodeId(1), heard);
    // It is alone: nobody else votes any more.
    world.seat(&[(1, 11)]);
    world.record();
    assert_eq!(world.next(), Next::Settled);
    // Of three, two are lost as ever.
    let mut world = World::founded(true);
    world.reports.get_mut(&NodeId(1)).unwrap().witness = Some(Witness::Answers);
    world.replace(2, 22);
    world.replace(3, 23);
    assert!(matches!(world.next(), Next::Stalled(_)));
}
