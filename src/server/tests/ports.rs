//! Real sockets: connections come, are limited, grow old and end.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::client::LOCAL;
use super::{Fixture, Limits};
use crate::node::fake::Mood;
use crate::server::Plain;
use crate::state::Store;

const GET: &str = "GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Runs a test in real time, as sockets need.
pub(super) fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

async fn listen(fixture: &Fixture) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    fixture.server.listen_api(listener, Plain);
    address
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let len = stream.read(&mut buffer).await.unwrap();
        assert_ne!(len, 0, "ended after {text}");
        text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    text
}

#[test]
fn beyond_the_limit_connections_wait_for_others_to_end() {
    run(async {
        let limits = Limits {
            connections_max: 2,
            ..Limits::default()
        };
        let fixture = Fixture::with(Store::default(), limits);
        let address = listen(&fixture).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        for stream in [&mut first, &mut second] {
            stream.write_all(GET.as_bytes()).await.unwrap();
            read_until(stream, "}]}").await;
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(GET.as_bytes()).await.unwrap();
        let mut buffer = [0; 1];
        let wait = tokio::time::timeout(Duration::from_millis(50), third.read(&mut buffer));
        assert!(wait.await.is_err(), "there is no room yet");
        drop(first);
        read_until(&mut third, "}]}").await;
    });
}

#[test]
fn half_a_request_and_silence_are_not_waited_for() {
    run(async {
        let limits = Limits {
            head_wait: Duration::from_millis(20),
            idle_wait: Duration::from_millis(200),
            ..Limits::default()
        };
        let fixture = Fixture::with(Store::default(), limits);
        let address = listen(&fixture).await;
        for beginning in [
            "",
            "G",
            "GET /v1/kv/a HTTP/1.1\r\nhost: ",
            "PRI * HTTP/2.0\r\n",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
            assert!(rest.is_empty(), "{beginning:?}");
        }
        let mut used = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            used.write_all(GET.as_bytes()).await.unwrap();
            read_until(&mut used, "}]}").await;
        }
        assert_eq!(
            used.read(&mut [0; 1]).await.unwrap(),
            0,
            "idle for too long"
        );
    });
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    run(async {
        let limits = Limits {
            body_wait: Duration::from_millis(50),
            ..Limits::default()
        };
        let fixture = Fixture::with(Store::default(), limits);
        let address = listen(&fixture).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let put = "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nab";
        stream.write_all(put.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(fixture.handle.store().view().is_empty());
    });
}

#[test]
fn a_client_that_announces_too_much_is_answered_before_it_sends() {
    run(async {
        let fixture = Fixture::new();
        let address = listen(&fixture).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let put = "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                   content-length: 99999999999\r\n\r\n";
        stream.write_all(put.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "}").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    });
}

#[test]
fn shutting_down_finishes_what_has_begun_and_ends_the_rest() {
    run(async {
        let fixture = Fixture::new();
        let address = listen(&fixture).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(GET.as_bytes()).await.unwrap();
        read_until(&mut idle, "}]}").await;
        let mut watch = TcpStream::connect(address).await.unwrap();
        watch
            .write_all(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut watch, "event: role").await;
        fixture.driver.feel(Mood::Silent);
        let mut busy = TcpStream::connect(address).await.unwrap();
        let put = "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx";
        busy.write_all(put.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(20)).await;

        fixture.server.shut_down(Duration::from_secs(30)).await;
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        let mut rest = String::new();
        watch.read_to_string(&mut rest).await.unwrap();
        assert!(
            rest.ends_with("0\r\n\r\n"),
            "the stream ends properly: {rest}"
        );
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    });
}

#[test]
fn shutting_down_does_not_wait_for_ever() {
    run(async {
        let fixture = Fixture::new();
        let address = listen(&fixture).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let put = "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nab";
        slow.write_all(put.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        fixture.server.shut_down(Duration::from_millis(20)).await;
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).await.ok();
        assert!(rest.is_empty());
    });
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_one_that_only_rests_is_not() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        client.put("/v1/kv/a", vec![7; 1 << 20]).await;
        let idle_looks = 9;

        let (mut deaf, activity) = fixture.server.connect(LOCAL);
        let get = b"GET /v1/kv/a HTTP/1.1\r\nhost: localhost\r\n\r\n";
        deaf.write_all(get).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        let mut looks = 0;
        while Rc::strong_count(&activity) > 1 {
            activity.look(idle_looks);
            sleep(Duration::from_millis(1)).await;
            looks += 1;
        }
        assert_eq!(looks, 2, "the first look sees what has moved before it");

        let (mut resting, activity) = fixture.server.connect(LOCAL);
        resting.write_all(GET.as_bytes()).await.unwrap();
        resting.read_u8().await.unwrap();
        for _ in 0..idle_looks {
            activity.look(idle_looks);
            sleep(Duration::from_millis(1)).await;
        }
        // A request that begins at last is given its time.
        resting.write_all(b"GET /v1/").await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(Rc::strong_count(&activity) > 1);
        activity.look(idle_looks + 2);
        sleep(Duration::from_millis(1)).await;
        assert!(Rc::strong_count(&activity) > 1);
        activity.look(idle_looks + 2);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Rc::strong_count(&activity), 1);
    });
}
