//! What one frame of a link that is up carries.

use bytes::BytesMut;

use super::malformed::Malformed;
use super::{Frame, SendError, Snapshot, message};
use crate::consensus::Message;

/// The content of a frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Packet {
    /// For the consensus core.
    Message(Message),
    /// For the transfer of snapshots.
    Snapshot(Snapshot),
}

impl Packet {
    /// Appends the packet as one frame.
    pub fn append(&self, out: &mut BytesMut) -> Result<(), SendError> {
        match self {
            Self::Message(message) => message::append(message, out),
            Self::Snapshot(snapshot) => snapshot.append(out),
        }
    }

    /// Reads the packet in a frame. Commands and chunks are slices of the frame's body.
    pub fn decode(frame: Frame) -> Result<Self, Malformed> {
        let Frame { kind, body, .. } = frame;
        if let Some(message) = message::decode(kind, body.clone()) {
            return message.map(Self::Message);
        }
        match Snapshot::decode(kind, body) {
            Some(snapshot) => snapshot.map(Self::Snapshot),
            None => Err(Malformed::new(
                "Frame.kind",
                format!("is {kind:?}, no packet"),
            )),
        }
    }
}
