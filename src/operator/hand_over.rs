//! Asks the leader to hand over to a node that is named, before its pod is replaced (R4).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::error::Trouble;
use super::pods::PodView;
use super::route::{Dial, Target};
use crate::consensus::NodeId;

/// How long all of it may take; a leader hands over in milliseconds.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// Asks the leader in this pod, and waits until it has handed over.
pub(super) async fn ask(leader: &PodView, to: NodeId, dial: &Dial) -> Result<(), Trouble> {
    let (Some(id), Some(ip)) = (leader.id, leader.ip.clone()) else {
        return Err(Trouble::HandOver("its pod has no address".to_owned()));
    };
    let uid = leader.uid.clone();
    let answer = timeout(WITHIN, post(Target { id, uid, ip }, to, dial)).await;
    let late = |_| format!("no answer within {} s", WITHIN.as_secs());
    let answer = answer.map_err(late).map_err(Trouble::HandOver)?;
    let (status, said) = answer.map_err(|error| Trouble::HandOver(error.to_string()))?;
    if status == StatusCode::NO_CONTENT {
        return Ok(());
    }
    Err(Trouble::HandOver(format!("it answers {status}: {said}")))
}

async fn post(
    target: Target,
    to: NodeId,
    dial: &Dial,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let host = target.ip.to_string();
    let stream = dial(target).await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    // It ends with the answer.
    tokio::spawn(connection);
    let request = Request::post("/v1/leader/transfer")
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(format!("{{\"to\":{to}}}")))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
    let body = body.await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
}
