//! The API over mutual TLS: clients with a certificate, and all the others.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use remember::tls::{Authority, Failure, Stream, Subject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{Cluster, on_one_thread};
use crate::tls_desk::{DAY, Desk};

async fn tcp(at: SocketAddr) -> TcpStream {
    TcpStream::connect(at).await.unwrap()
}

/// Asks over HTTP/1.1; the status and the body.
async fn ask(stream: Stream, method: &str, path: &str, body: &str) -> (u16, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "node").body(body).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status.as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[test]
fn a_client_with_a_certificate_reads_writes_and_hands_over() {
    on_one_thread(async {
        let desk = Desk::new("client");
        let cluster = desk.cluster("tls-client", 3).await;
        let leader = cluster.leader().await;
        let connector = desk.connector();
        let connect = async |id| {
            let stream = connector
                .connect(tcp(cluster.api(id)).await, "127.0.0.1")
                .await;
            stream.unwrap()
        };
        let put = ask(connect(1).await, "PUT", "/v1/kv/colour", "blue").await;
        assert_eq!(put.0, 201, "{put:?}");
        let get = ask(connect(2).await, "GET", "/v1/kv/colour", "").await;
        assert_eq!(get, (200, "blue".to_owned()));
        let path = "/v1/leader/transfer";
        let transfer = ask(connect(leader).await, "POST", path, "").await;
        assert_eq!(transfer.0, 204, "{transfer:?}");
        cluster.end().await;
    });
}

#[test]
fn http2_is_chosen_by_alpn() {
    on_one_thread(async {
        let desk = Desk::new("alpn");
        let cluster = desk.cluster("tls-alpn", 1).await;
        let issued = desk.issue(&Subject::Client("tester".to_owned()));
        let stranger = desk.stranger(Some(&issued)).speaking("h2");
        let stream = stranger.connect(cluster.api(1), "127.0.0.1").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::task::spawn_local(connection);
        let request = Request::get("https://127.0.0.1/v1/members");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        drop((sender, response));
        cluster.end().await;
    });
}

/// What is left of a connection once something was said on it.
async fn rest(mut stream: TcpStream, said: &[u8]) -> String {
    stream.write_all(said).await.unwrap();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn nobody_else_gets_to_http() {
    on_one_thread(async {
        let desk = Desk::new("others");
        let cluster = desk.cluster("tls-others", 1).await;
        let client = Subject::Client("tester".to_owned());
        let (foreign, _) = Authority::make().unwrap();
        let foreign = foreign.issue(&client, DAY).unwrap();
        let expired = desk.issue_expired(&client);
        for (shown, part) in [
            (None, "CertificateRequired"),
            (Some(&foreign), "alert"),
            (Some(&expired), "CertificateExpired"),
        ] {
            let stranger = desk.stranger(shown).speaking("http/1.1");
            let mut stream = stranger.connect(cluster.api(1), "127.0.0.1").await.unwrap();
            let get = b"GET /v1/cluster HTTP/1.1\r\nhost: n\r\n\r\n";
            drop(stream.write_all(get).await);
            let mut answer = Vec::new();
            let ended = stream
                .read_to_end(&mut answer)
                .await
                .unwrap_err()
                .to_string();
            assert!(ended.contains(part), "{part}: {ended}");
            assert!(answer.is_empty(), "{answer:?}");
        }
        // A client that trusts another authority does not take the node's certificate.
        let other = Desk::new("others-too").connector();
        let refused = other.connect(tcp(cluster.api(1)).await, "127.0.0.1").await;
        let Err(Failure::Refused(sentence)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            sentence.contains("was not issued by the authority"),
            "{sentence}"
        );
        cluster.end().await;
    });
}

#[test]
fn plain_http_on_the_port_for_tls_is_answered_with_a_sentence() {
    on_one_thread(async {
        let desk = Desk::new("http");
        let cluster = desk.cluster("tls-http", 1).await;
        let get = b"GET /v1/kv/colour HTTP/1.1\r\nhost: n\r\n\r\n";
        for plain in [&get[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0"] {
            let answer = rest(tcp(cluster.api(1)).await, plain).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            let sentence = problem["error"].as_str().unwrap();
            assert!(sentence.contains("https://"), "{sentence}");
        }
        cluster.end().await;
    });
}

#[test]
fn tls_on_a_plain_port_and_garbage_come_to_an_end() {
    on_one_thread(async {
        let desk = Desk::new("mixed");
        let (plain, secured) = (
            Cluster::start("tls-none", 1).await,
            desk.cluster("tls-mixed", 1).await,
        );
        let refused = desk
            .connector()
            .connect(tcp(plain.api(1)).await, "127.0.0.1")
            .await;
        let Err(Failure::Refused(sentence)) = refused else {
            panic!("{refused:?}");
        };
        assert!(sentence.contains("does not speak TLS"), "{sentence}");
        let garbage = rest(tcp(secured.api(1)).await, &[0x16; 4096]).await;
        assert!(garbage.len() <= 7, "an alert at most: {garbage:?}");
        assert!(secured.api(1).ip() == Ipv4Addr::LOCALHOST);
        plain.end().await;
        secured.end().await;
    });
}
