//! A register that `remember witness` keeps, asked over HTTP.
//!
//! ```text
//!   GET /v1/register/00000000000000c1            200, what it holds
//!   PUT /v1/register/00000000000000c1            200, what it holds now: it was changed
//!   what it has to hold                          412, what it holds instead: it was not
//!   what it is to hold
//! ```
//!
//! Each request has a connection of its own, and is made once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::text;
use crate::consensus::{Answer, Ask, ClusterId};
use crate::discovery::parse_address;
use crate::tls::{Identity, Stream};
use crate::wire::Address;

/// The path of a register, before the name of its cluster.
pub(crate) const PATH: &str = "/v1/register/";

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// Where a witness is: `http://host:port` or `https://host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WitnessUrl {
    at: Address,
    is_https: bool,
}

/// A witness that cannot be asked like that.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// There is nothing to show to it.
    #[error("the witness {0} needs --tls-cert, --tls-key and --tls-ca")]
    NoCertificate(WitnessUrl),
    /// Whoever is in between could answer in its place.
    #[error(
        "the witness {0} is on another machine, and whoever is in between could answer in its \
         place; give it by https://, or add --allow-plain"
    )]
    Plain(WitnessUrl),
}

/// A witness at a URL.
#[derive(Clone, Debug)]
pub struct Url {
    url: WitnessUrl,
    /// What to show to it, if it speaks TLS.
    identity: Option<Identity>,
}

impl WitnessUrl {
    /// Whether it is on this machine.
    fn is_near(&self) -> bool {
        let ip = self.at.host.parse();
        self.at.host == "localhost" || ip.is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }
}

impl FromStr for WitnessUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_https, bare) = match text.strip_prefix("https://") {
            Some(bare) => (true, Some(bare)),
            None => (false, text.strip_prefix("http://")),
        };
        let bare = bare.ok_or("it is like http://host:port or https://host:port")?;
        let at = parse_address(bare.strip_suffix('/').unwrap_or(bare))?;
        Ok(Self { at, is_https })
    }
}

impl fmt::Display for WitnessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.at)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Url {
    /// A witness to which this identity is shown; `allow_plain` lets it be on another machine
    /// without TLS.
    pub fn new(
        url: WitnessUrl,
        identity: Option<Identity>,
        allow_plain: bool,
    ) -> Result<Self, UrlError> {
        if url.is_https && identity.is_none() {
            return Err(UrlError::NoCertificate(url));
        }
        if !url.is_https && !url.is_near() && !allow_plain {
            return Err(UrlError::Plain(url));
        }
        Ok(Self { url, identity })
    }

    pub(super) async fn ask(&self, cluster: ClusterId, ask: &Ask) -> Result<Answer, String> {
        let (method, body) = match ask {
            Ask::Read => (Method::GET, String::new()),
            Ask::Swap { from, to } => {
                let (from, to) = (text::write(cluster, *from), text::write(cluster, Some(*to)));
                (Method::PUT, format!("{from}\n{to}\n"))
            }
        };
        let (status, said) = self.send(cluster, method, body).await?;
        let said = String::from_utf8_lossy(&said);
        let holds = || text::read(cluster, &said).map_err(|error| error.to_string());
        match (ask, status) {
            (Ask::Read, StatusCode::OK) | (Ask::Swap { .. }, StatusCode::PRECONDITION_FAILED) => {
                Ok(Answer::Holds(holds()?))
            }
            // It says itself what it holds now, so that nobody else is taken for it.
            (Ask::Swap { to, .. }, StatusCode::OK) if holds()? == Some(*to) => Ok(Answer::Swapped),
            _ => Err(format!("it answers {status}: {}", sentence(&said))),
        }
    }

    async fn send(
        &self,
        cluster: ClusterId,
        method: Method,
        body: String,
    ) -> Result<(StatusCode, Bytes), String> {
        let stream = self.connect().await?;
        let lost = |error: hyper::Error| format!("the connection was lost: {error}");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let asked = async {
            let request = Request::builder()
                .method(method)
                .uri(format!("{PATH}{:016x}", cluster.0))
                .header(HOST, self.url.at.to_string())
                .header(CONTENT_TYPE, "text/plain")
                .body(Full::new(Bytes::from(body)));
            let request = request.map_err(|error| error.to_string())?;
            let answer = sender.send_request(request).await.map_err(lost)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
            let body = body.await;
            let body = body.map_err(|error| format!("its answer is of no use: {error}"))?;
            Ok((status, body.to_bytes()))
        };
        let connection = async {
            // How it ends, its request is told.
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = asked => answer,
            () = connection => Err("the connection was lost".to_owned()),
        }
    }

    async fn connect(&self) -> Result<Stream, String> {
        let Address { host, port } = &self.url.at;
        let tcp = TcpStream::connect((host.as_str(), *port)).await;
        let tcp = tcp.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        match self.identity.as_ref().filter(|_| self.url.is_https) {
            None => Ok(Stream::Plain(tcp)),
            Some(identity) => {
                let secured = identity.call(tcp, host).await;
                secured.map_err(|failure| failure.to_string())
            }
        }
    }
}

/// What an answer says, without the form that refusals have.
fn sentence(said: &str) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    let told = serde_json::from_str(said);
    told.map_or_else(|_| said.trim().to_owned(), |Problem { error }| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> WitnessUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_says_how_it_is_asked() {
        for text in [
            "http://127.0.0.1:7500",
            "https://witness.example:7500",
            "http://[::1]:1",
        ] {
            assert_eq!(url(text).to_string(), text);
            assert_eq!(url(&format!("{text}/")), url(text));
        }
        for text in [
            "",
            "127.0.0.1:7500",
            "ftp://a:1",
            "http://a",
            "http://a:0",
            "http://a:1/v1",
            "http://u@a:1",
        ] {
            assert!(text.parse::<WitnessUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_in_between_answers_for_a_witness_unless_that_is_allowed() {
        for near in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert!(Url::new(url(near), None, false).is_ok(), "{near}");
        }
        for far in [
            "http://10.0.0.1:1",
            "http://witness.example:1",
            "http://127.example:1",
        ] {
            let refused = Url::new(url(far), None, false).unwrap_err().to_string();
            assert!(refused.contains("--allow-plain"), "{refused}");
            assert!(Url::new(url(far), None, true).is_ok(), "{far}");
        }
        let refused = Url::new(url("https://127.0.0.1:1"), None, true).unwrap_err();
        assert!(refused.to_string().contains("--tls-cert"), "{refused}");
    }
}
