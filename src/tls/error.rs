//! What goes wrong with certificates, in sentences that say how to mend it.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError};

use super::name::listed;
use crate::consensus::NodeId;

/// Why files cannot be used as credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read the {what} {}: {error}", path.display())]
    Unreadable {
        /// Certificate, key or authority.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what} in PEM: {error}", path.display())]
    NotPem {
        /// Certificate, key or authority.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// Key and certificate do not belong together.
    #[error(
        "the key {} does not match the certificate {}; give the two that were made together",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The own certificate would be refused by others.
    #[error("the certificate {} cannot be used: it {sentence}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// Why, and how to mend it.
        sentence: String,
    },
    /// The certificate names another member, or none.
    #[error(
        "the certificate {} is for {}, not for member {id} of one cluster; give this node a \
         certificate with one DNS name like {id}.CLUSTER.remember", path.display(), listed(names)
    )]
    Name {
        /// Its file.
        path: PathBuf,
        /// The member that has to be named.
        id: NodeId,
        /// The names that are there.
        names: Vec<String>,
    },
    /// A certificate that is read anew names another cluster.
    #[error("the certificate {} is now for {found}, but this node is {due}", path.display())]
    Renamed {
        /// Its file.
        path: PathBuf,
        /// What it names.
        found: String,
        /// What it has to name.
        due: String,
    },
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a connection is not secured.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection ended or broke; trying again may help.
    #[error("the connection ended: {0}")]
    Ended(io::Error),
    /// One of the two ends refused the other; trying again changes nothing by itself.
    #[error("{0}")]
    Refused(String),
}

impl From<io::Error> for Failure {
    /// Tells what TLS says from what the network says.
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::Refused(refusal(error)),
            None => Self::Ended(error),
        }
    }
}

fn refusal(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => format!("its certificate {}", fault(error)),
        rustls::Error::NoCertificatesPresented => {
            "it has no certificate; give it one of this cluster's authority".to_owned()
        }
        rustls::Error::AlertReceived(alert) => objection(*alert),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; switch TLS on, or off, on both sides".to_owned()
        }
        rustls::Error::PeerIncompatible(why) => {
            format!("it does not speak TLS as this side does, which is TLS 1.3 ({why:?})")
        }
        rustls::Error::NoApplicationProtocol => wrong_port(),
        other => format!("TLS failed: {other}"),
    }
}

fn wrong_port() -> String {
    "it speaks another protocol over TLS; look whether a port for peers and one for clients were \
     mixed up"
        .to_owned()
}

/// What the other side has against this one. It tells little, so that strangers learn little.
fn objection(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::NoApplicationProtocol => wrong_port(),
        AlertDescription::CertificateRequired => {
            "it demands a certificate of its authority, and this side has shown none".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it refuses this side's certificate, which has expired by its clock; renew it"
                .to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it refuses this side's certificate, which its authority has not issued; give both \
             certificates of one authority"
                .to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "it refuses this side's certificate, for its names, purpose or issuer; its log says \
             which"
                .to_owned()
        }
        other => format!("it ended the TLS handshake ({other:?}); its log may say why"),
    }
}

/// What is wrong with a certificate; follows "its certificate" or "it".
pub(super) fn fault(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired; renew it, or correct the clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; compare the clocks of both sides".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "was not issued by the authority that is trusted here; give both sides certificates \
             of one authority"
                .to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            format!(
                "is for {}, not for {}; correct the address, or give it its own certificate",
                listed(&presented),
                expected.to_str(),
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for this purpose; a member's is for serverAuth and clientAuth, a client's for \
             clientAuth"
                .to_owned()
        }
        other => format!("is refused: {other}"),
    }
}

/// The name in `DnsName("a")` or `IpAddress(1.2.3.4)`, as rustls tells it.
fn bare(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner
        .map_or(name, |inner| inner.trim_matches('"'))
        .to_owned()
}
