//! What clients may cost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::reply::Problem;

/// The limits of one node's HTTP surface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections open at once, on each port; more wait to be accepted.
    pub connections_max: usize,
    /// Event streams open at once; more are refused with 503.
    pub streams_max: usize,
    /// Backups on their way at once; more are refused with 503. Each has a thread, and keeps the
    /// records in memory that there were when it began.
    pub snapshots_max: usize,
    /// How many bytes of a backup a client takes each second, at least, but for a first
    /// [`Limits::body_wait`]; one that is slower on the whole is cut off. So nobody keeps for ever
    /// what a backup costs.
    pub snapshot_bytes_per_second_min: u64,
    /// Bytes of bodies held at once, received or to be sent; more wait for [`Limits::body_wait`]
    /// and are then refused with 503. Event streams and lists have as much again.
    pub buffered_bytes_max: u32,
    /// How long the rest of a begun request head may take, within a factor of two. Also how long a
    /// response may make no progress because the client does not read.
    pub head_wait: Duration,
    /// How long a connection may be unused, within one [`Limits::head_wait`].
    pub idle_wait: Duration,
    /// How long the body of a request may take.
    pub body_wait: Duration,
    /// How often a silent stream of keys says that it is alive.
    pub keep_alive: Duration,
    /// How often a silent stream of roles does: so often that whoever routes by it can take three
    /// silent seconds for the end of the node.
    pub keep_alive_roles: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            streams_max: 256,
            snapshots_max: 2,
            snapshot_bytes_per_second_min: 16 << 10,
            buffered_bytes_max: 64 << 20,
            head_wait: Duration::from_secs(15),
            idle_wait: Duration::from_mins(2),
            body_wait: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            keep_alive_roles: Duration::from_secs(1),
        }
    }
}

/// Bodies up to this size are not counted: counting costs more than they do.
const UNCOUNTED_BYTES_MAX: usize = 4 << 10;

/// A number of bytes that may be held at once.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    total: u32,
}

/// Some bytes of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(super) fn new(total: u32) -> Self {
        let free = Arc::new(Semaphore::new(total as usize));
        Self { free, total }
    }

    /// Takes `bytes`, or everything if there are not as many in all; waits until they are free.
    pub(super) async fn take(&self, bytes: usize) -> Share {
        if bytes <= UNCOUNTED_BYTES_MAX {
            return Share(None);
        }
        let wanted = u32::try_from(bytes).map_or(self.total, |bytes| bytes.min(self.total));
        // The semaphore is never closed; were it, nothing would be counted.
        Share(Arc::clone(&self.free).acquire_many_owned(wanted).await.ok())
    }

    /// Whether nothing is taken.
    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.free.available_permits() == self.total as usize
    }

    /// The same, but refuses after a while.
    pub(super) async fn take_within(&self, bytes: usize, wait: Duration) -> Result<Share, Problem> {
        if bytes <= UNCOUNTED_BYTES_MAX {
            return Ok(Share(None));
        }
        let taken = timeout(wait, self.take(bytes)).await;
        taken.map_err(|_| Problem::overloaded("too many large bodies are in flight"))
    }
}

/// Bytes that count against a budget until the last of them is written to the client.
#[derive(Debug)]
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Share {
    /// The same bytes, which now own their share.
    pub(super) fn bind(self, bytes: Bytes) -> Bytes {
        match &self.0 {
            None => bytes,
            Some(_) => Bytes::from_owner(Counted {
                bytes,
                _share: self,
            }),
        }
    }
}
