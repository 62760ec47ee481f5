//! The reading side of links: takes connections from peers, and hands what they say to the driver.
//!
//! Strangers get no more than one handshake's worth of memory and time. Each peer has one link: a
//! new one of a peer ends the one before, whose bytes may come from an earlier boot.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::context::{Context, Event};
use super::dialer::send;
use crate::consensus::{Boot, Hello, MemberId, NodeId};
use crate::tls::{Failure, Stranger, Stream};
use crate::wire::{Acceptor, Inbound, Introduction, MemberAddress, Reason, Verdict};

/// Connections in their handshake at most; more wait in the backlog.
const HANDSHAKES_MAX: usize = 64;
/// Bytes of one link's packets that wait for the driver at most; beyond it the link is not read.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a connection that TLS refuses is told of, and how often who is refused for one and the
/// same reason as the one before: neither strangers nor those who ask again may fill the log.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The links that are read, one a peer at most.
type Readers = Rc<RefCell<BTreeMap<NodeId, Reader>>>;

/// A link that is read.
struct Reader {
    /// Who is at the other end.
    member: MemberId,
    /// When it came up, or something came over it last.
    heard: Rc<Cell<Instant>>,
    /// Dropped, this ends it.
    _only: oneshot::Sender<()>,
}

/// How long a link of a peer on one disk keeps those on its other disks away. Two disks of one id
/// may be there at once, by somebody's mistake; they must not take the link from each other for
/// ever.
const DISK_STAYS: Duration = Duration::from_secs(2);

