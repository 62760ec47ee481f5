//! The endpoints, asked by a real HTTP client over in-memory connections, of a node whose driver
//! is a stand-in.

mod admin;
mod bootstrap;
mod client;
mod cluster;
#[path = "../../../tests/support/corpus.rs"]
mod corpus;
#[path = "../../../tests/support/hex.rs"]
mod hex;
mod hostile;
mod keys;
mod members;
mod pages;
mod ports;
mod snapshot;
mod watches;
mod witness;

use std::future::Future;
use std::time::Duration;

use tokio::task::LocalSet;

use super::{Limits, Server};
use crate::node::Handle;
use crate::node::fake::FakeDriver;
use crate::state::{HistoryLimits, Store, View};

/// A node under test: its HTTP surface and what it stands on.
struct Fixture {
    server: Server,
    driver: FakeDriver,
    handle: Handle,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Store::default(), Limits::default())
    }

    fn with(store: Store, limits: Limits) -> Self {
        let (driver, handle) = FakeDriver::start(store, Duration::from_millis(200));
        let server = Server::new(handle.clone(), limits);
        Self {
            server,
            driver,
            handle,
        }
    }
}

/// A store that remembers so many changes.
fn forgetful_store(events: usize) -> Store {
    let limits = HistoryLimits {
        events,
        bytes: 1 << 20,
    };
    Store::resume(View::default(), limits)
}

/// Runs a test on the runtime that a node has; time stands still unless everything waits.
pub(super) fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
