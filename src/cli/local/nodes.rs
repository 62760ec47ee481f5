//! The nodes of `remember local`, of which there may be more or fewer while it runs.
//!
//! What is to be done follows from who belongs to the cluster, looked at again after every step, so
//! that it does not matter what became of the step before: a node that is missing is started and
//! joins (S7), a learner is given a vote, who is too many gives its vote up and ends. All of it is
//! asked of the leader, as anybody would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::child::{Child, Stop};
use super::{Event, Local, NODES_MAX, News, certificates, follow};
use crate::cli::certs;
use crate::cli::client::Client;
use crate::cli::endpoint::Endpoint;
use crate::cli::exit::say;
use crate::cli::home::Home;
use crate::cli::members::{Document, Member, Wish, change, members};
use crate::cli::node_process::NodeProcess;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait after a step, and after all is as wanted.
const STEP: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(1);
/// How many steps may fail before it is said why.
const FAILURES_QUIET: u32 = 10;

/// All nodes that run, or are started again when they end.
pub(super) struct Nodes<'a> {
    local: &'a Local,
    home: &'a Home,
    news: mpsc::Sender<News>,
    follows_commit: bool,
    /// How many nodes may be at the founding.
    founders: u8,
    running: BTreeMap<u8, Running>,
}

/// One of them.
struct Running {
    stop: watch::Sender<Stop>,
    child: JoinSet<()>,
    _followers: JoinSet<()>,
}

impl<'a> Nodes<'a> {
    /// None yet.
    pub(super) fn new(
        local: &'a Local,
        home: &'a Home,
        news: mpsc::Sender<News>,
        follows_commit: bool,
    ) -> Self {
        Self {
            local,
            home,
            news,
            follows_commit,
            founders: local.nodes.max(kept(home)),
            running: BTreeMap::new(),
        }
    }

