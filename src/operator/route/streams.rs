//! The role streams of a cluster: what each of its nodes says of itself, as soon as it says it.
//!
//! A node tells who leads at once and again whenever that changes (`GET /v1/watch`), and says every
//! second that it is alive. What it said counts while its stream lives: a stream that ends, or is
//! silent for too long, takes the report with it, and the pod is dialled again. What is told is
//! judged elsewhere ([`judge`](super::judge)); here is only seen to it that it was told by the pod
//! that was dialled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::events::{EVENT_BYTES_MAX, Events, Malformed};
use super::{Claim, Report, Reports, Witness};
use crate::consensus::{
    ClusterId, Configuration, Incarnation, Index, MEMBERS_MAX, MemberId, NodeId, Placed, Position,
    Seat, Term,
};
use crate::crd::{API_PORT, REPLICAS_MAX};
use crate::operator::PodView;
use crate::operator::backoff::Backoff;
use crate::tls::{ClusterName, Connector, Failure, MemberName, Stream};

/// A stream that says nothing for so long is dead, and so is one that takes so long to begin.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long to wait before a pod is dialled again, at first and at most.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The most headers that an answer may have; one with more is refused.
const HEADERS_MAX: usize = 32;

/// A pod that is to be dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The node in it.
    pub id: NodeId,
    /// Its uid.
    pub uid: Arc<str>,
    /// Its address.
    pub ip: Arc<str>,
}

/// Connects to the API of the node in a pod, and makes sure that it is that member.
pub type Dial = Arc<dyn Fn(Target) -> BoxFuture<'static, Result<Stream, Failure>> + Send + Sync>;

/// Dials the API port of pods over mutual TLS. `connector` is asked each time, so that it may give
/// newer certificates; `None` while there are none. `cluster` is what the nodes' certificates call
/// it.
pub fn over_tls(
    connector: impl Fn() -> Option<Connector> + Send + Sync + 'static,
    cluster: ClusterName,
) -> Dial {
    Arc::new(move |target| {
        let connector = connector();
        let member = MemberName {
            cluster: cluster.clone(),
            id: target.id,
        };
        async move {
            let none = || Failure::Refused("the cluster has no certificates yet".to_owned());
            let connector = connector.ok_or_else(none)?;
            let no_address = || Failure::Refused(format!("{} is no address", target.ip));
            let ip: IpAddr = target.ip.parse().map_err(|_| no_address())?;
            let tcp = TcpStream::connect(SocketAddr::new(ip, API_PORT)).await?;
            tcp.set_nodelay(true)?;
            connector.connect_member(tcp, &member).await
        }
        .boxed()
    })
}

/// The streams of one cluster's pods.
pub(super) struct Streams {
    dial: Dial,
    heard: Arc<watch::Sender<Reports>>,
    open: BTreeMap<NodeId, Open>,
}

