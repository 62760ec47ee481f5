//! Whole nodes in one process, over real sockets and real disks. What a crash does to them is
//! tested with processes.

#![cfg(test)]

#[path = "../support/cluster.rs"]
mod cluster;

mod bootstrap;
mod fake_api;
mod fitness;
mod http;
mod large;
mod membership;
mod node;
mod recovery;
mod route;
mod route_carry;
mod tls_api;
mod tls_desk;
mod tls_peers;
