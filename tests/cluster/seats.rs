//! What is told of the members of a [`Hello`]: their seats, their disks, and what holds those.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::{APPS, CORE, EVENTS, path};
use crate::cluster::{output_of, say, wait_for};
use crate::hello::Hello;
use crate::processes;
use crate::writer::Writer;

/// The members of a cluster by the word of its nodes: what each counts in, by id and disk.
pub(crate) type Members = BTreeMap<(u64, String), String>;

impl Hello<'_> {
    /// Asks for so many pods, and waits until each of them has a vote, no other is there, and
    /// writes go on.
    pub(crate) fn scale_to(&self, replicas: usize, writer: &Writer) {
        say!("  to {replicas}");
        self.scale(replicas);
        writer.goes_on();
        self.await_seats();
        self.settle();
        self.demand_seats();
        writer.goes_on();
    }

    /// Waits until as many pods have votes as are wanted, and nothing is left to be done.
    pub(crate) fn await_seats(&self) {
        wait_for("the members to be as many as are wanted", || {
            let is_done = self.condition("Reconciling").0 == "False";
            (is_done && self.all_vote()).then_some(())
        });
    }

    /// Demands that all that Kubernetes has of it is as many as are wanted.
    pub(crate) fn demand_seats(&self) {
        let replicas = self.replicas();
        let status = &self.seen()["status"];
        assert_eq!(status["replicas"], replicas, "{status}");
        assert_eq!(status["voters"], replicas, "{status}");
        assert_eq!(self.set()["spec"]["replicas"], replicas);
        let roles = self.pods().into_iter().map(|pod| {
            let role = &pod["metadata"]["labels"]["remember.krest.io/role"];
            role.as_str().unwrap_or_default().to_owned()
        });
        let roles: Vec<_> = roles.collect();
        let leaders = roles.iter().filter(|role| *role == "leader").count();
        assert_eq!((roles.len(), leaders), (replicas, 1), "{roles:?}");
    }

    /// Its StatefulSet.
    pub(crate) fn set(&self) -> Value {
        self.ask(APPS, &format!("statefulsets/{}", self.name))
    }

    /// Whether all of its pods have votes, and nobody else is named.
    pub(crate) fn all_vote(&self) -> bool {
        let voter = |ordinal| (format!("{}-{ordinal}", self.name), "voter".to_owned());
        self.told("seat") == (0..self.replicas()).map(voter).collect()
    }

    /// The disk of each pod's node.
    pub(crate) fn disks(&self) -> BTreeMap<String, String> {
        self.told("incarnation")
    }

    /// Waits until the node of a pod votes on another disk than before, and so do all others.
    pub(crate) fn await_other_disk(&self, pod: &str, before: &BTreeMap<String, String>) {
        wait_for("its node to vote on another disk", || {
            let now = self.disks();
            let is_other = now.contains_key(pod) && now.get(pod) != before.get(pod);
            (is_other && self.all_vote()).then_some(())
        });
    }

    fn told(&self, field: &str) -> BTreeMap<String, String> {
        let seen = self.seen();
        let members = seen["status"]["members"].as_array();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = members.into_iter().flatten();
        told.map(|one| (text(&one["pod"]), text(&one[field])))
            .collect()
    }

    /// Its members by the word of the first of its nodes that knows a leader, without any operator;
    /// `None` if none is heard.
    pub(crate) fn members_told(&self) -> Option<Members> {
        let nodes = processes::nodes(self.cluster, &self.namespace).into_iter();
        let mut nodes = nodes.filter(|node| node.pod.starts_with(&self.name));
        nodes.find_map(|node| {
            let curl = ["curl", "-sfm1", "http://127.0.0.1:7401/v1/members"];
            let output = output_of(node.enter().args(curl));
            let told: Value = serde_json::from_slice(&output.stdout).ok()?;
            let members = told["members"].as_array()?;
            members.iter().find(|one| one["leader"] == true)?;
            let member = |one: &Value| {
                let text = |field: &str| Some(one[field].as_str()?.to_owned());
                Some(((one["id"].as_u64()?, text("incarnation")?), text("role")?))
            };
            members.iter().map(member).collect()
        })
    }

    /// The uid of each pod.
    pub(crate) fn uids(&self) -> BTreeMap<String, String> {
        let pods = self.pods().into_iter();
        let uid = |pod: Value| {
            let text = |field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
            (text("name"), text("uid"))
        };
        pods.map(uid).collect()
    }

    /// The claims of its volumes.
    pub(crate) fn claims(&self) -> BTreeSet<String> {
        let claims = self.own(CORE, "persistentvolumeclaims").into_iter();
        let name = |claim: Value| claim["metadata"]["name"].as_str().unwrap().to_owned();
        claims.map(name).collect()
    }

    /// The name of the cluster, as its record says.
    pub(crate) fn cluster_id(&self) -> String {
        let record = self.ask(CORE, &format!("configmaps/{}-record", self.name));
        let founding = record["data"]["founding"].as_str().unwrap_or_default();
        let founding: Value = serde_json::from_str(founding).unwrap_or_default();
        founding["cluster"].as_str().unwrap_or_default().to_owned()
    }

    /// The reasons of all Events in its namespace.
    pub(crate) fn event_reasons(&self) -> BTreeSet<String> {
        let events = path(EVENTS, &self.namespace, "events");
        let events = self.cluster.list(&events, None);
        let reason = |event: &Value| event["reason"].as_str().map(str::to_owned);
        events.iter().filter_map(reason).collect()
    }
}
