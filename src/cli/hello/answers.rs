//! What the example application answers, by path.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use super::sidecar::{self, Mute, Said, Standing};
use crate::cli::endpoint::{Ask, Endpoint};
use crate::cli::status::role;

/// What stands before the name of a note.
const NOTES: &str = "/notes/";

/// Where the node has the notes.
const KEYS: &str = "/v1/kv/hello/";

/// The longest note, in bytes; a longer one is refused with 413.
const NOTE_BYTES_MAX: usize = 64 << 10;

/// How long a note may take to come.
const BODY: Duration = Duration::from_secs(10);

/// What of a request the node has to know beside the note: to ignore a condition would be a lie.
const ASKED: [HeaderName; 3] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::CONTENT_ENCODING,
];

/// What of the node's answer is passed on.
const TOLD: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER];

pub(super) type Answer = Full<Bytes>;

/// The application of one pod.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pod: Option<Arc<str>>,
    node: Endpoint,
}

/// The answer to `GET /`.
#[derive(Serialize)]
struct Document<'a> {
    /// The answering pod, if it knows its name.
    pod: Option<&'a str>,
    /// What the node beside it is: leader, follower or candidate.
    role: &'a str,
    /// The leader's pod, or its id where pods are not named after nodes.
    leader: Option<String>,
    term: u64,
    /// The fencing token.
    token: Option<u64>,
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

impl Hello {
    pub(super) fn new(pod: Option<String>, node: Endpoint) -> Self {
        let pod = pod.map(Arc::from);
        Self { pod, node }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if request.uri().query().is_some() {
            return problem(StatusCode::BAD_REQUEST, "there are no parameters here");
        }
        match request.uri().path() {
            "/" if is_read => self.leader().await,
            "/healthz" if is_read => whole(StatusCode::OK, "text/plain", "ok\n"),
            "/" | "/healthz" => not_allowed("GET, HEAD"),
            path => match path.strip_prefix(NOTES).filter(|name| !name.is_empty()) {
                Some(name) => {
                    let key = format!("{KEYS}{name}");
                    self.note(is_read, key, request).await
                }
                None => problem(
                    StatusCode::NOT_FOUND,
                    "there is nothing here; /, /healthz and /notes/NAME are there",
                ),
            },
        }
    }

    async fn leader(&self) -> Response<Answer> {
        let Standing { cluster, token } = match sidecar::standing(&self.node).await {
            Ok(standing) => standing,
            Err(mute) => return silence(&mute, true),
        };
        let own = cluster.current_node.id;
        let leader = cluster.leader.map(|leader| leader.id);
        let document = Document {
            pod: self.pod.as_deref(),
            role: role(cluster.status),
            leader: leader.map(|id| pod_of(id, own, self.pod.as_deref())),
            term: cluster.term,
            token,
        };
        json(StatusCode::OK, &document)
    }

    async fn note(
        &self,
        is_read: bool,
        key: String,
        request: Request<Incoming>,
    ) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let mut ask = match head.method {
            _ if is_read => Ask::read(key),
            Method::PUT => Ask::new(Method::PUT, key),
            _ => return not_allowed("GET, HEAD, PUT"),
        };
        for name in ASKED {
            if let Some(value) = head.headers.get(&name) {
                let Ok(value) = value.to_str() else {
                    let sentence = format!("the header {name} is not plain text");
                    return problem(StatusCode::BAD_REQUEST, &sentence);
                };
                ask = ask.with(name, value);
            }
        }
        if !is_read {
            ask.body = match note_of(body).await {
                Ok(note) => note,
                Err((status, sentence)) => return problem(status, &sentence),
            };
        }
        match sidecar::ask(&self.node, &ask).await {
            Ok(said) => passed_on(said),
            Err(mute) => silence(&mute, is_read),
        }
    }
}

/// The pod of a node, where pods are named after nodes: NAME-0 is node 1. Its id otherwise.
fn pod_of(id: u64, own: u64, pod: Option<&str>) -> String {
    let ordinal = own.checked_sub(1).map(|ordinal| format!("-{ordinal}"));
    let name = pod
        .zip(ordinal)
        .and_then(|(pod, end)| pod.strip_suffix(&end));
    match (name, id.checked_sub(1)) {
        (Some(name), Some(ordinal)) => format!("{name}-{ordinal}"),
        _ => id.to_string(),
    }
}

async fn note_of(body: Incoming) -> Result<Bytes, (StatusCode, String)> {
    let collected = timeout(BODY, Limited::new(body, NOTE_BYTES_MAX).collect()).await;
    let Ok(collected) = collected else {
        let sentence = "the note took too long to come; nothing was written".to_owned();
        return Err((StatusCode::REQUEST_TIMEOUT, sentence));
    };
    match collected {
        Ok(note) => Ok(note.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let sentence = format!("a note has at most {NOTE_BYTES_MAX} bytes");
            Err((StatusCode::PAYLOAD_TOO_LARGE, sentence))
        }
        Err(error) => Err((StatusCode::BAD_REQUEST, error.to_string())),
    }
}

/// What the node said, as it said it: a write is acknowledged by the node or by nobody.
fn passed_on(said: Said) -> Response<Answer> {
    let mut answer = Response::new(Full::new(said.body));
    *answer.status_mut() = said.status;
    for name in TOLD {
        if let Some(value) = said.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

/// What it means that the node said nothing: after a read, that it must be asked again; after a
/// write, that nobody knows (R20), unless it was never asked.
fn silence(mute: &Mute, is_read: bool) -> Response<Answer> {
    let is_unknown = !is_read && !matches!(mute, Mute::Unreachable(..));
    if is_unknown {
        let sentence = format!("{mute}; the note may or may not be written, read before you write");
        return problem(StatusCode::GATEWAY_TIMEOUT, &sentence);
    }
    problem(StatusCode::SERVICE_UNAVAILABLE, &mute.to_string())
}

fn not_allowed(allow: &'static str) -> Response<Answer> {
    let sentence = format!("{allow} only");
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &sentence);
    let allow = HeaderValue::from_static(allow);
    answer.headers_mut().insert(header::ALLOW, allow);
    answer
}

fn problem(status: StatusCode, sentence: &str) -> Response<Answer> {
    let mut answer = json(status, &Problem { error: sentence });
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("1");
        answer.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    answer
}

fn json(status: StatusCode, document: &impl Serialize) -> Response<Answer> {
    let mut text = serde_json::to_vec(document).unwrap_or_default();
    text.push(b'\n');
    whole(status, "application/json", text)
}

fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_after_nodes_or_not_at_all() {
        assert_eq!(pod_of(1, 3, Some("hello-2")), "hello-0");
        assert_eq!(pod_of(12, 1, Some("a-b-0")), "a-b-11");
        assert_eq!(pod_of(2, 3, Some("laptop")), "2");
        assert_eq!(pod_of(2, 3, None), "2");
        assert_eq!(pod_of(0, 0, Some("hello-0")), "0");
    }
}
