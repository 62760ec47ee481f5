//! The two ports: who is let in, for how long, and how it all ends.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use super::admin::Admin;
use super::api::Api;
use super::connection::{self, Activity, Route};
use super::events::Streams;
use super::health::Readiness;
use super::limits::Budget;
use super::metrics::Metrics;
use super::role_watch;
use super::snapshot::Pace;
use super::standing::Standing;
use super::{Limits, Transport};
use crate::node::Handle;

/// How long to wait after accepting failed, as it does while there are no more file descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The HTTP surface of one node. Lives on the node's `LocalSet`.
#[derive(Debug)]
pub struct Server {
    api: Rc<Api>,
    admin: Rc<Admin>,
    ports: Ports,
}

/// The ports of one process, and what ends with them.
#[derive(Debug)]
pub(super) struct Ports {
    metrics: Rc<Metrics>,
    limits: Limits,
    stop: watch::Sender<Option<Instant>>,
    tasks: RefCell<JoinSet<()>>,
}

impl Server {
    /// A server for the node behind `handle`, which listens nowhere yet.
    pub fn new(handle: Handle, limits: Limits) -> Self {
        let metrics = Rc::new(Metrics::new());
        let readiness = Rc::new(Readiness::new(handle.clone()));
        let standing = watch::Sender::new(Standing::of(&handle));
        let ports = Ports::new(limits, Rc::clone(&metrics));
        let (limits, stop) = (&ports.limits, &ports.stop);
        let streams = Streams::new(limits, &metrics, stop.subscribe());
        let budget = Budget::new(limits.buffered_bytes_max);
        let api = Api {
            handle: handle.clone(),
            metrics: Rc::clone(&metrics),
            standing: standing.subscribe(),
            streams,
            budget,
            body_wait: limits.body_wait,
            snapshots: Arc::new(Semaphore::new(limits.snapshots_max)),
            snapshot_pace: Pace::within_limits(limits),
        };
        let admin = Admin {
            handle: handle.clone(),
            metrics: Rc::clone(&metrics),
            readiness: Rc::clone(&readiness),
        };
        let observe = role_watch::observe(handle, standing, readiness, metrics, stop.subscribe());
        ports.tasks.borrow_mut().spawn_local(observe);
        Self {
            api: Rc::new(api),
            admin: Rc::new(admin),
            ports,
        }
    }

    /// Serves the API on a bound listener.
    pub fn listen_api(&self, listener: TcpListener, transport: impl Transport) {
        (self.ports).listen("api", listener, transport, Rc::clone(&self.api));
    }

    /// Serves health and metrics on a bound listener.
    pub fn listen_admin(&self, listener: TcpListener, transport: impl Transport) {
        (self.ports).listen("admin", listener, transport, Rc::clone(&self.admin));
    }

    /// A connection to the API from `address` that passes no port.
    #[cfg(test)]
    pub(super) fn connect(
        &self,
        address: std::net::IpAddr,
    ) -> (tokio::io::DuplexStream, Rc<Activity>) {
        self.connect_as(super::Peer {
            address,
            is_certified: false,
        })
    }

    /// The same, from someone who may have a certificate.
    #[cfg(test)]
    pub(super) fn connect_as(&self, peer: super::Peer) -> (tokio::io::DuplexStream, Rc<Activity>) {
        Self::attach(Rc::clone(&self.api), peer)
    }

    /// A connection to the admin endpoints that passes no port.
    #[cfg(test)]
    pub(super) fn connect_admin(&self) -> tokio::io::DuplexStream {
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let peer = super::Peer {
            address,
            is_certified: false,
        };
        Self::attach(Rc::clone(&self.admin), peer).0
    }

    /// Whether no stream is open and no body is held.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.api.budget.is_whole() && self.api.streams.is_idle(&self.ports.limits)
    }

    #[cfg(test)]
    fn attach(route: Rc<impl Route>, peer: super::Peer) -> (tokio::io::DuplexStream, Rc<Activity>) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let activity = Rc::new(Activity::default());
        tokio::task::spawn_local(connection::serve(server, peer, route, Rc::clone(&activity)));
        (client, activity)
    }

    /// Stops accepting, ends event streams, finishes the requests that have begun, and drops what
    /// is not finished after `grace`.
    pub async fn shut_down(self, grace: Duration) {
        self.ports.shut_down(grace).await;
    }
}

impl Ports {
    /// None yet.
    pub(super) fn new(limits: Limits, metrics: Rc<Metrics>) -> Self {
        Self {
            metrics,
            limits,
            stop: watch::Sender::new(None),
            tasks: RefCell::default(),
        }
    }

    /// Serves one on a bound listener.
    pub(super) fn listen<T: Transport, R: Route>(
        &self,
        name: &'static str,
        listener: TcpListener,
        transport: T,
        route: Rc<R>,
    ) {
        let port = Port {
            name,
            transport,
            route,
            limits: self.limits.clone(),
            metrics: Rc::clone(&self.metrics),
            connections: JoinSet::new(),
            watched: Watched::default(),
            stop: self.stop.subscribe(),
        };
        let run = port.run(listener, self.stop.subscribe());
        self.tasks.borrow_mut().spawn_local(run);
    }

