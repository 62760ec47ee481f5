//! Where a node's API is reached, and one HTTP connection to it.

use std::fmt;
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

use super::members;
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

/// The API of one node: `host:port` or `http://host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint(Address);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("this version speaks http only; leave https:// away".to_owned());
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        members::address(bare.strip_suffix('/').unwrap_or(bare)).map(Self)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// There is no connection, so nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// Something may have been sent, but nothing came back.
    #[error("the connection was lost: {0}")]
    Lost(#[from] hyper::Error),
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
        Self(Address { host, port })
    }

    pub(super) async fn connect(&self) -> Result<Connection, Silence> {
        let unreachable = |error: &dyn fmt::Display| Silence::Unreachable(error.to_string());
        let connecting = TcpStream::connect((self.0.host.as_str(), self.0.port));
        let tcp = match timeout(CONNECT, connecting).await {
            Ok(tcp) => tcp.map_err(|error| unreachable(&error))?,
            Err(_) => return Err(unreachable(&"it does not answer")),
        };
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let handshake = http1::handshake(TokioIo::new(tcp)).await;
        let (sender, connection) = handshake.map_err(|error| unreachable(&error))?;
        // How it ends, its requests are told.
        tokio::spawn(async { drop(connection.await) });
        let host = self.to_string();
        Ok(Connection { host, sender })
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
            assert_eq!(endpoint, Endpoint::new("127.0.0.1", 8001));
        }
        for text in [
            "",
            "127.0.0.1",
            "https://a:1",
            "http://a:1/v1",
            "a:b",
            "ftp://a:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert!(LOCAL.iter().all(|text| text.parse::<Endpoint>().is_ok()));
    }
}