/// The stream of one pod, dialled again and again.
struct Open {
    target: Target,
    view: PodView,
    /// Told when there is reason to dial at once.
    hurry: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a stream has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it cannot be connected to: {0}")]
    Unreachable(#[from] Failure),
    #[error("the connection failed: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no request can be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answered {0} instead of a stream of events")]
    Refused(StatusCode),
    #[error("it said nothing for {SILENCE_MAX:?}")]
    Silent,
    #[error("it ended the stream")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it told its role in a form that this operator does not know: {0}")]
    Unknown(#[from] serde_json::Error),
    #[error("{0}; what it says is ignored")]
    Another(String),
}

impl Streams {
    /// No streams yet, for whoever `heard` is for.
    pub(super) fn new(dial: Dial, heard: watch::Sender<Reports>) -> Self {
        Self {
            dial,
            heard: Arc::new(heard),
            open: BTreeMap::new(),
        }
    }

    /// Opens the streams of pods that came, closes those of pods that went, and dials at once where
    /// something has changed.
    pub(super) fn follow<'a>(&mut self, pods: impl Iterator<Item = &'a PodView>) {
        let mut wanted = BTreeMap::new();
        for view in pods {
            if let (Some(id), Some(ip)) = (view.id, &view.ip)
                && (1..=REPLICAS_MAX).contains(&id.0)
            {
                let (uid, ip) = (Arc::clone(&view.uid), Arc::clone(ip));
                wanted.insert(id, (Target { id, uid, ip }, view));
            }
        }
        let heard = &self.heard;
        self.open.retain(|id, open| {
            let stays = wanted
                .get(id)
                .is_some_and(|(target, _)| *target == open.target);
            if !stays {
                open.task.abort();
                forget(heard, &open.target);
            }
            stays
        });
        for (id, (target, view)) in wanted {
            match self.open.get_mut(&id) {
                Some(open) if open.view != *view => {
                    open.view = view.clone();
                    open.hurry.notify_one();
                }
                Some(_) => {}
                None => {
                    let open = self.open(target, view.clone());
                    self.open.insert(id, open);
                }
            }
        }
    }

    fn open(&self, target: Target, view: PodView) -> Open {
        let hurry = Arc::new(Notify::new());
        let (dial, heard) = (Arc::clone(&self.dial), Arc::clone(&self.heard));
        let task = tokio::spawn(run(dial, target.clone(), heard, Arc::clone(&hurry)));
        Open {
            target,
            view,
            hurry,
            task,
        }
    }
}

/// Forgets what a pod said, unless another pod with the same id has spoken since.
fn forget(heard: &watch::Sender<Reports>, target: &Target) {
    heard.send_if_modified(|reports| {
        let is_its = |report: &Report| report.pod == target.uid;
        reports.get(&target.id).is_some_and(is_its) && reports.remove(&target.id).is_some()
    });
}

/// Listens to one pod for ever.
async fn run(dial: Dial, target: Target, heard: Arc<watch::Sender<Reports>>, hurry: Arc<Notify>) {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
    let mut told = String::new();
    loop {
        let ended = match listen(&dial, &target, &heard, &mut backoff, &mut told).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        forget(&heard, &target);
        let (node, pod, sentence) = (target.id, &target.uid, ended.to_string());
        // Once, not at each attempt.
        if sentence == told {
            debug!(%node, %pod, sentence, "a role stream ended again");
        } else if matches!(ended, Ended::Another(_)) {
            warn!(%node, %pod, sentence, "a pod is not the one that it should be");
        } else {
            info!(%node, %pod, sentence, "a role stream ended; the pod is dialled again");
        }
        told = sentence;
        tokio::select! {
            () = sleep(backoff.wait()) => {}
            () = hurry.notified() => backoff.reset(),
        }
    }
}

/// Listens to one stream until it ends.
async fn listen(
    dial: &Dial,
    target: &Target,
    heard: &watch::Sender<Reports>,
    backoff: &mut Backoff,
    told: &mut String,
) -> Result<Infallible, Ended> {
    let opened = timeout(SILENCE_MAX, open(dial, target)).await;
    let mut body = opened.map_err(|_| Ended::Silent)??;
    let mut events = Events::default();
    loop {
        let frame = timeout(SILENCE_MAX, body.frame()).await;
        let frame = frame.map_err(|_| Ended::Silent)?.ok_or(Ended::Closed)??;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        let Some(event) = events.take(&bytes)? else {
            continue;
        };
        if event.name == "role" {
            let report = read(&event.data, target)?;
            backoff.reset();
            told.clear();
            heard.send_if_modified(|reports| {
                reports.insert(target.id, report.clone()) != Some(report)
            });
        }
    }
}

/// Dials, and asks for the stream.
async fn open(dial: &Dial, target: &Target) -> Result<Incoming, Ended> {
    let stream = dial(target.clone()).await?;
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(EVENT_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // It ends with the body.
    tokio::spawn(connection);
    let request = Request::get("/v1/watch").header(HOST, format!("{}", target.ip));
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?);
    let response = response.await?;
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        refused => Err(Ended::Refused(refused)),
    }
}

/// What a node tells of its role.
#[derive(Deserialize)]
struct Document {
    id: u64,
    term: u64,
    leader: Option<Leader>,
    established: bool,
    cluster: Option<String>,
    incarnation: String,
    pod: Option<String>,
    seats: Option<Seats>,
    /// Absent where a node was told of none, or is older than witnesses.
    #[serde(default)]
    witness: Option<String>,
}

#[derive(Deserialize)]
struct Seats {
    term: u64,
    index: u64,
    members: Vec<SeatDocument>,
}

#[derive(Deserialize)]
struct SeatDocument {
    id: u64,
    incarnation: String,
    votes: bool,
    outgoing: bool,
}

#[derive(Deserialize)]
struct Leader {
    id: u64,
}

/// Reads what the pod that was dialled says, and nobody else.
fn read(data: &str, target: &Target) -> Result<Report, Ended> {
    let said: Document = serde_json::from_str(data)?;
    if said.id != target.id.0 {
        let (due, id) = (target.id, said.id);
        return Err(Ended::Another(format!(
            "the pod of node {due} says that it is node {id}"
        )));
    }
    if said.pod.as_deref() != Some(&target.uid) {
        let pod = said.pod.unwrap_or_else(|| "not known to it".to_owned());
        return Err(Ended::Another(format!(
            "the uid of the pod is {} and its node says that it is {pod}",
            target.uid
        )));
    }
    let term = Term(said.term);
    if term > Term::MAX {
        return Err(Ended::Another(format!("{term} is no term")));
    }
    let leader = said.leader.map(|leader| NodeId(leader.id));
    let incarnation = Incarnation(hex(&said.incarnation)?);
    let cluster = said.cluster.as_deref().map(hex).transpose()?;
    let cluster = cluster.map(ClusterId);
    let is_leader = said.established && leader == Some(target.id);
    let claim = cluster.filter(|_| is_leader).map(|cluster| Claim {
        cluster,
        term,
        id: target.id,
        incarnation,
        pod: Arc::clone(&target.uid),
    });
    Ok(Report {
        pod: Arc::clone(&target.uid),
        term,
        leader,
        claim,
        incarnation,
        cluster,
        seats: said.seats.map(placed).transpose()?,
        // Whatever else a node may say one day, it is not that its witness answers.
        witness: said.witness.map(|said| match said.as_str() {
            "answers" => Witness::Answers,
            _ => Witness::Silent,
        }),
    })
}

