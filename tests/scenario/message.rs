//! The text form of messages: what stories print, and what `inject` reads.
//!
//! One word for the kind, then terms and `key=value`; entries and commands come last:
//! `append t2 prev=t1:i4 commit=i3 t2:i5=noop t2:i6="a"`.

use std::fmt::{self, Debug};

use bytes::Bytes;
use remember::consensus::{
    Append, AppendOutcome, AppendReply, Ballot, Beat, BeatReply, Boot, Configuration, Entry,
    Forward, ForwardReply, Index, MemberId, Message, NodeId, Payload, Position, Refusal, Seat,
    Verdict, VoteReply, VoteRequest,
};

use super::word::{Meaning, Words, read};

/// The first words of all messages.
pub(crate) const KINDS: [&str; 14] = [
    "vote-request",
    "vote-reply",
    "append",
    "append-reply",
    "beat",
    "beat-reply",
    "commit",
    "timeout-now",
    "supply-request",
    "supply",
    "forward",
    "forward-reply",
    "read-request",
    "read-reply",
];

/// The first word of a message's text form.
pub(crate) fn kind(message: &Message) -> &'static str {
    match message {
        Message::VoteRequest(_) => "vote-request",
        Message::VoteReply(_) => "vote-reply",
        Message::Append(_) => "append",
        Message::AppendReply(_) => "append-reply",
        Message::Beat(_) => "beat",
        Message::BeatReply(_) => "beat-reply",
        Message::Commit { .. } => "commit",
        Message::TimeoutNow { .. } => "timeout-now",
        Message::SupplyRequest { .. } => "supply-request",
        Message::Supply(_) => "supply",
        Message::Forward(_) => "forward",
        Message::ForwardReply(_) => "forward-reply",
        Message::ReadRequest { .. } => "read-request",
        Message::ReadReply { .. } => "read-reply",
    }
}

/// The text form of a message.
pub(crate) fn print(message: &Message) -> String {
    let rest = match message {
        Message::VoteRequest(it) => {
            let ballot = kebab(it.ballot);
            let round = Name(it.round);
            format!("{ballot} {:?} last={:?} round={round}", it.term, it.last)
        }
        Message::VoteReply(it) => {
            let (ballot, verdict) = (kebab(it.ballot), kebab(it.verdict));
            format!("{ballot} {:?} {verdict} round={}", it.term, Name(it.round))
        }
        Message::Append(it) | Message::Supply(it) => {
            let entries = entries(&it.entries);
            let gap = if entries.is_empty() { "" } else { " " };
            format!(
                "{:?} prev={:?} commit={:?}{gap}{entries}",
                it.term, it.prev, it.commit
            )
        }
        Message::AppendReply(it) => match it.outcome {
            AppendOutcome::Matched(index) => format!("{:?} matched={index:?}", it.term),
            AppendOutcome::Conflict { rejected, hint } => {
                format!("{:?} rejected={rejected:?} hint={hint:?}", it.term)
            }
        },
        Message::Beat(it) => format!(
            "{:?} round={} commit={:?} tickets={} alive={}",
            it.term,
            it.round,
            it.commit,
            it.tickets,
            nodes(&it.alive)
        ),
        Message::BeatReply(it) => {
            let unfit = if it.can_stand { "" } else { " unfit" };
            format!("{:?} round={}{unfit}", it.term, it.round)
        }
        Message::Commit { term, commit } => format!("{term:?} {commit:?}"),
        Message::TimeoutNow { term } => format!("{term:?}"),
        Message::SupplyRequest { term, at } => format!("{term:?} at={at:?}"),
        Message::Forward(it) => {
            let commands: Vec<String> = it.commands.iter().map(command).collect();
            format!(
                "{:?} batch={} {}",
                it.term,
                Name(it.batch),
                commands.join(" ")
            )
        }
        Message::ForwardReply(it) => match it.outcome {
            Ok(at) => format!("{:?} batch={} at={at:?}", it.term, Name(it.batch)),
            Err(refusal) => format!("{:?} batch={} {}", it.term, Name(it.batch), kebab(refusal)),
        },
        Message::ReadRequest { request, term } => format!("{term:?} request={}", Name(*request)),
        Message::ReadReply {
            request,
            term,
            index,
        } => match index {
            Some(index) => format!("{term:?} request={} at={index:?}", Name(*request)),
            None => format!("{term:?} request={} not-leader", Name(*request)),
        },
    };
    format!("{} {rest}", kind(message))
}

/// The name of a vote or request: the boot that gave it, and a count within that boot.
#[derive(Clone, Copy)]
struct Name(u64);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl Meaning for Name {
    const LOOKS: &'static str = "1.1";

