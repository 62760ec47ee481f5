use std::net::Ipv4Addr;

use tokio::sync::mpsc;

use super::*;
use crate::consensus::{Boots, ClusterId, Epoch, Incarnation, Membership, Position, Term};
use crate::node::Settings;
use crate::node::addresses::Addresses;
use crate::wire::{Address, Dialer, Member, MemberAddress};

const OWN: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);

fn address(id: NodeId) -> MemberAddress {
    let [peer, api] = [1, 2].map(|port| Address {
        host: format!("node-{id}"),
        port,
    });
    MemberAddress { peer, api }
}

/// A member of the cluster of both.
fn introduction(id: NodeId, expects: NodeId) -> Introduction {
    let voters = [OWN, PEER].map(|id| MemberId {
        id,
        incarnation: Incarnation(id.0),
    });
    let MemberAddress { peer, api } = address(id);
    Introduction {
        id,
        expects,
        incarnation: Incarnation(id.0),
        api,
        peer,
        member: Some(Member {
            membership: Membership::founding(ClusterId(7), Epoch::FIRST, voters),
            since: Position::START,
            boots: Boots::first(0),
            term: Term(1),
            durable: Position::default(),
        }),
        registers: false,
    }
}

/// The reading end of a link of the peer, and what must live as long as the link.
async fn link() -> (Link, Hello, TcpStream) {
    let (theirs, ours) = (introduction(PEER, OWN), introduction(OWN, PEER));
    let mut acceptor = Acceptor::default();
    drop(Dialer::new(&theirs, acceptor.space()).unwrap());
    assert_eq!(acceptor.introduction().unwrap().as_ref(), Some(&theirs));
    let answered = acceptor.answer(&ours, &Verdict::Welcome, &mut BytesMut::new());
    let inbound = answered.unwrap().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dialled, listener.accept());
    let stream = Stream::Plain(accepted.unwrap().0);
    let address = address(PEER);
    let link = Link {
        stream,
        inbound,
        address,
    };
    (link, theirs.hello().unwrap(), dialled.unwrap())
}

/// Without that a candidate gets no vote of one who has just come back, for as long as its own
/// dialer waits.
#[tokio::test]
async fn a_peer_that_dials_is_dialled_at_once() {
    let members = [OWN, PEER].map(|id| (id, address(id)));
    let settings = Settings::new(OWN, members.into(), "nowhere");
    let addresses = Rc::new(Addresses::new(settings.id, settings.members.clone(), false));
    let (events, mut told) = mpsc::channel(1);
    let context = Context::new(settings, address(OWN), addresses, Incarnation(1), events);
    let (link, hello, _dialled) = link().await;
    let readers = Readers::default();
    let peer = context.peers.of(PEER).unwrap();
    tokio::select! {
        () = read(&context, &readers, link, hello) => panic!("the link lasts"),
        () = sleep(Duration::from_secs(10)) => panic!("it waits for its own next dial"),
        () = peer.dial_now.notified() => {}
    }
    assert!(matches!(
        told.recv().await,
        Some(Event::Accepted(hello, at)) if hello.member.id == PEER && at == address(PEER)
    ));
}
