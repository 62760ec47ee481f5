//! `/v1/quota`: what the state may grow to, and changing that (R21).

use hyper::body::Incoming;
use hyper::{Method, Request};
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::kv::make_fresh;
use super::query::Query;
use super::reply::{Problem, Reply, json};
use super::{Peer, act};
use crate::state::{Command, Outcome};

/// The quota, and what counts against it, both in bytes.
#[derive(Serialize)]
struct QuotaDocument {
    bytes: u64,
    used: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    bytes: u64,
}

pub(super) async fn answer(
    api: &Api,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Reply, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let query = Query::parse(request.uri().query(), &["consistency"])?;
            make_fresh(&api.handle, query.is_stale()?).await?;
            Ok(told(api))
        }
        Method::PUT => set(api, peer, request).await,
        _ => Err(Problem::not_allowed("GET, HEAD, PUT")),
    }
}

/// It is agreed on like any other write, and may lie below what is used: then keys can only be
/// deleted, or shrink.
async fn set(api: &Api, peer: Peer, request: Request<Incoming>) -> Result<Reply, Problem> {
    let (headers, text, _share) = act::body(api, peer, request).await?;
    let Wish { bytes } = act::read(&headers, &text, "{\"bytes\": 134217728}")?;
    let command = Command::SetQuota { bytes };
    command.check()?;
    match api.handle.write(&command).await? {
        Outcome::QuotaSet => Ok(told(api)),
        Outcome::Malformed(error) => Err(error.into()),
        _ => Err(Problem::of_another_request()),
    }
}

fn told(api: &Api) -> Reply {
    let store = api.handle.store();
    let view = store.view();
    json(&QuotaDocument {
        bytes: view.quota_bytes(),
        used: view.used_bytes(),
    })
}