    fn of(word: &str) -> Option<Self> {
        let (boot, count) = word.split_once('.')?;
        let (boot, count): (u32, u32) = (boot.parse().ok()?, count.parse().ok()?);
        Some(Self((u64::from(boot) << 32) + u64::from(count)))
    }
}

/// Reads the text form of a message.
pub(crate) fn parse(words: &mut Words) -> Result<Message, String> {
    let kind = words.take("a message")?;
    Ok(match kind.as_str() {
        "vote-request" => Message::VoteRequest(VoteRequest {
            ballot: named(words, "a ballot", &BALLOTS)?,
            term: words.next()?,
            last: words.needed("last")?,
            round: words.needed::<Name>("round")?.0,
        }),
        "vote-reply" => Message::VoteReply(VoteReply {
            ballot: named(words, "a ballot", &BALLOTS)?,
            term: words.next()?,
            verdict: named(words, "a verdict", &VERDICTS)?,
            round: words.needed::<Name>("round")?.0,
        }),
        "append" => Message::Append(parse_append(words)?),
        "supply" => Message::Supply(parse_append(words)?),
        "supply-request" => Message::SupplyRequest {
            term: words.next()?,
            at: words.needed("at")?,
        },
        "append-reply" => Message::AppendReply(AppendReply {
            term: words.next()?,
            outcome: match words.value("matched")? {
                Some(index) => AppendOutcome::Matched(index),
                None => AppendOutcome::Conflict {
                    rejected: words.needed("rejected")?,
                    hint: words.needed("hint")?,
                },
            },
        }),
        "beat" => Message::Beat(Beat {
            term: words.next()?,
            round: words.needed("round")?,
            commit: words.needed("commit")?,
            tickets: words.needed("tickets")?,
            alive: words.needed("alive")?,
        }),
        "beat-reply" => Message::BeatReply(BeatReply {
            term: words.next()?,
            round: words.needed("round")?,
            can_stand: !words.flag("unfit"),
        }),
        "commit" => Message::Commit {
            term: words.next()?,
            commit: words.next()?,
        },
        "timeout-now" => Message::TimeoutNow {
            term: words.next()?,
        },
        _ => return parse_request(&kind, words),
    })
}

fn parse_append(words: &mut Words) -> Result<Append, String> {
    Ok(Append {
        term: words.next()?,
        prev: words.needed("prev")?,
        commit: words.needed("commit")?,
        entries: words.all(),
    })
}

/// Reads a message that carries a client's request or its answer.
fn parse_request(kind: &str, words: &mut Words) -> Result<Message, String> {
    Ok(match kind {
        "forward" => Message::Forward(Forward {
            term: words.next()?,
            batch: words.needed::<Name>("batch")?.0,
            commands: words.all(),
        }),
        "forward-reply" => Message::ForwardReply(ForwardReply {
            term: words.next()?,
            batch: words.needed::<Name>("batch")?.0,
            outcome: match words.value::<Position>("at")? {
                Some(at) => Ok(at),
                None => Err(named(words, "at= or a refusal", &REFUSALS)?),
            },
        }),
        "read-request" => Message::ReadRequest {
            term: words.next()?,
            request: words.needed::<Name>("request")?.0,
        },
        "read-reply" => Message::ReadReply {
            term: words.next()?,
            request: words.needed::<Name>("request")?.0,
            index: if words.flag("not-leader") {
                None
            } else {
                Some(words.needed("at")?)
            },
        },
        _ => return Err(format!("there is no message {kind}")),
    })
}

const BALLOTS: [Ballot; 2] = [Ballot::Pre, Ballot::Real];

const VERDICTS: [Verdict; 6] = [
    Verdict::Granted,
    Verdict::HasLeader,
    Verdict::LogBehind,
    Verdict::VotedForOther,
    Verdict::StaleTerm,
    Verdict::Held,
];

const REFUSALS: [Refusal; 4] = [
    Refusal::NotLeader,
    Refusal::HandingOver,
    Refusal::Busy,
    Refusal::Storage,
];

/// The value of that name among `all`.
fn named<T: Copy + Debug>(words: &mut Words, what: &str, all: &[T]) -> Result<T, String> {
    let word = words.take(what)?;
    let found = all.iter().find(|value| kebab(**value) == word);
    found
        .copied()
        .ok_or_else(|| format!("{word} is not {what}"))
}

/// A variant's name in small letters: `HasLeader` is `has-leader`.
pub(crate) fn kebab(variant: impl Debug) -> String {
    let mut name = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// `n1,n2`, or `none`.
pub(crate) fn nodes<'a>(ids: impl IntoIterator<Item = &'a NodeId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| format!("{id:?}")).collect();
    if ids.is_empty() {
        "none".to_owned()
    } else {
        ids.join(",")
    }
}

