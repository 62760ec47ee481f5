//! `remember hello`: the smallest application that makes use of a leader, to try a cluster with.
//!
//! ```text
//!   client --HTTP--> hello --HTTP over loopback--> the node beside it
//!                    answers.rs   what is asked
//!                    sidecar.rs   the asking
//! ```
//!
//! It has no state: who leads and what a note says is asked of the node for every request, so that
//! nothing here can be stale. It is an example and no server for the world: it speaks plain
//! HTTP/1.1, one request a connection.

mod answers;
mod sidecar;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::answers::{Answer, Hello as Application};
use super::client::block_on;
use super::endpoint::Endpoint;
use super::environment;
use super::exit::{Exit, say};
use super::listen::bind;
use super::stops::stops;
use crate::discovery::parse_address;
use crate::wire::Address;

/// Connections open at once; more wait to be accepted. Each may hold one note.
const CONNECTIONS_MAX: usize = 64;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may take in all: head, body, the node's answer, and reading that.
const CONNECTION: Duration = Duration::from_mins(1);

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long to wait after accepting failed, as it does while there are no more file descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Runs an example application that asks the node beside it who leads.
///
/// GET / tells who leads, in which term, and whether that is this pod. GET and PUT /notes/NAME read
/// and write the key hello/NAME of the replicated state, from any pod. GET /healthz is for probes.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Hello {
    /// Where to listen; where a machine has no IPv6, [::] means 0.0.0.0
    #[arg(
        long,
        env = "REMEMBER_HELLO_LISTEN",
        value_name = "HOST:PORT",
        hide_env_values = true
    )]
    #[arg(value_parser = parse_address, default_value = "[::]:8080")]
    listen: Address,
    /// The API of the node beside this application
    #[arg(
        long,
        env = "REMEMBER_HELLO_NODE",
        value_name = "HOST:PORT",
        hide_env_values = true
    )]
    #[arg(default_value = "127.0.0.1:7401")]
    node: Endpoint,
    /// The name of this pod; the variable HOSTNAME if not given, which is the same in a pod
    #[arg(
        long,
        env = "REMEMBER_POD_NAME",
        value_name = "POD",
        hide_env_values = true
    )]
    pod: Option<String>,
}

impl Hello {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        environment::check()?;
        if self.node.is_https() {
            let sentence = "the node beside this application is asked without TLS, over loopback";
            return Err(Exit::Usage.because(sentence).into());
        }
        block_on(async {
            // Before anything is served: the first process of a container hears no other signal.
            let mut stops = stops()?;
            let listener = bind(&self.listen).await;
            let at = &self.listen;
            let listener = listener
                .with_context(|| format!("cannot listen at {at}; choose another --listen"))?;
            say(&format!("hello listens at {}", listener.local_addr()?));
            let pod = self.pod.or_else(|| std::env::var("HOSTNAME").ok());
            let application = Application::new(pod, self.node);
            tokio::select! {
                // Nothing here would be lost: what is half done, its client is not told as done.
                _ = stops.recv() => Ok(Exit::Done),
                never = serve(listener, application) => match never {},
            }
        })
    }
}

async fn serve(listener: TcpListener, application: Application) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                match accepted {
                    Ok((tcp, _)) => {
                        connections.spawn(converse(tcp, application.clone()));
                    }
                    // The client's fault, and its alone.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        say(&format!("cannot accept a connection: {error}"));
                        sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, which is for one request: a client of a Service is led to the next leader by
/// its next connection, and by no sooner one.
async fn converse(tcp: TcpStream, application: Application) {
    let service = service_fn(|request: Request<Incoming>| async {
        let answer: Response<Answer> = application.answer(request).await;
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(tcp), service);
    // How it ends, its client sees.
    drop(timeout(CONNECTION, connection).await);
}
