//! Who this member is to others, as its files say now.
//!
//! The files are looked at every few seconds. A change makes new connections use what is there
//! now; those that are up stay as they are (R11). What cannot be used is told, and left alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};
use tracing::{info, warn};
use webpki::EndEntityCert;

use super::Stream;
use super::credentials::{API_PROTOCOL, Contents, Credentials, Files};
use super::error::{Error, Failure};
use super::name::{MemberName, dns_names, listed};
use crate::consensus::NodeId;

/// What links between members say they speak, so that no client is taken for one.
const PEER_PROTOCOL: &[u8] = b"remember-peer";
/// What the API speaks.
const API_PROTOCOLS: [&[u8]; 2] = [b"h2", API_PROTOCOL];

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long before its end a certificate is complained of, and how often.
const EXPIRES_SOON: Duration = Duration::from_hours(7 * 24);
const COMPLAIN_EVERY: Duration = Duration::from_hours(6);

/// A member's credentials. Clones are cheap and change together.
#[derive(Clone)]
pub struct Identity {
    files: Files,
    id: NodeId,
    current: Arc<watch::Sender<Arc<Current>>>,
}

/// What the files said when they were last of use.
struct Current {
    contents: Contents,
    name: MemberName,
    dials: Arc<ClientConfig>,
    calls: Arc<ClientConfig>,
    peers: Arc<ServerConfig>,
    clients: Arc<ServerConfig>,
}

/// A certificate of the right authority that is not for whom it was shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// Whether it is for a member of another cluster.
    pub is_of_another_cluster: bool,
    /// What is wrong and how to mend it.
    pub sentence: String,
}

impl Current {
    fn new(files: &Files, id: NodeId, contents: Contents) -> Result<Self, Error> {
        let credentials = Credentials::new(files, &contents)?;
        Ok(Self {
            name: credentials.member(id)?,
            dials: credentials.client(PEER_PROTOCOL)?,
            calls: credentials.client(API_PROTOCOL)?,
            peers: credentials.server(&[PEER_PROTOCOL])?,
            clients: credentials.server(&API_PROTOCOLS)?,
            contents,
        })
    }
}

