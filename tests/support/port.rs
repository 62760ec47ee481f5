//! Ports that nodes of a test listen at.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that is free, below those that the kernel gives to clients: one of these could be taken
/// by somebody else's connection before it is listened at, or while its node is down. No two of
/// one run are the same.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 2500).unwrap();
    loop {
        let port = 30_500 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 2200;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
