//! Asking a cluster: any of its nodes will do, and which of them answers does not matter.
//!
//! A read goes on to the next node whatever happened. A write does so only while it is certain that
//! nothing was written: no connection was made, or the node says so by 503 (R20).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::endpoint::{Ask, Endpoint, LOCAL, Silence};
use super::exit::{Exit, Failed};
use super::tls::TlsFlags;
use crate::state::ClusterInfo;
use crate::tls::Connector;

/// The largest answer that is read whole, in bytes: a page of a list in base64 is far below.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Whom to ask, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Client {
    /// Nodes to ask: host:port or https://host:port, several separated by commas or by repeating
    /// the flag; the first that answers is enough
    #[arg(long = "endpoint", env = "REMEMBER_ENDPOINT", value_name = "HOST:PORT")]
    #[arg(hide_env_values = true, value_delimiter = ',', default_values = LOCAL)]
    pub(super) endpoints: Vec<Endpoint>,
    /// How long the whole command may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    tls: TlsFlags,
}

/// A time as a flag says it.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| *seconds > 0.0 && *seconds <= 3600.0);
    let seconds = seconds.ok_or("it is a number of seconds above 0, up to 3600")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// What a node answered with a status of success.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// How one attempt failed.
struct Attempt {
    failed: Failed,
    /// Whether it is certain that nothing was written.
    nothing_done: bool,
}

/// Runs a command that asks, on this thread.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    outcome
}

impl Client {
    /// Reads what TLS needs. Before anything is asked.
    pub(super) fn open(&mut self) -> Result<(), Failed> {
        let files = self.tls.files();
        let connector = files.map(|files| Connector::read(&files)).transpose();
        let is_needed = self.endpoints.iter().any(Endpoint::is_https);
        let connector = match connector {
            Err(error) if is_needed => return Err(Exit::Usage.because(error.to_string())),
            // Over loopback nothing depends on files that may be damaged (R9).
            connector => connector.unwrap_or_default(),
        };
        if is_needed && connector.is_none() {
            let sentence = "https:// needs --tls-cert, --tls-key and --tls-ca";
            return Err(Exit::Usage.because(sentence));
        }
        for endpoint in &mut self.endpoints {
            endpoint.secure_by(connector.clone());
        }
        Ok(())
    }

    /// Whoever asks these nodes, without TLS.
    pub(super) fn of(endpoints: Vec<Endpoint>, timeout: Duration) -> Self {
        let tls = TlsFlags::default();
        Self {
            endpoints,
            timeout,
            tls,
        }
    }

    /// When the command has to end.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Asks one node after the other until one answers.
    pub(super) async fn ask(&self, ask: &Ask, deadline: Instant) -> Result<Answer, Failed> {
        let mut failures: Vec<Failed> = Vec::new();
        let mut left = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX);
        for endpoint in &self.endpoints {
            let now = Instant::now();
            // A node that is frozen must not use up the time of all.
            let patience = if ask.is_read() {
                now + deadline.saturating_duration_since(now) / left.max(1)
            } else {
                deadline
            };
            match one(endpoint, ask, patience).await {
                Ok(answer) => return Ok(answer),
                Err(Attempt {
                    failed,
                    nothing_done,
                }) => {
                    let is_final = !matches!(
                        failed.exit,
                        Exit::Failed | Exit::Unreachable | Exit::TimedOut
                    );
                    if is_final || !(nothing_done || ask.is_read()) {
                        return Err(failed);
                    }
                    failures.push(failed);
                }
            }
            left -= 1;
        }
        Err(summary(&failures))
    }

    /// The cluster-info document of each endpoint (S6), all asked at once.
    pub(super) async fn clusters(
        &self,
        deadline: Instant,
    ) -> Vec<(&Endpoint, Result<ClusterInfo, Failed>)> {
        let ask = &Ask::read("/v1/cluster");
        let asked = self
            .endpoints
            .iter()
            .map(|endpoint| async move { (endpoint, cluster(endpoint, ask, deadline).await) });
        futures_util::future::join_all(asked).await
    }
}

