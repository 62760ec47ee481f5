//! Watches every step of every node, and knows what no node may ever do.
//!
//! It keeps, for each member, what it has asked storage to keep (`issued`) and what is truly on the
//! platter (`durable`), both worked out from the records alone; and for the cluster, what was ever
//! agreed. Everything that may be relied on is held against the platters: a vote, an
//! acknowledgement, a commit. Two disks of one id are two members here as well (R13), and what a
//! node believes, by which configuration it counts included, is asked of no node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter;

use remember::consensus::{
    AppendOutcome, Ballot, Boot, ClusterId, Configuration, Entry, Epoch, HardState, Hello, Index,
    IoSeq, MemberId, Membership, Message, Payload, Placed, Position, Record, Rejection, Role,
    Status, Term, Verdict, Write,
};

use super::account::Account;
use super::agreed::Agreed;
use super::digest::Digest;
use super::image::Image;
use super::majority::{is_agreed, is_majority};
use super::registers::Registers;

/// What was ever agreed in one cluster, and what each of its members has said and written.
#[derive(Default)]
pub(crate) struct Oracle {
    accounts: BTreeMap<MemberId, Account>,
    /// What the witness of the pair holds, or those that its nodes have by mistake.
    pub(crate) registers: Registers,
    /// Whether one that was empty was filled by a request that had been given up, or by a leader of
    /// before, or where another is agreed on.
    pub(crate) was_filled_late: bool,
    /// The cluster, once it is founded.
    cluster: Option<(ClusterId, Epoch)>,
    /// What is agreed.
    agreed: Agreed,
    /// Who led each term, for ever.
    leaders: BTreeMap<Term, MemberId>,
    /// The terms that somebody stood for.
    stood: BTreeSet<Term>,
    /// Every vote that was ever on a platter.
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// What every entry of every log is, and the term of the one before it.
    entries: HashMap<Position, (u64, Option<Term>)>,
}

impl Oracle {
    /// That of a cluster which begins anew with what a disk of this one holds (R14): its log is
    /// agreed on, and nobody else counts.
    pub(crate) fn anew(&self, member: MemberId, membership: &Membership) -> Self {
        let durable = &self.accounts[&member].durable;
        let (_, before) = self.cluster();
        let (since, configuration) = &membership.settled;
        let floor = Term(u64::from(membership.epoch.0) << 32);
        let first = durable.entry(since.index).map(|entry| &entry.payload);
        let hard = HardState {
            term: floor,
            vote: None,
        };
        assert!(
            membership.epoch > before
                && durable.hard == hard
                && durable.last() == *since
                && since.term == floor
                && first == Some(&Payload::Configuration(configuration.clone()))
                && configuration.members().eq([member])
                && configuration.lets_vote(member)
                && !configuration.is_joint(),
            "{member:?} begins {membership:?} behind {before:?} with {durable:?}"
        );
        let known = iter::once(membership.settled.clone());
        // Its first start in that cluster is told next.
        let account = Account::new(Boot(0), durable, known);
        Self {
            accounts: BTreeMap::from([(member, account)]),
            cluster: Some((membership.cluster, membership.epoch)),
            agreed: self.agreed.anew(durable, &membership.settled),
            // Of a place and a term there is one entry, whoever holds it.
            entries: self.entries.clone(),
            ..Self::default()
        }
    }

    /// How far the cluster has agreed.
    pub(crate) fn commit(&self) -> Index {
        self.agreed.end()
    }

    /// The term of the agreed entry at `index`.
    pub(crate) fn committed_term(&self, index: Index) -> Option<Term> {
        self.agreed.term_at(index)
    }

