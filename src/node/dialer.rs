//! The sending side of a link: dials one peer for as long as the node lives, and writes what waits.
//!
//! It reports what it sees and judges nothing (R18): that a link came up, that it ended, that the
//! peer's address refuses connections. When a link ends it dials again at once, because a refused
//! connection is the fastest proof that a process is gone (S8).

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::context::{Context, Event};
use super::peers::Peer;
use crate::consensus::{Hello, LinkEvent, MemberId, Membership, NodeId};
use crate::tls::{Failure, Stream};
use crate::wire::{
    Answer, Contact, Dialer, HandshakeError, Introduction, MemberAddress, Reason, Verdict, Welcome,
};

/// How long a connection and its handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the first try of a connection may take; each further one may take twice as long.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// The waits between dials: the first, and the longest.
const WAIT_MIN: Duration = Duration::from_millis(2);
const WAIT_MAX: Duration = Duration::from_millis(250);
/// The wait after one side refused the other: only a person, or a new file, changes that.
pub(super) const WAIT_REFUSED: Duration = Duration::from_secs(1);
/// How often a connection that was taken and dropped is tried again without a wait: a process that
/// is being killed still has connections in its backlog.
const DROPPED_MAX: u32 = 8;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the connection is refused")]
    Refused,
    #[error("its address is not known yet")]
    Unknown,
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    #[error("the connection ended in the handshake: {0}")]
    Dropped(String),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Certificate(String),
    #[error("{sentence}")]
    TurnedAway { reason: Reason, sentence: String },
}

/// A link that is up, or what came of two nodes that have only met.
pub(super) enum Dialed {
    Up(Stream, Hello),
    Noted(Introduction),
    /// This node belongs to the cluster from now on.
    Registered(Box<Welcome>),
    /// Who leads; only that one registers.
    SentOn(Box<Contact>),
}

