//! Finding the leader, for commands that only it carries out.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Client;
use super::endpoint::Endpoint;
use super::exit::{Exit, Failed};
use crate::consensus::NodeId;
use crate::state::{ClusterInfo, Member};

/// How often to look whether there is a new leader.
const LOOK: Duration = Duration::from_millis(5);

/// Who leads, and where it is reached.
pub(super) struct Leader {
    pub(super) node: Member,
    pub(super) term: u64,
    pub(super) endpoint: Endpoint,
}

impl Leader {
    /// Waits for a leader that is `wanted`, by its own word or by that of a node that follows it.
    pub(super) async fn find(
        client: &Client,
        deadline: Instant,
        wanted: impl Fn(&Self) -> bool,
    ) -> Result<Self, Failed> {
        loop {
            let patience = deadline.min(Instant::now() + Duration::from_secs(1));
            let seen = client.clusters(patience).await;
            if seen.iter().all(|(_, cluster)| {
                cluster
                    .as_ref()
                    .is_err_and(|failed| failed.exit == Exit::Unreachable)
            }) {
                return Err(Exit::Unreachable.because("no node can be reached"));
            }
            let known = seen
                .into_iter()
                .filter_map(|(endpoint, cluster)| Self::known(endpoint, cluster.ok()?));
            // A node that is cut off may still tell of an older leader.
            let newest = known.max_by_key(|leader| leader.term);
            match newest {
                Some(leader) if wanted(&leader) => return Ok(leader),
                _ if Instant::now() >= deadline => {
                    return Err(Exit::Failed.because("no leader is known"));
                }
                _ => sleep(LOOK).await,
            }
        }
    }

    fn known(endpoint: &Endpoint, cluster: ClusterInfo) -> Option<Self> {
        let node = cluster.leader?;
        let endpoint = if cluster.status == 1 {
            endpoint.clone()
        } else {
            endpoint.sibling(NodeId(node.id), &node.ip, node.port.parse().ok()?)
        };
        Some(Self {
            node,
            term: cluster.term,
            endpoint,
        })
    }
}
