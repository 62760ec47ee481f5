//! The cluster-info document (S6), as the engine's status and an address book make it.
//!
//! Its names and types are the contract with whoever reads it; they are older than this program.

use std::collections::BTreeMap;

use crate::consensus::{NodeId, Role, Status};

/// Where a node's API is reached.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// A host name or an IP address.
    pub ip: String,
    /// The TCP port.
    pub port: u16,
}

/// The document: one node's word on its cluster.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "full", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "full", serde(rename_all = "camelCase"))]
pub struct ClusterInfo {
    /// The leader that the node knows.
    pub leader: Option<Member>,
    /// The node's term (S4).
    pub term: u64,
    /// The votes that the leader won with; 0 without a leader.
    pub tickets: u32,
    /// What the node itself is: 1 leader, 2 follower, 3 candidate.
    pub status: u8,
    /// The node itself.
    pub current_node: Member,
    /// All living members by id, the leader among them; without a leader the node itself.
    pub alive_followers: Vec<Member>,
}

/// A node in the document.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "full", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its host; empty if the answering node has no address of it.
    pub ip: String,
    /// Its port in digits; empty if the answering node has no address of it.
    pub port: String,
}

impl ClusterInfo {
    /// The document of the node with this status. `addresses` should have every member.
    pub fn new(status: &Status, addresses: &BTreeMap<NodeId, Address>) -> Self {
        let member = |id| Member::new(id, addresses.get(&id));
        let current_node = member(status.id);
        let (tickets, alive_followers) = match status.leader {
            Some(_) => (
                status.tickets,
                status.alive.iter().copied().map(member).collect(),
            ),
            None => (0, vec![current_node.clone()]),
        };
        Self {
            leader: status.leader.map(member),
            term: status.term.0,
            tickets,
            status: match status.role {
                Role::Leader => 1,
                Role::Follower => 2,
                Role::Candidate => 3,
            },
            current_node,
            alive_followers,
        }
    }
}

impl Member {
    /// The member with this id, at this address if it is known.
    #[must_use]
    pub fn new(id: NodeId, address: Option<&Address>) -> Self {
        Self {
            id: id.0,
            ip: address.map_or_else(String::new, |address| address.ip.clone()),
            port: address.map_or_else(String::new, |address| address.port.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Index, Position, Term};

    fn status(role: Role, leader: Option<u64>) -> Status {
        Status {
            id: NodeId(1),
            role,
            term: Term(1),
            leader: leader.map(NodeId),
            tickets: 2,
            alive: vec![NodeId(1), NodeId(2)],
            established: true,
            handing_over: false,
            commit: Index(1),
            durable: Index(1),
            last: Position::START,
            base: Position::START,
            log_bytes: 0,
            leader_commit: None,
            storage_stalled: false,
        }
    }

    fn addresses() -> BTreeMap<NodeId, Address> {
        (1..=2)
            .map(|id| {
                let address = Address {
                    ip: "localhost".to_owned(),
                    port: 8000 + u16::try_from(id).unwrap(),
                };
                (NodeId(id), address)
            })
            .collect()
    }

    #[test]
    fn without_a_leader_a_node_knows_of_itself_only() {
        let info = ClusterInfo::new(&status(Role::Candidate, None), &addresses());
        assert_eq!(info.leader, None);
        assert_eq!(info.tickets, 0);
        assert_eq!(info.status, 3);
        assert_eq!(info.alive_followers, [info.current_node]);
    }

    #[test]
    fn a_member_without_an_address_is_named_all_the_same() {
        let info = ClusterInfo::new(&status(Role::Follower, Some(7)), &addresses());
        let leader = info.leader.unwrap();
        assert_eq!(
            (leader.id, leader.ip, leader.port),
            (7, String::new(), String::new())
        );
        assert_eq!(info.status, 2);
    }

    #[cfg(feature = "full")]
    #[test]
    fn the_document_is_exact_to_the_letter() {
        let text = |info: &ClusterInfo| serde_json::to_string(info).unwrap();
        let one = r#"{"id":1,"ip":"localhost","port":"8001"}"#;
        let two = r#"{"id":2,"ip":"localhost","port":"8002"}"#;

        let led = ClusterInfo::new(&status(Role::Leader, Some(1)), &addresses());
        let expected = format!(
            concat!(
                r#"{{"leader":{one},"term":1,"tickets":2,"status":1,"#,
                r#""currentNode":{one},"aliveFollowers":[{one},{two}]}}"#
            ),
            one = one,
            two = two
        );
        assert_eq!(text(&led), expected);
        assert_eq!(serde_json::from_str::<ClusterInfo>(&expected).unwrap(), led);

        let leaderless = ClusterInfo::new(&status(Role::Candidate, None), &addresses());
        let expected = format!(
            concat!(
                r#"{{"leader":null,"term":1,"tickets":0,"status":3,"#,
                r#""currentNode":{one},"aliveFollowers":[{one}]}}"#
            ),
            one = one
        );
        assert_eq!(text(&leaderless), expected);
        assert_eq!(
            serde_json::from_str::<ClusterInfo>(&expected).unwrap(),
            leaderless
        );
    }
}
