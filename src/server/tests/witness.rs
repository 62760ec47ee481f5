//! The registers of `remember witness`, over real sockets.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::LOCAL;
use super::ports::run;
use crate::consensus::{
    Answer, Ask, ClusterId, Incarnation, Index, MemberId, NodeId, Register, Word,
};
use crate::server::{Plain, WitnessServer};
use crate::witness::{Keeper, Url, Witness};

const CLUSTER: ClusterId = ClusterId(0xc1);
const NEVER: &str = "cluster 00000000000000c1, 0: never written";
const FIRST: &str = "cluster 00000000000000c1, 1: sole 1.00000000000000a1 @ 5, made 4";

/// A witness, with a directory that goes with the test.
struct Fixture {
    _server: WitnessServer,
    at: SocketAddr,
    dir: PathBuf,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        let name = format!("remember-witness-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let server = WitnessServer::new(Keeper::open(&dir).unwrap());
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        server.listen(listener, Plain);
        Self {
            _server: server,
            at,
            dir,
        }
    }

    fn witness(&self) -> Witness {
        let url = format!("http://{}", self.at).parse().unwrap();
        Witness::Url(Url::new(url, None, false).unwrap())
    }

    /// What is answered to these very bytes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn put(&self, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "PUT /v1/register/00000000000000c1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.send(request.as_bytes()).await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn sole(number: u64) -> Register {
    let member = MemberId {
        id: NodeId(1),
        incarnation: Incarnation(0xa1),
    };
    Register {
        number,
        word: Word::Sole(member, Index(5)),
        made: Index(4),
    }
}

#[test]
fn a_node_reads_and_changes_its_own_register() {
    run(async {
        let fixture = Fixture::new("asked").await;
        let witness = fixture.witness();
        let ask = async |cluster, ask: &Ask| witness.ask(cluster, ask).await.unwrap();
        let swap = |from, to| Ask::Swap { from, to };
        let first = swap(None, sole(1));
        assert_eq!(ask(CLUSTER, &Ask::Read).await, Answer::Holds(None));
        assert_eq!(ask(CLUSTER, &first).await, Answer::Swapped);
        assert_eq!(ask(CLUSTER, &first).await, Answer::Holds(Some(sole(1))));
        let second = swap(Some(sole(1)), sole(2));
        assert_eq!(ask(CLUSTER, &second).await, Answer::Swapped);
        assert_eq!(ask(CLUSTER, &second).await, Answer::Holds(Some(sole(2))));
        assert_eq!(ask(CLUSTER, &Ask::Read).await, Answer::Holds(Some(sole(2))));
        assert_eq!(ask(ClusterId(7), &Ask::Read).await, Answer::Holds(None));
    });
}

#[test]
fn a_register_that_is_damaged_is_told_to_nobody() {
    run(async {
        let fixture = Fixture::new("damaged").await;
        let witness = fixture.witness();
        std::fs::write(fixture.dir.join("register-00000000000000c1"), "7").unwrap();
        let swap = Ask::Swap {
            from: None,
            to: sole(1),
        };
        for ask in [Ask::Read, swap] {
            let sentence = witness.ask(CLUSTER, &ask).await.unwrap_err();
            assert!(sentence.contains("500"), "{sentence}");
            assert!(sentence.contains("holds no register"), "{sentence}");
        }
    });
}