/// Dials `peer` for ever.
pub(super) async fn keep_linked(context: Rc<Context>, peer: NodeId) {
    let mut wait = WAIT_MIN;
    let mut dropped = 0;
    let sending = context.peers.meet(peer);
    let mut moves = context.addresses.changes();
    loop {
        moves.mark_unchanged();
        let at = context.addresses.of(peer);
        let since = context.since();
        let dialed = dial(&context, peer).await;
        match dialed {
            Ok(Dialed::Up(stream, hello)) => {
                info!(peer = peer.0, boot = hello.boots.newest().0, "link up");
                (wait, dropped) = (WAIT_MIN, 0);
                let to = hello.member;
                sending.outbox.reset(Some(to.incarnation));
                context.tell(Event::Link(peer, LinkEvent::Up(hello))).await;
                let error = write_all(&context, &sending, to, at.as_ref(), stream).await;
                sending.outbox.reset(None);
                debug!(peer = peer.0, %error, "link ended");
                context.tell(Event::Link(peer, LinkEvent::Ended)).await;
                continue;
            }
            Ok(Dialed::Noted(_)) => wait = Duration::from_millis(50),
            Ok(Dialed::Registered(welcome)) => {
                welcomed(&context, welcome).await;
                wait = WAIT_MIN;
            }
            Ok(Dialed::SentOn(leader)) => {
                let (id, at) = *leader;
                if let Ok(Dialed::Registered(welcome)) = dial_at(&context, id, &at).await {
                    welcomed(&context, welcome).await;
                }
                wait = Duration::from_millis(50);
            }
            Err(DialError::Refused) => {
                context.tell(Event::Link(peer, LinkEvent::Refused)).await;
            }
            Err(DialError::Dropped(_)) if dropped < DROPPED_MAX => {
                dropped += 1;
                sleep(Duration::from_millis(1)).await;
                continue;
            }
            Err(DialError::TurnedAway { reason, sentence }) => {
                match reason {
                    Reason::NotAdmitted => context.tell(Event::TurnedAway(sentence)).await,
                    Reason::Removed => context.tell(Event::Removed(since, sentence)).await,
                    _ => {}
                }
                wait = WAIT_REFUSED;
            }
            Err(error) => {
                if matches!(error, DialError::Certificate(_)) {
                    wait = WAIT_REFUSED;
                }
                debug!(peer = peer.0, %error, "no link");
                context
                    .tell(Event::Link(peer, LinkEvent::Unreachable))
                    .await;
            }
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = sending.dial_now.notified() => {}
            Ok(()) = moves.changed() => {}
        }
        dropped = 0;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// This node belongs to the cluster again.
async fn welcomed(context: &Context, welcome: Box<Welcome>) {
    context.is_registered();
    let membership = context.settle(*welcome);
    context.tell(Event::Welcomed(Box::new(membership))).await;
}

/// Dials once, and says what is wrong if that is news.
pub(super) async fn dial(context: &Context, peer: NodeId) -> Result<Dialed, DialError> {
    let Some(at) = context.addresses.of(peer) else {
        return Err(DialError::Unknown);
    };
    let dialed = dial_at(context, peer, &at).await;
    if let Some(sending) = context.peers.of(peer) {
        let wrong = match &dialed {
            Ok(_) => String::new(),
            Err(
                error @ (DialError::Handshake(_)
                | DialError::Certificate(_)
                | DialError::TurnedAway { .. }),
            ) => error.to_string(),
            // It is down or comes and goes, and may be as wrong as before when it is back.
            Err(
                DialError::Refused
                | DialError::Unknown
                | DialError::Unreachable(_)
                | DialError::Dropped(_),
            ) => return dialed,
        };
        if !wrong.is_empty() && *sending.wrong.borrow() != wrong {
            warn!(peer = peer.0, sentence = wrong, "no link");
        }
        sending.wrong.replace(wrong);
    }
    dialed
}

/// Dials once, at an address that somebody told.
pub(super) async fn dial_at(
    context: &Context,
    peer: NodeId,
    at: &MemberAddress,
) -> Result<Dialed, DialError> {
    let address = &at.peer;
    let connecting = timeout(CONNECT_TIMEOUT, connect(&address.host, address.port));
    let stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(DialError::Refused);
        }
        Ok(Err(error)) => return Err(DialError::Unreachable(error)),
        Err(_) => return Err(DialError::Unreachable(io::ErrorKind::TimedOut.into())),
    };
    stream.set_nodelay(true).map_err(DialError::Unreachable)?;
    let ours = context.introduction(peer);
    let shaken = async {
        let mut stream = match &context.settings.tls {
            Some(identity) => identity.dial(stream, peer).await?,
            None => Stream::Plain(stream),
        };
        let answer = handshake(&mut stream, &ours).await?;
        Ok::<_, DialError>((stream, answer))
    };
    let (stream, answer) = match timeout(HANDSHAKE_TIMEOUT, shaken).await {
        Ok(shaken) => shaken?,
        Err(_) => return Err(DialError::Dropped("no answer in time".to_owned())),
    };
    judge(context, &ours, stream, answer)
}

/// Connects; asks anew whenever no answer comes, at first very soon.
///
/// A SYN that meets a listener in the moment of its death is lost without a word, and TCP repeats
/// it only after a second. But the dead are dialled for the proof that they are dead (S8).
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let mut patience = CONNECT_AGAIN_AFTER;
    loop {
        if let Ok(connected) = timeout(patience, TcpStream::connect(&addresses[..])).await {
            return connected;
        }
        patience *= 2;
    }
}

impl From<Failure> for DialError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ended(error) => Self::Dropped(error.to_string()),
            Failure::Refused(sentence) => Self::Certificate(sentence),
        }
    }
}

