//! The HTTP surface of `remember witness`: the registers of pairs (R17), and nothing else.
//!
//! `GET` tells what a register holds, `PUT` changes it if it holds what the first line of the body
//! says; the second line is what it is to hold. Answers are texts of registers
//! (`witness/text.rs`), refusals are like those of a node.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::connection::Route;
use super::listener::Ports;
use super::metrics::Metrics;
use super::query::Query;
use super::reply::{Problem, Reply, text};
use super::{Limits, Peer, Transport};
use crate::consensus::{Answer, Ask, ClusterId, Register};
use crate::witness::text::{TEXT_BYTES_MAX, read, write};
use crate::witness::{Keeper, KeeperError, PATH};

/// The longest body of a request, in bytes: two lines.
const BODY_BYTES_MAX: usize = 2 * (TEXT_BYTES_MAX + 1);

/// The most connections at once: two nodes of many clusters, each for a moment.
const CONNECTIONS_MAX: usize = 256;

/// How long a request may take to come, and a connection may be unused.
const WAIT: Duration = Duration::from_secs(5);

/// Answers for the registers of a keeper. Lives on a `LocalSet`.
#[derive(Debug)]
pub struct WitnessServer {
    desk: Rc<Desk>,
    ports: Ports,
}

/// What the requests share.
#[derive(Debug)]
struct Desk {
    keeper: Keeper,
    /// Why nothing is told any more.
    failed: watch::Sender<Option<String>>,
}

impl WitnessServer {
    /// A server that listens nowhere yet.
    #[must_use]
    pub fn new(keeper: Keeper) -> Self {
        let limits = Limits {
            connections_max: CONNECTIONS_MAX,
            head_wait: WAIT,
            idle_wait: WAIT,
            ..Limits::default()
        };
        let desk = Desk {
            keeper,
            failed: watch::Sender::default(),
        };
        Self {
            desk: Rc::new(desk),
            ports: Ports::new(limits, Rc::new(Metrics::new())),
        }
    }

    /// Serves on a bound listener.
    pub fn listen(&self, listener: TcpListener, transport: impl Transport) {
        self.ports
            .listen("witness", listener, transport, Rc::clone(&self.desk));
    }

    /// Waits until the disk has failed in the midst of a change, and says how. Whoever keeps
    /// registers has to start again then.
    pub async fn failed(&self) -> String {
        let mut failed = self.desk.failed.subscribe();
        let failed = failed.wait_for(Option::is_some).await;
        failed.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Stops accepting, and drops what is not finished after `grace`.
    pub async fn shut_down(self, grace: Duration) {
        self.ports.shut_down(grace).await;
    }
}

impl Route for Desk {
    async fn answer(&self, _peer: Peer, request: Request<Incoming>) -> Reply {
        self.carry_out(request).await.unwrap_or_else(Reply::from)
    }
}

impl Desk {
    async fn carry_out(&self, request: Request<Incoming>) -> Result<Reply, Problem> {
        let (head, body) = request.into_parts();
        if head.headers.contains_key(header::ORIGIN) {
            let sentence = "web pages may not ask for this; send the request without Origin";
            return Err(Problem::new(StatusCode::FORBIDDEN, sentence));
        }
        let cluster = cluster(&head.uri)?;
        Query::parse(head.uri.query(), &[])?;
        let ask = match head.method {
            Method::GET => Ask::Read,
            Method::PUT => swap(cluster, &collect(body).await?)?,
            _ => return Err(Problem::not_allowed("GET, PUT")),
        };
        let answer = self.keeper.carry_out(cluster, &ask);
        let answer = answer.map_err(|error| self.refused(&error))?;
        tracing::debug!(
            cluster = format!("{:016x}", cluster.0),
            ?ask,
            ?answer,
            "asked"
        );
        Ok(match (answer, ask) {
            (Answer::Swapped, Ask::Swap { to, .. }) => {
                let now = write(cluster, Some(to));
                tracing::info!(now, "changed");
                text(format!("{now}\n"))
            }
            (Answer::Holds(now), Ask::Read) => text(format!("{}\n", write(cluster, now))),
            (Answer::Holds(now), Ask::Swap { .. }) => {
                let mut reply = text(format!("{}\n", write(cluster, now)));
                *reply.status_mut() = StatusCode::PRECONDITION_FAILED;
                reply
            }
            (Answer::Swapped, Ask::Read) | (Answer::Unknown, _) => {
                unreachable!("a keeper knows what it did")
            }
        })
    }

    fn refused(&self, error: &KeeperError) -> Problem {
        let sentence = error.to_string();
        tracing::warn!(%error, "a register is not told");
        if matches!(error, KeeperError::Uncertain(_)) {
            self.failed.send_replace(Some(sentence.clone()));
        }
        let status = match error {
            KeeperError::TooMany => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, sentence)
    }
}

/// Whose register a request is for.
fn cluster(uri: &Uri) -> Result<ClusterId, Problem> {
    let wrong = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no such register; /v1/register/CLUSTER is there, with the cluster's name in 16 \
             hexadecimal digits in lower case",
        )
    };
    let name = uri.path().strip_prefix(PATH).ok_or_else(wrong)?;
    let cluster = u64::from_str_radix(name, 16).ok();
    let cluster = cluster.filter(|cluster| format!("{cluster:016x}") == name);
    cluster.map(ClusterId).ok_or_else(wrong)
}

/// Reads a body whole.
async fn collect(body: Incoming) -> Result<Bytes, Problem> {
    match timeout(WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {BODY_BYTES_MAX} bytes; nothing was changed"),
        )),
        Ok(Err(_)) => Err(Problem::bad_request(
            "the body ended early; nothing was changed",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long; nothing was changed",
        )),
    }
}

/// Reads what is to be changed, which has to be one step.
fn swap(cluster: ClusterId, body: &[u8]) -> Result<Ask, Problem> {
    let wrong = |what: String| Problem::bad_request(format!("{what}; nothing was changed"));
    let lines = std::str::from_utf8(body).ok();
    let lines = lines.and_then(|lines| lines.strip_suffix('\n')?.split_once('\n'));
    let (from, to) = lines.ok_or_else(|| {
        wrong(
            "the body is two lines: what the register has to hold, and what it is to hold"
                .to_owned(),
        )
    })?;
    let register = |which: &str, text: &str| {
        let read = read(cluster, text);
        read.map_err(|error| wrong(format!("the {which} line is of no use: {error}")))
    };
    let (from, to) = (register("first", from)?, register("second", to)?);
    let number = |held: Option<Register>| held.map_or(0, |held| held.number);
    match to {
        Some(to) if number(from).checked_add(1) == Some(to.number) => Ok(Ask::Swap { from, to }),
        _ => Err(wrong("each change raises the number by one".to_owned())),
    }
}
