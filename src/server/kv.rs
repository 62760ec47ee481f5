//! `/v1/kv/{key}`: one key, read and written.

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::api::Api;
use super::body::Body;
use super::limits::Share;
use super::query::{Query, decode, number};
use super::reply::{Problem, Reply, bare, etag, with};
use crate::node::{Handle, Phase};
use crate::state::{Command, Condition, Outcome, Revision, VALUE_BYTES_MAX};

/// What stands before the key.
pub(super) const PATH: &str = "/v1/kv/";

pub(super) async fn answer(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => read(api, &request).await,
        Method::PUT => put(api, request).await,
        Method::DELETE => delete(api, &request).await,
        _ => Err(Problem::not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

async fn read(api: &Api, request: &Request<Incoming>) -> Result<Reply, Problem> {
    let uri = request.uri();
    let key = decode(uri.path().strip_prefix(PATH).unwrap_or_default())?;
    if key.is_empty() {
        return Err(Problem::bad_request("an empty key; list keys at /v1/kv"));
    }
    let query = Query::parse(uri.query(), &["consistency"])?;
    let revision_and_value = {
        make_fresh(&api.handle, query.is_stale()?).await?;
        let store = api.handle.store();
        let found = store.view().find(&key);
        found.map(|record| (record.modified, record.value.clone()))
    };
    let Some((revision, value)) = revision_and_value else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such key"));
    };
    let share = api.budget.take_within(value.len(), api.body_wait).await?;
    let reply = Response::new(Body::Whole(share.bind(value)));
    let reply = with(reply, header::ETAG, etag(revision));
    let raw = HeaderValue::from_static("application/octet-stream");
    Ok(with(reply, header::CONTENT_TYPE, raw))
}

/// Makes sure that the state read next, without waiting in between, is as fresh as asked for.
pub(super) async fn make_fresh(handle: &Handle, stale_will_do: bool) -> Result<(), Problem> {
    if !stale_will_do {
        return handle.catch_up().await.map_err(Problem::of_read);
    }
    match *handle.phases().borrow() {
        Phase::Running | Phase::Stopping => Ok(()),
        Phase::Founding(_) | Phase::Joining => {
            Err(Problem::overloaded("this node has no state yet"))
        }
    }
}

async fn put(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let (head, body) = request.into_parts();
    let key = key_to_write(&head.uri)?;
    let condition = condition(&head.headers)?;
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "values are kept as they come; send them without Content-Encoding",
        ));
    }
    let (value, _share) = collect(api, body, VALUE_BYTES_MAX).await?;
    let command = Command::Put {
        key,
        value,
        condition,
    };
    write(api, &command).await
}

async fn delete(api: &Api, request: &Request<Incoming>) -> Result<Reply, Problem> {
    let command = Command::Delete {
        key: key_to_write(request.uri())?,
        condition: condition(request.headers())?,
    };
    write(api, &command).await
}

fn key_to_write(uri: &hyper::Uri) -> Result<Bytes, Problem> {
    Query::parse(uri.query(), &[])?;
    let key = decode(uri.path().strip_prefix(PATH).unwrap_or_default())?;
    Ok(Bytes::from(key.into_owned()))
}

async fn write(api: &Api, command: &Command) -> Result<Reply, Problem> {
    command.check()?;
    match api.handle.write(command).await? {
        Outcome::Put { revision, created } => {
            let status = if created {
                StatusCode::CREATED
            } else {
                StatusCode::NO_CONTENT
            };
            Ok(with(bare(status), header::ETAG, etag(revision)))
        }
        Outcome::Deleted { revision } => {
            let reply = bare(StatusCode::NO_CONTENT);
            Ok(with(reply, header::ETAG, etag(revision)))
        }
        Outcome::NotFound => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "there is no such key; nothing was deleted",
        )),
        Outcome::CompareFailed { current } => Err(Problem::compare_failed(current)),
        Outcome::QuotaExceeded => Err(Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the store is at its quota; nothing was written: delete something, or raise the quota \
             (/v1/quota, remember kv quota)",
        )),
        Outcome::Malformed(error) => Err(error.into()),
        Outcome::Noop | Outcome::QuotaSet | Outcome::Unsupported { .. } => {
            Err(Problem::of_another_request())
        }
    }
}

/// The compare of compare-and-set: `If-Match: "12"` or `If-None-Match: *`.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut expected = headers.get_all(header::IF_MATCH).iter();
    let mut absent = headers.get_all(header::IF_NONE_MATCH).iter();
    match (expected.next(), absent.next()) {
        (None, None) => Ok(Condition::Always),
        (Some(tag), None) if expected.next().is_none() => Ok(Condition::Modified(revision(tag)?)),
        (None, Some(star)) if absent.next().is_none() && star == "*" => Ok(Condition::ABSENT),
        _ => Err(Problem::bad_request(
            "send one condition: If-Match with one revision, or If-None-Match: *",
        )),
    }
}

fn revision(tag: &HeaderValue) -> Result<Revision, Problem> {
    let text = tag.to_str().unwrap_or_default();
    let bare = text.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    match number("the revision in If-Match", bare.unwrap_or(text))? {
        0 => Err(Problem::bad_request(
            "no key has revision 0; to create a key only, send If-None-Match: *",
        )),
        revision => Ok(Revision(revision)),
    }
}

/// The whole body of a request, if it is not larger than `bytes_max`.
pub(super) async fn collect(
    api: &Api,
    mut body: Incoming,
    bytes_max: usize,
) -> Result<(Bytes, Share), Problem> {
    let announced = body.size_hint();
    if announced.lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    // A body of unknown length may become as long as any.
    let exact = announced.exact().map(usize::try_from);
    let bytes = exact.and_then(Result::ok).unwrap_or(bytes_max);
    let share = api.budget.take_within(bytes, api.body_wait).await?;
    let read = async {
        // Most bodies are one piece that has come with the head.
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let limited = Limited::new(&mut body, bytes_max);
        limited.collect().await.map(Collected::to_bytes)
    };
    match timeout(api.body_wait, read).await {
        Ok(Ok(bytes)) => Ok((bytes, share)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Ok(Err(_)) => Err(Problem::bad_request(
            "the body ended early; nothing was done",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long; nothing was done",
        )),
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {bytes_max} bytes; nothing was done"),
    )
}
