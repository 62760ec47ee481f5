//! How a certificate names a member: `3.blue.remember` is member 3 of the cluster `blue`.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use webpki::EndEntityCert;

use crate::consensus::NodeId;

/// What every member's name ends with.
const SUFFIX: &str = ".remember";

/// The longest name of a cluster, in bytes: with an id and the suffix it must fit a DNS name.
const CLUSTER_BYTES_MAX: usize = 200;

/// What the certificates of a cluster call it: one or several DNS labels, in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterName(String);

/// A name that no certificate can hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "\"{0}\" cannot name a cluster; use at most 200 small letters, digits and hyphens, and dots \
     between them"
)]
pub struct NameError(String);

/// One member of one cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberName {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Which member.
    pub id: NodeId,
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_small = |byte: u8| !byte.is_ascii_uppercase() && byte != b'_';
        let fits = text.len() <= CLUSTER_BYTES_MAX && text.bytes().all(is_small);
        let whole = format!("1.{text}{SUFFIX}");
        if fits && !text.ends_with('.') && DnsName::try_from(whole.as_str()).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.to_owned()))
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{SUFFIX}", self.id, self.cluster)
    }
}

impl MemberName {
    /// Reads a DNS name; `None` if it is not that of a member.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (id, cluster) = name.strip_suffix(SUFFIX)?.split_once('.')?;
        let parsed = id.parse().ok().filter(|parsed: &u64| *parsed > 0)?;
        let member = Self {
            cluster: cluster.parse().ok()?,
            id: NodeId(parsed),
        };
        // Each member is written in one way only: 3, not 03 or +3.
        (parsed.to_string() == id).then_some(member)
    }

    /// Another member of the same cluster.
    pub(super) fn sibling(&self, id: NodeId) -> Self {
        let cluster = self.cluster.clone();
        Self { cluster, id }
    }

    /// The name as TLS verifies it.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.to_string()).ok()
    }
}

/// The DNS names in a certificate.
pub(super) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    parsed.valid_dns_names().map(str::to_owned).collect()
}

/// Names for a sentence.
pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nobody by name".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_is_written() {
        let name = MemberName::parse("3.blue.default.remember").unwrap();
        assert_eq!(
            (name.id, name.cluster.0.as_str()),
            (NodeId(3), "blue.default")
        );
        assert_eq!(name.to_string(), "3.blue.default.remember");
        assert_eq!(
            MemberName::parse("3.Blue.REMEMBER").unwrap().to_string(),
            "3.blue.remember"
        );
    }

    #[test]
    fn what_names_no_member_is_none() {
        for name in [
            "",
            "remember",
            "3.remember",
            "3..remember",
            "0.blue.remember",
            "03.blue.remember",
            "+3.blue.remember",
            "-3.blue.remember",
            "x.blue.remember",
            "*.blue.remember",
            "3.blue.remember.",
            "3.blue.remembers",
            "99999999999999999999.blue.remember",
        ] {
            assert_eq!(MemberName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_cluster_has_a_name_that_a_certificate_can_hold() {
        for name in ["a", "blue", "blue-2.default", "7"] {
            let cluster: ClusterName = name.parse().unwrap();
            let member = MemberName {
                cluster,
                id: NodeId(u64::from(u32::MAX)),
            };
            assert!(member.server_name().is_some(), "{name}");
            assert_eq!(MemberName::parse(&member.to_string()), Some(member));
        }
        let long = format!("{0}.{0}.{0}.{0}", "a".repeat(50));
        for name in [
            "", "Blue", "a b", ".", "a..b", "a.", ".a", "-a", "a_b", "\u{e9}", &long,
        ] {
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
    }
}