/// One node's cluster-info document.
pub(super) async fn cluster(
    endpoint: &Endpoint,
    ask: &Ask,
    deadline: Instant,
) -> Result<ClusterInfo, Failed> {
    let answer = one(endpoint, ask, deadline).await;
    let answer = answer.map_err(|attempt| attempt.failed)?;
    serde_json::from_slice(&answer.body).map_err(|error| {
        let sentence = format!("{endpoint} does not answer like a node of remember: {error}");
        Exit::Failed.because(sentence)
    })
}

/// Asks one node.
pub(super) async fn ask_one(
    endpoint: &Endpoint,
    ask: &Ask,
    deadline: Instant,
) -> Result<Answer, Failed> {
    one(endpoint, ask, deadline)
        .await
        .map_err(|attempt| attempt.failed)
}

async fn one(endpoint: &Endpoint, ask: &Ask, deadline: Instant) -> Result<Answer, Attempt> {
    let mut is_sent = false;
    let asked = async {
        let mut connection = endpoint.connect().await?;
        is_sent = true;
        let response = connection.send(ask).await?;
        let (head, body) = response.into_parts();
        Ok((head, collect(body).await))
    };
    let outcome: Result<Result<_, Silence>, _> = timeout_at(deadline, asked).await;
    let Ok(outcome) = outcome else {
        return Err(Attempt {
            failed: Exit::TimedOut.because(unknown(ask, endpoint, "did not answer in time")),
            nothing_done: !is_sent,
        });
    };
    match outcome {
        Ok((head, Ok(body))) if head.status.is_success() => Ok(Answer {
            headers: head.headers,
            body,
        }),
        Ok((head, body)) => Err(Attempt {
            failed: refusal(endpoint, head.status, &body.unwrap_or_default()),
            nothing_done: head.status == StatusCode::SERVICE_UNAVAILABLE,
        }),
        Err(silence @ Silence::Unreachable(_)) => Err(Attempt {
            failed: Exit::Unreachable.because(format!("{endpoint}: {silence}")),
            nothing_done: true,
        }),
        Err(silence @ Silence::Lost(_)) => {
            let sentence = unknown(ask, endpoint, &silence.to_string());
            let exit = if ask.is_read() {
                Exit::Unreachable
            } else {
                Exit::TimedOut
            };
            Err(Attempt {
                failed: exit.because(sentence),
                nothing_done: false,
            })
        }
    }
}

fn unknown(ask: &Ask, endpoint: &Endpoint, what: &str) -> String {
    if ask.is_read() {
        return format!("{endpoint}: {what}");
    }
    format!("{endpoint}: {what}; the write may or may not be done, read before you write again")
}

/// Reads an answer whole.
pub(super) async fn collect(body: Incoming) -> Result<Bytes, String> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let collected = collected.map_err(|error| error.to_string())?;
    Ok(collected.to_bytes())
}

/// What a status that is no success means.
pub(super) fn refusal(endpoint: &Endpoint, status: StatusCode, body: &[u8]) -> Failed {
    #[derive(serde::Deserialize)]
    struct Problem {
        error: String,
    }
    let exit = match status.as_u16() {
        404 => Exit::NotFound,
        // Wrong usage that only the node can see.
        400 | 413 | 414 | 431 => Exit::Usage,
        // The quota is a denial as well (R21).
        401 | 403 | 507 => Exit::Denied,
        408 | 504 => Exit::TimedOut,
        _ => Exit::Failed,
    };
    let sentence = match serde_json::from_slice(body) {
        Ok(Problem { error }) => error,
        Err(_) => format!("it answers {status}"),
    };
    exit.because(format!("{endpoint}: {sentence}"))
}

/// The failure of all nodes: that of the node that came furthest, if they differ.
pub(super) fn summary(failures: &[Failed]) -> Failed {
    let all: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let reached = failures
        .iter()
        .find(|failed| failed.exit != Exit::Unreachable);
    match reached {
        Some(failed) => failed.exit.because(all.join("\n       ")),
        None => Exit::Unreachable.because(format!(
            "no node can be reached; is `remember local` running, or --endpoint right?\n       {}",
            all.join("\n       ")
        )),
    }
}
