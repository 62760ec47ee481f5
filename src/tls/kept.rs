//! What is kept of an authority and of its members, and whether it is still of use: for whoever
//! renews certificates before they end. Only bytes are judged; nothing is read, asked or issued.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::credentials::{Contents, Credentials};
use super::{Error, Issued, Subject};

/// How many letters of a certificate in PEM stand on a line (RFC 7468).
const PEM_COLUMNS: usize = 64;

/// The certificates of the authorities that are trusted together.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads what can be read of them. What cannot is left out, so none may be left.
    #[must_use]
    pub fn read(pem: &[u8]) -> Self {
        let mut roots = Self::default();
        for root in CertificateDer::pem_slice_iter(pem).flatten() {
            if webpki::anchor_from_trusted_cert(&root).is_ok() {
                roots.add(&Self(vec![root]));
            }
        }
        roots
    }

    /// Trusts these as well, behind those that are there.
    pub fn add(&mut self, others: &Self) {
        for root in &others.0 {
            if !self.0.contains(root) {
                self.0.push(root.clone());
            }
        }
    }

    /// Whether all of the others are among these.
    #[must_use]
    pub fn contain(&self, others: &Self) -> bool {
        others.0.iter().all(|root| self.0.contains(root))
    }

    /// Each of them alone.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.0.iter().map(|root| Self(vec![root.clone()]))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them has ended by some time. Members do not look at this, but other
    /// programs do.
    #[must_use]
    pub fn has_ended_by(&self, time: SystemTime) -> bool {
        self.0.iter().any(|root| has_ended_by(root, time))
    }

    /// All of them, one behind the other.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.iter().map(pem).collect()
    }
}

/// Taken for anything but an authority it is refused anyway, but for its time first.
fn has_ended_by(root: &CertificateDer<'_>, time: SystemTime) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(root) else {
        return false;
    };
    let (time, usage) = (since_1970(time), KeyUsage::client_auth());
    let verified = certificate.verify_for_usage(&[], &[], &[], time, usage, None, None);
    matches!(verified, Err(webpki::Error::CertExpired { .. }))
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let text = STANDARD.encode(certificate);
    let mut rest = text.as_str();
    while let Some((line, behind)) = rest.split_at_checked(PEM_COLUMNS) {
        pem.extend([line, "\n"]);
        rest = behind;
    }
    if !rest.is_empty() {
        pem.extend([rest, "\n"]);
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

pub(super) fn since_1970(time: SystemTime) -> UnixTime {
    let time = time.duration_since(UNIX_EPOCH);
    UnixTime::since_unix_epoch(time.unwrap_or(Duration::ZERO))
}

impl Issued {
    /// Says what is wrong with it if it is shown as the `subject` at some time, to someone who
    /// trusts these authorities: all that a node would say, and whether it names other hosts.
    pub fn check(&self, subject: &Subject, roots: &Roots, at: SystemTime) -> Result<(), Error> {
        let contents = Contents::new(&self.certificate, &self.key, &roots.pem());
        let credentials = Credentials::read(&Contents::files(), &contents)?;
        credentials.check_at(since_1970(at))?;
        credentials.check_key()?;
        let Subject::Member { name, hosts } = subject else {
            return Ok(());
        };
        credentials.check_names(name, hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::NodeId;
    use crate::tls::{Authority, MemberName};

    const DAY: Duration = Duration::from_hours(24);

    fn roots(issued: &Issued) -> Roots {
        Roots::read(issued.certificate.as_bytes())
    }

    fn member(id: u64, hosts: &[&str]) -> Subject {
        let cluster = "blue.shop".parse().unwrap();
        let id = NodeId(id);
        let name = MemberName { cluster, id };
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Subject::Member { name, hosts }
    }

    #[test]
    fn roots_are_written_as_they_were_read() {
        let ((_, one), (_, two)) = (Authority::make().unwrap(), Authority::make().unwrap());
        let mut both = roots(&one);
        assert!(!both.contain(&roots(&two)));
        both.add(&roots(&two));
        both.add(&roots(&one));
        assert_eq!(both.count(), 2);
        let written = format!("{}{}", one.certificate, two.certificate);
        assert_eq!(both.pem(), written.replace("\r\n", "\n"));
        // What is rotten between them is left out.
        let rotten = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let mixed = format!("{}{rotten}{}", one.certificate, two.certificate);
        assert_eq!(Roots::read(mixed.as_bytes()), both);
        assert_eq!(Roots::read(b"nothing").count(), 0);
    }

    #[test]
    fn an_authority_ends_after_its_ten_years() {
        let (_, kept) = Authority::make().unwrap();
        let now = SystemTime::now();
        assert!(!roots(&kept).has_ended_by(now));
        assert!(!roots(&kept).has_ended_by(now + 3_600 * DAY));
        assert!(roots(&kept).has_ended_by(now + 3_700 * DAY));
    }

    #[test]
    fn what_is_kept_is_judged_at_any_time_and_for_any_name() {
        let (authority, kept) = Authority::make().unwrap();
        let (other, stranger) = Authority::make().unwrap();
        let (roots, now) = (roots(&kept), SystemTime::now());
        let own = member(2, &["blue-1.blue-peers.shop.svc"]);
        let issued = authority.issue(&own, 90 * DAY).unwrap();
        let check = |issued: &Issued, subject: &Subject, days: u32| {
            let checked = issued.check(subject, &roots, now + days * DAY);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&issued, &own, 0), Ok(()));
        assert_eq!(check(&issued, &own, 89), Ok(()));
        assert!(check(&issued, &own, 91).unwrap_err().contains("expired"));
        for wrong in [
            member(3, &["blue-1.blue-peers.shop.svc"]),
            member(2, &[]),
            member(2, &["blue-1.blue-peers.shop.svc", "more.example"]),
            member(2, &["192.0.2.1"]),
        ] {
            let error = check(&issued, &wrong, 0).unwrap_err();
            assert!(error.contains("is for 2.blue.shop.remember"), "{error}");
        }
        let mut mixed = authority.issue(&own, DAY).unwrap();
        mixed.key.clone_from(&issued.key);
        assert!(check(&mixed, &own, 0).unwrap_err().contains("not match"));
        let foreign = other.issue(&own, DAY).unwrap();
        assert!(check(&foreign, &own, 0).unwrap_err().contains("authority"));
        let mut both = roots.clone();
        both.add(&self::roots(&stranger));
        assert!(foreign.check(&own, &both, now).is_ok());
    }
}
