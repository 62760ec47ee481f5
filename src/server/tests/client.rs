//! A client for tests: one connection, HTTP/1.1 or HTTP/2.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use super::Fixture;
use crate::server::connection::LocalExecutor;

/// The headers of a body of JSON.
pub(super) const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An answer that has come whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) body: Bytes,
    pub(super) headers: hyper::HeaderMap,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The sentence of a problem.
    pub(super) fn error(&self) -> String {
        let json = self.json();
        json["error"].as_str().unwrap().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(super) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(super) async fn http1(stream: DuplexStream) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        Self::Http1(sender)
    }

    pub(super) async fn http2(stream: DuplexStream) -> Self {
        let handshake = http2::handshake(LocalExecutor, TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::task::spawn_local(connection);
        Self::Http2(sender)
    }

    /// Asks, and returns once the head of the answer is there.
    pub(super) async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let body = Full::new(body.into());
        match self {
            Self::Http1(sender) => {
                let request = request(method, path.to_owned(), headers, body);
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Http2(sender) => {
                let url = format!("http://localhost{path}");
                sender.ready().await.unwrap();
                sender
                    .send_request(request(method, url, headers, body))
                    .await
                    .unwrap()
            }
        }
    }

    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.begin(method, path, headers, body).await;
        let (head, body) = response.into_parts();
        let etag = head.headers.get("etag");
        Answer {
            status: head.status,
            etag: etag.map(|etag| etag.to_str().unwrap().to_owned()),
            body: body.collect().await.unwrap().to_bytes(),
            headers: head.headers,
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(super) async fn put(&mut self, path: &str, value: impl Into<Bytes>) -> Answer {
        self.ask("PUT", path, &[], value).await
    }

    pub(super) async fn watch(&mut self, path: &str, headers: &[(&str, &str)]) -> Watch {
        let response = self.begin("GET", path, headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Watch {
            body: response.into_body(),
            text: String::new(),
        }
    }
}

fn request(
    method: Method,
    url: String,
    headers: &[(&str, &str)],
    body: Full<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// An event stream.
pub(super) struct Watch {
    body: Incoming,
    text: String,
}

impl Watch {
    /// The next event or comment, without its blank line; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(event);
            }
            let frame = self.body.frame().await?.unwrap();
            let piece = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

impl Fixture {
    pub(super) async fn client(&self) -> Client {
        Client::http1(self.server.connect(LOCAL).0).await
    }

    pub(super) async fn admin(&self) -> Client {
        Client::http1(self.server.connect_admin()).await
    }
}
