//! Listening where the user says, on machines with and without IPv6.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::wire::Address;

/// Listens there. `[::]` means every address of the machine: where it has no IPv6, 0.0.0.0.
pub(super) async fn bind(at: &Address) -> io::Result<TcpListener> {
    let bound = TcpListener::bind((at.host.as_str(), at.port)).await;
    match bound {
        Err(error) if at.host == "::" && has_no_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port)).await
        }
        bound => bound,
    }
}

/// Whether the kernel knows no such addresses, or has none.
fn has_no_ipv6(error: &io::Error) -> bool {
    let unknown = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_ipv6_is_mended_by_ipv4() {
        let lacks = |error: rustix::io::Errno| {
            has_no_ipv6(&io::Error::from_raw_os_error(error.raw_os_error()))
        };
        assert!(lacks(rustix::io::Errno::AFNOSUPPORT));
        assert!(lacks(rustix::io::Errno::ADDRNOTAVAIL));
        assert!(!lacks(rustix::io::Errno::ADDRINUSE));
        assert!(!lacks(rustix::io::Errno::ACCESS));
    }
}
