//! `/v1/cluster`, `/v1/leader`, and handing over.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, LOCAL};
use super::{Fixture, run};
use crate::consensus::{NodeId, Role};
use crate::node::fake::Mood;
use crate::server::Peer;

#[test]
fn the_cluster_document_is_exact_to_the_letter() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let led = client.get("/v1/cluster").await;
        let expected = concat!(
            r#"{"leader":{"id":1,"ip":"localhost","port":"8001"},"term":7,"tickets":2,"status":1,"#,
            r#""currentNode":{"id":1,"ip":"localhost","port":"8001"},"aliveFollowers":["#,
            r#"{"id":1,"ip":"localhost","port":"8001"},{"id":2,"ip":"localhost","port":"8002"}]}"#,
            "\n",
        );
        assert_eq!(led.text(), expected);
        assert_eq!(led.header("content-type"), Some("application/json"));

        fixture.driver.turn(|status| {
            status.role = Role::Candidate;
            status.leader = None;
        });
        let leaderless = client.get("/v1/cluster").await;
        let expected = concat!(
            r#"{"leader":null,"term":7,"tickets":0,"status":3,"#,
            r#""currentNode":{"id":1,"ip":"localhost","port":"8001"},"aliveFollowers":["#,
            r#"{"id":1,"ip":"localhost","port":"8001"}]}"#,
            "\n",
        );
        assert_eq!(leaderless.text(), expected);
    });
}

#[test]
fn the_leader_document_says_self_only_when_leadership_is_established() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let answer = client.get("/v1/leader").await;
        let one = r#"{"id":1,"ip":"localhost","port":"8001"}"#;
        let expected = format!(
            "{{\"leader\":{one},\"term\":7,\"token\":7,\"self\":true,\"validForMs\":null}}\n"
        );
        assert_eq!(answer.text(), expected);

        fixture.driver.turn(|status| status.established = false);
        let answer = client.get("/v1/leader").await.json();
        assert_eq!(
            (&answer["self"], &answer["token"]),
            (&false.into(), &7.into())
        );

        fixture.driver.turn(|status| {
            status.role = Role::Follower;
            status.leader = None;
        });
        let answer = client.get("/v1/leader").await;
        let expected = r#"{"leader":null,"term":7,"token":null,"self":false,"validForMs":null}"#;
        assert_eq!(answer.text().trim_end(), expected);
    });
}

#[test]
fn unknown_paths_methods_and_parameters_are_refused() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        for path in [
            "/",
            "/v1",
            "/v1/cluster/",
            "/v1/kvx",
            "/v2/kv/a",
            "/metrics",
            "/v1/bootstraps",
        ] {
            let answer = client.get(path).await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(answer.error().contains("no such endpoint"));
        }
        let reads = ["/v1/cluster", "/v1/leader", "/v1/watch", "/v1/kv"];
        for path in reads {
            let answer = client.ask("POST", path, &[], "").await;
            assert_eq!(answer.status, 405, "{path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
        let answer = client.ask("POST", "/v1/kv/a", &[], "").await;
        assert_eq!(answer.header("allow"), Some("GET, HEAD, PUT, DELETE"));
        let answer = client.ask("DELETE", "/v1/members", &[], "").await;
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
        let answer = client.get("/v1/leader/transfer").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, Some("POST"))
        );
        for path in [
            "/v1/cluster?a",
            "/v1/leader?a=1",
            "/v1/watch?x=",
            "/v1/kv/a?stale",
            "/v1/members?b",
        ] {
            assert_eq!(client.get(path).await.status, 400, "{path}");
        }
        assert_eq!(client.put("/v1/kv/a?ttl=3", "x").await.status, 400);
    });
}