impl Identity {
    /// Reads what member `id` shows to others.
    pub fn read(files: Files, id: NodeId) -> Result<Self, Error> {
        let contents = files.read()?;
        let current = Arc::new(Current::new(&files, id, contents)?);
        let current = Arc::new(watch::Sender::new(current));
        Ok(Self { files, id, current })
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.borrow())
    }

    /// Who this member is.
    pub fn name(&self) -> MemberName {
        self.current().name.clone()
    }

    /// Looks at the files for ever, and takes what is new.
    pub async fn keep_fresh(&self) {
        let mut told = String::new();
        let mut complain_at = Instant::now();
        loop {
            match self.refresh().await {
                Ok(is_new) => {
                    told.clear();
                    if is_new {
                        complain_at = Instant::now();
                        info!("certificates read anew; links that are up stay");
                    }
                }
                // Once, not every few seconds.
                Err(error) => {
                    let sentence = error.to_string();
                    if sentence != told {
                        warn!(error = sentence, "the certificates read before stay in use");
                        told = sentence;
                    }
                }
            }
            if Instant::now() >= complain_at {
                complain_at = Instant::now() + COMPLAIN_EVERY;
                self.complain_of_age().await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn complain_of_age(&self) {
        let current = self.current();
        let files = self.files.clone();
        let looked = spawn_blocking(move || {
            let credentials = Credentials::new(&files, &current.contents);
            credentials.map_or(true, |credentials| credentials.expires_within(EXPIRES_SOON))
        });
        if looked.await.unwrap_or_default() {
            let path = self.files.certificate.display();
            warn!(%path, "the certificate expires within 7 days, or has; renew it");
        }
    }

    /// Looks at the files now; whether there was something new to take.
    pub async fn refresh(&self) -> Result<bool, Error> {
        let (files, id, before) = (self.files.clone(), self.id, self.current());
        // A disk may be slow, and nothing else must wait for it.
        let read = spawn_blocking(move || {
            let contents = files.read()?;
            if contents == before.contents {
                return Ok(None);
            }
            let next = Current::new(&files, id, contents)?;
            if next.name != before.name {
                return Err(Error::Renamed {
                    path: files.certificate,
                    found: next.name.to_string(),
                    due: before.name.to_string(),
                });
            }
            Ok(Some(next))
        });
        let read = read
            .await
            .map_err(|error| Error::Setup(error.to_string()))?;
        let next = read?.map(Arc::new);
        Ok(next.is_some_and(|next| {
            self.current.send_replace(next);
            true
        }))
    }

    /// Secures a connection to where `peer` should be. Only that member of this cluster will do.
    pub async fn dial(&self, tcp: TcpStream, peer: NodeId) -> Result<Stream, Failure> {
        let current = self.current();
        let name = current.name.sibling(peer);
        let Some(server_name) = name.server_name() else {
            return Err(Failure::Refused(format!("{name} is no name of a host")));
        };
        let connector = TlsConnector::from(Arc::clone(&current.dials));
        let stream = connector.connect(server_name, tcp).await?;
        Ok(Stream::tls(stream))
    }

    /// Secures a connection to a server that is no member, and is reached as `host`, a name or an
    /// address, which its certificate has to name.
    pub async fn call(&self, tcp: TcpStream, host: &str) -> Result<Stream, Failure> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Failure::Refused(format!("{host} is no name of a host")))?;
        let connector = TlsConnector::from(Arc::clone(&self.current().calls));
        Ok(Stream::tls(connector.connect(name, tcp).await?))
    }

    /// Secures a connection that somebody made to the port for peers. Whether it is the member
    /// that it will say, [`Identity::demand`] tells.
    pub async fn accept_peer(&self, tcp: TcpStream) -> Result<Stream, Failure> {
        let current = self.current();
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let sought = hello.client_hello().server_name().map(str::to_owned);
        let accepted = hello.into_stream(Arc::clone(&current.peers)).await;
        let own = current.name.to_string();
        match (sought, accepted) {
            (Some(sought), _) if sought != own => Err(Failure::Refused(format!(
                "it looked here for {sought}, but this is {own}; correct the list of members"
            ))),
            (_, Ok(stream)) => Ok(Stream::tls(stream)),
            (_, Err(error)) => Err(error.into()),
        }
    }

    /// Secures a connection that a client made to the API.
    pub async fn accept_client(&self, tcp: TcpStream) -> Result<Stream, Failure> {
        let current = self.current();
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let accepted = hello.into_stream(Arc::clone(&current.clients)).await?;
        Ok(Stream::tls(accepted))
    }

    /// Demands that the other end of a link is the member of this cluster that it says it is.
    pub fn demand(&self, stream: &Stream, peer: NodeId) -> Result<(), Stranger> {
        let due = self.current().name.sibling(peer);
        let Some(certificate) = stream.certificate() else {
            return Err(Stranger::new(&due, &[]));
        };
        let is_due = |name: ServerName<'static>| {
            EndEntityCert::try_from(certificate)
                .is_ok_and(|shown| shown.verify_is_valid_for_subject_name(&name).is_ok())
        };
        if due.server_name().is_some_and(is_due) {
            Ok(())
        } else {
            Err(Stranger::new(&due, &dns_names(certificate)))
        }
    }
}

impl Stranger {
    fn new(due: &MemberName, names: &[String]) -> Self {
        let shown = names.iter().find_map(|name| MemberName::parse(name));
        let is_of_another_cluster = shown.is_some_and(|shown| shown.cluster != due.cluster);
        let names = listed(names);
        let sentence = if is_of_another_cluster {
            format!(
                "node {} showed a certificate for {names}, which is of another cluster than {due}; \
                 correct the addresses in the list of members, or give it its own certificate",
                due.id
            )
        } else {
            format!(
                "node {} showed a certificate for {names}, not for {due}; give each node its own \
                 certificate",
                due.id
            )
        };
        Self {
            is_of_another_cluster,
            sentence,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Identity");
        shown
            .field("name", &self.name())
            .field("files", &self.files);
        shown.finish_non_exhaustive()
    }
}
