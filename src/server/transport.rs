//! What a TCP connection goes through before HTTP, and what that says of the peer.

use std::future::Future;
use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

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

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: IpAddr,
}

impl Transport for Plain {
    type Stream = TcpStream;

    async fn secure(&self, tcp: TcpStream, address: IpAddr) -> io::Result<(TcpStream, Peer)> {
        Ok((tcp, Peer { address }))
    }
}

impl Peer {
    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }
}