/// A configuration that has voters, and is no larger than one can be.
fn placed(said: Seats) -> Result<Placed, Ended> {
    let since = Position {
        term: Term(said.term),
        index: Index(said.index),
    };
    let wrong = || Ended::Another("its cluster has no voters, or too many members".to_owned());
    if said.members.len() > MEMBERS_MAX {
        return Err(wrong());
    }
    let seat = |one: SeatDocument| {
        let member = MemberId {
            id: NodeId(one.id),
            incarnation: Incarnation(hex(&one.incarnation)?),
        };
        let seat = Seat {
            votes: one.votes,
            outgoing: one.outgoing,
            ..Seat::default()
        };
        Ok((member, seat))
    };
    let seats: Result<BTreeMap<_, _>, Ended> = said.members.into_iter().map(seat).collect();
    let configuration = Configuration::new(seats?).ok_or_else(wrong)?;
    Ok((since, configuration))
}

fn hex(text: &str) -> Result<u64, Ended> {
    let read = u64::from_str_radix(text, 16);
    read.map_err(|_| Ended::Another(format!("\"{text}\" is no hexadecimal number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            id: NodeId(2),
            uid: "u".into(),
            ip: "10.1.2.3".into(),
        }
    }

    fn said(change: impl FnOnce(&mut serde_json::Value)) -> Result<Report, Ended> {
        let mut data = serde_json::json!({
            "id": 2, "role": "leader", "term": 7, "token": 7,
            "leader": {"id": 2, "ip": "10.1.2.3", "port": "7401"}, "established": true,
            "cluster": "00000000000000ab", "incarnation": "00000000000000cd", "pod": "u",
            "seats": {"term": 3, "index": 5, "members": [
                {"id": 2, "incarnation": "00000000000000cd", "votes": true, "outgoing": false},
            ]},
        });
        change(&mut data);
        read(&data.to_string(), &target())
    }

    #[test]
    fn a_leader_that_has_established_it_claims() {
        let claim = Claim {
            cluster: ClusterId(0xab),
            term: Term(7),
            id: NodeId(2),
            incarnation: Incarnation(0xcd),
            pod: "u".into(),
        };
        let expected = Report {
            pod: "u".into(),
            term: Term(7),
            leader: Some(NodeId(2)),
            claim: Some(claim),
            incarnation: Incarnation(0xcd),
            cluster: Some(ClusterId(0xab)),
            seats: Some((
                Position {
                    term: Term(3),
                    index: Index(5),
                },
                Configuration::of_voters([MemberId {
                    id: NodeId(2),
                    incarnation: Incarnation(0xcd),
                }]),
            )),
            witness: None,
        };
        assert_eq!(said(|_| ()).unwrap(), expected);
        let without = [
            said(|data| data["established"] = false.into()),
            said(|data| data["cluster"] = serde_json::Value::Null),
            said(|data| data["leader"]["id"] = 1.into()),
            said(|data| data["leader"] = serde_json::Value::Null),
        ];
        for report in without {
            assert_eq!(report.unwrap().claim, None);
        }
    }

    #[test]
    fn a_witness_answers_where_that_is_said_in_this_very_word() {
        let of = |word: serde_json::Value| said(|data| data["witness"] = word).unwrap().witness;
        assert_eq!(of("answers".into()), Some(Witness::Answers));
        assert_eq!(of("silent".into()), Some(Witness::Silent));
        assert_eq!(of("a later word".into()), Some(Witness::Silent));
        assert_eq!(of(serde_json::Value::Null), None);
    }

    #[test]
    fn another_pod_is_not_believed() {
        let others = [
            said(|data| data["pod"] = "the-pod-before".into()),
            said(|data| data["pod"] = serde_json::Value::Null),
            said(|data| data["id"] = 3.into()),
            said(|data| data["term"] = u64::MAX.into()),
            said(|data| data["incarnation"] = "x".into()),
            said(|data| data["seats"]["members"] = serde_json::json!([])),
        ];
        for report in others {
            assert!(matches!(report, Err(Ended::Another(_))), "{report:?}");
        }
        assert!(matches!(
            said(|data| data["term"] = "7".into()),
            Err(Ended::Unknown(_))
        ));
    }
}
