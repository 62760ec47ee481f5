//! One member as seen from outside: what it asked storage to keep, what is truly on its platter,
//! and by which configuration it counts.

use std::collections::VecDeque;

use remember::consensus::{
    Boot, Configuration, Index, IoSeq, MemberId, Payload, Placed, Position, Record, Term,
};

use super::image::Image;

/// One member. Its platter stays here when its disk is gone for ever: it may still be counted on
/// the word that was given then.
pub(crate) struct Account {
    pub(crate) boot: Boot,
    pub(crate) issued: Image,
    pub(crate) durable: Image,
    pub(crate) pending: VecDeque<(IoSeq, Vec<Record>)>,
    /// By what it counts, worked out from what it issued.
    pub(crate) standing: Standing,
    pub(crate) term: Term,
    pub(crate) commit: Index,
    pub(crate) running: bool,
    /// Whether its disk is not what it was.
    pub(crate) lost: bool,
    /// What its disk held before it became an old copy of itself.
    pub(crate) forgotten: Image,
}

impl Account {
    /// A member as it starts: with what its disk holds, and with what it was told is agreed.
    pub(crate) fn new(boot: Boot, image: &Image, known: impl Iterator<Item = Placed>) -> Self {
        Self {
            boot,
            issued: image.clone(),
            durable: image.clone(),
            pending: VecDeque::new(),
            standing: Standing::new(known, image),
            term: image.hard.term,
            commit: image.base.index,
            running: true,
            lost: false,
            forgotten: Image::default(),
        }
    }

    /// Whether an entry is on the platter, or was when that platter was last there.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.durable.covers(position) || self.forgotten.covers(position)
    }

    /// Storage is asked to keep a record.
    pub(crate) fn issue(&mut self, record: &Record) {
        self.issued.add(record);
        self.standing.add(record);
    }

    /// Whether it must not let a member in that says to be one since `since`: what it knows to be
    /// agreed on is newer, and neither that nor anything later names that member.
    pub(crate) fn has_removed(&self, member: MemberId, since: Position) -> bool {
        let (position, agreed) = self.standing.at(self.commit);
        let is_named = agreed.names(member) || self.standing.may_name(member, self.commit);
        !is_named && since <= *position
    }
}

/// By which configuration a member counts: the newest of those that it was given as agreed on, and
/// of those in its log, agreed on or not.
pub(crate) struct Standing {
    given: Placed,
    logged: VecDeque<Placed>,
}

impl Standing {
    fn new(known: impl Iterator<Item = Placed>, image: &Image) -> Self {
        let given = known.max_by_key(|(position, _)| *position);
        let mut standing = Self {
            given: given.expect("every member knows who belonged when it first did"),
            logged: VecDeque::new(),
        };
        for entry in &image.entries {
            standing.add(&Record::Entry(entry.clone()));
        }
        standing
    }

    /// By what it counts.
    pub(crate) fn in_force(&self) -> &Configuration {
        let newest = self.logged.back().unwrap_or(&self.given);
        &newest.1
    }

    /// The newest up to `index`, or the one that it was given.
    fn at(&self, index: Index) -> &Placed {
        let until = |placed: &&Placed| placed.0.index <= index;
        self.logged.iter().rfind(until).unwrap_or(&self.given)
    }

    /// Whether one behind `agreed`, which may yet be agreed on, names a member.
    fn may_name(&self, member: MemberId, agreed: Index) -> bool {
        let later = self.logged.iter().filter(|(at, _)| at.index > agreed);
        later.into_iter().any(|(_, later)| later.names(member))
    }

    /// A snapshot or a welcome brings one.
    pub(crate) fn give(&mut self, placed: Placed) {
        if placed.0 > self.given.0 {
            self.given = placed;
        }
        let given = self.given.0;
        self.logged.retain(|(position, _)| *position > given);
    }

    fn add(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                self.logged.retain(|(at, _)| at.index < entry.index);
                if let Payload::Configuration(configuration) = &entry.payload
                    && entry.position() > self.given.0
                {
                    let placed = (entry.position(), configuration.clone());
                    self.logged.push_back(placed);
                }
            }
            Record::Base { position, keep_log } => {
                if !keep_log {
                    self.logged.clear();
                }
                let covered = |placed: &mut Placed| placed.0.index <= position.index;
                while let Some(placed) = self.logged.pop_front_if(covered) {
                    self.given = placed;
                }
            }
            Record::HardState(_) | Record::Peer(_) => {}
        }
    }
}
