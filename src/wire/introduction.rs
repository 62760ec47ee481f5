//! What a node says of itself when it meets another, and whether the two belong together.

use std::cmp::Ordering;

use bytes::{Bytes, BytesMut};

use super::address::address;
use super::check::{self, node_id};
use super::frame::append_body;
use super::malformed::{Malformed, required};
use super::message::{parse, position};
use super::send_error::SendError;
use super::{Address, Kind, MemberAddress, Reason, Verdict, body};
use crate::consensus::{
    Boot, Boots, ClusterId, Epoch, Hello, Incarnation, MemberId, Membership, NodeId, Position,
    Report, Term,
};

/// How a node introduces itself, on both sides of every connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Introduction {
    /// Who it is.
    pub id: NodeId,
    /// Whom it believes to be talking to. An acceptor names the dialer as it introduced itself.
    pub expects: NodeId,
    /// Its disk.
    pub incarnation: Incarnation,
    /// Where clients reach it (S6 `ip` and `port`).
    pub api: Address,
    /// Where nodes reach it.
    pub peer: Address,
    /// What it is in its cluster; `None` while its disk is fresh (R13).
    pub member: Option<Member>,
    /// Whether it wants to belong to the acceptor's cluster (S7).
    pub registers: bool,
}

/// What a member of a cluster adds to its introduction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// The cluster and its voters.
    pub membership: Membership,
    /// With which entry it became a member.
    pub since: Position,
    /// The starts of its disk, this one and those before it (R15).
    pub boots: Boots,
    /// Its durable term.
    pub term: Term,
    /// The end of its durable log.
    pub durable: Position,
}

impl Member {
    /// A member that says `hello` in the cluster of `membership`.
    pub fn new(membership: Membership, hello: &Hello) -> Self {
        Self {
            membership,
            since: hello.since,
            boots: hello.boots.clone(),
            term: hello.term,
            durable: hello.durable,
        }
    }
}

impl Introduction {
    /// The same introduction, made to `peer`.
    #[must_use]
    pub fn to(&self, peer: NodeId) -> Self {
        Self {
            expects: peer,
            ..self.clone()
        }
    }

    /// Where whoever says this is reached.
    pub fn address(&self) -> MemberAddress {
        MemberAddress {
            peer: self.peer.clone(),
            api: self.api.clone(),
        }
    }

    /// Who says this, on which disk.
    pub fn name(&self) -> MemberId {
        MemberId {
            id: self.id,
            incarnation: self.incarnation,
        }
    }

    /// What the introduction says about the founding of the cluster (R13).
    pub fn report(&self) -> Report {
        match &self.member {
            Some(member) => Report::Member(member.membership.clone()),
            None => Report::Fresh(self.incarnation),
        }
    }

    /// What the consensus core judges a member by; `None` while its disk is fresh.
    pub fn hello(&self) -> Option<Hello> {
        self.member.as_ref().map(|member| Hello {
            member: self.name(),
            since: member.since,
            boots: member.boots.clone(),
            term: member.term,
            durable: member.durable,
        })
    }

    /// Whether this node and the one that said `theirs` belong together, as far as names tell;
    /// either side may ask. After a `Welcome` the consensus core judges the hello
    /// ([`Node::admit`](crate::consensus::Node::admit)) and may still refuse.
    pub fn judge(&self, theirs: &Self) -> Verdict {
        let refused = |reason, sentence: String| Verdict::refused(reason, &sentence);
        if self.id == theirs.id {
            let id = self.id;
            let sentence = format!(
                "both nodes say that they are node {id}, at {} and at {}; give each node its own \
                 id, and its own address in the list of peers",
                self.peer, theirs.peer
            );
            return refused(Reason::Node, sentence);
        }
        for (asking, answering) in [(theirs, self), (self, theirs)] {
            if asking.expects != answering.id {
                let sentence = format!(
                    "node {} looked for node {} and met node {}, which is at {}; correct the \
                     addresses in the list of peers",
                    asking.id, asking.expects, answering.id, answering.peer
                );
                return refused(Reason::Node, sentence);
            }
        }
        let (Some(ours), Some(their)) = (&self.member, &theirs.member) else {
            return Verdict::Noted;
        };
        let (ours, their) = (&ours.membership, &their.membership);
        if ours.cluster != their.cluster {
            return refused(Reason::Cluster, self.apart(ours, theirs.id, their));
        }
        if ours.epoch != their.epoch {
            let sentence = format!(
                "nodes {} and {} put the one cluster {:016x} into epochs {} and {}; one of the two \
                 data directories was made by hand",
                self.id, theirs.id, ours.cluster.0, ours.epoch, their.epoch
            );
            return refused(Reason::Cluster, sentence);
        }
        if ours.settled.0 == their.settled.0 && ours.settled.1 != their.settled.1 {
            let sentence = format!(
                "nodes {} and {} know different members of the one cluster {:016x}; one of the two \
                 data directories was damaged or made by hand",
                self.id, theirs.id, ours.cluster.0
            );
            return refused(Reason::Cluster, sentence);
        }
        Verdict::Welcome
    }