/// Takes connections for ever. Its end ends every link that it took.
pub(super) async fn accept(context: Rc<Context>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let readers = Readers::default();
    let refusals = Rc::new(Refusals::default());
    let mut links = JoinSet::new();
    loop {
        while links.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) => {
                let (context, readers) = (Rc::clone(&context), Rc::clone(&readers));
                let refusals = Rc::clone(&refusals);
                links.spawn_local(async move {
                    let opening = open(&context, &readers, &refusals, stream);
                    let opened = timeout(HANDSHAKE_TIMEOUT, opening).await;
                    drop(permit);
                    match opened {
                        Ok(Ok(Some((link, hello)))) => read(&context, &readers, link, hello).await,
                        Ok(Ok(None)) => {}
                        Ok(Err(Failure::Ended(error))) => debug!(%from, %error, "no link"),
                        Ok(Err(Failure::Refused(sentence))) => refusals.tell(&from, &sentence),
                        Err(_) => debug!(%from, "the handshake took too long"),
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely; they come back.
                warn!(%error, "cannot take a connection from a peer");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Who was refused, by TLS or with a verdict.
#[derive(Default)]
struct Refusals {
    told_at: Cell<Option<Instant>>,
    untold: Cell<u64>,
    /// The last verdict that was told, and when.
    verdict: RefCell<Option<(NodeId, String, Instant)>>,
}

impl Refusals {
    fn tell(&self, from: &SocketAddr, sentence: &str) {
        let told_at = self.told_at.get();
        if told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            self.untold.set(self.untold.get() + 1);
            return debug!(%from, sentence, "link refused");
        }
        self.told_at.set(Some(Instant::now()));
        let untold = self.untold.take();
        warn!(%from, sentence, untold, "link refused");
    }

    fn tell_verdict(&self, peer: NodeId, sentence: &str) {
        let told = self.verdict.borrow_mut().take();
        let told = told.filter(|(to, what, at)| {
            (*to, what.as_str()) == (peer, sentence) && at.elapsed() < TELL_EVERY
        });
        if told.is_some() {
            debug!(peer = peer.0, sentence, "link refused");
        } else {
            warn!(peer = peer.0, sentence, "link refused");
        }
        let now = || (peer, sentence.to_owned(), Instant::now());
        self.verdict.replace(Some(told.unwrap_or_else(now)));
    }
}

/// A link that is up, or `None` if there was nothing to begin or it was refused.
type Opened = Option<(Link, Hello)>;

/// A link that is being read.
struct Link {
    stream: Stream,
    inbound: Inbound,
    /// Where the peer is reached. Only a member of this very cluster says where a member is.
    address: MemberAddress,
}

/// Answers a handshake.
async fn open(
    context: &Context,
    readers: &Readers,
    refusals: &Refusals,
    stream: TcpStream,
) -> Result<Opened, Failure> {
    stream.set_nodelay(true)?;
    let mut stream = match &context.settings.tls {
        Some(identity) => identity.accept_peer(stream).await?,
        None => Stream::Plain(stream),
    };
    let mut acceptor = Acceptor::default();
    let mut answer = BytesMut::new();
    let theirs = loop {
        match acceptor.introduction() {
            Ok(Some(theirs)) => break theirs,
            Ok(None) => {}
            Err(error) => {
                Acceptor::refuse(&error, &mut answer).map_err(io::Error::other)?;
                send(&mut stream, &answer).await?;
                return Err(io::Error::other(error).into());
            }
        }
        if stream.read_buf(acceptor.space()).await? == 0 {
            return Err(io::Error::other(acceptor.ended()).into());
        }
    };
    let ours = context.introduction(theirs.id);
    let mut verdict = judge(context, &stream, &ours, &theirs);
    if verdict == Verdict::Welcome && is_elsewhere(readers, theirs.name()) {
        let sentence = "another disk of this id has a link; end one of the two nodes";
        verdict = Verdict::refused(Reason::Busy, sentence);
    }
    if theirs.registers && ours.member.is_some() && may_register(&verdict) {
        verdict = context.register(&theirs).await;
    }
    match &verdict {
        Verdict::Refused { sentence, .. } => refusals.tell_verdict(theirs.id, sentence),
        // Only a member of this very cluster says where a member is.
        Verdict::Registered(_) => info!(peer = theirs.id.0, at = %theirs.peer, "registered"),
        Verdict::Welcome | Verdict::Noted | Verdict::AskLeader(_) => {}
    }
    let inbound = acceptor
        .answer(&ours, &verdict, &mut answer)
        .map_err(io::Error::other)?;
    send(&mut stream, &answer).await?;
    let address = theirs.address();
    let up = inbound.zip(theirs.hello());
    Ok(up.map(|(inbound, hello)| {
        let link = Link {
            stream,
            inbound,
            address,
        };
        (link, hello)
    }))
}

fn judge(
    context: &Context,
    stream: &Stream,
    ours: &Introduction,
    theirs: &Introduction,
) -> Verdict {
    // Whoever it says it is, it must have the certificate for (R11).
    if let Some(identity) = &context.settings.tls
        && let Err(stranger) = identity.demand(stream, theirs.id)
    {
        let Stranger {
            is_of_another_cluster,
            sentence,
        } = stranger;
        let reason = if is_of_another_cluster {
            Reason::Cluster
        } else {
            Reason::Node
        };
        return Verdict::refused(reason, &sentence);
    }
    match (ours.judge(theirs), theirs.hello()) {
        (Verdict::Welcome, Some(hello)) => match context.admit(&hello) {
            Ok(()) => Verdict::Welcome,
            Err(rejection) => Verdict::from(&rejection),
        },
        (verdict, _) => verdict,
    }
}

/// Whether another disk of this id has been heard from of late.
fn is_elsewhere(readers: &Readers, member: MemberId) -> bool {
    let readers = readers.borrow();
    let other = readers.get(&member.id);
    other.is_some_and(|it| it.member != member && it.heard.get().elapsed() < DISK_STAYS)
}

/// Whether nothing is wrong with a node but that it does not belong to the cluster.
fn may_register(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Noted => true,
        Verdict::Refused { reason, .. } => *reason == Reason::Removed,
        Verdict::Welcome | Verdict::Registered(_) | Verdict::AskLeader(_) => false,
    }
}

/// Reads a link to its end, as the only one of its peer.
async fn read(context: &Context, readers: &Readers, link: Link, hello: Hello) {
    let (member, boot) = (hello.member, hello.boots.newest());
    let peer = member.id;
    let (only, replaced) = oneshot::channel::<()>();
    let heard = Rc::new(Cell::new(Instant::now()));
    // Dropping that of the link before ends it.
    let reader = Reader {
        member,
        heard: Rc::clone(&heard),
        _only: only,
    };
    readers.borrow_mut().insert(peer, reader);
    // It is there, so it is no use to wait until it is dialled again: without a link both ways it
    // gets no vote.
    let sending = context.peers.meet(peer);
    sending.dial_now.notify_one();
    let accepted = Event::Accepted(Box::new(hello), link.address.clone());
    context.tell(accepted).await;
    tokio::select! {
        () = read_packets(context, link, member, boot, &heard) => {}
        _ = replaced => debug!(peer = peer.0, "the link is replaced by a newer one"),
        () = sending.parted(member.incarnation) => debug!(peer = peer.0, "the peer was removed"),
    }
    let mut readers = readers.borrow_mut();
    readers.retain(|_, reader| !Rc::ptr_eq(&reader.heard, &heard));
}

async fn read_packets(
    context: &Context,
    mut link: Link,
    from: MemberId,
    boot: Boot,
    heard: &Cell<Instant>,
) {
    let room = Arc::new(Semaphore::new(QUEUED_BYTES_MAX));
    // Read, and not yet counted for a packet.
    let mut bytes = 0;
    loop {
        match link.inbound.packet() {
            Ok(Some(packet)) => {
                let wanted = u32::try_from(bytes.min(QUEUED_BYTES_MAX)).unwrap_or(u32::MAX);
                // It is never closed; were it, nothing would be counted.
                let share = Arc::clone(&room).acquire_many_owned(wanted).await.ok();
                bytes = 0;
                heard.set(Instant::now());
                let packet = Event::Packet(from, boot, packet, share);
                context.tell(packet).await;
            }
            Ok(None) => match link.stream.read_buf(link.inbound.space()).await {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes += count,
            },
            Err(error) => {
                warn!(peer = from.id.0, %error, "a peer's bytes make no sense; the link is closed");
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "acceptor_test.rs"]
mod tests;
