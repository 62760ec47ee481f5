//! What the endpoints of the API port share.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::events::Streams;
use super::limits::Budget;
use super::metrics::Metrics;
use super::snapshot::Pace;
use super::standing::Standing;
use crate::node::Handle;

/// Everything that the endpoints share.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) handle: Handle,
    pub(super) metrics: Rc<Metrics>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) streams: Streams,
    pub(super) budget: Budget,
    /// Backups that may still be begun.
    pub(super) snapshots: Arc<Semaphore>,
    pub(super) snapshot_pace: Pace,
    pub(super) body_wait: Duration,
}