    /// The newest term that anybody led.
    pub(crate) fn newest_led(&self) -> Option<Term> {
        self.leaders.last_key_value().map(|(term, _)| *term)
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

    /// The newest boot of a member.
    pub(crate) fn boot(&self, member: MemberId) -> Boot {
        let account = self.accounts.get(&member);
        account.map_or(Boot(0), |account| account.boot)
    }

    /// The newest boot of a peer that a member durably remembers.
    pub(crate) fn remembered_boot(&self, member: MemberId, peer: MemberId) -> Boot {
        let account = self.accounts.get(&member);
        let record = account.and_then(|account| account.durable.peers.get(&peer));
        record.map_or(Boot(0), |record| record.boot)
    }

    /// Two foundings never exist (R13), and whoever is welcomed is told what is agreed.
    pub(crate) fn joins(&mut self, member: MemberId, membership: &Membership) {
        let cluster = (membership.cluster, membership.epoch);
        let known = *self.cluster.get_or_insert(cluster);
        assert_eq!(known, cluster, "{member:?} joins another cluster");
        self.agreed.found(&membership.settled);
        self.demand_settled(member, &membership.settled);
    }

    fn demand_settled(&self, member: MemberId, placed: &Placed) {
        assert!(
            self.agreed.has_settled(placed),
            "{member:?} is given a configuration that is not agreed on: {placed:?}"
        );
    }

    /// Whether anybody belongs to a cluster.
    pub(crate) fn is_founded(&self) -> bool {
        self.cluster.is_some()
    }

    /// The newest configuration that is agreed on.
    pub(crate) fn agreed(&self) -> &Placed {
        self.agreed.configuration()
    }

    /// The newest that is agreed on up to `index`.
    pub(crate) fn agreed_until(&self, index: Index) -> &Placed {
        self.agreed.configuration_at(index)
    }

    /// All that were ever agreed on and name this member, the oldest first.
    pub(crate) fn agreed_naming(&self, member: MemberId) -> Vec<Placed> {
        self.agreed.configurations_naming(member)
    }

    /// The cluster's name and epoch.
    pub(crate) fn cluster(&self) -> (ClusterId, Epoch) {
        self.cluster.expect("a founded cluster")
    }

    /// A member judges a peer before their link comes up: who is removed by what it knows to be
    /// agreed on is told so, and nobody else is (S7). Of an old copy, nothing else is told (R15).
    pub(crate) fn judged(&self, by: MemberId, peer: &Hello, verdict: &Result<(), Rejection>) {
        let told_removed = matches!(verdict, Err(Rejection::Removed { .. }));
        let is_removed = self.accounts[&by].has_removed(peer.member, peer.since);
        if let Err(Rejection::OldBoot { .. }) = verdict {
            return;
        }
        assert_eq!(
            told_removed, is_removed,
            "{by:?} judges {peer:?} and says {verdict:?}, whether it is removed or not"
        );
    }

    /// A member is turned away only if something happened to its disk (R13, R15), or if what comes
    /// is late: a word from an earlier start of it.
    pub(crate) fn turned_away(&self, member: MemberId, rejection: &Rejection) {
        let late = matches!(rejection, Rejection::OldBoot { met, given, .. } if given < met);
        let lost = self.accounts.get(&member).is_some_and(|it| it.lost);
        assert!(
            late || lost,
            "{member:?} is turned away although nothing happened to it: {rejection}"
        );
    }

    /// From here on the member's disk is an old copy of what it was.
    pub(crate) fn loses_disk(&mut self, member: MemberId) {
        let account = self.account(member);
        account.lost = true;
        account.forgotten = std::mem::take(&mut account.durable);
    }

    /// What recovery brings back is everything durable, and then some of what was written; says
    /// how many records of those came back, and how many did not. Beside the log, a disk holds
    /// configurations that were agreed on: that of its membership, and that of its snapshot.
    pub(crate) fn recovered(
        &mut self,
        member: MemberId,
        boot: Boot,
        image: &Image,
        known: impl Iterator<Item = Placed> + Clone,
    ) -> (u64, u64) {
        for placed in known.clone() {
            self.demand_settled(member, &placed);
        }
        let mut fresh = Account::new(boot, image, known);
        let Some(account) = self.accounts.get(&member) else {
            assert_eq!(*image, Image::default(), "{member:?} is no fresh disk");
            self.accounts.insert(member, fresh);
            return (0, 0);
        };
        let is_lost = account.lost;
        // What an old copy forgot must not matter to anybody.
        let counts = if is_lost {
            (0, 0)
        } else {
            self.brought_back(member, boot, image)
        };
        fresh.lost = is_lost;
        fresh.forgotten = std::mem::take(&mut self.account(member).forgotten);
        self.accounts.insert(member, fresh);
        if !is_lost {
            self.note_vote(member);
        }
        counts
    }

    /// The same, whatever the disk goes on with.
    pub(crate) fn brought_back(
        &mut self,
        member: MemberId,
        boot: Boot,
        image: &Image,
    ) -> (u64, u64) {
        let account = self.account(member);
        assert!(
            boot > account.boot,
            "{member:?} starts as {boot:?} after {:?}",
            account.boot
        );
        account.boot = boot;
        let pending = std::mem::take(&mut account.pending).into_iter();
        let mut pending = pending.flat_map(|(_, records)| records);
        let mut expected = std::mem::take(&mut account.durable);
        let mut kept = 0;
        while !self.comes_to(&expected, image) {
            let Some(record) = pending.next() else {
                panic!(
                    "{member:?} recovers what it never wrote, or lost what was durable: {image:?}"
                );
            };
            expected.add(&record);
            kept += 1;
        }
        self.account(member).durable = image.clone();
        (kept, pending.count() as u64)
    }

    /// A disk that nobody runs on is asked to keep records.
    pub(crate) fn asked_to_keep(&mut self, member: MemberId, records: &[Record]) {
        let pending = (IoSeq(0), records.to_vec());
        self.account(member).pending.push_back(pending);
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
    pub(crate) fn stopped(&mut self, member: MemberId) {
        if let Some(account) = self.accounts.get_mut(&member) {
            account.running = false;
        }
    }

    /// A node asks for records to be made durable.
    pub(crate) fn issued(&mut self, member: MemberId, write: &Write) {
        assert!(!write.records.is_empty(), "an empty write");
        for record in &write.records {
            let account = self.account(member);
            if let Record::Entry(entry) = record {
                assert!(
                    entry.index > account.commit,
                    "{member:?} voids what it knows to be agreed: {:?} at commit {:?}",
                    entry.position(),
                    account.commit
                );
            }
            account.issue(record);
            if let Record::Entry(entry) = record {
                self.note_entry(member, entry);
            }
        }
        self.account(member)
            .pending
            .push_back((write.seq, write.records.clone()));
    }

    /// A member that runs is told by which configuration it belongs.
    pub(crate) fn welcomed(&mut self, member: MemberId, configuration: &Placed) {
        self.demand_settled(member, configuration);
        self.account(member).standing.give(configuration.clone());
    }

    /// A member takes over a snapshot, and the configuration that comes with it.
    pub(crate) fn installed(
        &mut self,
        member: MemberId,
        seq: IoSeq,
        record: Record,
        configuration: &Placed,
    ) {
        let Record::Base { position, .. } = record else {
            panic!("a log begins with a snapshot by no other record");
        };
        assert_eq!(
            self.committed_term(position.index),
            Some(position.term),
            "{member:?} installs a snapshot of what is not agreed"
        );
        self.demand_settled(member, configuration);
        let governing = self.agreed_until(position.index).0;
        assert!(
            configuration.0 >= governing,
            "{member:?} installs a snapshot of {position:?} with {configuration:?}, but \
             {governing:?} was in force there"
        );
        let account = self.account(member);
        account.issue(&record);
        account.standing.give(configuration.clone());
        account.pending.push_back((seq, vec![record]));
    }

    /// Everything up to `seq` is on the platter.
    pub(crate) fn durable(&mut self, member: MemberId, seq: IoSeq) {
        let account = self.account(member);
        let later = account
            .pending
            .partition_point(|(pending, _)| *pending <= seq);
        for (_, records) in account.pending.drain(..later).collect::<Vec<_>>() {
            for record in records {
                self.account(member).durable.add(&record);
                if matches!(record, Record::HardState(_)) {
                    self.note_vote(member);
                }
            }
        }
    }

    /// What a node says to another must be true, and must be on its platter where it is a promise.
    pub(crate) fn sent(&mut self, sender: MemberId, to: MemberId, message: &Message) {
        match message {
            Message::VoteReply(reply)
                if reply.ballot == Ballot::Real && reply.verdict == Verdict::Granted =>
            {
                // A vote that was overtaken by a higher term on its way to the platter is safe,
                // too: that term is there, so no other vote can be given in the lower one.
                if self.accounts[&sender].durable.hard.term > reply.term {
                    self.votes.entry((sender, reply.term)).or_insert(to);
                }
                assert_eq!(
                    self.votes.get(&(sender, reply.term)),
                    Some(&to),
                    "{sender:?} gives {to:?} a vote of {:?} that is not durable",
                    reply.term
                );
            }
            Message::AppendReply(reply) => {
                if let AppendOutcome::Matched(index) = reply.outcome {
                    self.acknowledged(sender, reply.term, index);
                }
            }
            Message::Append(append) => self.leads(sender, append.term),
            Message::Beat(beat) => self.leads(sender, beat.term),
            Message::TimeoutNow { term } => self.leads(sender, *term),
            _ => {}
        }
    }

    /// A member speaks as the leader of a term: nobody else ever does, a quorum of those by whom it
    /// counts has voted for it on its platters, and it has all that leaders of earlier terms agreed
    /// (Raft 5.4.3).
    pub(crate) fn leads(&mut self, leader: MemberId, term: Term) {
        if let Some(known) = self.leaders.get(&term) {
            assert_eq!(*known, leader, "two leaders in {term:?}");
            return;
        }
        let (_, epoch) = self.cluster();
        assert_eq!(term.0 >> 32, u64::from(epoch.0), "a token of another epoch");
        self.leaders.insert(term, leader);
        let gave_it = |voter: MemberId| self.votes.get(&(voter, term)) == Some(&leader);
        // It stood with the log that it has issued: nobody adds to it between that and this.
        let configuration = self.accounts[&leader].standing.in_force();
        let votes = configuration.members().filter(|it| gave_it(*it)).count();
        assert!(
            is_agreed(
                configuration,
                self.registers.named_by(configuration),
                gave_it
            ),
            "{leader:?} leads {term:?} with {votes} durable votes of {configuration:?}"
        );
        let Some(position) = self.agreed.before(term) else {
            return;
        };
        let issued = &self.accounts[&leader].issued;
        assert!(
            issued.covers(position),
            "{leader:?} leads {term:?} without the agreed {position:?}, its log ends at {:?}",
            issued.last()
        );
    }

    /// A node applies an entry: the same one everywhere, and on a quorum of platters from the
    /// first time on.
    pub(crate) fn applied(&mut self, member: MemberId, entry: &Entry) {
        if let Some(agreed) = self.committed_term(entry.index) {
            assert!(
                self.agreed.is_there(entry),
                "{member:?} applies {:?}, but agreed is {agreed:?}",
                entry.position()
            );
            return;
        }
        assert_eq!(
            entry.index,
            self.commit().next(),
            "{member:?} applies behind a gap"
        );
        let position = entry.position();
        let holds = |member: MemberId| {
            let account = self.accounts.get(&member);
            account.is_some_and(|account| account.holds(position))
        };
        let governing = match &entry.payload {
            Payload::Configuration(configuration) => configuration,
            Payload::Noop | Payload::Command(_) => &self.agreed().1,
        };
        let named = self.registers.named_by(governing);
        let is_held = match &entry.payload {
            Payload::Configuration(_) => is_agreed(governing, named, holds),
            // Once the change is agreed on, those who stay agree on what comes behind it.
            Payload::Noop | Payload::Command(_) => {
                is_majority(governing, named, |seat| seat.votes, holds)
            }
        };
        let holders = governing.members().filter(|it| holds(*it)).count();
        assert!(
            is_held,
            "{member:?} says that {position:?} is agreed, but {holders} platters hold it of \
             {governing:?}"
        );
        let term = self.accounts[&member].issued.hard.term;
        self.agreed.add(entry, term);
    }

    /// Equal states at equal indices.
    pub(crate) fn hashed(&mut self, member: MemberId, index: Index, hash: u64) {
        let known = self.agreed.hash_at(index, hash);
        assert_eq!(known, hash, "{member:?} has another state at {index:?}");
    }

    /// What a node says of itself after a turn.
    pub(crate) fn after_turn(
        &mut self,
        member: MemberId,
        status: &Status,
        configuration: &Configuration,
    ) {
        let (agreed, nodes) = (self.commit(), self.accounts.len());
        let agreed_term = self.committed_term(status.commit);
        let account = self.account(member);
        assert!(
            status.term >= account.term,
            "{member:?} goes back to {:?}",
            status.term
        );
        assert!(
            status.commit >= account.commit,
            "{member:?} takes back what was agreed"
        );
        assert!(
            status.commit <= agreed,
            "{member:?} thinks {:?} is agreed",
            status.commit
        );
        assert!(
            status.durable <= account.durable.last().index,
            "{member:?} thinks that {:?} is durable, but its disk ends at {:?}",
            status.durable,
            account.durable.last()
        );
        account.term = status.term;
        account.commit = status.commit;
        let in_force = account.standing.in_force();
        assert_eq!(
            in_force, configuration,
            "{member:?} counts by another configuration than it holds"
        );
        let held = account.issued.term_at(status.commit);
        assert!(
            held.is_none() || agreed_term.is_none() || held == agreed_term,
            "{member:?} holds {held:?} at {:?}, agreed is {agreed_term:?}",
            status.commit
        );
        if let Some(leader) = status.leader {
            assert_eq!(
                self.leaders.get(&status.term).map(|known| known.id),
                Some(leader),
                "{member:?} follows one that does not lead {:?}",
                status.term
            );
            let tickets = usize::try_from(status.tickets).expect("few");
            assert!(
                tickets <= nodes && (status.role != Role::Leader || tickets > 0),
                "{member:?} claims {tickets} of {nodes} votes"
            );
        }
    }

    fn acknowledged(&self, member: MemberId, term: Term, index: Index) {
        let durable = &self.accounts[&member].durable;
        assert!(
            durable.last().index >= index,
            "{member:?} acknowledges {index:?}, but its disk ends at {:?}",
            durable.last()
        );
        let leader = self.leaders.get(&term).map(|leader| &self.accounts[leader]);
        let leader = leader.filter(|leader| leader.running && leader.term == term);
        if let Some(theirs) = leader.and_then(|leader| leader.issued.term_at(index)) {
            let mine = durable.term_at(index);
            assert!(
                mine.is_none_or(|mine| mine == theirs),
                "{member:?} acknowledges {mine:?} at {index:?}, its leader holds {theirs:?}"
            );
        }
    }

    /// One entry for each place and term, in all logs (log matching, Raft 5.3).
    fn note_entry(&mut self, member: MemberId, entry: &Entry) {
        let before = self.accounts[&member]
            .issued
            .term_at(entry.index.previous());
        assert!(
            !matches!(&entry.payload, Payload::Command(command) if command.is_empty()),
            "an empty command"
        );
        let seen = (Digest::of(entry), before);
        let known = *self.entries.entry(entry.position()).or_insert(seen);
        assert!(
            known.0 == seen.0 && (known.1 == before || known.1.is_none() || before.is_none()),
            "{member:?} holds at {:?} another entry than others do",
            entry.position()
        );
    }

    /// One durable vote a term and member, across all crashes.
    fn note_vote(&mut self, member: MemberId) {
        let hard = self.accounts[&member].durable.hard;
        if let Some(vote) = hard.vote {
            let known = *self.votes.entry((member, hard.term)).or_insert(vote);
            assert_eq!(known, vote, "{member:?} votes twice in {:?}", hard.term);
        }
    }

    fn account(&mut self, member: MemberId) -> &mut Account {
        self.accounts
            .get_mut(&member)
            .expect("a node of this cluster")
    }
}
