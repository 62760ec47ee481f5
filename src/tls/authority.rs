//! Issuing: an authority of one's own, and what it signs.
//!
//! Only bytes in, bytes out: where they are kept, and who may read them, is the caller's to say.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::MemberName;
use super::credentials::{Contents, Credentials};

/// What every authority made here is called. It is the same for all, so that a certificate can be
/// issued by whoever holds the key, without reading the authority's own.
const AUTHORITY: &str = "Remember authority";

/// How far the clocks of two machines may differ before a fresh certificate is refused.
const CLOCKS_DIFFER: Duration = Duration::from_mins(10);

/// How long an authority lives.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key cannot be used.
    #[error("the authority's key cannot be used: {0}")]
    Key(rcgen::Error),
    /// What it signs would not be taken as its own.
    #[error(
        "key and certificate are not those of one authority that Remember has made, or its time \
         is over: {0}"
    )]
    Authority(String),
    /// A name that cannot stand in a certificate.
    #[error("\"{0}\" cannot stand in a certificate; it is like host.example or 192.0.2.1")]
    Host(String),
    /// Making or signing failed.
    #[error("the certificate cannot be made: {0}")]
    Making(#[from] rcgen::Error),
}

/// Whoever signs the certificates of a cluster.
pub struct Authority(Issuer<'static, KeyPair>);

/// For whom a certificate is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A member, to its peers and to its clients.
    Member {
        /// Which.
        name: MemberName,
        /// Where clients reach its API: names and addresses.
        hosts: Vec<String>,
    },
    /// A client of the API, with a name for people.
    Client(String),
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key, which is secret.
    pub key: String,
}

impl Authority {
    /// Makes a new one, and what is to be kept of it.
    pub fn make() -> Result<(Self, Issued), IssueError> {
        let key = KeyPair::generate()?;
        let params = authority_params();
        let issued = Issued {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        Ok((Self(Issuer::new(params, key)), issued))
    }

    /// An authority that was made before, by what was kept of it in PEM.
    pub fn open(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(key).map_err(IssueError::Key)?;
        let authority = Self(Issuer::new(authority_params(), key));
        let sample = Subject::Client("sample".to_owned());
        let sample = authority.issue(&sample, CLOCKS_DIFFER)?;
        let contents = Contents::new(&sample.certificate, &sample.key, certificate);
        let checked = Credentials::new(&Contents::files(), &contents);
        checked.map_err(|error| IssueError::Authority(error.to_string()))?;
        Ok(authority)
    }

    /// Issues a certificate that is valid from now on for `lifetime`.
    pub fn issue(&self, subject: &Subject, lifetime: Duration) -> Result<Issued, IssueError> {
        self.issue_at(subject, SystemTime::now(), lifetime)
    }

    /// Issues a certificate that is valid from `now` on for `lifetime`.
    pub fn issue_at(
        &self,
        subject: &Subject,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Issued, IssueError> {
        self.issue_between(subject, now - CLOCKS_DIFFER, now + lifetime)
    }

    /// Issues a certificate that is valid between two times.
    pub fn issue_between(
        &self,
        subject: &Subject,
        from: SystemTime,
        until: SystemTime,
    ) -> Result<Issued, IssueError> {
        let (title, names, is_server) = match subject {
            Subject::Member { name, hosts } => {
                let names = std::iter::once(name.to_string()).chain(hosts.iter().cloned());
                (name.to_string(), names.collect(), true)
            }
            Subject::Client(name) => (name.clone(), Vec::new(), false),
        };
        if let Some(host) = names.iter().find(|host| !is_host(host)) {
            return Err(IssueError::Host(host.clone()));
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, title);
        params.not_before = from.into();
        params.not_after = until.into();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_server {
            let server = ExtendedKeyUsagePurpose::ServerAuth;
            params.extended_key_usages.push(server);
        }
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate: params.signed_by(&key, &self.0)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY);
    let now = SystemTime::now();
    params.not_before = (now - CLOCKS_DIFFER).into();
    params.not_after = (now + AUTHORITY_LIFETIME).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn is_host(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || rustls::pki_types::DnsName::try_from(host).is_ok()
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Issued");
        shown.field("certificate", &self.certificate);
        shown.finish_non_exhaustive()
    }
}
