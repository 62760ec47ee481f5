//! Where a member is reached, as it says so itself and as others pass it on.

use std::fmt;

use super::check::{count, node_id};
use super::malformed::{Malformed, required};
use super::{body, limits};
use crate::consensus::NodeId;

/// Where one member is reached.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberAddress {
    /// By the other nodes.
    pub peer: Address,
    /// By clients; what the cluster-info document tells (S6).
    pub api: Address,
}

/// A host and a port, as a node advertises them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// A name or an IP address: printable ASCII without spaces, at most
    /// [`limits::HOST_BYTES_MAX`] bytes.
    pub host: String,
    /// The port; not 0.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    pub(super) fn check(&self, field: &'static str) -> Result<(), Malformed> {
        if self.host.is_empty() {
            return Err(Malformed::new(field, "has no host"));
        }
        count(self.host.len(), limits::HOST_BYTES_MAX, field)?;
        if !self.host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Malformed::new(field, "is not printable ASCII"));
        }
        if self.port == 0 {
            return Err(Malformed::new(field, "has no port"));
        }
        Ok(())
    }
}

impl From<&Address> for body::Address {
    fn from(address: &Address) -> Self {
        Self {
            host: address.host.clone(),
            port: u32::from(address.port),
        }
    }
}

pub(super) fn address(
    twin: Option<body::Address>,
    field: &'static str,
) -> Result<Address, Malformed> {
    let body::Address { host, port } = required(twin, field)?;
    let port = u16::try_from(port)
        .map_err(|_| Malformed::new(field, format!("has port {port}, which does not exist")))?;
    Ok(Address { host, port })
}

/// What one node tells another about a third: who it is, and where it is reached.
pub type Contact = (NodeId, MemberAddress);

impl From<&Contact> for body::Contact {
    fn from((id, at): &Contact) -> Self {
        Self {
            id: id.0,
            peer: Some((&at.peer).into()),
            api: Some((&at.api).into()),
        }
    }
}

/// Reads where a third node is reached.
pub(super) fn contact(twin: body::Contact, field: &'static str) -> Result<Contact, Malformed> {
    let id = NodeId(twin.id);
    let at = MemberAddress {
        peer: address(twin.peer, field)?,
        api: address(twin.api, field)?,
    };
    check_contact(&(id, at.clone()), field)?;
    Ok((id, at))
}

/// Says whether a third node can be reached like this.
pub(super) fn check_contact(contact: &Contact, field: &'static str) -> Result<(), Malformed> {
    let (id, at) = contact;
    node_id(*id, field)?;
    at.peer.check(field)?;
    at.api.check(field)
}