/// `n1,n2`; `n2'` is n2 on its second disk.
pub(crate) fn members<'a>(members: impl IntoIterator<Item = &'a MemberId>) -> String {
    let show = |member: &MemberId| {
        let disks_before = (member.incarnation.0 % 0x10).saturating_sub(1);
        let mark = "'".repeat(usize::try_from(disks_before).unwrap_or_default());
        format!("{:?}{mark}", member.id)
    };
    let shown: Vec<String> = members.into_iter().map(show).collect();
    shown.join(",")
}

/// A command as the stories write it: in quotes, a long one as a repeated letter.
pub(crate) fn command(bytes: &Bytes) -> String {
    const SHORT: usize = 40;
    let first = bytes.first().copied().unwrap_or_default();
    if bytes.len() > SHORT && bytes.iter().all(|byte| *byte == first) {
        format!("\"{}\"*{}", char::from(first), bytes.len())
    } else {
        format!("\"{}\"", String::from_utf8_lossy(bytes))
    }
}

/// `[n1,n2,n3]`, `[n1,n2|n1,n2,n3]` while the three give way to the two, and learners behind a `+`.
pub(crate) fn configuration(configuration: &Configuration) -> String {
    let list = |counts: fn(&Seat) -> bool| {
        let seats = configuration.seats().filter(|(_, seat)| counts(seat));
        let listed: Vec<_> = seats.map(|(member, _)| member).collect();
        members(&listed)
    };
    let voters = list(|seat| seat.votes);
    let outgoing = list(|seat| seat.outgoing);
    let learners = list(|seat| !seat.votes && !seat.outgoing);
    let before = |mark: &str, ids: String| {
        if ids.is_empty() {
            ids
        } else {
            format!("{mark}{ids}")
        }
    };
    format!(
        "[{voters}{}{}]",
        before("|", outgoing),
        before("+", learners)
    )
}

/// Entries with their places; a long run shows its ends.
pub(crate) fn entries(entries: &[Entry]) -> String {
    const MANY: usize = 6;
    let show = |entry: &Entry| {
        let place = entry.position();
        match &entry.payload {
            Payload::Noop => format!("{place:?}=noop"),
            Payload::Command(bytes) => format!("{place:?}={}", command(bytes)),
            Payload::Configuration(it) => format!("{place:?}={}", configuration(it)),
        }
    };
    match entries {
        [first, .., last] if entries.len() > MANY => {
            format!("{} .. {}", show(first), show(last))
        }
        _ => entries.iter().map(show).collect::<Vec<_>>().join(" "),
    }
}

/// `t1:i2=noop` or `t1:i2="a"`.
impl Meaning for Entry {
    const LOOKS: &'static str = "t1:i2=noop or t1:i2=\"a\"";

    fn of(word: &str) -> Option<Self> {
        let (place, payload) = word.split_once('=')?;
        let Position { term, index } = read::<Position>(place).ok()?;
        let payload = match payload {
            "noop" => Payload::Noop,
            quoted => Payload::Command(Bytes::of(quoted)?),
        };
        Some(Self {
            term,
            index,
            payload,
        })
    }
}

/// `b2.7`: the second start of a disk, and the number that tells copies of the disk apart.
pub(crate) fn boot(boot: Boot) -> String {
    format!("b{}.{}", boot.count(), boot.0 & u64::from(u32::MAX))
}

/// `i3..i7`, or `i3` alone.
pub(crate) fn span(first: Index, last: Index) -> String {
    if first == last {
        format!("{first:?}")
    } else {
        format!("{first:?}..{last:?}")
    }
}

#[test]
fn every_message_reads_back_as_it_was_printed() {
    let texts = [
        "vote-request pre t2 last=t1:i4 round=1.7",
        "vote-reply real t2 voted-for-other round=1.7",
        "append t2 prev=t1:i4 commit=i3",
        "append t2 prev=t1:i4 commit=i3 t2:i5=noop t2:i6=\"a b\" t2:i7=\"x\"*5000",
        "append-reply t2 matched=i6",
        "append-reply t2 rejected=i6 hint=t1:i4",
        "beat t2 round=9 commit=i3 tickets=3 alive=n1,n2",
        "beat-reply t2 round=9",
        "beat-reply t2 round=9 unfit",
        "commit t2 i6",
        "timeout-now t2",
        "forward t2 batch=1.1 \"a\" \"b\"",
        "forward-reply t2 batch=1.1 at=t2:i6",
        "forward-reply t2 batch=1.1 handing-over",
        "read-request t2 request=1.1",
        "read-reply t2 request=1.1 at=i6",
        "read-reply t2 request=1.1 not-leader",
    ];
    for text in texts {
        let mut words = Words::of(text).unwrap();
        let message = parse(&mut words).unwrap();
        words.end().unwrap();
        assert_eq!(print(&message), text);
    }
}
