//! What must hold at the end, when everything has healed and nobody writes any more.

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value as Json;

use crate::clients::{Leaders, value_of};
use crate::cluster::Cluster;
use crate::history::Record;
use crate::http::Client;
use crate::network::NODES;
use crate::node::{self, Node};

/// Every unique key that was acknowledged is there; each node is asked for its share of them.
pub(crate) fn unique_keys_are_there(record: &Record) -> usize {
    let unique = record.unique.lock().unwrap();
    let nodes: Vec<u64> = NODES.collect();
    thread::scope(|scope| {
        for (share, node) in nodes.iter().enumerate() {
            let keys = unique.iter().skip(share).step_by(nodes.len());
            scope.spawn(move || {
                let mut client = Client::new(node::api(*node));
                for (key, value) in keys {
                    let path = format!("/v1/kv/{key}");
                    let answer = client.get(&path).expect("a healthy node answers");
                    assert_eq!(answer.status, 200, "{key} was acknowledged, and is gone");
                    assert_eq!(value_of(&answer), *value, "{key} holds another value");
                }
            });
        }
    });
    unique.len()
}

/// By the nodes' own logs: at most one leader a term, and no term that goes back. A start may go
/// back to what is on the disk: behind a term that was only heard of, before that was durable, as
/// where the disk was full; never behind one that the node has led on that disk. Returns the number
/// of terms that had a leader.
pub(crate) fn terms_are_sound(nodes: &[Node], seen: &Leaders) -> usize {
    let mut leaders: BTreeMap<u64, u64> = seen.lock().unwrap().clone();
    for node in nodes {
        let (mut newest, mut led) = (0, 0);
        for line in node.log().lines() {
            assert!(!line.contains("panicked"), "node {}: {line}", node.id);
            // A process that was killed may have left half a line.
            let Ok(line) = serde_json::from_str::<Json>(line) else {
                continue;
            };
            let fields = &line["fields"];
            if fields["message"] == "recovered" {
                newest = led;
            }
            if fields["message"] == node::EXCHANGED {
                (newest, led) = (0, 0);
            }
            if fields["message"] != "role" {
                continue;
            }
            let term = fields["term"].as_u64().expect("a term");
            let id = node.id;
            assert!(
                term >= newest,
                "node {id} went back from term {newest} to {term}"
            );
            newest = term;
            if fields["role"] == "Leader" {
                led = term;
                let first = *leaders.entry(term).or_insert(id);
                assert_eq!(first, id, "nodes {first} and {id} both led term {term}");
            }
        }
        assert!(newest > 0, "node {} never told its role", node.id);
    }
    leaders.len()
}

/// All nodes have one state.
pub(crate) fn states_are_equal(cluster: &mut Cluster<'_>) -> String {
    cluster.state()
}