    /// Stops accepting, finishes the requests that have begun, and drops what is not finished after
    /// `grace`.
    pub(super) async fn shut_down(self, grace: Duration) {
        self.stop.send_replace(Some(Instant::now() + grace));
        let mut tasks = self.tasks.take();
        while tasks.join_next().await.is_some() {}
    }
}

/// One port and its connections.
struct Port<T, R> {
    name: &'static str,
    transport: T,
    route: Rc<R>,
    limits: Limits,
    metrics: Rc<Metrics>,
    connections: JoinSet<()>,
    watched: Watched,
    stop: watch::Receiver<Option<Instant>>,
}

/// The connections of a port that are looked at from time to time. Each holds on to the memory of
/// its task, so those that have ended are forgotten soon.
#[derive(Default)]
struct Watched(Vec<Rc<Activity>>);

impl Watched {
    /// How many that have ended may be among them, beside as many as have not.
    const ENDED_MAX: usize = 16;

    fn begin(&mut self) -> Rc<Activity> {
        let activity = Rc::new(Activity::default());
        self.0.push(Rc::clone(&activity));
        activity
    }

    /// One has ended, and so many have not.
    fn ended(&mut self, left: usize) {
        if self.0.len() > 2 * left + Self::ENDED_MAX {
            // A connection that has ended keeps no reference to its activity.
            self.0.retain(|activity| Rc::strong_count(activity) > 1);
        }
    }
}

impl<T: Transport, R: Route> Port<T, R> {
    async fn run(mut self, listener: TcpListener, mut stop: watch::Receiver<Option<Instant>>) {
        let mut looks = interval(self.limits.head_wait);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_room = self.connections.len() < self.limits.connections_max;
            tokio::select! {
                accepted = listener.accept(), if has_room => self.accepted(accepted).await,
                Some(_) = self.connections.join_next() => {
                    self.watched.ended(self.connections.len());
                    self.count();
                }
                _ = looks.tick() => self.look(),
                _ = stop.wait_for(Option::is_some) => break,
            }
        }
        drop(listener);
        let deadline = stop.borrow().unwrap_or_else(Instant::now);
        self.drain(deadline).await;
    }

    async fn accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((tcp, address)) => self.serve(tcp, address),
            // The peer's fault, and its alone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, port = self.name, "cannot accept a connection");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }

    fn serve(&mut self, tcp: TcpStream, address: SocketAddr) {
        let activity = self.watched.begin();
        let (transport, route) = (self.transport.clone(), Rc::clone(&self.route));
        let wait = self.limits.head_wait;
        let mut stop = self.stop.clone();
        self.connections.spawn_local(async move {
            if let Err(error) = tcp.set_nodelay(true) {
                return tracing::debug!(%error, %address, "a connection ended at once");
            }
            let secured = tokio::select! {
                secured = timeout(wait, transport.secure(tcp, address.ip())) => secured,
                // Nothing was asked yet, so nothing is left undone.
                _ = stop.wait_for(Option::is_some) => return,
            };
            match secured {
                Ok(Ok((stream, peer))) => connection::serve(stream, peer, route, activity).await,
                Ok(Err(error)) => tracing::debug!(%error, %address, "a connection was refused"),
                Err(_) => tracing::debug!(%address, "a connection was not secured in time"),
            }
        });
        self.count();
    }

    fn count(&self) {
        self.metrics.connections(self.name, self.connections.len());
    }

    /// Ends the connections that are of no use.
    fn look(&self) {
        let looks = self.limits.idle_wait.as_nanos() / self.limits.head_wait.as_nanos().max(1);
        let idle_looks = u32::try_from(looks).unwrap_or(u32::MAX).max(2);
        for activity in &self.watched.0 {
            activity.look(idle_looks);
        }
    }

    async fn drain(mut self, deadline: Instant) {
        for activity in &self.watched.0 {
            activity.finish();
        }
        let ended = async { while self.connections.join_next().await.is_some() {} };
        if timeout_at(deadline, ended).await.is_err() {
            let count = self.connections.len();
            tracing::warn!(
                count,
                port = self.name,
                "dropping connections that do not finish"
            );
            self.connections.shutdown().await;
        }
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_have_ended_are_forgotten_and_others_are_not() {
        let mut watched = Watched::default();
        let open: Vec<_> = (0..3).map(|_| watched.begin()).collect();
        for _ in 0..1000 {
            drop(watched.begin());
            watched.ended(open.len());
            assert!(watched.0.len() <= 2 * open.len() + Watched::ENDED_MAX);
        }
        for activity in &open {
            assert!(watched.0.iter().any(|known| Rc::ptr_eq(known, activity)));
        }
    }
}