    /// Starts the first ones: those that the directory has data of, and, until there is a cluster,
    /// as many as are to found one.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let is_founded = founded(self.home).exists();
        for node in 1..=self.founders {
            if !is_founded || data_dir(self.home, node).exists() {
                self.start_one(node)?;
            }
        }
        Ok(())
    }

    fn start_one(&mut self, node: u8) -> anyhow::Result<()> {
        self.local.demand_free_ports(node)?;
        if self.local.tls {
            certs::provide(&certificates(self.home), &"local".parse()?, node)?;
        }
        let [api, _, admin] = self.local.ports(node);
        // Whoever joins may know nodes that are not there.
        let known = if founded(self.home).exists() {
            NODES_MAX
        } else {
            self.founders
        };
        let secured = self.local.secured_port(node);
        let listen_api = format!("127.0.0.1:{api},https://127.0.0.1:{secured}");
        let process = NodeProcess {
            node,
            members: self.local.members(known),
            joins_if: Some(founded(self.home)),
            admin: format!("127.0.0.1:{admin}"),
            data_dir: data_dir(self.home, node),
            log: self.home.path().join(format!("node-{node}.log")),
            tls: (self.local.tls).then(|| (listen_api, certificates(self.home))),
        };
        let child = Child {
            process,
            restarts: !self.local.no_restart,
        };
        let (stop, stopping) = watch::channel(Stop::No);
        let (mut children, mut followers) = (JoinSet::new(), JoinSet::new());
        children.spawn(child.keep_running(self.news.clone(), stopping));
        let endpoint = |port| Endpoint::new("127.0.0.1", port);
        followers.spawn(follow::standing(node, endpoint(api), self.news.clone()));
        if self.follows_commit {
            followers.spawn(follow::commit(node, endpoint(admin), self.news.clone()));
        }
        let running = Running {
            stop,
            child: children,
            _followers: followers,
        };
        self.running.insert(node, running);
        Ok(())
    }

    /// Has as many nodes as are wanted, for ever.
    pub(super) async fn follow(&mut self, mut wanted: watch::Receiver<u8>) {
        let mut failed = (String::new(), 0);
        loop {
            let size = *wanted.borrow_and_update();
            let wait = match self.step(size).await {
                Ok(true) => REST,
                Ok(false) => STEP,
                Err(error) => {
                    let why = format!("{error:#}");
                    let times = if failed.0 == why { failed.1 + 1 } else { 1 };
                    if times == FAILURES_QUIET {
                        say(&format!("there are not {size} nodes yet: {why}"));
                    }
                    failed = (why, times);
                    STEP
                }
            };
            // Nobody types any more once stdin has ended.
            if !matches!(timeout(wait, wanted.changed()).await, Ok(Ok(()))) {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Does what is next, and says whether there is nothing left to do.
    async fn step(&mut self, size: u8) -> anyhow::Result<bool> {
        let client = self.client();
        let seen = members(&client, client.deadline()).await?;
        if seen.since.is_none() {
            return Ok(false);
        }
        if !founded(self.home).exists() {
            std::fs::write(founded(self.home), "")?;
        }
        for node in 1..=size {
            // One that was to go, and is wanted again by now, may have ended for good.
            if self.is_to_end(node) {
                self.end(node).await;
            }
            if !self.running.contains_key(&node) {
                self.start_one(node)?;
            }
        }
        let wish = wish(&seen, size);
        if !wish.is_empty() {
            self.expect_to_end(&wish.remove);
            change(&client, &wish).await?;
            return Ok(false);
        }
        let is_surplus = |node: &u8| *node > size && !seen.names(u64::from(*node));
        let surplus: Vec<_> = self.running.keys().copied().filter(is_surplus).collect();
        for node in surplus.into_iter().rev() {
            self.end(node).await;
            let (at, what) = (Instant::now(), Event::Left);
            drop(self.news.send(News { node, at, what }).await);
        }
        Ok((1..=size).all(|node| seen.names(u64::from(node))))
    }

    fn is_to_end(&self, node: u8) -> bool {
        let running = self.running.get(&node);
        running.is_some_and(|running| *running.stop.borrow() == Stop::ByItself)
    }

    fn client(&self) -> Client {
        let nodes = self.running.keys();
        let endpoints = nodes.map(|node| Endpoint::new("127.0.0.1", self.local.ports(*node)[0]));
        Client::of(endpoints.collect(), PATIENCE)
    }

    /// These end by themselves once they are told that the others go on without them; all others
    /// are started again.
    fn expect_to_end(&self, leaving: &[u64]) {
        for (node, running) in &self.running {
            let stop = if leaving.contains(&u64::from(*node)) {
                Stop::ByItself
            } else {
                Stop::No
            };
            running.stop.send_replace(stop);
        }
    }

    /// Ends a node. Its data stays, so that it can come back with them.
    async fn end(&mut self, node: u8) {
        if let Some(mut running) = self.running.remove(&node) {
            running.stop.send_replace(Stop::InOrder);
            while running.child.join_next().await.is_some() {}
        }
    }

    /// Ends all of them; they have ended when this returns.
    pub(super) async fn end_all(&mut self) {
        for running in self.running.values() {
            running.stop.send_replace(Stop::InOrder);
        }
        for running in self.running.values_mut() {
            while running.child.join_next().await.is_some() {}
        }
    }

    /// How each of them is told to end at once.
    pub(super) fn stops(&self) -> Vec<watch::Sender<Stop>> {
        let running = self.running.values();
        running.map(|running| running.stop.clone()).collect()
    }
}

/// What to ask for, so that there are so many voters and nobody else, in one step: once all who are
/// missing have registered, so that none of them votes before the others.
fn wish(seen: &Document, size: u8) -> Wish {
    let last = u64::from(size);
    if !(1..=last).all(|node| seen.names(node)) {
        return Wish::default();
    }
    let ids = |wanted: &dyn Fn(&Member) -> bool| {
        let ids = seen.members.iter().filter(|it| wanted(it)).map(|it| it.id);
        let ids: BTreeSet<_> = ids.collect();
        ids.into_iter().collect()
    };
    let learns = |member: &Member| member.role.as_deref() == Some("learner");
    Wish {
        promote: ids(&|member| learns(member) && member.id <= last),
        remove: ids(&|member| member.id > last),
    }
}

fn data_dir(home: &Home, node: u8) -> PathBuf {
    home.path().join(format!("node-{node}"))
}

/// The file that says that the directory holds a cluster.
fn founded(home: &Home) -> PathBuf {
    home.path().join("founded")
}

/// The last node that the directory has data of.
fn kept(home: &Home) -> u8 {
    let mut nodes = (1..=NODES_MAX).rev();
    nodes
        .find(|node| data_dir(home, *node).exists())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(members: &[(u64, &str)]) -> Document {
        let members = members.iter().map(|(id, role)| {
            serde_json::json!({
                "id": id, "ip": "", "port": "", "leader": false, "role": role,
            })
        });
        let members: Vec<_> = members.collect();
        serde_json::from_value(serde_json::json!({"since": 1, "members": members})).unwrap()
    }

    fn asked(members: &[(u64, &str)], size: u8) -> (Vec<u64>, Vec<u64>) {
        let Wish { promote, remove } = wish(&seen(members), size);
        (promote, remove)
    }

    #[test]
    fn all_who_are_missing_vote_at_once_and_all_others_go() {
        let (v, l) = ("voter", "learner");
        let three = [(1, v), (2, v), (3, v)];
        assert_eq!(asked(&three, 3), (vec![], vec![]));
        assert_eq!(
            asked(&three, 5),
            (vec![], vec![]),
            "they have not registered"
        );
        let one_came = [(1, v), (2, v), (3, v), (5, l)];
        assert_eq!(asked(&one_came, 5), (vec![], vec![]));
        let both_came = [(1, v), (2, v), (3, v), (4, l), (5, l)];
        assert_eq!(asked(&both_came, 5), (vec![4, 5], vec![]));
        assert_eq!(
            asked(&both_came, 3),
            (vec![], vec![4, 5]),
            "changed its mind"
        );
        let five = [(1, v), (2, v), (3, v), (4, v), (5, v)];
        assert_eq!(asked(&five, 1), (vec![], vec![2, 3, 4, 5]));
        let gap = [(1, v), (3, v), (4, v), (5, v)];
        assert_eq!(asked(&gap, 3), (vec![], vec![]), "2 comes first");
    }

    #[test]
    fn a_lost_disk_is_replaced() {
        let (v, l) = ("voter", "learner");
        let lost = [(1, v), (2, v), (2, l), (3, v), (4, v)];
        assert_eq!(asked(&lost, 3), (vec![2], vec![4]));
    }
}
