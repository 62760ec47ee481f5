//! Watches every step of every node, and knows what no node may ever do.
//!
//! It keeps, for each node, what the node has asked storage to keep (`issued`) and what is truly
//! on the platter (`durable`), both worked out from the records alone; and for the cluster, what
//! was ever agreed. Everything that may be relied on is held against the platters: a vote, an
//! acknowledgement, a commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use remember::consensus::{
    AppendOutcome, Ballot, Boot, ClusterId, Configuration, Entry, Index, IoSeq, MemberId,
    Membership, Message, NodeId, Payload, Placed, Position, Record, Rejection, Role, Status, Term,
    Verdict, Write,
};

use super::digest::Digest;
use super::image::Image;
use super::majority::{is_agreed, is_majority};

/// What was ever agreed, and what each node has said and written.
pub(crate) struct Oracle {
    witnesses: BTreeMap<NodeId, Witness>,
    /// The cluster, and the newest configuration that is agreed on.
    membership: Option<Membership>,
    /// Who led each term, for ever.
    leaders: BTreeMap<Term, MemberId>,
    /// The terms that somebody stood for.
    stood: BTreeSet<Term>,
    /// Every vote that was ever on a platter.
    votes: BTreeMap<(NodeId, Term), MemberId>,
    /// What every entry of every log is, and the term of the one before it.
    entries: HashMap<Position, (u64, Option<Term>)>,
    /// What is agreed, by index from 1.
    committed: Vec<Committed>,
    /// How far each term's leader committed.
    committed_in: BTreeMap<Term, Index>,
    /// The hash of the state by index from 1.
    hashes: Vec<Option<u64>>,
}

/// One node as seen from outside.
#[derive(Default)]
struct Witness {
    boot: Boot,
    issued: Image,
    durable: Image,
    pending: VecDeque<(IoSeq, Vec<Record>)>,
    term: Term,
    commit: Index,
    running: bool,
    /// Whether its disk is not what it was.
    lost: bool,
    /// What its lost disk held: it may still be counted on the word that was given then.
    forgotten: Image,
}

#[derive(Clone, Copy)]
struct Committed {
    term: Term,
    digest: u64,
}

impl Witness {
    /// Whether an entry is on the platter, or was when that platter was last there.
    fn holds(&self, position: Position) -> bool {
        self.durable.covers(position) || self.forgotten.covers(position)
    }
}

impl Oracle {
    /// An oracle that has seen nothing of these nodes.
    pub(crate) fn new(ids: &[NodeId]) -> Self {
        Self {
            witnesses: ids.iter().map(|id| (*id, Witness::default())).collect(),
            membership: None,
            leaders: BTreeMap::new(),
            stood: BTreeSet::new(),
            votes: BTreeMap::new(),
            entries: HashMap::new(),
            committed: Vec::new(),
            committed_in: BTreeMap::new(),
            hashes: Vec::new(),
        }
    }

    /// How far the cluster has agreed.
    pub(crate) fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// The term of the agreed entry at `index`.
    pub(crate) fn committed_term(&self, index: Index) -> Option<Term> {
        let place = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.committed.get(place).map(|committed| committed.term)
    }

    /// Somebody asks for votes in earnest.
    pub(crate) fn stands(&mut self, term: Term) {
        self.stood.insert(term);
    }

    /// How many terms have begun and never had a leader (S4).
    pub(crate) fn leaderless_terms(&self) -> usize {
        self.stood
            .iter()
            .filter(|term| !self.leaders.contains_key(term))
            .count()
    }

    /// How many terms ever had a leader.
    pub(crate) fn led_terms(&self) -> usize {
        self.leaders.len()
    }

    /// The newest boot of a node.
    pub(crate) fn boot(&self, id: NodeId) -> Boot {
        self.witnesses[&id].boot
    }

    /// The newest boot of a peer that a node durably remembers.
    pub(crate) fn remembered_boot(&self, id: NodeId, peer: NodeId) -> Boot {
        let durable = &self.witnesses[&id].durable;
        durable
            .peers
            .values()
            .find(|record| record.member.id == peer)
            .map_or(Boot(0), |record| record.boot)
    }

    /// Two foundings never exist (R13).
    pub(crate) fn joins(&mut self, id: NodeId, membership: &Membership) {
        let known = self.membership.get_or_insert_with(|| membership.clone());
        assert_eq!(
            known.cluster, membership.cluster,
            "{id:?} joins another cluster"
        );
        assert!(
            known.settled.0 != membership.settled.0 || known.settled == membership.settled,
            "{id:?} joins with other members than {known:?}"
        );
    }