/// Both sides must agree: the other's verdict, and this node's own.
fn judge(
    context: &Context,
    ours: &Introduction,
    stream: Stream,
    answer: Answer,
) -> Result<Dialed, DialError> {
    let turned_away = |reason, sentence| Err(DialError::TurnedAway { reason, sentence });
    let theirs = match (answer.verdict, answer.theirs) {
        (Verdict::Refused { reason, sentence }, _) => return turned_away(reason, sentence),
        (_, None) => return turned_away(Reason::Garbled, "no introduction came".to_owned()),
        (Verdict::Registered(welcome), Some(theirs)) => {
            let Membership {
                cluster,
                epoch,
                settled,
            } = &welcome.membership;
            let is_same = ours.member.as_ref().is_none_or(|member| {
                let ours = &member.membership;
                (ours.cluster, ours.epoch) == (*cluster, *epoch)
            });
            return if ours.registers && is_same && settled.1.names(context.name()) {
                Ok(Dialed::Registered(welcome))
            } else {
                Ok(Dialed::Noted(theirs))
            };
        }
        (Verdict::AskLeader(leader), Some(_)) => return Ok(Dialed::SentOn(leader)),
        (Verdict::Welcome | Verdict::Noted, Some(theirs)) => theirs,
    };
    match (ours.judge(&theirs), theirs.hello()) {
        (Verdict::Refused { sentence, .. }, _) => turned_away(Reason::Node, sentence),
        (Verdict::Welcome, Some(hello)) => match context.admit(&hello) {
            Ok(()) => Ok(Dialed::Up(stream, hello)),
            Err(rejection) => turned_away(Reason::Other, rejection.to_string()),
        },
        _ => Ok(Dialed::Noted(theirs)),
    }
}

async fn handshake(stream: &mut Stream, ours: &Introduction) -> Result<Answer, DialError> {
    // Over TLS 1.3 a dialer hears only now what the acceptor has against its certificate.
    let dropped = |error: io::Error| DialError::from(Failure::from(error));
    let mut opening = BytesMut::new();
    let mut dialer =
        Dialer::new(ours, &mut opening).map_err(|error| DialError::Dropped(error.to_string()))?;
    // Where this fails, reading fails too, or tells why the acceptor hung up.
    drop(send(stream, &opening).await);
    loop {
        if let Some(answer) = dialer.answer()? {
            return Ok(answer);
        }
        if stream.read_buf(dialer.space()).await.map_err(dropped)? == 0 {
            return Err(DialError::Dropped(dialer.ended().to_string()));
        }
    }
}

/// Sends bytes, and does not leave them in a buffer.
pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Writes what waits until the link ends, or the peer is reached elsewhere than `at`.
async fn write_all(
    context: &Context,
    sending: &Peer,
    to: MemberId,
    at: Option<&MemberAddress>,
    stream: Stream,
) -> io::Error {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let ended = async {
        let mut unexpected = [0; 1];
        match reader.read(&mut unexpected).await {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::ErrorKind::InvalidData.into(),
            Err(error) => error,
        }
    };
    let write = async {
        loop {
            let bytes = sending.outbox.take().await;
            if let Err(error) = send(&mut writer, &bytes).await {
                return error;
            }
        }
    };
    tokio::select! {
        error = ended => error,
        error = write => error,
        () = sending.parted(to.incarnation) => io::Error::other("the peer was removed"),
        // What is elsewhere now has ended here, whether or not TCP will ever say so.
        () = context.addresses.moved(to.id, at) => io::Error::other("the peer has another address"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpSocket;

    use super::*;

    /// A listener whose queue is full drops each SYN, as one does that is about to be closed.
    #[tokio::test]
    async fn a_listener_that_dies_while_it_is_dialled_is_found_dead_at_once() {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let tries = Duration::from_millis(50);
        while let Ok(stream) = timeout(tries, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        let host = address.ip().to_string();
        let dialling = connect(&host, address.port());
        let dying = async {
            sleep(CONNECT_AGAIN_AFTER).await;
            drop(listener);
        };
        // TCP itself would not repeat its SYN by then.
        let both = timeout(CONNECT_TIMEOUT, async { tokio::join!(dialling, dying).0 });
        let error = both.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
