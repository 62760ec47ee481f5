//! A certificate, its key and the authority, read from files and checked as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use webpki::EndEntityCert;

use super::error::{Error, Failure, fault};
use super::name::{MemberName, dns_names};
use super::{Issued, Roots, Stream};
use crate::consensus::NodeId;

/// The longest file that is read, in bytes; a longer one is refused.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a client of the API speaks.
pub(super) const API_PROTOCOL: &[u8] = b"http/1.1";

/// Where the credentials of one process are, each in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// Its certificate, followed by those between it and the authority.
    pub certificate: PathBuf,
    /// The key of that.
    pub key: PathBuf,
    /// The certificates of every authority that is trusted.
    pub authority: PathBuf,
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

/// What the files say.
pub(super) struct Credentials {
    files: Files,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// Connects a client of the API, which shows a certificate of its own.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    /// The member that the certificate is for, where a member itself is the client.
    own: Option<MemberName>,
}

impl Contents {
    pub(super) fn new(certificate: &str, key: &str, authority: &str) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            authority: authority.into(),
        }
    }

    /// What messages call contents that come from no files.
    pub(super) fn files() -> Files {
        Files {
            certificate: "(certificate)".into(),
            key: "(key)".into(),
            authority: "(authority)".into(),
        }
    }
}

