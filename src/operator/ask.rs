//! Asks the leader of a cluster to do something, over its API, as a client with a certificate.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::pods::PodView;
use super::route::{Dial, Target};

/// How long all of it may take; a leader that can do what it is asked does it in milliseconds.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// Posts a body of JSON to the node in this pod.
///
/// # Errors
/// Why it was not done, in the node's own words if it answered. That there was no answer says
/// nothing of what was done.
pub(super) async fn post(
    leader: &PodView,
    path: &str,
    body: &Value,
    dial: &Dial,
) -> Result<(), String> {
    let (Some(id), Some(ip)) = (leader.id, leader.ip.clone()) else {
        return Err("its pod has no address".to_owned());
    };
    let uid = leader.uid.clone();
    let answer = timeout(WITHIN, send(Target { id, uid, ip }, path, body, dial)).await;
    let late = |_| format!("no answer within {} s", WITHIN.as_secs());
    let (status, said) = answer.map_err(late)?.map_err(|error| error.to_string())?;
    if status == StatusCode::NO_CONTENT {
        return Ok(());
    }
    Err(format!("it answers {status}: {}", sentence(&said)))
}

async fn send(
    target: Target,
    path: &str,
    body: &Value,
    dial: &Dial,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let host = target.ip.to_string();
    let stream = dial(target).await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    // It ends with the answer.
    tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
    Ok((status, body.await?.to_bytes()))
}

/// What an answer says, without the form that nodes give it.
fn sentence(said: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(said).ok();
    let told = told.as_ref().and_then(|told| told["error"].as_str());
    told.map_or_else(
        || String::from_utf8_lossy(said).trim().to_owned(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_in_its_own_words() {
        assert_eq!(sentence(br#"{"error":"ask node 2"}"#), "ask node 2");
        assert_eq!(sentence(b" bad gateway\n"), "bad gateway");
        assert_eq!(sentence(br#"{"error":7}"#), r#"{"error":7}"#);
    }
}