    /// Whether anybody belongs to a cluster.
    pub(crate) fn is_founded(&self) -> bool {
        self.membership.is_some()
    }

    /// The newest configuration that is agreed on.
    pub(crate) fn agreed(&self) -> &Placed {
        &self.membership.as_ref().expect("a founded cluster").settled
    }

    /// The cluster's name.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.membership.as_ref().expect("a founded cluster").cluster
    }

    /// A node is turned away only if something happened to its disk (R13, R15), or if what comes is
    /// late: a word from an earlier start of it.
    pub(crate) fn turned_away(&self, id: NodeId, rejection: &Rejection) {
        let late = matches!(rejection, Rejection::OldBoot { met, given, .. } if given < met);
        assert!(
            late || self.witnesses[&id].lost,
            "{id:?} is turned away although nothing happened to it: {rejection}"
        );
    }

    /// From here on the node's disk is not what it was.
    pub(crate) fn loses_disk(&mut self, id: NodeId) {
        let witness = self.witness(id);
        witness.lost = true;
        witness.forgotten = std::mem::take(&mut witness.durable);
    }

    /// What recovery brings back is everything durable, and then some of what was written; says
    /// how many records of those came back, and how many did not.
    pub(crate) fn recovered(&mut self, id: NodeId, boot: Boot, image: &Image) -> (u64, u64) {
        if self.witness(id).lost {
            // An old copy: what it forgot must not matter to anybody.
            self.restart_witness(id, boot, image);
            return (0, 0);
        }
        let witness = self.witness(id);
        assert!(
            boot > witness.boot,
            "{id:?} starts as {boot:?} after {:?}",
            witness.boot
        );
        let mut pending = std::mem::take(&mut witness.pending)
            .into_iter()
            .flat_map(|(_, w)| w);
        let mut expected = std::mem::take(&mut witness.durable);
        let mut kept = 0;
        while !self.comes_to(&expected, image) {
            let Some(record) = pending.next() else {
                panic!("{id:?} recovers what it never wrote, or lost what was durable: {image:?}");
            };
            expected.add(&record);
            kept += 1;
        }
        let dropped = pending.count() as u64;
        self.restart_witness(id, boot, image);
        self.note_vote(id);
        (kept, dropped)
    }

    fn restart_witness(&mut self, id: NodeId, boot: Boot, image: &Image) {
        let witness = self.witness(id);
        *witness = Witness {
            boot,
            issued: image.clone(),
            durable: image.clone(),
            pending: VecDeque::new(),
            term: image.hard.term,
            commit: image.base.index,
            running: true,
            lost: witness.lost,
            forgotten: std::mem::take(&mut witness.forgotten),
        };
    }

    /// Whether these records come to that image, by themselves or with a snapshot of what is
    /// agreed that was published and not yet told of.
    fn comes_to(&self, records: &Image, image: &Image) -> bool {
        if image.base.index <= records.base.index {
            return records == image;
        }
        let agreed = self.committed_term(image.base.index) == Some(image.base.term);
        let keep_log = records.term_at(image.base.index) == Some(image.base.term);
        let mut records = records.clone();
        records.add(&Record::Base {
            position: image.base,
            keep_log,
        });
        agreed && records == *image
    }

    /// A process ended.
    pub(crate) fn stopped(&mut self, id: NodeId) {
        self.witness(id).running = false;
    }

    /// A node asks for records to be made durable.
    pub(crate) fn issued(&mut self, id: NodeId, write: &Write) {
        assert!(!write.records.is_empty(), "an empty write");
        for record in &write.records {
            let witness = self.witness(id);
            if let Record::Entry(entry) = record {
                assert!(
                    entry.index > witness.commit,
                    "{id:?} voids what it knows to be agreed: {:?} at commit {:?}",
                    entry.position(),
                    witness.commit
                );
            }
            witness.issued.add(record);
            if let Record::Entry(entry) = record {
                self.note_entry(id, entry);
            }
        }
        self.witness(id)
            .pending
            .push_back((write.seq, write.records.clone()));
    }

    /// A node takes over a snapshot.
    pub(crate) fn installed(&mut self, id: NodeId, seq: IoSeq, position: Position, keep: bool) {
        assert_eq!(
            self.committed_term(position.index),
            Some(position.term),
            "{id:?} installs a snapshot of what is not agreed"
        );
        let record = Record::Base {
            position,
            keep_log: keep,
        };
        let witness = self.witness(id);
        witness.issued.add(&record);
        witness.pending.push_back((seq, vec![record]));
    }

    /// Everything up to `seq` is on the platter.
    pub(crate) fn durable(&mut self, id: NodeId, seq: IoSeq) {
        let witness = self.witness(id);
        let later = witness
            .pending
            .partition_point(|(pending, _)| *pending <= seq);
        for (_, records) in witness.pending.drain(..later).collect::<Vec<_>>() {
            for record in records {
                self.witness(id).durable.add(&record);
                if matches!(record, Record::HardState(_)) {
                    self.note_vote(id);
                }
            }
        }
    }

    /// What a node says to another must be true, and must be on its platter where it is a promise.
    pub(crate) fn sent(
        &mut self,
        sender: MemberId,
        configuration: &Configuration,
        to: MemberId,
        message: &Message,
    ) {
        let id = sender.id;
        match message {
            Message::VoteReply(reply)
                if reply.ballot == Ballot::Real && reply.verdict == Verdict::Granted =>
            {
                // A vote that was overtaken by a higher term on its way to the platter is safe,
                // too: that term is there, so no other vote can be given in the lower one.
                if self.witnesses[&id].durable.hard.term > reply.term {
                    self.votes.entry((id, reply.term)).or_insert(to);
                }
                assert_eq!(
                    self.votes.get(&(id, reply.term)),
                    Some(&to),
                    "{id:?} gives {to:?} a vote of {:?} that is not durable",
                    reply.term
                );
            }
            Message::AppendReply(reply) => {
                if let AppendOutcome::Matched(index) = reply.outcome {
                    self.acknowledged(id, reply.term, index);
                }
            }
            Message::Append(append) => self.leads(sender, configuration, append.term),
            Message::Beat(beat) => self.leads(sender, configuration, beat.term),
            Message::TimeoutNow { term } => self.leads(sender, configuration, *term),
            _ => {}
        }
    }

    /// A node speaks as the leader of a term: nobody else ever does, a quorum has voted for it on
    /// its platters, and it has all that leaders of earlier terms agreed (Raft 5.4.3).
    pub(crate) fn leads(&mut self, leader: MemberId, configuration: &Configuration, term: Term) {
        let id = leader.id;
        if let Some(known) = self.leaders.get(&term) {
            assert_eq!(*known, leader, "two leaders in {term:?}");
            return;
        }
        self.leaders.insert(term, leader);
        let gave_it = |voter: MemberId| self.votes.get(&(voter.id, term)) == Some(&leader);
        let votes = configuration
            .members()
            .filter(|voter| gave_it(*voter))
            .count();
        assert!(
            is_agreed(configuration, gave_it),
            "{id:?} leads {term:?} with {votes} durable votes of {configuration:?}"
        );
        let agreed = self
            .committed_in
            .range(..term)
            .map(|(_, index)| *index)
            .max();
        let Some(agreed) = agreed else {
            return;
        };
        let position = Position {
            term: self.committed_term(agreed).expect("it is agreed"),
            index: agreed,
        };
        let issued = &self.witnesses[&id].issued;
        assert!(
            issued.covers(position),
            "{id:?} leads {term:?} without the agreed {position:?}, its log ends at {:?}",
            issued.last()
        );
    }

    /// A node applies an entry: the same one everywhere, and on a quorum of platters from the
    /// first time on.
    pub(crate) fn applied(&mut self, id: NodeId, entry: &Entry) {
        let digest = Digest::of(entry);
        if let Some(agreed) = self.committed_term(entry.index) {
            let known = self.committed[self.committed_place(entry.index)];
            assert!(
                agreed == entry.term && known.digest == digest,
                "{id:?} applies {:?}, but agreed is {agreed:?}",
                entry.position()
            );
            return;
        }
        assert_eq!(
            entry.index,
            self.commit().next(),
            "{id:?} applies behind a gap"
        );
        let position = entry.position();
        let holds = |member: MemberId| self.witnesses[&member.id].holds(position);
        let (governing, is_held) = match &entry.payload {
            Payload::Configuration(configuration) => {
                (configuration, is_agreed(configuration, holds))
            }
            // Once the change is agreed on, those who stay agree on what comes behind it.
            Payload::Noop | Payload::Command(_) => {
                let governing = &self.agreed().1;
                (governing, is_majority(governing, |seat| seat.votes, holds))
            }
        };
        let holders = governing.members().filter(|it| holds(*it)).count();
        assert!(
            is_held,
            "{id:?} says that {position:?} is agreed, but {holders} platters hold it of \
             {governing:?}"
        );
        if let (Payload::Configuration(next), Some(known)) = (&entry.payload, &mut self.membership)
        {
            known.settled = (position, next.clone());
        }
        self.committed.push(Committed {
            term: entry.term,
            digest,
        });
        let term = self.witnesses[&id].issued.hard.term;
        self.committed_in.insert(term, entry.index);
    }

    /// Equal states at equal indices.
    pub(crate) fn hashed(&mut self, id: NodeId, index: Index, hash: u64) {
        let place = self.committed_place(index);
        if self.hashes.len() <= place {
            self.hashes.resize(place + 1, None);
        }
        let known = *self.hashes[place].get_or_insert(hash);
        assert_eq!(known, hash, "{id:?} has another state at {index:?}");
    }

    /// What a node says of itself after a turn.
    pub(crate) fn after_turn(&mut self, id: NodeId, status: &Status) {
        let (agreed, nodes) = (self.commit(), self.witnesses.len());
        let agreed_term = self.committed_term(status.commit);
        let witness = self.witness(id);
        assert!(
            status.term >= witness.term,
            "{id:?} goes back to {:?}",
            status.term
        );
        assert!(
            status.commit >= witness.commit,
            "{id:?} takes back what was agreed"
        );
        assert!(
            status.commit <= agreed,
            "{id:?} thinks {:?} is agreed",
            status.commit
        );
        assert!(
            status.durable <= witness.durable.last().index,
            "{id:?} thinks that {:?} is durable, but its disk ends at {:?}",
            status.durable,
            witness.durable.last()
        );
        witness.term = status.term;
        witness.commit = status.commit;
        let held = witness.issued.term_at(status.commit);
        assert!(
            held.is_none() || agreed_term.is_none() || held == agreed_term,
            "{id:?} holds {held:?} at {:?}, agreed is {agreed_term:?}",
            status.commit
        );
        if let Some(leader) = status.leader {
            assert_eq!(
                self.leaders.get(&status.term).map(|known| known.id),
                Some(leader),
                "{id:?} follows one that does not lead {:?}",
                status.term
            );
            let tickets = usize::try_from(status.tickets).expect("few");
            assert!(
                tickets <= nodes && (status.role != Role::Leader || tickets > 0),
                "{id:?} claims {tickets} of {nodes} votes"
            );
        }
    }

    fn acknowledged(&self, id: NodeId, term: Term, index: Index) {
        let durable = &self.witnesses[&id].durable;
        assert!(
            durable.last().index >= index,
            "{id:?} acknowledges {index:?}, but its disk ends at {:?}",
            durable.last()
        );
        let leader = self
            .leaders
            .get(&term)
            .map(|leader| &self.witnesses[&leader.id]);
        let leader = leader.filter(|leader| leader.running && leader.term == term);
        if let Some(theirs) = leader.and_then(|leader| leader.issued.term_at(index)) {
            let mine = durable.term_at(index);
            assert!(
                mine.is_none_or(|mine| mine == theirs),
                "{id:?} acknowledges {mine:?} at {index:?}, its leader holds {theirs:?}"
            );
        }
    }

    /// One entry for each place and term, in all logs (log matching, Raft 5.3).
    fn note_entry(&mut self, id: NodeId, entry: &Entry) {
        let before = self.witnesses[&id].issued.term_at(entry.index.previous());
        assert!(
            !matches!(&entry.payload, Payload::Command(command) if command.is_empty()),
            "an empty command"
        );
        let seen = (Digest::of(entry), before);
        let known = *self.entries.entry(entry.position()).or_insert(seen);
        assert!(
            known.0 == seen.0 && (known.1 == before || known.1.is_none() || before.is_none()),
            "{id:?} holds at {:?} another entry than others do",
            entry.position()
        );
    }

    /// One durable vote a term and node, across all crashes.
    fn note_vote(&mut self, id: NodeId) {
        let hard = self.witnesses[&id].durable.hard;
        if let Some(vote) = hard.vote {
            let known = *self.votes.entry((id, hard.term)).or_insert(vote);
            assert_eq!(known, vote, "{id:?} votes twice in {:?}", hard.term);
        }
    }

    fn committed_place(&self, index: Index) -> usize {
        assert!(
            index >= Index(1) && index <= self.commit(),
            "{index:?} is not agreed"
        );
        usize::try_from(index.0 - 1).expect("a short log")
    }

    fn witness(&mut self, id: NodeId) -> &mut Witness {
        self.witnesses.get_mut(&id).expect("a node of this cluster")
    }
}
