//! The operator's admin port: `/livez`, `/readyz`, `/metrics`. Nothing secret, and nothing that
//! acts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::debug;

use super::metrics::{Metrics, OPENMETRICS};

/// The most connections at once: a kubelet and a few that collect metrics.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait where no connection can be taken, such as without file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers at `listener` for ever; `is_ready` says whether Kubernetes has answered.
pub(super) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    is_ready: watch::Receiver<bool>,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                debug!(%error, "no connection can be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (metrics, is_ready) = (Arc::clone(&metrics), is_ready.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let reply = answer(&request, &metrics, &is_ready);
                async { Ok::<_, Infallible>(reply) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(connection), service)
                .await;
            if let Err(error) = served {
                debug!(%error, "a connection has failed");
            }
            drop(permit);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    metrics: &Metrics,
    is_ready: &watch::Receiver<bool>,
) -> Response<Full<Bytes>> {
    let text = |status, text: String| {
        let mut reply = Response::new(Full::from(text));
        *reply.status_mut() = status;
        reply
    };
    if request.method() != Method::GET {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n".to_owned(),
        );
    }
    match request.uri().path() {
        // It answers, so its loop turns: one thread does everything.
        "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if *is_ready.borrow() => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "Kubernetes has not told yet which clusters there are; see this pod's log\n".to_owned(),
        ),
        "/metrics" => {
            let mut reply = text(StatusCode::OK, metrics.encode());
            let kind = HeaderValue::from_static(OPENMETRICS);
            reply.headers_mut().insert(CONTENT_TYPE, kind);
            reply
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "no such endpoint; /livez, /readyz and /metrics are there\n".to_owned(),
        ),
    }
}
