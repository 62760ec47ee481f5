//! The node beside the application, and what it says.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::cli::endpoint::{Ask, Endpoint, Silence};
use crate::state::{ClusterInfo, VALUE_BYTES_MAX};

/// How long the node may take: longer than the 5 s after which it answers by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked again if a leader came or went between two of its answers.
const ATTEMPTS: u32 = 3;

/// What the node answered, whatever it was.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mute {
    /// Nothing was asked, so nothing was written.
    #[error("the node beside this application, {0}, cannot be reached: {1}; nothing was written")]
    Unreachable(Endpoint, String),
    /// It was asked, and nobody knows what it did (R20).
    #[error("the node beside this application, {0}, was asked and did not answer: {1}")]
    Lost(Endpoint, String),
    /// It answered with something else than a node does.
    #[error("{0} does not answer like a node of remember: {1}")]
    Strange(Endpoint, String),
    /// Leaders came and went faster than they could be asked for.
    #[error("the leader changes just now; ask again")]
    Unsteady,
}

/// Who leads, as the node sees it at one moment.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) cluster: ClusterInfo,
    /// The fencing token, if there is a leader.
    pub(super) token: Option<u64>,
}

/// The part of `GET /v1/leader` that the cluster-info document does not have.
#[derive(Deserialize)]
struct Leadership {
    term: u64,
    token: Option<u64>,
}

/// Makes one request of the node.
pub(super) async fn ask(node: &Endpoint, ask: &Ask) -> Result<Said, Mute> {
    let mut connection = node
        .connect()
        .await
        .map_err(|silence| mute(node, silence))?;
    let answered = async {
        let response = connection.send(ask).await?;
        let (head, body) = response.into_parts();
        // A node has no longer values.
        let body = Limited::new(body, VALUE_BYTES_MAX).collect().await;
        Ok((head, body.map_err(|error| error.to_string())))
    };
    match timeout(PATIENCE, answered).await {
        Err(_) => Err(lost(node, "it takes too long")),
        Ok(Err(silence)) => Err(mute(node, silence)),
        Ok(Ok((_, Err(error)))) => Err(lost(node, &error)),
        Ok(Ok((head, Ok(body)))) => Ok(Said {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        }),
    }
}

fn mute(node: &Endpoint, silence: Silence) -> Mute {
    match silence {
        Silence::Unreachable(why) => Mute::Unreachable(node.clone(), why),
        Silence::Lost(_) => lost(node, &silence.to_string()),
    }
}

fn lost(node: &Endpoint, why: &str) -> Mute {
    Mute::Lost(node.clone(), why.to_owned())
}

/// Asks who leads. Role and token are of one term, though two requests tell them.
pub(super) async fn standing(node: &Endpoint) -> Result<Standing, Mute> {
    for _ in 0..ATTEMPTS {
        let cluster: ClusterInfo = read(node, "/v1/cluster").await?;
        let leadership: Leadership = read(node, "/v1/leader").await?;
        let knows_leader = (cluster.leader.is_some(), leadership.token.is_some());
        if cluster.term == leadership.term && knows_leader.0 == knows_leader.1 {
            let token = leadership.token;
            return Ok(Standing { cluster, token });
        }
    }
    Err(Mute::Unsteady)
}

async fn read<T: DeserializeOwned>(node: &Endpoint, path: &str) -> Result<T, Mute> {
    let said = ask(node, &Ask::read(path)).await?;
    if !said.status.is_success() {
        let sentence = format!("{path} is answered with {}", said.status);
        return Err(Mute::Strange(node.clone(), sentence));
    }
    serde_json::from_slice(&said.body)
        .map_err(|error| Mute::Strange(node.clone(), error.to_string()))
}
