//! Those who use the cluster while it is harmed: they write, read, compare and delete a few keys on
//! all nodes, write keys that nobody else writes, and watch who says that it leads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;

use crate::history::{Record, Told};
use crate::http::{Answer, Ask, Client, Silence};
use crate::linearizability::{Answered, Asked, Operation, Value};
use crate::network::NODES;
use crate::node;
use crate::rng::Rng;

/// Keys that are fought over at any time.
const KEYS: u64 = 4;

/// Spaces behind a value at most, so that logs grow.
const PADDING_MAX: u64 = 300;

/// What a client waits after each request, in milliseconds: it leaves the machine time for others.
const PAUSE_MS: (u64, u64) = (1, 12);

/// One client with a connection to each node.
pub(crate) struct User<'a> {
    number: u64,
    record: &'a Record,
    rng: Rng,
    nodes: BTreeMap<u64, Client>,
}

impl<'a> User<'a> {
    pub(crate) fn new(number: u64, record: &'a Record, rng: Rng) -> Self {
        let nodes = NODES.map(|id| (id, Client::new(node::api(id))));
        Self {
            number,
            record,
            rng,
            nodes: nodes.collect(),
        }
    }

    /// Fights over a few keys until all is over.
    pub(crate) fn compete(mut self) {
        while self.pause() {
            let slot = self.rng.below(KEYS);
            let generation = self.record.generation.load(Ordering::Relaxed);
            // Not all keys change at once.
            let key = format!("k{slot}-{}", (generation + slot) / KEYS);
            match self.rng.below(10) {
                0..=3 => drop(self.read(&key)),
                4..=6 => {
                    let value = self.record.value();
                    self.write(&key, Asked::Put(value), "");
                }
                7 => self.write(&key, Asked::Delete, ""),
                _ => self.compare(&key),
            }
        }
    }

    /// Writes keys that nobody else writes.
    pub(crate) fn collect(mut self) {
        while self.pause() {
            let value = self.record.value();
            let key = format!("u{value}");
            let body = self.body(value);
            let answer = self.ask("PUT", &key, "", &body);
            if answer.is_ok_and(|answer| answer.status == 201) {
                self.record.acknowledge();
                self.record.unique.lock().unwrap().push((key, value));
            }
        }
    }

    /// Reads a key of some node, for the history.
    pub(crate) fn read(&mut self, key: &str) -> Option<(Option<Value>, Option<u64>)> {
        let call = self.record.now();
        let (node, answer) = self.ask_some("GET", key, "", &[]);
        let answer = answer.ok()?;
        let held = match answer.status {
            200 => Some(value_of(&answer)),
            404 => None,
            503 => return None,
            status => {
                self.object(node, "a read", status);
                return None;
            }
        };
        let operation = Operation {
            client: self.number,
            asked: Asked::Get,
            answered: Answered::Held(held),
            call,
            returned: self.record.now(),
        };
        self.record.push(Told {
            key: key.to_owned(),
            node,
            operation,
            revision: answer.revision,
        });
        Some((held, answer.revision))
    }

    /// Reads, and writes or deletes only if nothing happened in between.
    fn compare(&mut self, key: &str) {
        let Some((expected, revision)) = self.read(key) else {
            return;
        };
        let then = (!self.rng.chance(250) || expected.is_none()).then(|| self.record.value());
        let condition = match revision {
            Some(revision) => format!("If-Match: \"{revision}\""),
            None => "If-None-Match: *".to_owned(),
        };
        let asked = Asked::CompareAndSet { expected, then };
        self.write(key, asked, &condition);
    }

