//! Following what a node of `remember local` says of itself.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Event, News, Standing};
use crate::cli::endpoint::{Ask, Connection, Endpoint};
use crate::cli::events::Events;
use crate::state::{ClusterInfo, Member};

/// How long to wait until a node that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How often to ask how far the log is agreed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a role stream tells.
#[derive(Deserialize)]
struct Told {
    role: String,
    term: u64,
    leader: Option<Member>,
    established: bool,
}

/// Tells where a node stands whenever that changes, for ever.
pub(super) async fn standing(node: u8, endpoint: Endpoint, news: mpsc::Sender<News>) {
    loop {
        let followed = follow(node, &endpoint, &news).await;
        if followed.is_none() && news.is_closed() {
            return;
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Follows one stream to its end.
async fn follow(node: u8, endpoint: &Endpoint, news: &mpsc::Sender<News>) -> Option<()> {
    let mut stream = endpoint.connect().await.ok()?;
    let response = stream.send(&Ask::read("/v1/watch")).await.ok()?;
    let mut events = Events::new(
        response
            .status()
            .is_success()
            .then(|| response.into_body())?,
    );
    let mut side = endpoint.connect().await.ok()?;
    loop {
        let event = events.next().await.ok()?;
        let at = Instant::now();
        if event.name != "role" {
            continue;
        }
        let told: Told = serde_json::from_str(&event.data).ok()?;
        // The votes that a leader won with stand in the cluster-info document alone.
        let cluster: ClusterInfo =
            serde_json::from_slice(&answer(&mut side, "/v1/cluster").await?).ok()?;
        let standing = Standing {
            role: told.role,
            term: told.term,
            leader: told.leader.map(|leader| leader.id),
            // By now it may tell of another term, whose news are still to come.
            tickets: if cluster.term == told.term {
                cluster.tickets
            } else {
                0
            },
            established: told.established,
        };
        let what = Event::Standing(standing);
        news.send(News { node, at, what }).await.ok()?;
    }
}

/// Tells how far the log is agreed, for ever.
pub(super) async fn commit(node: u8, endpoint: Endpoint, news: mpsc::Sender<News>) {
    loop {
        if let Some(index) = committed(&endpoint).await {
            let (at, what) = (Instant::now(), Event::Committed(index));
            if news.send(News { node, at, what }).await.is_err() {
                return;
            }
        }
        sleep(COMMIT_EVERY).await;
    }
}

async fn committed(endpoint: &Endpoint) -> Option<u64> {
    let mut connection = endpoint.connect().await.ok()?;
    let metrics = answer(&mut connection, "/metrics").await?;
    let metrics = String::from_utf8(metrics).ok()?;
    let mut lines = metrics.lines();
    let found = lines.find_map(|line| line.strip_prefix("remember_commit_index "))?;
    found.parse().ok()
}

async fn answer(connection: &mut Connection, path: &str) -> Option<Vec<u8>> {
    let asked = async {
        let response = connection.send(&Ask::read(path)).await.ok()?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        Some(body.collect().await.ok()?.to_bytes().to_vec())
    };
    timeout(PATIENCE, asked).await.ok()?
}
