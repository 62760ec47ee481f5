//! The HTTP surfaces of whole nodes: what one is told, the others know, and a node that is cut off
//! does not pretend.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use remember::node::Settings;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};

/// Three nodes that give up soon.
async fn three(name: &str) -> Cluster {
    let impatient = |settings: &mut Settings| settings.request_timeout = Duration::from_secs(2);
    Cluster::configured(name, 3, impatient).await
}

impl Cluster {
    /// Asks a node's API, and returns once the head of the answer is there.
    async fn begin(&self, id: u64, method: &str, path: &str, body: &str) -> Response<Incoming> {
        begin(self.api(id), method, path, body).await
    }

    async fn ask(&self, id: u64, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        whole(self.begin(id, method, path, body).await).await
    }

    /// Waits until all nodes are ready, and asks them who leads.
    async fn ready(&self) -> u64 {
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
}

async fn begin(at: SocketAddr, method: &str, path: &str, body: &str) -> Response<Incoming> {
    let stream = TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", at.to_string()).body(body).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn whole(response: Response<Incoming>) -> (StatusCode, String) {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn what_one_node_is_told_the_others_know_at_once() {
    on_one_thread(async {
        let cluster = three("told").await;
        cluster.ready().await;
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
        let pod = |settings: &mut Settings| settings.pod = Some("uid-of-all".to_owned());
        let cluster = Cluster::configured("stream", 3, pod).await;
        let leader = cluster.ready().await;
        let observer = (1..=3).find(|id| *id != leader).unwrap();
        let stream = cluster.begin(observer, "GET", "/v1/watch", "").await;
        let mut stream = stream.into_body();
        let (code, _) = cluster.ask(leader, "POST", "/v1/leader/transfer", "").await;
        assert_eq!(code, 204);
        let mut tokens = Vec::new();
        loop {
            let piece = stream.frame().await.unwrap().unwrap().into_data().unwrap();
            let text = std::str::from_utf8(&piece).unwrap();
            let Some((_, data)) = text.trim_end().split_once("data: ") else {
                continue;
            };
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            for name in ["cluster", "incarnation"] {
                let hex = data[name].as_str().unwrap();
                assert_eq!(hex.len(), 16, "{data}");
                assert_ne!(u64::from_str_radix(hex, 16).unwrap(), 0, "{data}");
            }
            assert_eq!(data["pod"], "uid-of-all", "{data}");
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
        let mut cluster = three("alone").await;
        let leader = cluster.ready().await;
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

#[test]
fn a_node_that_runs_is_alive_without_a_leader_and_one_that_has_ended_is_not() {
    on_one_thread(async {
        let mut cluster = three("alive").await;
        let leader = cluster.ready().await;
        for id in (1..=3).filter(|id| *id != leader) {
            cluster.stop(id).await;
        }
        let handle = cluster.handle(leader);
        while handle.status().leader.is_some() {
            sleep(Duration::from_millis(5)).await;
        }
        let admin = cluster.nodes[&leader].admin;
        let (code, said) = whole(begin(admin, "GET", "/livez", "").await).await;
        assert_eq!(code, 200, "{said}");

        cluster.nodes[&leader].running.stop();
        loop {
            let (code, said) = whole(begin(admin, "GET", "/livez", "").await).await;
            if code == 503 {
                assert!(said.contains("has ended"), "{said}");
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        cluster.end().await;
    });
}
