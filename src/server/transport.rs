//! What a TCP connection goes through before HTTP, and what that says of the peer.

use std::future::Future;
use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls::{Identity, Service, Stream};

/// What TLS begins with: the type of its first record, a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// How much of a request without TLS is read before it is answered.
const PLAIN_BYTES_MAX: usize = 4 << 10;

/// What a client without TLS is told.
const SPEAK_TLS: &str = "{\"error\":\"this port speaks HTTPS; ask by https:// and show a client \
                         certificate of this cluster's authority\"}\n";

/// Secures the connections of one port, or leaves them plain.
pub trait Transport: Clone + 'static {
    /// What HTTP is spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Does whatever comes before HTTP; bounded in time by the caller.
    fn secure(
        &self,
        tcp: TcpStream,
        address: IpAddr,
    ) -> impl Future<Output = io::Result<(Self::Stream, Peer)>>;
}

/// No security: for loopback, and for what has nothing to hide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain;

/// Mutual TLS: whoever has no certificate of the cluster's authority does not get to HTTP.
#[derive(Clone, Debug)]
pub struct Mutual(pub Identity);

/// Mutual TLS of a server that is no member of the cluster.
#[derive(Clone, Debug)]
pub struct Certified(pub Service);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: IpAddr,
    /// Whether it has shown a certificate of the cluster's authority.
    pub is_certified: bool,
}

impl Transport for Plain {
    type Stream = TcpStream;

    async fn secure(&self, tcp: TcpStream, address: IpAddr) -> io::Result<(TcpStream, Peer)> {
        let peer = Peer {
            address,
            is_certified: false,
        };
        Ok((tcp, peer))
    }
}

impl Transport for Mutual {
    type Stream = Stream;

    async fn secure(&self, mut tcp: TcpStream, address: IpAddr) -> io::Result<(Stream, Peer)> {
        demand_tls(&mut tcp).await?;
        let stream = self.0.accept_client(tcp).await.map_err(io::Error::other)?;
        let peer = Peer {
            address,
            is_certified: true,
        };
        Ok((stream, peer))
    }
}

impl Transport for Certified {
    type Stream = Stream;

    async fn secure(&self, mut tcp: TcpStream, address: IpAddr) -> io::Result<(Stream, Peer)> {
        demand_tls(&mut tcp).await?;
        let stream = self.0.accept(tcp).await.map_err(io::Error::other)?;
        let peer = Peer {
            address,
            is_certified: true,
        };
        Ok((stream, peer))
    }
}

/// Tells a client without TLS what to do.
async fn demand_tls(tcp: &mut TcpStream) -> io::Result<()> {
    let mut first = [0];
    let came = tcp.peek(&mut first).await?;
    if came == 1 && first != [TLS_HANDSHAKE] {
        let mut request = [0; PLAIN_BYTES_MAX];
        let _read = tcp.read(&mut request).await?;
        tcp.write_all(refusal().as_bytes()).await?;
        tcp.shutdown().await?;
        return Err(io::Error::other("it does not speak TLS"));
    }
    Ok(())
}

fn refusal() -> String {
    let length = SPEAK_TLS.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{SPEAK_TLS}"
    )
}

impl Peer {
    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }

    /// Whether it may ask this node to act: from this machine, or with a certificate.
    pub(super) fn may_act(&self) -> bool {
        self.is_local() || self.is_certified
    }
}
