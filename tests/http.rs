//! Three whole nodes with their HTTP surfaces, over real sockets: what one is told, the others
//! know, and a node that is cut off does not pretend.

#![cfg(test)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use remember::consensus::NodeId;
use remember::node::{MemberAddress, Running, Settings, start};
use remember::server::{Limits, Plain, Server};
use remember::wire::Address;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

struct Node {
    running: Running,
    server: Server,
    api: SocketAddr,
    admin: SocketAddr,
}

struct Cluster {
    data_dir: PathBuf,
    nodes: BTreeMap<u64, Node>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.data_dir));
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn address(at: SocketAddr) -> Address {
    Address {
        host: at.ip().to_string(),
        port: at.port(),
    }
}

impl Cluster {
    async fn start(name: &str) -> Self {
        let data_dir = format!("remember-http-{}-{name}", std::process::id());
        let data_dir = std::env::temp_dir().join(data_dir);
        std::fs::create_dir_all(&data_dir).unwrap();
        let mut members = BTreeMap::new();
        let mut listeners = Vec::new();
        for id in 1..=3 {
            let ((peer, at), (api, api_at)) = (bind().await, bind().await);
            let member = MemberAddress {
                peer: address(at),
                api: address(api_at),
            };
            members.insert(NodeId(id), member);
            listeners.push((id, peer, api, api_at));
        }
        let mut nodes = BTreeMap::new();
        for (id, peer, api_listener, api) in listeners {
            let dir = data_dir.join(id.to_string());
            let mut settings = Settings::new(NodeId(id), members.clone(), dir);
            settings.request_timeout = Duration::from_secs(2);
            let running = start(settings, peer).unwrap();
            let server = Server::new(running.handle.clone(), Limits::default());
            server.listen_api(api_listener, Plain);
            let (admin_listener, admin) = bind().await;
            server.listen_admin(admin_listener, Plain);
            let node = Node {
                running,
                server,
                api,
                admin,
            };
            nodes.insert(id, node);
        }
        Self { data_dir, nodes }
    }

    /// Asks a node's API, and returns once the head of the answer is there.
    async fn begin(&self, id: u64, method: &str, path: &str, body: &str) -> Response<Incoming> {
        begin(self.nodes[&id].api, method, path, body).await
    }

    async fn ask(&self, id: u64, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        whole(self.begin(id, method, path, body).await).await
    }

    /// Waits until a node is ready, and says who leads.
    async fn leader(&self) -> u64 {
        for node in self.nodes.values() {
            while whole(begin(node.admin, "GET", "/readyz", "").await).await.0 != 200 {
                sleep(Duration::from_millis(5)).await;
            }
        }
        loop {
            for id in self.nodes.keys() {
                let (_, leader) = self.ask(*id, "GET", "/v1/leader", "").await;
                if leader.contains(r#""self":true"#) {
                    return *id;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        node.server.shut_down(Duration::from_secs(1)).await;
        node.running.stop();
        node.running.ended().await.unwrap();
    }

    async fn end(mut self) {
        while let Some(id) = self.nodes.keys().next().copied() {
            self.stop(id).await;
        }
    }
}

async fn begin(at: SocketAddr, method: &str, path: &str, body: &str) -> Response<Incoming> {
    let stream = TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "node").body(body).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn whole(response: Response<Incoming>) -> (StatusCode, String) {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Runs a test on one thread, as a node does. A bound that only a hang reaches.
fn on_one_thread(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let bounded = async { timeout(Duration::from_mins(1), test).await };
    LocalSet::new().block_on(&runtime, bounded).unwrap();
}

#[test]
fn what_one_node_is_told_the_others_know_at_once() {
    on_one_thread(async {
        let cluster = Cluster::start("told").await;
        cluster.leader().await;
        for round in 0..20 {
            for id in 1..=3 {
                let value = format!("{round}-{id}");
                let (code, _) = cluster.ask(id, "PUT", "/v1/kv/key", &value).await;
                assert!(code.is_success(), "{code}");
                for reader in 1..=3 {
                    let (_, read) = cluster.ask(reader, "GET", "/v1/kv/key", "").await;
                    assert_eq!(read, value, "written at {id}, read at {reader}");
                }
            }
        }
        cluster.end().await;
    });
}

#[test]
fn a_stream_tells_of_the_next_leader_and_its_larger_token() {
    on_one_thread(async {
        let cluster = Cluster::start("stream").await;
        let leader = cluster.leader().await;
        let observer = (1..=3).find(|id| *id != leader).unwrap();
        let stream = cluster.begin(observer, "GET", "/v1/watch", "").await;
        let mut stream = stream.into_body();
        let (code, _) = cluster.ask(leader, "POST", "/v1/leader/transfer", "").await;
        assert_eq!(code, 204);
        let mut tokens = Vec::new();
        loop {
            let piece = stream.frame().await.unwrap().unwrap().into_data().unwrap();
            let text = std::str::from_utf8(&piece).unwrap();
            let (_, data) = text.trim_end().split_once("data: ").unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            if let Some(token) = data["token"].as_u64() {
                tokens.push((token, data["leader"]["id"].as_u64().unwrap()));
            }
            if tokens.last().is_some_and(|(_, id)| *id != leader) {
                break;
            }
        }
        assert_eq!(tokens[0].1, leader, "{tokens:?}");
        assert!(tokens.is_sorted(), "{tokens:?}");
        assert!(tokens.last().unwrap().0 > tokens[0].0, "{tokens:?}");
        drop(stream);
        cluster.end().await;
    });
}

#[test]
fn a_leader_that_is_left_alone_answers_no_default_read() {
    on_one_thread(async {
        let mut cluster = Cluster::start("alone").await;
        let leader = cluster.leader().await;
        let (code, _) = cluster.ask(leader, "PUT", "/v1/kv/key", "value").await;
        assert_eq!(code, 201);
        let others: Vec<_> = (1..=3).filter(|id| *id != leader).collect();
        for id in others {
            cluster.stop(id).await;
        }
        let (code, problem) = cluster.ask(leader, "GET", "/v1/kv/key", "").await;
        assert_eq!(code, 503, "{problem}");
        let (code, problem) = cluster.ask(leader, "PUT", "/v1/kv/key", "new").await;
        assert!([503, 504].contains(&code.as_u16()), "{code} {problem}");
        let stale = "/v1/kv/key?consistency=stale";
        assert_eq!(cluster.ask(leader, "GET", stale, "").await.1, "value");
        let (_, said) = cluster.ask(leader, "GET", "/v1/leader", "").await;
        assert!(said.contains(r#""self":false"#), "{said}");
        cluster.end().await;
    });
}
