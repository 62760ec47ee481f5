use std::net::Ipv4Addr;
use std::path::PathBuf;

use tokio::task::LocalSet;

use super::*;
use crate::consensus::{
    ClusterId, Configuration, Incarnation, Membership, Node, Placed, Seat, Term,
};
use crate::node::Settings;
use crate::node::addresses::Addresses;
use crate::node::context::EVENTS_MAX;
use crate::node::run::shared;
use crate::node::witness::begin;
use crate::storage::{DataDir, Opened, WalConfig};
use crate::wire::{Address, MemberAddress};

const OWN: MemberId = MemberId {
    id: NodeId(1),
    incarnation: Incarnation(1),
};
const OTHER: MemberId = MemberId {
    id: NodeId(2),
    incarnation: Incarnation(2),
};

const THIRD: MemberId = MemberId {
    id: NodeId(3),
    incarnation: Incarnation(3),
};

/// The driver of one of two members, which was started to join.
struct Bench {
    driver: Driver,
    directory: PathBuf,
    _events: mpsc::Receiver<Event>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let directory = format!("remember-driver-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        let address = |port| Address {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port,
        };
        let members = [(OWN.id, 1), (OTHER.id, 3)].map(|(id, port)| {
            let (peer, api) = (address(port), address(port + 1));
            (id, MemberAddress { peer, api })
        });
        let mut settings = Settings::new(OWN.id, members.into(), &directory);
        settings.joins = true;
        let disk = FileDisk::open(&directory).unwrap();
        let mut data = DataDir::open(disk, OWN.id, OWN.incarnation).unwrap();
        let membership = Membership::founding(ClusterId(7), Epoch::FIRST, [OWN, OTHER]);
        data.found(membership.clone(), WalConfig::default())
            .unwrap();
        let Opened {
            recovered,
            wal,
            snapshots,
        } = data.recover(WalConfig::default()).unwrap();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let addresses = Rc::new(Addresses::new(OWN.id, settings.members.clone(), false));
        let own = addresses.of(OWN.id).unwrap();
        let shared = Rc::new(shared(&settings, Rc::clone(&addresses), OWN.incarnation));
        let node = Node::new(recovered, settings.engine.clone(), 1, Mono::default()).unwrap();
        let journal = Journal::start(wal, snapshots.clone(), settings.journal, drop).unwrap();
        let context = Context::new(settings, own, addresses, OWN.incarnation, sender);
        let context = Rc::new(context);
        context.engine.replace(Some((membership, node)));
        let (witness, _) = begin(&context, &shared, ClusterId(7));
        let transfers = Transfers::new(Rc::clone(&context), snapshots);
        Self {
            driver: Driver::new(context, shared, journal, transfers, witness, Instant::now()),
            directory,
            _events: events,
        }
    }

    /// It learns of a configuration that is agreed on.
    fn learn(&mut self, configuration: Placed) {
        self.driver.inputs.push(Input::Welcomed(configuration));
        self.driver.turn();
    }

    /// It hears that the cluster goes on without it.
    fn hear_of_its_removal(&mut self) {
        let since = self.driver.context.since();
        let removed = Event::Removed(since, "the cluster goes on".to_owned());
        self.driver.take_event(removed);
        self.driver.turn();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// Runs a test where a node runs.
fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// With which entry these belong to the cluster.
fn placed(index: u64, members: &[MemberId]) -> Placed {
    let since = Position {
        term: Term(1),
        index: Index(index),
    };
    let seat = Seat {
        since,
        votes: true,
        ..Seat::default()
    };
    let seats = members.iter().map(|member| (*member, seat));
    (since, Configuration::new(seats.collect()).unwrap())
}

/// The answer that says so may be lost with its link; the log says it as well.
#[test]
fn whoever_is_named_again_asks_no_more_to_be_registered() {
    run(async {
        let mut bench = Bench::new("named");
        bench.hear_of_its_removal();
        assert!(bench.driver.stopped.is_none());
        assert!(bench.driver.context.registers());
        bench.learn(placed(5, &[OTHER]));
        assert!(bench.driver.context.registers());
        bench.learn(placed(6, &[OWN, OTHER]));
        assert!(!bench.driver.context.registers());
        // A person removes it: that it does not undo with its next dial.
        bench.learn(placed(7, &[OTHER]));
        assert!(!bench.driver.context.registers());
    });
}

/// Whoever removes it then wants it gone, though no beat has named it yet.
#[test]
fn a_removal_right_behind_a_welcome_holds() {
    run(async {
        let mut bench = Bench::new("welcomed");
        bench.hear_of_its_removal();
        let settled = placed(6, &[OWN, OTHER, THIRD]);
        let (cluster, epoch) = (ClusterId(7), Epoch::FIRST);
        bench
            .driver
            .take_event(Event::Welcomed(Box::new(Membership {
                cluster,
                epoch,
                settled,
            })));
        bench.driver.turn();
        assert!(bench.driver.stopped.is_none());
        bench.hear_of_its_removal();
        assert!(matches!(bench.driver.stopped, Some(Stopped::Removed(_))));
    });
}

/// The other has gone on alone behind a cut that was shorter than a leader's patience with the
/// dead; where somebody had asked for its removal, it would have had to agree.
#[test]
fn one_of_two_that_was_left_a_moment_ago_comes_back() {
    run(async {
        let mut bench = Bench::new("left");
        bench.driver.welcomed();
        assert!(bench.driver.presence.was_there(uptime()));
        bench.hear_of_its_removal();
        assert!(bench.driver.stopped.is_none());
        assert!(bench.driver.context.registers());
    });
}
