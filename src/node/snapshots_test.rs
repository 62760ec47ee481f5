use std::future::Future;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::*;
use crate::consensus::{ClusterId, Epoch, Incarnation, Index, Membership, Payload};
use crate::node::Settings;
use crate::node::addresses::Addresses;
use crate::node::context::Received;
use crate::state::{Command, Condition, Store};
use crate::storage::{DataDir, WalConfig};
use crate::wire::limits::CHUNK_BYTES_MAX;
use crate::wire::{Address, Decoder, MemberAddress, Phase};

const LEADER: MemberId = MemberId {
    id: NodeId(1),
    incarnation: Incarnation(1),
};
const FOLLOWER: MemberId = MemberId {
    id: NodeId(2),
    incarnation: Incarnation(2),
};
const TERM: Term = Term(3);

/// The cluster of both.
fn membership() -> Membership {
    Membership::founding(ClusterId(7), Epoch::FIRST, [LEADER, FOLLOWER])
}

/// One of two nodes without an engine: its snapshots, and its link to the other.
struct Side {
    context: Rc<Context>,
    transfers: Transfers,
    events: mpsc::Receiver<Event>,
    decoder: Decoder,
    directory: PathBuf,
}

impl Side {
    fn new(name: &str, own: MemberId) -> Self {
        let MemberId { id, incarnation } = own;
        let directory = format!("remember-snapshots-{}-{name}-{id}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        let address = |port| Address {
            host: "localhost".to_owned(),
            port,
        };
        let members = [(LEADER.id, 1), (FOLLOWER.id, 3)].map(|(id, port)| {
            let (peer, api) = (address(port), address(port + 1));
            (id, MemberAddress { peer, api })
        });
        let settings = Settings::new(id, members.into(), &directory);
        let disk = FileDisk::open(&directory).unwrap();
        let mut data = DataDir::open(disk, id, incarnation).unwrap();
        data.found(membership(), WalConfig::default()).unwrap();
        let snapshots = data.recover(WalConfig::default()).unwrap().snapshots;
        let (sender, events) = mpsc::channel(16);
        let addresses = Rc::new(Addresses::new(settings.id, settings.members.clone(), false));
        let own = addresses.of(id).unwrap();
        let context = Context::new(settings, own, addresses, incarnation, sender);
        let context = Rc::new(context);
        let side = Self {
            transfers: Transfers::new(Rc::clone(&context), snapshots),
            context,
            events,
            decoder: Decoder::new(Phase::Link, 1),
            directory,
        };
        side.link(true);
        side
    }

    /// Lets the link to the other come up, or go down.
    fn link(&self, is_up: bool) {
        for member in [LEADER, FOLLOWER] {
            if let Some(peer) = self.context.peers.of(member.id) {
                peer.outbox.reset(is_up.then_some(member.incarnation));
            }
        }
    }

    /// What comes next out of this side.
    async fn next(&mut self) -> Next {
        let other = self.context.peers.ids()[0];
        let peer = self.context.peers.of(other).unwrap();
        let bytes = tokio::select! {
            bytes = peer.outbox.take() => bytes,
            event = self.events.recv() => return Next::Event(event.unwrap()),
        };
        self.decoder.space().extend_from_slice(&bytes);
        let mut parts = Vec::new();
        while let Some(frame) = self.decoder.frame().unwrap() {
            let Packet::Snapshot(part) = Packet::decode(frame).unwrap() else {
                panic!("no other packets are sent here");
            };
            parts.push(part);
        }
        Next::Said(parts)
    }
}

enum Next {
    /// To the other side.
    Said(Vec<Snapshot>),
    /// To its own driver.
    Event(Event),
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// A leader with a published snapshot, and a follower without.
struct Pair {
    leader: Side,
    follower: Side,
    view: View,
}

impl Pair {
    async fn new(name: &str) -> Self {
        let mut leader = Side::new(name, LEADER);
        let mut store = Store::default();
        for index in 1..=3 {
            let put = Command::Put {
                key: Bytes::from(vec![index]),
                value: vec![index; CHUNK_BYTES_MAX].into(),
                condition: Condition::Always,
            };
            let index = Index(index.into());
            let position = Position { term: TERM, index };
            store.apply(position, &Payload::Command(put.encode()));
        }
        let view = store.view().clone();
        let configuration = membership().settled;
        leader.transfers.write(&view, configuration);
        let Some(Event::SnapshotWritten(_, Ok(()))) = leader.events.recv().await else {
            panic!("the snapshot is written");
        };
        let follower = Side::new(name, FOLLOWER);
        Self {
            leader,
            follower,
            view,
        }
    }

