//! Answers, good and bad, as HTTP responses.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use crate::node::Failure;
use crate::state::{CommandError, Revision};

pub(super) type Reply = Response<Body>;

/// How long a client should wait before it asks again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request is not done, told to the client as JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    sentence: Cow<'static, str>,
    /// The key's modification revision, for a lost compare.
    current: Option<Revision>,
    /// The methods that the endpoint knows.
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Document<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
            current: None,
            allow: None,
        }
    }

    pub(super) fn bad_request(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    pub(super) fn not_allowed(allow: &'static str) -> Self {
        let sentence = format!("this endpoint answers {allow} only");
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
        }
    }

    /// A command was answered as no command of its kind is.
    pub(super) fn of_another_request() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer does not belong to the request; read before you write again",
        )
    }

    pub(super) fn compare_failed(current: Revision) -> Self {
        let sentence = match current {
            Revision::ABSENT => "the key does not exist; nothing was written".to_owned(),
            current => format!("the key is at revision {current}; nothing was written"),
        };
        Self {
            current: Some(current),
            ..Self::new(StatusCode::PRECONDITION_FAILED, sentence)
        }
    }

    pub(super) fn overloaded(sentence: &'static str) -> Self {
        let sentence = format!("{sentence}; nothing was done, ask again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    /// A read that failed: whatever happened, it changed nothing.
    pub(super) fn of_read(failure: Failure) -> Self {
        match failure {
            Failure::Unknown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no leader confirmed the read in time; ask again, or add ?consistency=stale",
            ),
            other => other.into(),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match failure {
            Failure::NotTaken(_) | Failure::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Unknown => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::new(status, failure.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::ValueTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let document = Document {
            error: &problem.sentence,
            revision: problem.current.map(|revision| revision.0),
        };
        let mut reply = json(&document);
        *reply.status_mut() = problem.status;
        let headers = reply.headers_mut();
        if let Some(revision) = problem.current
            && revision != Revision::ABSENT
        {
            headers.insert(header::ETAG, etag(revision));
        }
        if let Some(allow) = problem.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if problem.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        reply
    }
}

/// 200 with a JSON document.
pub(super) fn json(document: &impl Serialize) -> Reply {
    let mut text = serde_json::to_vec(document).unwrap_or_default();
    text.push(b'\n');
    let reply = Response::new(Body::Whole(text.into()));
    with(
        reply,
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )
}

/// 200 with a short text.
pub(super) fn text(text: impl Into<Bytes>) -> Reply {
    let reply = Response::new(Body::Whole(text.into()));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    with(reply, header::CONTENT_TYPE, plain)
}

/// A status without a body.
pub(super) fn bare(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::EMPTY);
    *reply.status_mut() = status;
    reply
}

/// The same reply with one more header.
pub(super) fn with(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}

/// A revision as an entity tag: `"12"`.
pub(super) fn etag(revision: Revision) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
