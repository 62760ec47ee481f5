//! A server that is no member of a cluster, and takes only who has a certificate of its authority.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::Stream;
use super::credentials::{API_PROTOCOL, Contents, Credentials, Files};
use super::error::{Error, Failure};

/// How long what was read of the files is used, before a connection looks at them again.
const FRESH: Duration = Duration::from_secs(5);

/// The credentials of such a server. Clones change together.
#[derive(Clone)]
pub struct Service {
    files: Files,
    current: Arc<Mutex<Current>>,
}

/// What the files said when they were last of use.
struct Current {
    contents: Contents,
    config: Arc<ServerConfig>,
    looked_at: Instant,
}

impl Service {
    /// Reads what is shown to clients.
    pub fn read(files: Files) -> Result<Self, Error> {
        let contents = files.read()?;
        let current = Current {
            config: config(&files, &contents)?,
            contents,
            looked_at: Instant::now(),
        };
        let current = Arc::new(Mutex::new(current));
        Ok(Self { files, current })
    }

    /// Secures a connection that a client made.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Stream, Failure> {
        self.refresh().await;
        let config = Arc::clone(&self.current().config);
        let accepted = TlsAcceptor::from(config).accept(tcp).await?;
        Ok(Stream::tls(accepted))
    }

    /// Takes what is new in the files; what cannot be used is told, and left alone.
    async fn refresh(&self) {
        {
            let mut current = self.current();
            if current.looked_at.elapsed() < FRESH {
                return;
            }
            current.looked_at = Instant::now();
        }
        let service = self.clone();
        // A disk may be slow, and nothing else must wait for it.
        let read = spawn_blocking(move || service.read_anew());
        match read.await {
            Ok(Ok(true)) => info!("certificates read anew"),
            Ok(Err(error)) => warn!(%error, "the certificates read before stay in use"),
            Ok(Ok(false)) | Err(_) => {}
        }
    }

    fn read_anew(&self) -> Result<bool, Error> {
        let contents = self.files.read()?;
        if contents == self.current().contents {
            return Ok(false);
        }
        let config = config(&self.files, &contents)?;
        let mut current = self.current();
        (current.contents, current.config) = (contents, config);
        Ok(true)
    }

    /// Whatever a thread left in there is whole.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config(files: &Files, contents: &Contents) -> Result<Arc<ServerConfig>, Error> {
    Credentials::read(files, contents)?.server(&[API_PROTOCOL])
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Service");
        shown.field("files", &self.files).finish_non_exhaustive()
    }
}