    /// Sends the snapshot and carries what both say, tampered with on its way to the follower.
    /// Says what the leader believes, and what the follower has.
    async fn send(
        &mut self,
        mut tamper: impl FnMut(Snapshot) -> Snapshot,
    ) -> (bool, Result<Box<Received>, String>) {
        let Self {
            leader, follower, ..
        } = self;
        leader.transfers.send(FOLLOWER, TERM);
        let mut outcome = Err("nothing came whole".to_owned());
        loop {
            tokio::select! {
                next = leader.next() => match next {
                    Next::Said(parts) => for part in parts {
                        follower.transfers.take(LEADER, tamper(part));
                    },
                    Next::Event(Event::SnapshotSent(_, delivered)) => {
                        return (delivered, outcome);
                    }
                    Next::Event(event) => panic!("{event:?}"),
                },
                next = follower.next() => match next {
                    Next::Said(parts) => for part in parts {
                        leader.transfers.take(FOLLOWER, part);
                    },
                    Next::Event(Event::SnapshotReceived(from, _, position, received)) => {
                        let told = received.as_ref().map(|_| ()).map_err(String::as_str);
                        follower.transfers.received(from, position, told);
                        outcome = received;
                    }
                    Next::Event(event) => panic!("{event:?}"),
                },
            }
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_snapshot_with_a_wrong_checksum_is_refused_and_taken_when_it_is_sent_again() {
    run(async {
        let mut pair = Pair::new("checksum").await;
        let begun = Instant::now();
        let (delivered, refused) = pair
            .send(|part| match part {
                Snapshot::End { checksum } => Snapshot::End {
                    checksum: checksum ^ 1,
                },
                part => part,
            })
            .await;
        let sentence = refused.unwrap_err();
        assert!(!delivered);
        assert!(sentence.contains("it was damaged"), "{sentence}");
        // What is wrong with it, a full disk for one, is not over in the next moment.
        assert!(begun.elapsed() >= SEND_AGAIN_AFTER);

        let (delivered, received) = pair.send(|part| part).await;
        assert!(delivered);
        assert_eq!(received.unwrap().view.hash(), pair.view.hash());
    });
}

#[test]
fn a_snapshot_that_lacks_a_piece_or_is_too_large_is_refused() {
    run(async {
        let mut pair = Pair::new("gap").await;
        let (delivered, refused) = pair
            .send(|part| match part {
                Snapshot::Chunk { offset, data } if offset > 0 => Snapshot::Chunk {
                    offset: offset + 1,
                    data,
                },
                part => part,
            })
            .await;
        assert!(!delivered);
        assert!(refused.unwrap_err().contains("was due"));

        let (delivered, refused) = pair
            .send(|part| match part {
                Snapshot::Begin { term, position, .. } => Snapshot::Begin {
                    term,
                    position,
                    total_bytes: 1 << 40,
                },
                part => part,
            })
            .await;
        assert!(!delivered);
        assert!(refused.unwrap_err().contains("more than any state"));
        let left = std::fs::read_dir(&pair.follower.directory).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        let unfinished = left
            .iter()
            .any(|name| name.to_string_lossy().contains("unfinished"));
        assert!(!unfinished, "{left:?}");
    });
}

#[test]
fn a_snapshot_that_replaces_another_is_the_only_one_that_is_told_of() {
    run(async {
        let mut pair = Pair::new("replaced").await;
        // Never carried, so it would wait for the follower's word.
        pair.leader.transfers.send(FOLLOWER, TERM);
        let (delivered, received) = pair.send(|part| part).await;
        assert!(delivered);
        assert_eq!(received.unwrap().view.hash(), pair.view.hash());
    });
}

#[test]
fn parts_that_nobody_waited_for_are_refused_before_they_fill_memory() {
    run(async {
        let mut pair = Pair::new("flood").await;
        let position = pair.view.position();
        let take = &mut pair.follower.transfers;
        take.take(
            LEADER,
            Snapshot::Begin {
                term: TERM,
                position,
                total_bytes: 1 << 30,
            },
        );
        let data = Bytes::from(vec![0; CHUNK_BYTES_MAX]);
        for part in 0..100 {
            let offset = part * CHUNK_BYTES_MAX as u64;
            let data = data.clone();
            take.take(LEADER, Snapshot::Chunk { offset, data });
        }
        let Next::Said(said) = pair.follower.next().await else {
            panic!("nothing came whole");
        };
        let failed = Snapshot::Ack {
            position,
            received: 0,
            delivery: Delivery::Failed,
        };
        assert_eq!(said, [failed]);
    });
}

#[test]
fn a_word_that_the_link_lost_is_said_again_over_the_next_one() {
    run(async {
        let mut pair = Pair::new("lost").await;
        pair.leader.transfers.send(FOLLOWER, TERM);
        pair.follower.link(false);
        let follower = Rc::clone(&pair.follower.context);
        let acknowledged = || {
            let mut peers = follower.peers.ids().into_iter();
            peers.any(|id| {
                let peer = follower.peers.of(id).unwrap();
                peer.acknowledged.borrow().is_some()
            })
        };
        while !acknowledged() {
            tokio::select! {
                next = pair.leader.next() => {
                    let Next::Said(parts) = next else {
                        panic!("it is being sent");
                    };
                    for part in parts {
                        pair.follower.transfers.take(LEADER, part);
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        pair.follower.link(true);
        pair.follower.transfers.link_up(LEADER.id);
        let Next::Said(said) = pair.follower.next().await else {
            panic!("it says how far it is");
        };
        assert!(matches!(said[0], Snapshot::Ack { .. }), "{said:?}");
    });
}

#[test]
fn a_snapshot_whose_link_ends_has_failed_at_once() {
    run(async {
        let mut pair = Pair::new("link").await;
        pair.leader.transfers.send(FOLLOWER, TERM);
        let Next::Said(_) = pair.leader.next().await else {
            panic!("it begins");
        };
        pair.leader.link(false);
        pair.leader.transfers.link_ended(FOLLOWER.id);
        let Next::Event(Event::SnapshotSent(FOLLOWER, delivered)) = pair.leader.next().await else {
            panic!("its end is told");
        };
        assert!(!delivered);
    });
}

#[test]
fn a_snapshot_for_a_follower_that_has_no_link_yet_has_failed_at_once() {
    run(async {
        let mut pair = Pair::new("early").await;
        pair.leader.link(false);
        pair.leader.transfers.send(FOLLOWER, TERM);
        let Next::Event(Event::SnapshotSent(FOLLOWER, delivered)) = pair.leader.next().await else {
            panic!("it goes nowhere");
        };
        assert!(!delivered);
        pair.leader.link(true);
        let (delivered, received) = pair.send(|part| part).await;
        assert!(delivered);
        assert_eq!(received.unwrap().view.hash(), pair.view.hash());
    });
}