#[test]
fn leadership_is_handed_over_over_loopback_only() {
    run(async {
        let fixture = Fixture::new();
        let far: IpAddr = "192.0.2.7".parse().unwrap();
        let mut far = Client::http1(fixture.server.connect(far).0).await;
        assert_eq!(
            far.ask("POST", "/v1/leader/transfer", &[], "").await.status,
            403
        );
        assert_eq!(far.put("/v1/kv/a", "x").await.status, 201);

        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let mut client = Client::http1(fixture.server.connect(mapped).0).await;
        let page = [("origin", "http://example.com")];
        assert_eq!(
            client
                .ask("POST", "/v1/leader/transfer", &page, "")
                .await
                .status,
            403
        );
        let json = [("content-type", "application/json; charset=utf-8")];
        for (body, status) in [
            ("{", 400),
            ("{\"to\": 9}", 400),
            ("{\"to\": \"2\"}", 400),
            ("{\"too\": 2}", 400),
            ("[2]]", 400),
        ] {
            let answer = client.ask("POST", "/v1/leader/transfer", &json, body).await;
            assert_eq!(answer.status, status, "{body}");
        }
        let plain = client
            .ask("POST", "/v1/leader/transfer", &[], "{\"to\": 2}")
            .await;
        assert_eq!(plain.status, 415);
        let long = vec![b' '; 5000];
        assert_eq!(
            client
                .ask("POST", "/v1/leader/transfer", &json, long)
                .await
                .status,
            413
        );
        let mut client = fixture.client().await;

        let done = client
            .ask("POST", "/v1/leader/transfer", &json, "{\"to\": 3}")
            .await;
        assert_eq!(done.status, 204);
        assert_eq!(client.get("/v1/leader").await.json()["leader"]["id"], 3);
        let not_leading = client.ask("POST", "/v1/leader/transfer", &[], "").await;
        assert_eq!(not_leading.status, 409);
        assert!(not_leading.error().contains("ask node 3 at localhost:8003"));
        let leaving = client
            .ask("POST", "/v1/leader/transfer", &json, "{\"leaving\": true}")
            .await;
        assert_eq!(leaving.status, 204);
    });
}

#[test]
fn whoever_leaves_tries_again_until_somebody_takes_over_or_its_time_is_up() {
    run(async {
        let fixture = Fixture::new();
        let json = [("content-type", "application/json")];
        let leaving = "{\"leaving\": true}";
        let mut client = fixture.client().await;
        fixture.driver.feel(Mood::Leaderless);
        let begun = Instant::now();
        let refused = client
            .ask("POST", "/v1/leader/transfer", &json, leaving)
            .await;
        assert_eq!(refused.status, 503);
        // This clock moves only while all wait. A hook ends after two seconds.
        assert!(begun.elapsed() > Duration::from_secs(1));
        assert!(begun.elapsed() < Duration::from_secs(2));

        let ask = client.ask("POST", "/v1/leader/transfer", &json, leaving);
        let willing = async {
            sleep(Duration::from_millis(300)).await;
            fixture.driver.feel(Mood::Willing);
        };
        let (done, ()) = tokio::join!(ask, willing);
        assert_eq!(done.status, 204);
    });
}

#[test]
fn whoever_leaves_as_the_last_one_wastes_no_time() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.feel(Mood::Leaderless);
        fixture.driver.turn(|status| status.alive.truncate(1));
        let json = [("content-type", "application/json")];
        let begun = Instant::now();
        let mut client = fixture.client().await;
        let refused = client
            .ask("POST", "/v1/leader/transfer", &json, "{\"leaving\": true}")
            .await;
        assert_eq!(refused.status, 503);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_certificate_permits_what_otherwise_only_loopback_does() {
    run(async {
        let fixture = Fixture::new();
        let certified = |is_certified| Peer {
            address: "192.0.2.7".parse().unwrap(),
            is_certified,
        };
        for (is_certified, status) in [(false, 403), (true, 204)] {
            let stream = fixture.server.connect_as(certified(is_certified)).0;
            let mut client = Client::http1(stream).await;
            let answer = client.ask("POST", "/v1/leader/transfer", &[], "").await;
            assert_eq!(answer.status, status);
        }
        let stream = fixture.server.connect_as(certified(true)).0;
        let page = [("origin", "http://example.com")];
        let mut client = Client::http1(stream).await;
        let answer = client.ask("POST", "/v1/leader/transfer", &page, "").await;
        assert_eq!(answer.status, 403, "a browser may have a certificate too");
    });
}

#[test]
fn a_transfer_that_nobody_takes_fails() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.feel(Mood::Leaderless);
        let mut client = Client::http1(fixture.server.connect(LOCAL).0).await;
        let failed = client.ask("POST", "/v1/leader/transfer", &[], "").await;
        assert_eq!(failed.status, 503);
        assert_eq!(fixture.handle.status().leader, Some(NodeId(1)));
    });
}
