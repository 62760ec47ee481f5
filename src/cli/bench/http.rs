//! HTTP/1.1 for a load generator: requests are made once, answers are read with as little work as
//! can be, because what it costs the measured servers lack.
//!
//! It is no client for anything else: it knows a status and a body of announced length.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest head and the longest body of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;

/// One connection to a server on this machine.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: BytesMut,
}

/// The head of an answer: its status, its own length and that of the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Connection {
    pub(super) async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        let buffer = BytesMut::with_capacity(4 << 10);
        Ok(Self { stream, buffer })
    }

    /// Sends one request and waits for its answer. After an error the connection is of no use.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(head) = head(&self.buffer)?
                && self.buffer.len() >= head.bytes + head.body_bytes
            {
                self.buffer.advance(head.bytes);
                let body = self.buffer.split_to(head.body_bytes);
                let status = head.status;
                return Ok(Answer { status, body });
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A request as it goes over the connection.
pub(super) fn request(method: &str, path: &str, media: Option<&str>, body: &[u8]) -> Vec<u8> {
    let media = media.map_or_else(String::new, |media| format!("content-type: {media}\r\n"));
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{media}");
    let mut request = head.into_bytes();
    if method != "GET" {
        request.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}

/// Reads a head, if all of it is there.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head of an answer is too long"));
        }
        return Ok(None);
    };
    let text = str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("an answer without a status"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, length)| length.trim().parse::<usize>());
    let body_bytes = match length {
        Some(Ok(length)) if length <= BODY_BYTES_MAX => length,
        None if status == 204 || status == 304 => 0,
        Some(_) | None => return Err(io::Error::other("an answer without a usable length")),
    };
    let bytes = end + 4;
    Ok(Some(Head {
        status,
        bytes,
        body_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_http() {
        let put = request("PUT", "/v1/kv/a", None, b"xy");
        let expected = b"PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nxy";
        assert_eq!(put, expected);
        let get = request("GET", "/", None, b"");
        assert_eq!(get, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 201 Created\r\ndate: x\r\nContent-Length: 3\r\n\r\nabc";
        for length in 0..text.len() - 3 {
            assert_eq!(head(&text[..length]).unwrap(), None, "{length}");
        }
        let (status, bytes, body_bytes) = (201, text.len() - 3, 3);
        let whole = Head {
            status,
            bytes,
            body_bytes,
        };
        assert_eq!(head(text).unwrap(), Some(whole));
        let none = head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((none.status, none.body_bytes), (204, 0));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let long = vec![b'x'; HEAD_BYTES_MAX + 1];
        let broken: [&[u8]; 5] = [
            b"\r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            &long,
        ];
        for bytes in broken {
            assert!(head(bytes).is_err());
        }
    }
}
