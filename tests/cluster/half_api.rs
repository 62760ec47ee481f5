//! An API server that answers 500 to every other call: a proxy before the real one, which pods
//! reach in its place.
//!
//! It is this very program, started again in the network of the control plane. It shows the API
//! server's own certificate, and passes on tokens as they are. It says of each call what became of
//! it, so that a story in which none failed is noticed.

use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::cluster::{Cluster, demand, wait_for};

/// The argument by which this program becomes the proxy.
pub(crate) const COMMAND: &str = "half-failing-api";
/// Where it listens, and where the API server does.
const PROXY_PORT: u16 = 6444;
const SERVER: &str = "127.0.0.1:6443";
/// Where pods believe the API server to be.
const SERVICE: &str = "10.96.0.1";

/// What the proxy says: first that it listens, and then of each call what became of it.
const LISTENS: &str = "listens";
const FAILED: &str = "failed";
const PASSED: &str = "passed";

/// While it lives, pods are answered 500 to every other call.
pub(crate) struct HalfApi<'a> {
    cluster: &'a Cluster,
    /// It ends with what it reads from here, since `enter` has a process of its own before it.
    proxy: Child,
    said: PathBuf,
}

/// How many calls the proxy has answered itself, and how many the API server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Calls {
    pub(crate) failed: usize,
    pub(crate) passed: usize,
}

impl<'a> HalfApi<'a> {
    pub(crate) fn begin(cluster: &'a Cluster) -> Self {
        let said = cluster.directory().join("log/half-failing-api");
        let proxy = cluster
            .enter("control")
            .arg(std::env::current_exe().unwrap())
            .arg(COMMAND)
            .arg(cluster.directory().join("pki"))
            .stdin(Stdio::piped())
            .stdout(File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let half = Self {
            cluster,
            proxy,
            said,
        };
        wait_for("the proxy to listen", || {
            (half.count(LISTENS) > 0).then_some(())
        });
        for (mut lead, mut forget) in half.lead_pods("-I") {
            demand(&mut lead);
            // There may be none.
            drop(forget.output());
        }
        half
    }

    /// What became of all calls so far.
    pub(crate) fn calls(&self) -> Calls {
        Calls {
            failed: self.count(FAILED),
            passed: self.count(PASSED),
        }
    }

    fn count(&self, word: &str) -> usize {
        let said = std::fs::read_to_string(&self.said).unwrap();
        said.lines().filter(|line| *line == word).count()
    }

    /// For each machine, how to lead the calls of its pods here, or back, and then how to end the
    /// connections that are up.
    fn lead_pods(&self, change: &str) -> Vec<(Command, Command)> {
        let of_node = |node: String| {
            let to = format!("172.30.0.1:{PROXY_PORT}");
            let rule = [
                "iptables",
                "-w",
                "-t",
                "nat",
                change,
                "PREROUTING",
                "-s",
                "10.244.0.0/16",
                "-d",
                SERVICE,
                "-p",
                "tcp",
                "--dport",
                "443",
                "-j",
                "DNAT",
                "--to-destination",
                &to,
            ];
            let mut lead = self.cluster.enter(&node);
            lead.args(rule);
            let mut forget = self.cluster.enter(&node);
            forget.args(["conntrack", "-D", "-d", SERVICE]);
            (lead, forget)
        };
        self.cluster.node_names().map(of_node).collect()
    }
}

impl Drop for HalfApi<'_> {
    fn drop(&mut self) {
        let mut is_led_back = true;
        for (mut lead, mut forget) in self.lead_pods("-D") {
            is_led_back &= lead.output().is_ok_and(|output| output.status.success());
            drop(forget.output());
        }
        drop(self.proxy.stdin.take());
        drop(self.proxy.wait());
        assert!(
            is_led_back || std::thread::panicking(),
            "pods still ask the proxy"
        );
    }
}

/// Is the proxy, until nobody holds the other end of its input any more.
pub(crate) fn serve(pki: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(listen(pki.to_owned()));
    let held = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    drop(runtime.block_on(runtime.spawn_blocking(held)));
}

async fn listen(pki: PathBuf) {
    let provider = Arc::new(ring::default_provider());
    let chain = CertificateDer::pem_file_iter(pki.join("apiserver.crt")).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(pki.join("ca.crt")).unwrap())
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (acceptor, connector) = (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    );
    let at = SocketAddr::from(([0, 0, 0, 0], PROXY_PORT));
    let listener = TcpListener::bind(at).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    println!("{LISTENS}");
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        let calls = Arc::clone(&calls);
        tokio::spawn(async move {
            // Whatever fails here is a connection that ends.
            drop(pass(tcp, &acceptor, &connector, &calls).await);
        });
    }
}

/// One connection of a client, by one of our own to the API server.
async fn pass(
    tcp: TcpStream,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    calls: &AtomicUsize,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let near = acceptor.accept(tcp).await?;
    let name = ServerName::try_from("kubernetes.default.svc")?;
    let far = connector
        .connect(name, TcpStream::connect(SERVER).await?)
        .await?;
    let (ask, connection) = hyper::client::conn::http1::handshake(TokioIo::new(far)).await?;
    tokio::spawn(connection);
    let ask = tokio::sync::Mutex::new(ask);
    let service = service_fn(|mut request: Request<Incoming>| {
        let ask = &ask;
        async move {
            if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                println!("{FAILED}");
                return Ok::<_, Infallible>(failure());
            }
            println!("{PASSED}");
            if let Some(path) = request.uri().path_and_query() {
                *request.uri_mut() = Uri::from(path.clone());
            }
            match ask.lock().await.send_request(request).await {
                Ok(answer) => Ok(answer.map(BoxBody::new)),
                Err(_) => Ok(failure()),
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(near), service)
        .await?;
    Ok(())
}

fn failure() -> Response<BoxBody<Bytes, hyper::Error>> {
    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,
        "reason":"InternalError","message":"every other call fails here"}"#;
    let body = Full::from(status).map_err(|never: Infallible| match never {});
    let mut answer = Response::new(BoxBody::new(body));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}
