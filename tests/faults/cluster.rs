//! The five nodes together: who leads, whether all answer, and what is waited for.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::history::Record;
use crate::http::Client;
use crate::network::{self, NODES};
use crate::node::Node;

/// Only what hangs takes this long.
const HANGS: Duration = Duration::from_mins(1);

/// How many more writes show that the cluster goes on.
const PROGRESS: u64 = 10;

/// All nodes, and what clients are told by them.
pub(crate) struct Cluster<'a> {
    pub(crate) nodes: Vec<Node>,
    pub(crate) record: &'a Record,
    pub(crate) membership: Membership,
}

/// How often members came and went.
#[derive(Default)]
pub(crate) struct Membership {
    /// Disks that were exchanged for empty ones, whose nodes vote again.
    pub(crate) exchanged: u64,
    /// Voters that the others let go.
    pub(crate) let_go: u64,
    /// Those of them that vote again, as the same process.
    pub(crate) came_back: u64,
}

impl<'a> Cluster<'a> {
    /// Has all nodes found a cluster, and starts them again as nodes that join one.
    pub(crate) fn start(directory: &Path, record: &'a Record) -> Self {
        let nodes = NODES.map(|id| Node::new(id, directory)).collect();
        let mut cluster = Self {
            nodes,
            record,
            membership: Membership::default(),
        };
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster.all_answer();
        for node in &mut cluster.nodes {
            node.kill();
            node.joins = true;
            node.start();
        }
        cluster.all_answer();
        cluster
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        let mut nodes = self.nodes.iter_mut();
        nodes.find(|node| node.id == id).expect("a node")
    }

    /// Waits until something is there.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let until = Instant::now() + HANGS;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let ended = self.nodes.iter_mut().find_map(Node::ended);
            if let Some(wrong) = ended.or_else(|| self.record.objection()) {
                panic!("{wrong}");
            }
            assert!(
                Instant::now() < until,
                "{HANGS:?} were not enough for this: {what}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until more writes have been acknowledged.
    pub(crate) fn progress(&mut self, when: &str) {
        let before = self.record.acknowledged();
        self.wait(&format!("writes are acknowledged {when}"), |cluster| {
            (cluster.record.acknowledged() >= before + PROGRESS).then_some(())
        });
    }

    /// The node that leads, by its own word, and the followers.
    pub(crate) fn leader(&mut self) -> (u64, Vec<u64>) {
        let leader = self.wait("a node leads", |cluster| {
            let told = cluster.nodes.iter().filter_map(|node| {
                let answer = Client::new(node.api()).get("/v1/leader")?;
                let document: Json = serde_json::from_slice(&answer.body).ok()?;
                let leads = document["self"] == true;
                leads.then(|| Some((document["token"].as_u64()?, node.id)))?
            });
            told.max()
        });
        let leader = leader.1;
        (leader, NODES.filter(|id| *id != leader).collect())
    }

    /// Waits until each node has answered a linearizable read: all of them are back.
    pub(crate) fn all_answer(&mut self) {
        for id in NODES {
            self.wait(&format!("node {id} answers a read"), |cluster| {
                let mut client = Client::new(cluster.node(id).api());
                let answer = client.get("/v1/kv/none")?;
                (answer.status == 404).then_some(())
            });
        }
    }

    /// Waits until each node says that all of them vote, each on one disk.
    pub(crate) fn all_vote(&mut self) {
        let all: Vec<u64> = NODES.collect();
        for id in NODES {
            let voters = |cluster: &mut Self| members(&cluster.node(id).api());
            self.wait(&format!("node {id} sees all of them vote"), |cluster| {
                (voters(cluster)? == (all.clone(), 0)).then_some(())
            });
        }
    }

    /// Waits until those who are there have let these go.
    pub(crate) fn lets_go(&mut self, gone: &[u64]) {
        let stay: Vec<u64> = NODES.filter(|id| !gone.contains(id)).collect();
        let asked = stay[0];
        self.wait(&format!("{gone:?} are let go"), |cluster| {
            (members(&cluster.node(asked).api())? == (stay.clone(), 0)).then_some(())
        });
        self.membership.let_go += gone.len() as u64;
    }

    /// Asks the leader to hand over; false if it did not.
    pub(crate) fn transfer(&mut self, to: Option<u64>) -> bool {
        let (leader, _) = self.leader();
        let mut command = network::command(leader, env!("CARGO_BIN_EXE_remember"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["transfer", "--endpoint", "127.0.0.1:7401"]);
        command.args(to.map(|to| format!("--to={to}")));
        let output = command.output().expect("the program was built");
        output.status.success()
    }

    /// Waits until all nodes have one state, and returns it.
    pub(crate) fn state(&mut self) -> String {
        let mut last = Vec::new();
        let until = Instant::now() + HANGS;
        while Instant::now() < until {
            let states = self.nodes.iter().map(|node| {
                let answer = Client::new(node.admin()).get("/statez");
                answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned())
            });
            last = states.collect();
            if let [Some(first), rest @ ..] = last.as_slice()
                && rest.iter().all(|state| state.as_ref() == Some(first))
            {
                return first.clone();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the nodes are at rest and do not have one state: {last:#?}");
    }
}

/// Who votes by the word of a node, and how many others there are.
fn members(api: &SocketAddr) -> Option<(Vec<u64>, usize)> {
    let answer = Client::new(*api).get("/v1/members")?;
    let document: Json = serde_json::from_slice(&answer.body).ok()?;
    let members = document["members"].as_array()?;
    let voters = members.iter().filter(|member| member["role"] == "voter");
    let voters: Vec<_> = voters.filter_map(|member| member["id"].as_u64()).collect();
    let others = members.len() - voters.len();
    Some((voters, others))
}
