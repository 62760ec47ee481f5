//! What a web page may not do, over loopback and otherwise.

use super::client::{Client, LOCAL};
use super::{Fixture, run};
use crate::consensus::NodeId;
use crate::server::Peer;

#[test]
fn a_page_whose_site_leads_to_loopback_is_refused() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.rename(NodeId(3), "three.example");
        let mut client = fixture.client().await;
        for (host, status) in [
            ("evil.example:8001", 403),
            ("evil.example", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:8001", 403),
            ("a b", 403),
            ("", 403),
            ("127.0.0.1:8001", 200),
            ("[::1]:8001", 200),
            ("[::ffff:127.0.0.1]", 200),
            ("192.0.2.7", 200),
            ("localhost:8001", 200),
            ("LocalHost.", 200),
            ("Three.example:8003", 200),
        ] {
            for path in ["/v1/leader", "/v1/kv/none?consistency=stale"] {
                let answer = client.ask("HEAD", path, &[("host", host)], "").await;
                let found = if status == 200 {
                    [200, 404]
                } else {
                    [403, 403]
                };
                assert!(
                    found.contains(&answer.status.as_u16()),
                    "{host}: {answer:?}"
                );
            }
        }
        let put = client
            .ask("PUT", "/v1/kv/a", &[("host", "evil.example")], "x")
            .await;
        assert_eq!(put.status, 403);
        assert!(put.error().contains("localhost"), "{}", put.text());
        assert_eq!(
            client.get("/v1/kv/a").await.status,
            404,
            "nothing was written"
        );
    });
}

#[test]
fn who_is_elsewhere_or_has_a_certificate_may_call_a_node_as_it_likes() {
    run(async {
        let fixture = Fixture::new();
        let far = "192.0.2.7".parse().unwrap();
        for (address, is_certified) in [(far, false), (LOCAL, true)] {
            let peer = Peer {
                address,
                is_certified,
            };
            let mut client = Client::http1(fixture.server.connect_as(peer).0).await;
            let host = [("host", "remember.example")];
            let answer = client.ask("GET", "/v1/leader", &host, "").await;
            assert_eq!(answer.status, 200, "{peer:?}");
        }
    });
}

#[test]
fn pages_of_other_sites_are_refused_and_a_page_from_here_is_not() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        for (origin, status) in [
            ("http://evil.example", 403),
            ("http://localhost:9000", 403),
            ("https://localhost:8001.evil.example", 403),
            ("null", 403),
            ("", 403),
            ("http://localhost:8001", 200),
        ] {
            let headers = [("host", "localhost:8001"), ("origin", origin)];
            let answer = client.ask("GET", "/v1/leader", &headers, "").await;
            assert_eq!(answer.status, status, "{origin}");
        }
        let twice = [
            ("host", "localhost:8001"),
            ("origin", "http://localhost:8001"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(
            client.ask("GET", "/v1/leader", &twice, "").await.status,
            403
        );
        let mut newer = Client::http2(fixture.server.connect(LOCAL).0).await;
        let page = [("origin", "http://evil.example")];
        assert_eq!(newer.ask("PUT", "/v1/kv/a", &page, "x").await.status, 403);
        assert_eq!(newer.put("/v1/kv/a", "x").await.status, 201);
    });
}
