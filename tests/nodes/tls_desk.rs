//! Where the tests of mutual TLS get their certificates, and strangers of every kind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use remember::consensus::NodeId;
use remember::node::Settings;
use remember::tls::{Authority, Connector, Files, Identity, Issued, MemberName, Subject};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::subscriber::DefaultGuard;

use crate::cluster::Cluster;

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// An authority, and the files of those it has issued something to. They go with the test.
#[derive(Clone)]
pub(crate) struct Desk(Rc<Inner>);

struct Inner {
    path: PathBuf,
    authority: Authority,
    root: String,
    /// What each member that runs shows.
    identities: RefCell<BTreeMap<u64, Identity>>,
    /// Members that are given something else than they should be when they start next.
    odd: RefCell<BTreeMap<u64, Option<Files>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

impl Desk {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("remember-desk-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        let (authority, root) = Authority::make().unwrap();
        Self(Rc::new(Inner {
            path,
            authority,
            root: root.certificate,
            identities: RefCell::default(),
            odd: RefCell::default(),
        }))
    }

    pub(crate) fn member(id: u64, cluster: &str) -> Subject {
        let name = MemberName {
            cluster: cluster.parse().unwrap(),
            id: NodeId(id),
        };
        let hosts = vec!["127.0.0.1".to_owned()];
        Subject::Member { name, hosts }
    }

    pub(crate) fn issue(&self, subject: &Subject) -> Issued {
        self.0.authority.issue(subject, DAY).unwrap()
    }

    /// A certificate whose time is over.
    pub(crate) fn issue_expired(&self, subject: &Subject) -> Issued {
        let now = SystemTime::now();
        let issued = (self.0.authority).issue_between(subject, now - 2 * DAY, now - DAY);
        issued.unwrap()
    }

    /// Files with what was issued, in place of what was there.
    pub(crate) fn files(&self, stem: &str, issued: &Issued) -> Files {
        let put = |ending: &str, text: &str| {
            let path = self.0.path.join(format!("{stem}.{ending}"));
            fs::write(&path, text).unwrap();
            path
        };
        Files {
            certificate: put("crt", &issued.certificate),
            key: put("key", &issued.key),
            authority: put("ca", &self.0.root),
        }
    }

    /// Fresh certificate and key for a member of the cluster `blue`.
    pub(crate) fn renew(&self, id: u64) -> Files {
        let issued = self.issue(&Self::member(id, "blue"));
        self.files(&format!("member-{id}"), &issued)
    }

    /// Has the member start with something else next time, or without TLS.
    pub(crate) fn confuse(&self, id: u64, files: Option<Files>) {
        self.0.odd.borrow_mut().insert(id, files);
    }

    /// A cluster `blue` over mutual TLS, whose members tell that they are in pods `u0`, `u1`, ...
    pub(crate) async fn cluster(&self, name: &str, size: u64) -> Cluster {
        let desk = self.clone();
        let configure = move |settings: &mut Settings| {
            let id = settings.id.0;
            settings.pod = Some(format!("u{}", id - 1));
            let odd = desk.0.odd.borrow_mut().remove(&id);
            let files = odd.unwrap_or_else(|| Some(desk.renew(id)));
            settings.tls = files.map(|files| Identity::read(files, settings.id).unwrap());
            if let Some(identity) = settings.tls.clone() {
                desk.0.identities.borrow_mut().insert(id, identity);
            }
        };
        Cluster::configured(name, size, configure).await
    }

    /// What a member shows now.
    pub(crate) fn identity(&self, id: u64) -> Identity {
        self.0.identities.borrow()[&id].clone()
    }

    /// Whoever has this to show, or nothing, and trusts the authority.
    pub(crate) fn stranger(&self, shown: Option<&Issued>) -> Stranger {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.0.root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let chain = chain.map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Stranger(config)
    }

    pub(crate) fn connector(&self) -> Connector {
        let issued = self.issue(&Subject::Client("tester".to_owned()));
        Connector::read(&self.files("client", &issued)).unwrap()
    }
}

/// Someone who speaks TLS by hand.
pub(crate) struct Stranger(ClientConfig);

impl Stranger {
    pub(crate) fn speaking(mut self, protocol: &str) -> Self {
        self.0.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        self
    }

    pub(crate) async fn connect(
        &self,
        at: SocketAddr,
        sought: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(at).await?;
        let name = ServerName::try_from(sought.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(self.0.clone()));
        connector.connect(name, tcp).await
    }
}

/// Hears what all nodes of a test log, while it lives.
pub(crate) struct Ear {
    text: Text,
    _hears: DefaultGuard,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ear {
    pub(crate) fn open() -> Self {
        let text = Text::default();
        let written = text.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || written.clone())
            .finish();
        let hears = tracing::subscriber::set_default(log);
        Self {
            text,
            _hears: hears,
        }
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8(self.text.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.heard().matches(part).count()
    }

    /// Waits until something was said.
    pub(crate) async fn wait_for(&self, part: &str) {
        while self.count(part) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
}
