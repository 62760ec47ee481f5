//! `GET /v1/watch`: who leads, told at once and again whenever it changes.
//!
//! One observer watches the node's status, which changes with every write, and tells the streams
//! only what concerns them: role, term, leader, whether it is established, the cluster, its members
//! and whether its witness answers. A stream that is behind is told the newest state and not those
//! in between.

use std::rc::Rc;
use std::time::Duration;

use hyper::Uri;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::events::{Gone, Stream, write_event};
use super::health::Readiness;
use super::metrics::{Metrics, StreamKind};
use super::query::Query;
use super::reply::{Problem, Reply};
use super::standing::Standing;
use crate::node::Handle;

/// How long the observer waits, at most, until it sees that the node has caught up.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a stream without news says.
const ALIVE: &str = ": alive\n\n";

pub(super) fn answer(api: &Api, uri: &Uri) -> Result<Reply, Problem> {
    Query::parse(uri.query(), &[])?;
    let (handle, standing) = (api.handle.clone(), api.standing.clone());
    api.streams.events(StreamKind::Role, async move |stream| {
        run(&handle, standing, &stream).await
    })
}

async fn run(
    handle: &Handle,
    mut standing: watch::Receiver<Standing>,
    stream: &Stream,
) -> Result<(), Gone> {
    loop {
        let now = *standing.borrow_and_update();
        let mut text = String::new();
        write_event(&mut text, "role", None::<u64>, &now.document(handle));
        stream.send(text).await?;
        if stream.idle(standing.changed(), ALIVE).await?.is_err() {
            return Ok(());
        }
    }
}

/// Tells `standing` what changes, counts the leaders, and notices when the node is ready; until
/// the server stops.
pub(super) async fn observe(
    handle: Handle,
    standing: watch::Sender<Standing>,
    readiness: Rc<Readiness>,
    metrics: Rc<Metrics>,
    mut stop: watch::Receiver<Option<Instant>>,
) {
    let (mut statuses, mut configurations) = (handle.statuses(), handle.configurations());
    let mut witnesses = handle.witnesses();
    let mut led = None;
    loop {
        statuses.borrow_and_update();
        configurations.borrow_and_update();
        witnesses.borrow_and_update();
        let now = Standing::of(&handle);
        standing.send_if_modified(|known| std::mem::replace(known, now) != now);
        let leader = now.leader.map(|leader| (now.term, leader));
        if leader.is_some() && leader != led {
            led = leader;
            metrics.leader_changed();
        }
        readiness.notice();
        tokio::select! {
            // Nobody is told of every entry that is applied, nor of the founding; a node that is
            // ready is past both.
            () = sleep(LOOK_AGAIN_AFTER), if !readiness.is_reached() => {}
            changed = statuses.changed() => if changed.is_err() { return },
            changed = configurations.changed() => if changed.is_err() { return },
            changed = witnesses.changed() => if changed.is_err() { return },
            _ = stop.wait_for(Option::is_some) => return,
        }
    }
}
