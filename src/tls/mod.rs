//! Mutual TLS: who a member is by its certificate, how that is verified, and how it is issued.
//!
//! ```text
//!   Files --read--> Credentials --+--> Identity --+--> dial, accept_peer    links between members
//!     ^                           |   (a member)  +--> accept_client        the API
//!     |                           |               +--> call                 a server beside it
//!     |                           +--> Service --> accept                   such a server
//!     | keep_fresh                +--> Connector                            a client of the API
//!   Authority --issue--> Issued   (for machines without Kubernetes, and for the operator)
//!                          |
//!   Roots -----------------+--check--> whether it is still of use, for whoever renews it
//! ```
//!
//! TLS 1.3 only, and a certificate of the one authority on both ends, always. A member's
//! certificate names its cluster and its id as a DNS name, [`MemberName`], so that any tool can
//! issue it and the ordinary verification of a server's name holds the dialer's half. The name
//! guards against mix-ups, not against a stolen key (R11). Sessions are never resumed: each
//! connection is verified anew.
//!
//! Not here: when to dial again, who may lead, what a client may ask.

mod authority;
mod credentials;
mod error;
mod identity;
mod kept;
mod name;
mod service;
mod stream;

#[cfg(test)]
mod tests;

pub use authority::{Authority, IssueError, Issued, Subject};
pub use credentials::{Connector, Files};
pub use error::{Error, Failure};
pub use identity::{Identity, Stranger};
pub use kept::Roots;
pub use name::{ClusterName, MemberName, NameError};
pub use service::Service;
pub use stream::Stream;