    /// Why two nodes of different clusters have no link, and how to mend that.
    fn apart(&self, ours: &Membership, other: NodeId, their: &Membership) -> String {
        let sides = [(self.id, ours), (other, their)];
        let [low, high] = match ours.epoch.cmp(&their.epoch) {
            Ordering::Greater => [sides[1], sides[0]],
            Ordering::Less => sides,
            Ordering::Equal => {
                return format!(
                    "node {} belongs to cluster {:016x} and node {other} to cluster {:016x}; \
                     correct the addresses, or give the one its right data directory",
                    self.id, ours.cluster.0, their.cluster.0
                );
            }
        };
        format!(
            "node {} belongs to cluster {:016x} of epoch {}, and node {} to {:016x} of epoch {}, \
             which was begun anew (R14); to let node {} belong to that as well, set its data \
             directory aside and start it with an empty one and --join",
            low.0, low.1.cluster.0, low.1.epoch, high.0, high.1.cluster.0, high.1.epoch, low.0
        )
    }

    /// Appends the introduction as one frame.
    pub fn append(&self, out: &mut BytesMut) -> Result<(), SendError> {
        self.check()?;
        append_body(Kind::Introduction, &body::Introduction::from(self), out)?;
        Ok(())
    }

    /// Reads an introduction from the body of its frame.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        parse::<body::Introduction>("Introduction", bytes)?.try_into()
    }

    fn check(&self) -> Result<(), Malformed> {
        node_id(self.id, "Introduction.id")?;
        node_id(self.expects, "Introduction.expects")?;
        self.api.check("Introduction.api")?;
        self.peer.check("Introduction.peer")?;
        let Some(member) = &self.member else {
            return Ok(());
        };
        let (settled, configuration) = &member.membership.settled;
        check::members(configuration, "Introduction.member.configuration")?;
        check::term(settled.term, "Introduction.member.settled")?;
        let epoch = member.membership.epoch;
        check::epoch(epoch, *settled, "Introduction.member.epoch")?;
        check::term(member.term, "Introduction.member.term")?;
        // Whoever knows its cluster starts from the first of its terms (R14).
        if member.term.epoch() != epoch {
            let fault = format!("is {}, which is not of epoch {epoch}", member.term);
            return Err(Malformed::new("Introduction.member.term", fault));
        }
        let field = "Introduction.member.durable";
        check::position(member.durable, member.term, field)
    }
}

fn boots(newest: Boot, earlier: Vec<u32>) -> Result<Boots, Malformed> {
    if newest.count() == 0 {
        return Err(Malformed::missing("Introduction.member.boot"));
    }
    let (due, given) = (Boots::kept_before(newest), earlier.len());
    Boots::of(newest, earlier).ok_or_else(|| {
        let fault = format!("are {given}, where {due} are due");
        Malformed::new("Introduction.member.earlier_boots", fault)
    })
}

impl From<&Introduction> for body::Introduction {
    fn from(introduction: &Introduction) -> Self {
        Self {
            id: introduction.id.0,
            expects: introduction.expects.0,
            incarnation: Some(introduction.incarnation.0),
            api: Some((&introduction.api).into()),
            peer: Some((&introduction.peer).into()),
            member: introduction.member.as_ref().map(body::Member::from),
            registers: introduction.registers,
        }
    }
}

impl TryFrom<body::Introduction> for Introduction {
    type Error = Malformed;

    fn try_from(twin: body::Introduction) -> Result<Self, Malformed> {
        let introduction = Self {
            id: NodeId(twin.id),
            expects: NodeId(twin.expects),
            incarnation: Incarnation(required(twin.incarnation, "Introduction.incarnation")?),
            api: address(twin.api, "Introduction.api")?,
            peer: address(twin.peer, "Introduction.peer")?,
            member: twin.member.map(Member::try_from).transpose()?,
            registers: twin.registers,
        };
        introduction.check()?;
        Ok(introduction)
    }
}

impl From<&Member> for body::Member {
    fn from(member: &Member) -> Self {
        Self {
            cluster: Some(member.membership.cluster.0),
            configuration: Some((&member.membership.settled.1).into()),
            settled: Some(member.membership.settled.0.into()),
            boot: member.boots.newest().0,
            term: member.term.0,
            durable: Some(member.durable.into()),
            earlier_boots: member.boots.earlier().to_vec(),
            since: Some(member.since.into()),
            epoch: member.membership.epoch.0,
        }
    }
}

impl TryFrom<body::Member> for Member {
    type Error = Malformed;

    fn try_from(twin: body::Member) -> Result<Self, Malformed> {
        let configuration = required(twin.configuration, "Introduction.member.configuration")?;
        let settled = position(twin.settled, "Introduction.member.settled")?;
        let settled = (settled, configuration.try_into()?);
        let cluster = ClusterId(required(twin.cluster, "Introduction.member.cluster")?);
        Ok(Self {
            membership: Membership {
                cluster,
                epoch: Epoch(twin.epoch),
                settled,
            },
            since: position(twin.since, "Introduction.member.since")?,
            boots: boots(Boot(twin.boot), twin.earlier_boots)?,
            term: Term(twin.term),
            durable: position(twin.durable, "Introduction.member.durable")?,
        })
    }
}
