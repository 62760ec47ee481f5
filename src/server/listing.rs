//! `GET /v1/kv`: the keys with a prefix, page by page, and how a record looks in JSON.
//!
//! A page is frozen when it is read, and encoded while it is sent: what is held for a slow client
//! is the page's records, most of which the store holds anyway, and a piece or two of text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, Uri};
use serde::Serialize;

use super::api::Api;
use super::body::Body;
use super::events::PIECE_BYTES;
use super::kv::make_fresh;
use super::metrics::StreamKind;
use super::query::Query;
use super::reply::{Problem, Reply, with};
use crate::state::{Key, Page, Record, Revision};

/// How many keys a page has, unless asked otherwise.
const LIMIT_DEFAULT: u64 = 1000;

/// How many keys a page may have.
const LIMIT_MAX: u64 = 10_000;

pub(super) async fn answer(api: &Api, uri: &Uri) -> Result<Reply, Problem> {
    let query = Query::parse(
        uri.query(),
        &["prefix", "after", "limit", "consistency", "watch"],
    )?;
    let prefix = query.bytes("prefix")?.unwrap_or_default();
    let after = query.bytes("after")?;
    let limit = match query.number("limit")?.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => usize::try_from(limit).unwrap_or(usize::MAX),
        _ => return Err(Problem::bad_request(format!("limit is 1 to {LIMIT_MAX}"))),
    };
    make_fresh(&api.handle, query.is_stale()?).await?;
    let page = api
        .handle
        .store()
        .view()
        .list(&prefix, after.as_deref(), limit);
    let reply = send(api, Pieces::of(page)).await?;
    Ok(with(
        reply,
        CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    ))
}

/// Answers with one piece whole, and with more of them one by one.
async fn send(api: &Api, mut pieces: Pieces) -> Result<Reply, Problem> {
    let first = pieces.next().unwrap_or_default();
    if !pieces.ended {
        return api.streams.pieces(StreamKind::List, async move |stream| {
            stream.send(first).await?;
            for piece in pieces {
                stream.send(piece).await?;
            }
            Ok(())
        });
    }
    let share = api.budget.take_within(first.len(), api.body_wait).await?;
    Ok(Response::new(Body::Whole(share.bind(first.into()))))
}

/// A page as JSON, cut into pieces.
struct Pieces {
    page: Page,
    done: usize,
    ended: bool,
}

impl Pieces {
    fn of(page: Page) -> Self {
        Self {
            page,
            done: 0,
            ended: false,
        }
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let mut text = String::new();
        if self.done == 0 {
            let Page { revision, more, .. } = self.page;
            // Writing to a string does not fail.
            let _ok = write!(text, r#"{{"revision":{revision},"more":{more},"entries":["#);
        }
        while let Some(record) = self.page.records.get(self.done) {
            if text.len() >= PIECE_BYTES {
                return Some(text);
            }
            let comma = if self.done > 0 { "," } else { "" };
            text.push_str(comma);
            text.push_str(&serde_json::to_string(&Entry::of(record)).unwrap_or_default());
            self.done += 1;
        }
        text.push_str("]}\n");
        self.ended = true;
        Some(text)
    }
}

/// A key in JSON: `key` if it is text, else `keyBase64`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Name<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

/// A record in JSON.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    #[serde(flatten)]
    name: Name<'a>,
    /// In base64.
    value: String,
    created: u64,
    modified: u64,
    version: u64,
}

/// A key that is gone, in JSON.
#[derive(Serialize)]
pub(super) struct Tombstone<'a> {
    #[serde(flatten)]
    name: Name<'a>,
    modified: u64,
}

impl<'a> Name<'a> {
    fn of(key: &'a Key) -> Self {
        let text = std::str::from_utf8(key).ok();
        Self {
            key: text,
            key_base64: text.is_none().then(|| STANDARD.encode(key)),
        }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            name: Name::of(&record.key),
            value: STANDARD.encode(&record.value),
            created: record.created.0,
            modified: record.modified.0,
            version: record.version,
        }
    }
}

impl<'a> Tombstone<'a> {
    pub(super) fn of(key: &'a Key, revision: Revision) -> Self {
        Self {
            name: Name::of(key),
            modified: revision.0,
        }
    }
}
