//! Who the peers are, and where each is reached: a list that was given, or pods that are watched.
//!
//! Nothing here says who may vote. An address is a hint where to dial; who answers there is settled
//! by the handshake. So discovery can be late, wrong or silent, and costs time only (R10).

mod members;
mod pods;

pub use members::{Members, parse_address};
pub use pods::{PodNews, PodsError, node_of_pod, pod_address, pod_client, watch_pods};