    fn write(&mut self, key: &str, asked: Asked, condition: &str) {
        let (method, body) = match asked {
            Asked::Put(value)
            | Asked::CompareAndSet {
                then: Some(value), ..
            } => ("PUT", self.body(value)),
            _ => ("DELETE", Vec::new()),
        };
        let call = self.record.now();
        let (node, answer) = self.ask_some(method, key, condition, &body);
        let status = answer.as_ref().map(|answer| answer.status);
        let answered = match (status, method) {
            (Err(Silence::NotAsked) | Ok(503), _) => Answered::Never,
            (Err(Silence::Unknown) | Ok(504), _) => Answered::Unknown,
            (Ok(201), "PUT") => Answered::Done { existed: false },
            (Ok(204), _) => Answered::Done { existed: true },
            (Ok(404), "DELETE") | (Ok(412), _) => Answered::NotDone,
            (Ok(status), _) => {
                self.object(node, method, status);
                Answered::Unknown
            }
        };
        if matches!(answered, Answered::Done { .. }) {
            self.record.acknowledge();
        }
        let operation = Operation {
            client: self.number,
            asked,
            answered,
            call,
            returned: self.record.now(),
        };
        self.record.push(Told {
            key: key.to_owned(),
            node,
            operation,
            revision: answer.ok().and_then(|answer| answer.revision),
        });
    }

    fn body(&mut self, value: Value) -> Vec<u8> {
        let padding = usize::try_from(self.rng.below(PADDING_MAX)).unwrap();
        format!("{value}{:padding$}", "").into_bytes()
    }

    fn ask(
        &mut self,
        method: &str,
        key: &str,
        header: &str,
        body: &[u8],
    ) -> Result<Answer, Silence> {
        self.ask_some(method, key, header, body).1
    }

    /// Asks any node.
    fn ask_some(
        &mut self,
        method: &str,
        key: &str,
        header: &str,
        body: &[u8],
    ) -> (u64, Result<Answer, Silence>) {
        let node = self.rng.between(*NODES.start(), *NODES.end());
        let ask = Ask {
            method,
            path: &format!("/v1/kv/{key}"),
            header,
            body,
        };
        let client = self.nodes.get_mut(&node).unwrap();
        (node, client.ask(ask))
    }

    fn object(&self, node: u64, what: &str, status: u16) {
        let sentence = format!("node {node} answered {status} to {what}");
        self.record.object(sentence);
    }

    /// Waits a moment; false once all is over.
    fn pause(&mut self) -> bool {
        thread::sleep(self.rng.millis(PAUSE_MS.0, PAUSE_MS.1));
        !self.record.is_over.load(Ordering::Relaxed)
    }
}

/// The value in an answer: the number before the spaces.
pub(crate) fn value_of(answer: &Answer) -> Value {
    let text = std::str::from_utf8(&answer.body).expect("values are numbers");
    text.trim_end().parse().expect("values are numbers")
}

/// Who was seen to lead in which term, by anybody.
pub(crate) type Leaders = Mutex<BTreeMap<u64, u64>>;

/// Watches what one node says of its term and its leadership. Where its connection ends it may have
/// been started anew, and a start may go back to what is on the disk: behind a term that was only
/// heard of, as where the disk was full, but never behind one that the node has led.
pub(crate) fn watch(node: u64, record: &Record, leaders: &Leaders) {
    let mut client = Client::new(node::api(node));
    let (mut newest, mut led, mut disks) = (0, 0, 0);
    while !record.is_over.load(Ordering::Relaxed) {
        // Counted after the process with the old disk is gone, and before the next one is there.
        let exchanged = record.disks.load(Ordering::SeqCst);
        if exchanged > disks {
            (newest, led, disks) = (0, 0, exchanged);
        }
        let answer = client.get("/v1/leader");
        if answer.is_none() {
            newest = led;
        }
        if let Some(answer) = answer {
            let document: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
            let term = document["term"].as_u64().unwrap_or_default();
            if term < newest {
                record.object(format!(
                    "node {node} went back from term {newest} to {term}"
                ));
            }
            newest = newest.max(term);
            if document["self"] == true {
                led = led.max(term);
                let mut leaders = leaders.lock().unwrap();
                let first = *leaders.entry(term).or_insert(node);
                if first != node {
                    record.object(format!("nodes {first} and {node} both lead term {term}"));
                }
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}