impl Files {
    /// Reads all three.
    pub(super) fn read(&self) -> Result<Contents, Error> {
        Ok(Contents {
            certificate: read("certificate", &self.certificate)?,
            key: read("key", &self.key)?,
            authority: read("authority", &self.authority)?,
        })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |error| Error::Unreadable {
        what,
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let mut file = file.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

fn certificates(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let not_pem = |error: String| Error::NotPem {
        what,
        path: path.to_owned(),
        error,
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| not_pem(error.to_string()))?;
    if all.is_empty() {
        return Err(not_pem("there is no CERTIFICATE in it".to_owned()));
    }
    Ok(all)
}

impl Credentials {
    /// Reads and checks everything but the names.
    pub(super) fn new(files: &Files, contents: &Contents) -> Result<Self, Error> {
        let credentials = Self::read(files, contents)?;
        credentials.check_at(UnixTime::now())?;
        Ok(credentials)
    }

    /// Reads everything, and checks nothing but that it is what it should be.
    pub(super) fn read(files: &Files, contents: &Contents) -> Result<Self, Error> {
        let chain = certificates("certificate", &files.certificate, &contents.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| Error::NotPem {
            what: "private key",
            path: files.key.clone(),
            error: error.to_string(),
        })?;
        let mut roots = RootCertStore::empty();
        for root in certificates("authority", &files.authority, &contents.authority)? {
            roots.add(root).map_err(|error| Error::NotPem {
                what: "authority",
                path: files.authority.clone(),
                error: error.to_string(),
            })?;
        }
        Ok(Self {
            files: files.clone(),
            chain,
            key,
            roots: Arc::new(roots),
            provider: Arc::new(ring::default_provider()),
        })
    }

    /// Says what another side would have against the certificate at some time.
    pub(super) fn check_at(&self, time: UnixTime) -> Result<(), Error> {
        let (own, chain) = self.own();
        let verified = self.verifier()?.verify_client_cert(own, chain, time);
        verified.map(drop).map_err(|error| self.refused(&error))
    }

    fn own(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        // There is at least one: `certificates` says so.
        self.chain.split_first().map_or_else(
            || unreachable!("a file without certificates was refused"),
            |(own, chain)| (own, chain),
        )
    }

    /// Whether the key is the certificate's own.
    pub(super) fn check_key(&self) -> Result<(), Error> {
        self.client(API_PROTOCOL).map(drop)
    }

    /// Whether the certificate is that of this member at these hosts, and of nobody else.
    pub(super) fn check_names(&self, name: &MemberName, hosts: &[String]) -> Result<(), Error> {
        let (own, _) = self.own();
        let due: Vec<_> = std::iter::once(name.to_string())
            .chain(hosts.iter().cloned())
            .collect();
        let names = |host: &String| {
            let (Ok(own), Ok(host)) = (
                EndEntityCert::try_from(own),
                ServerName::try_from(host.as_str()),
            ) else {
                return false;
            };
            own.verify_is_valid_for_subject_name(&host).is_ok()
        };
        let shown = dns_names(own);
        if due.iter().all(names) && shown.iter().all(|shown| due.contains(shown)) {
            Ok(())
        } else {
            Err(self.misnamed(name.id, shown))
        }
    }

    /// Whether the certificate expires within `time`.
    pub(super) fn expires_within(&self, time: Duration) -> bool {
        let now = Duration::from_secs(UnixTime::now().as_secs());
        self.check_at(UnixTime::since_unix_epoch(now + time))
            .is_err()
    }

    /// The member that the certificate names, which has to be `id`, and as a server too.
    pub(super) fn member(&self, id: NodeId) -> Result<MemberName, Error> {
        let (own, chain) = self.own();
        let names = dns_names(own);
        let Some(name) = only_member(&names).filter(|name| name.id == id) else {
            return Err(self.misnamed(id, names));
        };
        let Some(server_name) = name.server_name() else {
            return Err(self.misnamed(id, names));
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        );
        let verifier = verifier.build().map_err(|error| setup(&error))?;
        let now = UnixTime::now();
        let outcome = verifier.verify_server_cert(own, chain, &server_name, &[], now);
        outcome.map_err(|error| self.refused(&error))?;
        Ok(name)
    }

    fn misnamed(&self, id: NodeId, names: Vec<String>) -> Error {
        Error::Name {
            path: self.files.certificate.clone(),
            id,
            names,
        }
    }

    fn refused(&self, error: &rustls::Error) -> Error {
        let sentence = match error {
            rustls::Error::InvalidCertificate(error) => fault(error),
            other => format!("is refused: {other}"),
        };
        Error::Certificate {
            path: self.files.certificate.clone(),
            sentence,
        }
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let (roots, provider) = (Arc::clone(&self.roots), Arc::clone(&self.provider));
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        builder.build().map_err(|error| setup(&error))
    }

    /// For the side that is connected to; who comes without a certificate is refused.
    pub(super) fn server(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| setup(&error))?;
        let builder = builder.with_client_cert_verifier(self.verifier()?);
        let config = builder.with_single_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.map_err(|error| self.mismatch(&error))?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// For the side that connects.
    pub(super) fn client(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| setup(&error))?;
        let builder = builder.with_root_certificates(Arc::clone(&self.roots));
        let config = builder.with_client_auth_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.map_err(|error| self.mismatch(&error))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn mismatch(&self, error: &rustls::Error) -> Error {
        match error {
            rustls::Error::InconsistentKeys(_) => Error::KeyMismatch {
                key: self.files.key.clone(),
                certificate: self.files.certificate.clone(),
            },
            other => setup(other),
        }
    }
}

/// The member among the names of a certificate, if it is one.
fn only_member(names: &[String]) -> Option<MemberName> {
    let mut members = names.iter().filter_map(|name| MemberName::parse(name));
    members.next().filter(|_| members.next().is_none())
}

fn setup(error: &impl ToString) -> Error {
    Error::Setup(error.to_string())
}

impl Connector {
    /// Reads a client's certificate, its key, and the authority of the nodes.
    pub fn read(files: &Files) -> Result<Self, Error> {
        Self::of(files, &files.read()?)
    }

    /// A client whose certificate was just issued and is kept nowhere; the nodes have theirs from
    /// any of `roots`.
    pub fn new(issued: &Issued, roots: &Roots) -> Result<Self, Error> {
        let contents = Contents::new(&issued.certificate, &issued.key, &roots.pem());
        Self::of(&Contents::files(), &contents)
    }

    fn of(files: &Files, contents: &Contents) -> Result<Self, Error> {
        let credentials = Credentials::new(files, contents)?;
        Ok(Self {
            config: credentials.client(API_PROTOCOL)?,
            own: only_member(&dns_names(credentials.own().0)),
        })
    }

    /// What another member is called, where this client is a member of the same cluster.
    pub fn sibling(&self, id: NodeId) -> Option<MemberName> {
        self.own.as_ref().map(|own| own.sibling(id))
    }

    /// Secures a connection to the node that is reached as `host`, a name or an address, which its
    /// certificate has to name.
    pub async fn connect(&self, tcp: TcpStream, host: &str) -> Result<Stream, Failure> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Failure::Refused(format!("{host} is no name of a host")))?;
        self.connect_as(tcp, name).await
    }

    /// Secures a connection to where a member should be, whatever its address is called. Only that
    /// member of that cluster will do.
    pub async fn connect_member(
        &self,
        tcp: TcpStream,
        member: &MemberName,
    ) -> Result<Stream, Failure> {
        let Some(name) = member.server_name() else {
            return Err(Failure::Refused(format!("{member} is no name of a host")));
        };
        self.connect_as(tcp, name).await
    }

    async fn connect_as(
        &self,
        tcp: TcpStream,
        name: ServerName<'static>,
    ) -> Result<Stream, Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Ok(Stream::tls(connector.connect(name, tcp).await?))
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
