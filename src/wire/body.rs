//! The bodies of frames as they are encoded: protobuf twins of what nodes say.
//!
//! They mean nothing by themselves; the conversions beside each value do. A tag is for ever, and
//! is never used again for anything else. Codes and ids begin with 1, so that absence shows. Random
//! numbers are `fixed64`, whose absence shows by itself.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Position {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(uint64, tag = "2")]
    pub(super) index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Address {
    #[prost(string, tag = "1")]
    pub(super) host: String,
    #[prost(uint32, tag = "2")]
    pub(super) port: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberId {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(fixed64, optional, tag = "2")]
    pub(super) incarnation: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Member {
    #[prost(fixed64, optional, tag = "1")]
    pub(super) cluster: Option<u64>,
    #[prost(message, optional, tag = "2")]
    pub(super) configuration: Option<Configuration>,
    #[prost(uint64, tag = "3")]
    pub(super) boot: u64,
    #[prost(uint64, tag = "4")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "5")]
    pub(super) durable: Option<Position>,
    #[prost(fixed32, repeated, tag = "6")]
    pub(super) earlier_boots: Vec<u32>,
    #[prost(message, optional, tag = "7")]
    pub(super) since: Option<Position>,
    #[prost(message, optional, tag = "8")]
    pub(super) settled: Option<Position>,
    #[prost(uint32, tag = "9")]
    pub(super) epoch: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Introduction {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, tag = "2")]
    pub(super) expects: u64,
    #[prost(fixed64, optional, tag = "3")]
    pub(super) incarnation: Option<u64>,
    #[prost(message, optional, tag = "4")]
    pub(super) api: Option<Address>,
    #[prost(message, optional, tag = "5")]
    pub(super) peer: Option<Address>,
    #[prost(message, optional, tag = "6")]
    pub(super) member: Option<Member>,
    #[prost(bool, tag = "7")]
    pub(super) registers: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Contact {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) peer: Option<Address>,
    #[prost(message, optional, tag = "3")]
    pub(super) api: Option<Address>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Welcome {
    #[prost(fixed64, optional, tag = "1")]
    pub(super) cluster: Option<u64>,
    #[prost(message, optional, tag = "2")]
    pub(super) configuration: Option<Configuration>,
    #[prost(message, optional, tag = "3")]
    pub(super) settled: Option<Position>,
    #[prost(message, repeated, tag = "4")]
    pub(super) contacts: Vec<Contact>,
    #[prost(uint32, tag = "5")]
    pub(super) epoch: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Verdict {
    #[prost(uint32, tag = "1")]
    pub(super) code: u32,
    #[prost(uint32, tag = "2")]
    pub(super) reason: u32,
    #[prost(string, tag = "3")]
    pub(super) sentence: String,
    #[prost(message, optional, tag = "4")]
    pub(super) welcome: Option<Welcome>,
    #[prost(message, optional, tag = "5")]
    pub(super) leader: Option<Contact>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VoteRequest {
    #[prost(uint32, tag = "1")]
    pub(super) ballot: u32,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) last: Option<Position>,
    #[prost(uint64, tag = "4")]
    pub(super) round: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VoteReply {
    #[prost(uint32, tag = "1")]
    pub(super) ballot: u32,
    #[prost(uint64, tag = "2")]
    pub(super) round: u64,
    #[prost(uint64, tag = "3")]
    pub(super) term: u64,
    #[prost(uint32, tag = "4")]
    pub(super) verdict: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Seat {
    #[prost(message, optional, tag = "1")]
    pub(super) member: Option<MemberId>,
    #[prost(message, optional, tag = "2")]
    pub(super) since: Option<Position>,
    #[prost(bool, tag = "3")]
    pub(super) votes: bool,
    #[prost(bool, tag = "4")]
    pub(super) outgoing: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Configuration {
    #[prost(message, repeated, tag = "1")]
    pub(super) seats: Vec<Seat>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) register: Option<u64>,
}

/// An entry; without a command or a configuration it is a no-op.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(uint64, tag = "2")]
    pub(super) index: u64,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) command: Option<Bytes>,
    #[prost(message, optional, tag = "4")]
    pub(super) configuration: Option<Configuration>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Append {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) prev: Option<Position>,
    #[prost(uint64, tag = "3")]
    pub(super) commit: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Conflict {
    #[prost(uint64, tag = "1")]
    pub(super) rejected: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) hint: Option<Position>,
}

/// Either `matched` or `conflict`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AppendReply {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(uint64, optional, tag = "2")]
    pub(super) matched: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(super) conflict: Option<Conflict>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Beat {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(uint64, tag = "2")]
    pub(super) round: u64,
    #[prost(uint64, tag = "3")]
    pub(super) commit: u64,
    #[prost(uint32, tag = "4")]
    pub(super) tickets: u32,
    #[prost(uint64, repeated, tag = "5")]
    pub(super) alive: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BeatReply {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(uint64, tag = "2")]
    pub(super) round: u64,
    #[prost(bool, tag = "3")]
    pub(super) can_stand: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Commit {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(uint64, tag = "2")]
    pub(super) commit: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeoutNow {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SupplyRequest {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) at: Option<Position>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Forward {
    #[prost(uint64, tag = "1")]
    pub(super) batch: u64,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(super) commands: Vec<Bytes>,
}

/// Either `first` or a non-zero `refusal`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ForwardReply {
    #[prost(uint64, tag = "1")]
    pub(super) batch: u64,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) first: Option<Position>,
    #[prost(uint32, tag = "4")]
    pub(super) refusal: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadRequest {
    #[prost(uint64, tag = "1")]
    pub(super) request: u64,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadReply {
    #[prost(uint64, tag = "1")]
    pub(super) request: u64,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(uint64, optional, tag = "3")]
    pub(super) index: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotBegin {
    #[prost(uint64, tag = "1")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) position: Option<Position>,
    #[prost(uint64, tag = "3")]
    pub(super) total_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotChunk {
    #[prost(uint64, tag = "1")]
    pub(super) offset: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotEnd {
    #[prost(fixed32, optional, tag = "1")]
    pub(super) checksum: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotAck {
    #[prost(message, optional, tag = "1")]
    pub(super) position: Option<Position>,
    #[prost(uint64, tag = "2")]
    pub(super) received: u64,
    #[prost(uint32, tag = "3")]
    pub(super) delivery: u32,
}
