//! A client of HTTP/1.1 that knows whether its request may have been heard.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection may take: what is not cut answers at once.
const CONNECT: Duration = Duration::from_millis(500);

/// How long an answer may take. The nodes give up on requests before that.
const ANSWER: Duration = Duration::from_millis(1500);

/// The longest head and the longest body of an answer, in bytes.
const HEAD_BYTES_MAX: u64 = 64 << 10;
const BODY_BYTES_MAX: usize = 16 << 20;

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// One header, or none.
    pub(crate) header: &'a str,
    pub(crate) body: &'a [u8],
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) revision: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Silence {
    /// Nobody heard the request.
    NotAsked,
    /// Somebody may have.
    Unknown,
}

/// One connection to one server, made anew when it is broken.
pub(crate) struct Client {
    server: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            stream: None,
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, ask: Ask<'_>) -> Result<Answer, Silence> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().ok_or(Silence::NotAsked)?,
        };
        let answer = exchange(&mut stream, ask).ok_or(Silence::Unknown)?;
        self.stream = Some(stream);
        Ok(answer)
    }

    /// Asks for a document.
    pub(crate) fn get(&mut self, path: &str) -> Option<Answer> {
        let ask = Ask {
            method: "GET",
            path,
            header: "",
            body: &[],
        };
        self.ask(ask).ok()
    }

    fn connect(&self) -> Option<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.server, CONNECT).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        stream.set_write_timeout(Some(ANSWER)).ok()?;
        Some(BufReader::new(stream))
    }
}

fn exchange(stream: &mut BufReader<TcpStream>, ask: Ask<'_>) -> Option<Answer> {
    let (method, path, length) = (ask.method, ask.path, ask.body.len());
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: it\r\ncontent-length: {length}\r\n");
    if !ask.header.is_empty() {
        request += ask.header;
        request += "\r\n";
    }
    let request = [request.as_bytes(), b"\r\n", ask.body].concat();
    stream.get_mut().write_all(&request).ok()?;
    let (mut revision, mut length) = (None, 0);
    let mut head = stream.by_ref().take(HEAD_BYTES_MAX);
    let mut line = String::new();
    head.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    loop {
        line.clear();
        if head.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name {
            "etag" => revision = value.trim_matches('"').parse().ok(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; BODY_BYTES_MAX.min(length)];
    stream.read_exact(&mut body).ok()?;
    Some(Answer {
        status,
        revision,
        body,
    })
}
