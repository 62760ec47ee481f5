//! What is measured: this program, or etcd beside it. The same requests in the words of each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::http::request;

/// A replicated key-value store with an HTTP interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum System {
    Remember,
    Etcd,
}

/// One node's word on its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    /// The leader that it knows, by the system's own numbers.
    pub(super) leader: Option<u64>,
    /// The node itself.
    pub(super) node: u64,
    pub(super) term: u64,
    /// How many members the leader hears, where that is told.
    pub(super) alive: Option<usize>,
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Remember => "remember",
            Self::Etcd => "etcd",
        }
    }

    pub(super) fn put(self, key: &str, value: &[u8]) -> Vec<u8> {
        match self {
            Self::Remember => request("PUT", &format!("/v1/kv/{key}"), None, value),
            Self::Etcd => {
                let (key, value) = (BASE64.encode(key), BASE64.encode(value));
                let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
                request("POST", "/v3/kv/put", JSON, body.as_bytes())
            }
        }
    }

    /// A linearizable read.
    pub(super) fn get(self, key: &str) -> Vec<u8> {
        match self {
            Self::Remember => request("GET", &format!("/v1/kv/{key}"), None, b""),
            Self::Etcd => {
                let body = format!("{{\"key\":\"{}\"}}", BASE64.encode(key));
                request("POST", "/v3/kv/range", JSON, body.as_bytes())
            }
        }
    }

    /// Asks a node what it knows of its cluster.
    pub(super) fn ask_view(self) -> Vec<u8> {
        match self {
            Self::Remember => request("GET", "/v1/cluster", None, b""),
            Self::Etcd => request("POST", "/v3/maintenance/status", JSON, b"{}"),
        }
    }

    pub(super) fn view(self, answer: &[u8]) -> serde_json::Result<View> {
        match self {
            Self::Remember => {
                let info: crate::state::ClusterInfo = serde_json::from_slice(answer)?;
                Ok(View {
                    leader: info.leader.map(|leader| leader.id),
                    node: info.current_node.id,
                    term: info.term,
                    alive: Some(info.alive_followers.len()),
                })
            }
            Self::Etcd => {
                let status: EtcdStatus = serde_json::from_slice(answer)?;
                let number = |text: &str| text.parse().unwrap_or_default();
                Ok(View {
                    leader: Some(number(&status.leader)).filter(|leader| *leader != 0),
                    node: number(&status.header.member_id),
                    term: number(&status.header.raft_term),
                    alive: None,
                })
            }
        }
    }

    /// Asks for these members to be given a vote: ids here, numbers of its own in etcd.
    pub(super) fn promote(self, members: &[u64]) -> Vec<u8> {
        self.change("promote", members)
    }

    /// Asks for these members to be let go.
    pub(super) fn remove(self, members: &[u64]) -> Vec<u8> {
        self.change("remove", members)
    }

    fn change(self, what: &str, members: &[u64]) -> Vec<u8> {
        match self {
            Self::Remember => {
                let body = format!("{{\"{what}\":{members:?}}}");
                request("POST", "/v1/members", JSON, body.as_bytes())
            }
            Self::Etcd => {
                let body = format!("{{\"ID\":\"{}\"}}", members.first().unwrap_or(&0));
                let path = format!("/v3/cluster/member/{what}");
                request("POST", &path, JSON, body.as_bytes())
            }
        }
    }

    /// Tells etcd of a learner before that is started.
    pub(super) fn add_to_etcd(peer_port: u16) -> Vec<u8> {
        let urls = format!("[\"http://127.0.0.1:{peer_port}\"]");
        let body = format!("{{\"peerURLs\":{urls},\"isLearner\":true}}");
        request("POST", "/v3/cluster/member/add", JSON, body.as_bytes())
    }

    /// The number that etcd has given to a member that was added.
    pub(super) fn added_to_etcd(answer: &[u8]) -> serde_json::Result<u64> {
        let added: EtcdAdded = serde_json::from_slice(answer)?;
        Ok(added.member.id.parse().unwrap_or_default())
    }

    /// Asks for room for more than a new store has; etcd has 2 GiB.
    pub(super) fn make_room(self, bytes: u64) -> Option<Vec<u8>> {
        let body = format!("{{\"bytes\":{bytes}}}");
        let ours = self == Self::Remember;
        ours.then(|| request("PUT", "/v1/quota", JSON, body.as_bytes()))
    }

    /// Asks the leader to hand over to `to`.
    pub(super) fn hand_over(self, to: u64) -> Vec<u8> {
        match self {
            Self::Remember => {
                let body = format!("{{\"to\":{to}}}");
                request("POST", "/v1/leader/transfer", JSON, body.as_bytes())
            }
            Self::Etcd => {
                let path = "/v3/maintenance/transfer-leadership";
                let body = format!("{{\"targetID\":\"{to}\"}}");
                request("POST", path, JSON, body.as_bytes())
            }
        }
    }
}

const JSON: Option<&str> = Some("application/json");

/// The parts of etcd's status that matter here; protobuf's JSON writes long numbers as texts, and
/// leaves zeroes out.
#[derive(Deserialize)]
struct EtcdStatus {
    header: EtcdHeader,
    #[serde(default)]
    leader: String,
}

#[derive(Deserialize)]
struct EtcdAdded {
    member: EtcdMember,
}

#[derive(Deserialize)]
struct EtcdMember {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct EtcdHeader {
    #[serde(default)]
    member_id: String,
    #[serde(default)]
    raft_term: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tells_its_leader() {
        let ours = br#"{"leader":{"id":2,"ip":"a","port":"1"},"term":7,"tickets":2,"status":2,
            "currentNode":{"id":1,"ip":"a","port":"1"},"aliveFollowers":[]}"#;
        let view = System::Remember.view(ours).unwrap();
        assert_eq!((view.leader, view.node, view.term), (Some(2), 1, 7));
        let etcd = br#"{"header":{"member_id":"12","raft_term":"3"},"leader":"12"}"#;
        let view = System::Etcd.view(etcd).unwrap();
        assert_eq!((view.leader, view.node, view.term), (Some(12), 12, 3));
        let alone = br#"{"header":{"member_id":"12","raft_term":"3"}}"#;
        assert_eq!(System::Etcd.view(alone).unwrap().leader, None);
    }
}
