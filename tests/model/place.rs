//! One machine: the very node, and the platter that it starts from again.
//!
//! What a node asks to be written lies in `waiting` until the platter has it; a crash forgets that.
//! Time stands still here but for its own ticks: each takes the node to its next deadline at once.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use remember::consensus::{
    Boots, Config, HardState, Input, IoSeq, MemberId, Membership, Mono, Node, Output, Record,
    Recovered, Role, Term, Write,
};

use super::image::Image;

/// How many deadlines one tick may pass at most: a silent leader is probed before it is given up.
const DEADLINES_MAX: usize = 3;

/// A node, its disk and its clock.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) member: MemberId,
    pub(crate) node: Node,
    pub(crate) platter: Image,
    waiting: VecDeque<Write>,
    membership: Membership,
    has_witness: bool,
    boots: Boots,
    now: Mono,
    pub(crate) leads: bool,
    pub(crate) term: Term,
    digest: u64,
}

impl Place {
    /// A first start.
    pub(crate) fn new(member: MemberId, membership: Membership, has_witness: bool) -> Self {
        let (platter, boots) = (Image::default(), Boots::first(1));
        let node = started(member, &membership, has_witness, &boots, &platter);
        let mut place = Self {
            member,
            node,
            platter,
            waiting: VecDeque::new(),
            membership,
            has_witness,
            boots,
            now: Mono::default(),
            leads: false,
            term: Term::default(),
            digest: 0,
        };
        place.seal();
        place
    }

    /// The process ends without a word, and is started again from what the platter holds.
    pub(crate) fn restart(&mut self) {
        let nonce = u32::try_from(self.boots.newest().count()).unwrap_or(u32::MAX);
        self.boots = self.boots.next(nonce).expect("it was started a few times");
        self.waiting.clear();
        self.now = Mono::default();
        let (members, has_witness) = (&self.membership, self.has_witness);
        self.node = started(
            self.member,
            members,
            has_witness,
            &self.boots,
            &self.platter,
        );
        self.seal();
    }

    /// One turn with one input, at the time that it is here.
    pub(crate) fn take(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.node.turn(self.now, [input], &mut outputs);
        let writes = outputs.iter().filter_map(|output| match output {
            Output::Write(write) => Some(write.clone()),
            _ => None,
        });
        self.waiting.extend(writes);
        self.seal();
        outputs
    }

    /// Nothing comes for as long as this node waits before it does something about that.
    pub(crate) fn tick(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        for _ in 0..DEADLINES_MAX {
            self.now = self.now.max(self.node.deadline());
            outputs.extend(self.take(Input::Tick));
            let says = |output: &Output| {
                matches!(
                    output,
                    Output::Send { .. } | Output::Write(_) | Output::Witness { .. }
                )
            };
            if outputs.iter().any(says) {
                break;
            }
        }
        outputs
    }

    /// The same, so much later.
    pub(crate) fn after(&self, wait: Duration) -> Self {
        let mut later = self.clone();
        later.now = self.now.after(wait);
        later.seal();
        later
    }

    /// Whether the platter lacks something that was written.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Puts everything that waits on the platter; says what voted and what the node is to be told.
    pub(crate) fn persist(&mut self) -> (Vec<HardState>, Input) {
        let mut states = Vec::new();
        let mut upto = IoSeq::default();
        for write in std::mem::take(&mut self.waiting) {
            upto = write.seq;
            for record in &write.records {
                self.platter.add(record);
                if let Record::HardState(state) = record {
                    states.push(*state);
                }
            }
        }
        self.seal();
        (states, Input::Durable(upto))
    }

    /// The log as the node has it, on the platter or on its way there.
    pub(crate) fn written(&self) -> Image {
        let mut written = self.platter.clone();
        let records = self.waiting.iter().flat_map(|write| &write.records);
        records.for_each(|record| written.add(record));
        written
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    fn seal(&mut self) {
        let state = (&self.node, &self.platter, &self.waiting);
        self.digest = digest(&(state, self.now));
        let status = self.node.status();
        self.leads = status.role == Role::Leader;
        self.term = status.term;
    }
}

fn started(
    member: MemberId,
    membership: &Membership,
    has_witness: bool,
    boots: &Boots,
    platter: &Image,
) -> Node {
    let recovered = Recovered {
        member,
        boots: boots.clone(),
        membership: membership.clone(),
        hard_state: platter.hard,
        base: platter.base,
        configuration: None,
        entries: platter.entries.iter().cloned().collect(),
        peers: platter.peers.values().copied().collect(),
    };
    // A disk that is slow here is not one that hangs.
    let config = Config {
        disk_stall: Duration::from_hours(1),
        witness: has_witness,
        ..Config::default()
    };
    Node::new(recovered, config, member.id.0, Mono::default()).expect("a configuration that works")
}

/// A number that stands for a value: the same one in every run.
pub(crate) fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
