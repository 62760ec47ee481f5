//! The certificates of a cluster: what its two Secrets should hold, given what they hold now (R11).
//!
//! ```text
//!   NAME-ca    ca.crt ca.key              the authority, which no pod mounts
//!   NAME-tls   ca.crt POD.crt POD.key ..  all that is shown and trusted, mounted whole
//! ```
//!
//! Nothing is read or written here, and time is an argument. Whoever writes a [`Plan`] does so only
//! if the Secrets are still as they were told: of two operators that make an authority each, one
//! has to start over.
//!
//! An authority whose key is gone, because its Secret was deleted or damaged, is followed by a new
//! one in steps, so that no member is cut off from another on the way: kubelets bring a Secret to
//! each pod in their own time.
//!
//! ```text
//!   1. trust the new authority beside the old one; certificates stay as they are
//!   2. a day later: issue certificates by the new one; the old one is still trusted
//!   3. a day later: trust the new one alone
//! ```
//!
//! Where `NAME-tls` is gone as well nothing is known of the old one, and members that are up and
//! members that start cannot meet until the kubelet has brought them the new Secret.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::build::pod_name;
use crate::consensus::NodeId;
use crate::crd::{REPLICAS_MAX, RememberCluster, peers_service};
use crate::tls;
use crate::tls::{
    Authority, ClusterName, Connector, Issued, MemberName, NameError, Roots, Subject,
};

/// Where authorities are in both Secrets: one in `NAME-ca`, all that are trusted in `NAME-tls`.
const ROOTS: &str = "ca.crt";
/// Where the authority's key is.
const ROOT_KEY: &str = "ca.key";
/// When something about the authorities last changed, in seconds since 1970.
const CHANGED: &str = "changed";

/// How long the certificate of a member lives, and how much of that is left when it is renewed.
const LIFETIME: Duration = Duration::from_hours(90 * 24);
const RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);
/// How much is left of an authority when the next one is made.
const AUTHORITY_RENEWED_BEFORE: Duration = Duration::from_hours(365 * 24);
/// After how long every kubelet has brought a changed Secret to its pods. A minute or two is usual;
/// this bears one that is away for hours, and no certificate runs out meanwhile.
const SETTLED_AFTER: Duration = Duration::from_hours(24);
/// The most authorities that are trusted at once. Only who deletes `NAME-ca` again and again
/// within a day reaches it.
const AUTHORITIES_MAX: usize = 8;

/// What a Secret holds.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What the two Secrets hold now; `None` if there is no such Secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// `NAME-ca`.
    pub authority: Option<Data>,
    /// `NAME-tls`.
    pub members: Option<Data>,
}

/// What is to be written: each Secret as a whole, to be made if it was not there. The authority
/// goes first, and the members' only once that is written.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// `NAME-ca`.
    pub authority: Option<Data>,
    /// `NAME-tls`.
    pub members: Option<Data>,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The cluster's name cannot stand in a certificate.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing can be issued.
    #[error(transparent)]
    Issue(#[from] tls::IssueError),
    /// There is no authority that could issue.
    #[error(
        "the Secret of the cluster's authority is missing or damaged; it is about to be renewed"
    )]
    NoAuthority,
    /// A connector cannot be made of what was issued.
    #[error(transparent)]
    Connector(#[from] tls::Error),
    /// Authorities follow each other faster than pods can learn of them.
    #[error(
        "the Secret of the cluster's authority was lost {AUTHORITIES_MAX} times within a day; \
         leave it alone for a day"
    )]
    Restless,
}

/// What a cluster is called in the certificates of its members: `NAME.NAMESPACE`.
pub fn cluster_name(cluster: &RememberCluster) -> Result<ClusterName, NameError> {
    let metadata = &cluster.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    format!("{name}.{namespace}").parse()
}

/// What to write so that every member from 1 to `members` can show a certificate for a while yet.
pub fn renew(
    cluster: &RememberCluster,
    members: u64,
    held: &Held,
    now: SystemTime,
) -> Result<Plan, CertificateError> {
    let kept = held.authority.as_ref().and_then(open);
    let kept = kept.filter(|(_, root)| !root.has_ended_by(now + AUTHORITY_RENEWED_BEFORE));
    let (authority, root, made) = match kept {
        Some((authority, root)) => (authority, root, None),
        None => make()?,
    };
    let before = held.members.as_ref();
    let mut renewal = Renewal::begin(&authority, root, before, now);
    let mut data = Data::new();
    for (pod, subject) in subjects(cluster, members)? {
        let [certificate, key] = files(&pod);
        let kept = before.and_then(|before| issued(before, &certificate, &key));
        let shown = renewal.member(&subject, kept)?;
        data.insert(certificate, shown.certificate.into_bytes());
        data.insert(key, shown.key.into_bytes());
    }
    let (roots, changed) = renewal.end()?;
    data.insert(ROOTS.to_owned(), roots.pem().into_bytes());
    data.insert(
        CHANGED.to_owned(),
        seconds(changed).to_string().into_bytes(),
    );
    let is_new = before != Some(&data);
    Ok(Plan {
        authority: made,
        members: is_new.then_some(data),
    })
}

/// Connects the operator as a client to the members, with a certificate that is kept nowhere. To be
/// made anew whenever one of the Secrets has changed, which happens before it runs out.
pub fn connector(held: &Held) -> Result<Connector, CertificateError> {
    let opened = held.authority.as_ref().and_then(open);
    let (authority, mut roots) = opened.ok_or(CertificateError::NoAuthority)?;
    // While one authority follows another, some members still show certificates of the old one.
    roots.add(&trusted(held.members.as_ref()));
    let issued = authority.issue(&Subject::Client("operator".to_owned()), LIFETIME)?;
    Ok(Connector::new(&issued, &roots)?)
}

