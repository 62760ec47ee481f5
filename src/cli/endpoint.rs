//! Where a node's API is reached, and one HTTP connection to it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderName};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::consensus::NodeId;
use crate::discovery::parse_address;
use crate::tls::{Connector, Failure, MemberName, Stream};
use crate::wire::Address;

/// How long a connection may take to be made: the nodes are near.
const CONNECT: Duration = Duration::from_secs(1);

/// The endpoints of a cluster that `remember local` runs.
pub(super) const LOCAL: [&str; 5] = [
    "127.0.0.1:8001",
    "127.0.0.1:8002",
    "127.0.0.1:8003",
    "127.0.0.1:8004",
    "127.0.0.1:8005",
];

/// The API of one node: `host:port`, `http://host:port` or `https://host:port`.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    at: Address,
    is_https: bool,
    /// What to show and to demand over TLS.
    connector: Option<Connector>,
    /// Who is to be there, if that is known better than what its address is called.
    member: Option<MemberName>,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_https, bare) = match text.strip_prefix("https://") {
            Some(bare) => (true, bare),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        let at = parse_address(bare.strip_suffix('/').unwrap_or(bare))?;
        Ok(Self {
            at,
            is_https,
            connector: None,
            member: None,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https://" } else { "" };
        write!(f, "{scheme}{}", self.at)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// There is no connection, so nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// Something may have been sent, but nothing came back.
    #[error("the connection was lost: {}", causes(.0))]
    Lost(#[from] hyper::Error),
}

/// An error with all that led to it: what TLS has to say stands last.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let chain: Vec<_> = chain.map(ToString::to_string).collect();
    chain.join(": ")
}

/// A request, to be made of any node.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
}

impl Ask {
    pub(super) fn read(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Whether it changes nothing, so that it may be made twice.
    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET
    }
}

/// A connection to one node.
#[derive(Debug)]
pub(super) struct Connection {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Endpoint {
    pub(super) fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self {
            at: Address { host, port },
            is_https: false,
            connector: None,
            member: None,
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.is_https
    }

    pub(super) fn secure_by(&mut self, connector: Option<Connector>) {
        self.connector = connector;
    }

    /// Another node, of which this one has told. Beyond this machine it speaks TLS if this side
    /// can; its certificate need not name the address if this side is a member of its cluster.
    pub(super) fn sibling(&self, id: NodeId, host: &str, port: u16) -> Self {
        let is_near = host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        Self {
            is_https: self.connector.is_some() && (self.is_https || !is_near),
            connector: self.connector.clone(),
            member: self.connector.as_ref().and_then(|own| own.sibling(id)),
            ..Self::new(host, port)
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, Silence> {
        let unreachable = |error: &dyn fmt::Display| Silence::Unreachable(error.to_string());
        let connecting = TcpStream::connect((self.at.host.as_str(), self.at.port));
        let tcp = match timeout(CONNECT, connecting).await {
            Ok(tcp) => tcp.map_err(|error| unreachable(&error))?,
            Err(_) => return Err(unreachable(&"it does not answer")),
        };
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let stream = match self.connector.as_ref().filter(|_| self.is_https) {
            None => Stream::Plain(tcp),
            Some(connector) => {
                let secured = timeout(CONNECT, self.secure(connector, tcp)).await;
                let secured = secured.map_err(|_| unreachable(&"its TLS handshake stalls"))?;
                secured.map_err(|failure| unreachable(&failure))?
            }
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| unreachable(&error))?;
        // How it ends, its requests are told.
        tokio::spawn(async { drop(connection.await) });
        let host = self.at.to_string();
        Ok(Connection { host, sender })
    }

    async fn secure(&self, connector: &Connector, tcp: TcpStream) -> Result<Stream, Failure> {
        match &self.member {
            Some(member) => connector.connect_member(tcp, member).await,
            None => connector.connect(tcp, &self.at.host).await,
        }
    }
}

impl Connection {
    pub(super) async fn send(&mut self, ask: &Ask) -> Result<Response<Incoming>, Silence> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(header::HOST, &self.host);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(ask.body.clone()));
        let request = request.map_err(|error| Silence::Unreachable(error.to_string()))?;
        Ok(self.sender.send_request(request).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for text in [
            "127.0.0.1:8001",
            "http://127.0.0.1:8001",
            "http://127.0.0.1:8001/",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), "127.0.0.1:8001");
        }
        let secured: Endpoint = "https://127.0.0.1:8001/".parse().unwrap();
        assert_eq!(secured.to_string(), "https://127.0.0.1:8001");
        for text in ["", "127.0.0.1", "http://a:1/v1", "a:b", "ftp://a:1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert!(LOCAL.iter().all(|text| text.parse::<Endpoint>().is_ok()));
    }
}