/// Whoever answers at that address is no witness, or not this one: that is no answer.
#[test]
fn what_another_server_says_counts_for_nothing() {
    run(async {
        let foreign = "cluster 00000000000000c2, 0: never written";
        for (code, body) in [
            ("200 OK", String::new()),
            ("200 OK", "ok".to_owned()),
            ("200 OK", foreign.to_owned()),
            ("200 OK", "x".repeat(64 << 10)),
            ("204 No Content", String::new()),
            ("404 Not Found", NEVER.to_owned()),
            (
                "500 Internal Server Error",
                r#"{"error":"so it is"}"#.to_owned(),
            ),
            ("503 Service Unavailable", NEVER.to_owned()),
        ] {
            let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let witness = Witness::Url(Url::new(url.parse().unwrap(), None, false).unwrap());
            let swap = Ask::Swap {
                from: None,
                to: sole(1),
            };
            for ask in [Ask::Read, swap] {
                let length = body.len();
                let answer = format!("HTTP/1.1 {code}\r\ncontent-length: {length}\r\n\r\n{body}");
                let serve = async {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _read = stream.read(&mut [0; 4096]).await.unwrap();
                    // It may have heard enough.
                    drop(stream.write_all(answer.as_bytes()).await);
                };
                let (asked, ()) = tokio::join!(witness.ask(CLUSTER, &ask), serve);
                assert!(asked.is_err(), "{code} {body:.40}: {asked:?}");
            }
        }
    });
}

#[test]
fn a_change_that_may_have_happened_is_not_told_as_one_that_did() {
    run(async {
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let witness = Witness::Url(Url::new(url.parse().unwrap(), None, false).unwrap());
        let swap = Ask::Swap {
            from: None,
            to: sole(1),
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let (asked, request) = tokio::join!(witness.ask(CLUSTER, &swap), serve);
        let sentence = asked.unwrap_err();
        assert!(sentence.contains("lost"), "{sentence}");
        assert!(
            request.starts_with("PUT /v1/register/00000000000000c1 "),
            "{request}"
        );
        // And it is not made again by itself.
        let again = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept());
        assert!(again.await.is_err());
    });
}

#[test]
fn hostile_requests_get_a_sentence_and_change_nothing() {
    run(async {
        let fixture = Fixture::new("hostile").await;
        let get = |path: &str, more: &str| {
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n")
        };
        let own = "/v1/register/00000000000000c1";
        for (request, code, part) in [
            (get("/", ""), "404", "no such register"),
            (get("/v1/register/", ""), "404", "no such register"),
            (get("/v1/register/c1", ""), "404", "16 hexadecimal"),
            (
                get("/v1/register/00000000000000C1", ""),
                "404",
                "lower case",
            ),
            (get("/v1/register/../lock", ""), "404", "no such register"),
            (get(&format!("{own}?x=1"), ""), "400", "parameter"),
            (get(own, "origin: http://a\r\n"), "403", "web pages"),
            (get(own, "").replace("GET", "DELETE"), "405", "GET, PUT"),
        ] {
            let answer = fixture.send(request.as_bytes()).await;
            let is_so = answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(part);
            assert!(is_so, "{request:?}: {answer}");
        }
        let zero = "cluster 00000000000000c2, 0: never written";
        for (body, code, part) in [
            (String::new(), "400", "two lines"),
            (format!("{NEVER}\n"), "400", "two lines"),
            (format!("{NEVER}\n{FIRST}"), "400", "two lines"),
            (format!("{NEVER}\n{FIRST}\n{FIRST}\n"), "400", "second line"),
            (format!("{NEVER}\n7\n"), "400", "second line"),
            (format!("{zero}\n{FIRST}\n"), "400", "first line"),
            (format!("{FIRST}\n{FIRST}\n"), "400", "by one"),
            (format!("{NEVER}\n{NEVER}\n"), "400", "by one"),
            (format!("{FIRST}\n{NEVER}\n"), "400", "by one"),
            ("x".repeat(1 << 20), "413", "larger than"),
        ] {
            let answer = fixture.put(&body).await;
            let is_so = answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(part);
            assert!(is_so, "{body:.200}: {answer}");
        }
        for noise in [&b"\0\0\0\0"[..], b"\x16\x03\x01", b"GET", b"\r\n\r\n"] {
            drop(fixture.send(noise).await);
        }
        let answer = fixture.send(get(own, "").as_bytes()).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{NEVER}\n")), "{answer}");
        let answer = fixture.put(&format!("{NEVER}\n{FIRST}\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{FIRST}\n")), "{answer}");
    });
}