/// Each pod with whom its certificate is for, and where clients reach it.
fn subjects(cluster: &RememberCluster, members: u64) -> Result<Vec<(String, Subject)>, NameError> {
    let named = cluster_name(cluster)?;
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    // Certificates go on for a spec that is refused.
    let count = members.min(REPLICAS_MAX);
    let every = format!("{}.{namespace}.svc", peers_service(name));
    let members = (1..=count).map(NodeId).map(|id| {
        let pod = pod_name(name, id);
        let hosts = vec![format!("{pod}.{every}"), every.clone()];
        let cluster = named.clone();
        let name = MemberName { cluster, id };
        (pod, Subject::Member { name, hosts })
    });
    Ok(members.collect())
}

/// Where the certificate of a pod is, and its key.
fn files(pod: &str) -> [String; 2] {
    [format!("{pod}.crt"), format!("{pod}.key")]
}

fn text(data: &Data, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.clone()).ok()
}

fn issued(data: &Data, certificate: &str, key: &str) -> Option<Issued> {
    Some(Issued {
        certificate: text(data, certificate)?,
        key: text(data, key)?,
    })
}

/// The authority that a Secret holds, if it can still sign.
fn open(data: &Data) -> Option<(Authority, Roots)> {
    let kept = issued(data, ROOTS, ROOT_KEY)?;
    let authority = Authority::open(&kept.certificate, &kept.key).ok()?;
    Some((authority, Roots::read(kept.certificate.as_bytes())))
}

fn make() -> Result<(Authority, Roots, Option<Data>), CertificateError> {
    let (authority, made) = Authority::make()?;
    let roots = Roots::read(made.certificate.as_bytes());
    let data = [(ROOTS, made.certificate), (ROOT_KEY, made.key)];
    let data = data.map(|(key, text)| (key.to_owned(), text.into_bytes()));
    Ok((authority, roots, Some(data.into())))
}

fn trusted(members: Option<&Data>) -> Roots {
    let pem = members.and_then(|data| data.get(ROOTS));
    pem.map_or_else(Roots::default, |pem| Roots::read(pem))
}

fn seconds(time: SystemTime) -> u64 {
    let time = time.duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_secs())
}

/// One look at all certificates of a cluster.
struct Renewal<'a> {
    authority: &'a Authority,
    /// That authority alone.
    own: Roots,
    /// All that pods were told to trust.
    before: Roots,
    /// Those of earlier authorities whose certificates members still show.
    used: Roots,
    /// When `before`, or who issues, last changed. Unknown, or a time to come, counts as just now.
    changed: SystemTime,
    /// Whether every pod has the Secret as it is.
    is_settled: bool,
    now: SystemTime,
}

impl<'a> Renewal<'a> {
    fn begin(
        authority: &'a Authority,
        own: Roots,
        members: Option<&Data>,
        now: SystemTime,
    ) -> Self {
        let before = trusted(members);
        let told = members.and_then(|data| text(data, CHANGED)?.parse().ok());
        let told = told.and_then(|told| UNIX_EPOCH.checked_add(Duration::from_secs(told)));
        let told: Option<SystemTime> = told.filter(|told| *told <= now);
        Self {
            is_settled: told.is_some_and(|told| told + SETTLED_AFTER <= now),
            changed: told.filter(|_| before.contain(&own)).unwrap_or(now),
            used: Roots::default(),
            authority,
            own,
            before,
            now,
        }
    }

    /// The certificate that a member should show: the one that it has, or another.
    fn member(
        &mut self,
        subject: &Subject,
        kept: Option<Issued>,
    ) -> Result<Issued, CertificateError> {
        if let Some(kept) = kept {
            let is_good = |roots: &Roots, at| kept.check(subject, roots, at).is_ok();
            if is_good(&self.own, self.now + RENEWED_BEFORE) {
                return Ok(kept);
            }
            // One of an earlier authority: all trust it, and not all trust this one yet.
            if !is_good(&self.own, self.now) && is_good(&self.before, self.now) {
                for root in self.before.each() {
                    if is_good(&root, self.now) {
                        self.used.add(&root);
                    }
                }
                if !self.is_settled || !self.before.contain(&self.own) {
                    return Ok(kept);
                }
                self.changed = self.now;
            }
        }
        Ok(self.authority.issue_at(subject, self.now, LIFETIME)?)
    }

    /// Whom all should trust from now on, and since when.
    fn end(self) -> Result<(Roots, SystemTime), CertificateError> {
        let mut roots = self.own;
        let others = if self.is_settled {
            &self.used
        } else {
            &self.before
        };
        roots.add(others);
        if roots.count() > AUTHORITIES_MAX {
            return Err(CertificateError::Restless);
        }
        Ok((roots, self.changed))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, "Held", self.authority.as_ref(), self.members.as_ref())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, "Plan", self.authority.as_ref(), self.members.as_ref())
    }
}

/// Shows what there is, and no key.
fn show(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    authority: Option<&Data>,
    members: Option<&Data>,
) -> fmt::Result {
    let keys = |data: Option<&Data>| data.map(|data| data.keys().cloned().collect::<Vec<_>>());
    f.debug_struct(what)
        .field("authority", &keys(authority))
        .field("members", &keys(members))
        .finish()
}

#[cfg(test)]
#[path = "certificates_test.rs"]
mod tests;
