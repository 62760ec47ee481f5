//! `/v1/kv`: reading, writing, comparing, listing.

use std::time::Duration;

use super::client::{Client, JSON, LOCAL};
use super::{Fixture, Limits, run};
use crate::consensus::NodeId;
use crate::node::Phase;
use crate::node::fake::Mood;
use crate::state::{Store, VALUE_BYTES_MAX};

#[test]
fn a_value_is_written_read_replaced_and_deleted() {
    run(async {
        let fixture = Fixture::new();
        for http2 in [false, true] {
            let (stream, _) = fixture.server.connect(LOCAL);
            let mut client = if http2 {
                Client::http2(stream).await
            } else {
                Client::http1(stream).await
            };
            let created = client.put("/v1/kv/a", "one").await;
            assert_eq!(created.status, 201);
            let replaced = client.put("/v1/kv/a", "two").await;
            assert_eq!(
                (replaced.status, replaced.body.len()),
                (204.try_into().unwrap(), 0)
            );
            assert_ne!(created.etag, replaced.etag);

            let read = client.get("/v1/kv/a").await;
            assert_eq!((read.status.as_u16(), read.text()), (200, "two"));
            assert_eq!(read.etag, replaced.etag);
            assert_eq!(
                read.header("content-type"),
                Some("application/octet-stream")
            );
            let stale = client.get("/v1/kv/a?consistency=stale").await;
            assert_eq!(stale.text(), "two");
            let head = client.ask("HEAD", "/v1/kv/a", &[], "").await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), Some("3"));
            assert_eq!(head.etag, read.etag);

            let deleted = client.ask("DELETE", "/v1/kv/a", &[], "").await;
            assert_eq!(deleted.status, 204);
            assert!(deleted.etag.is_some());
            assert_eq!(client.get("/v1/kv/a").await.status, 404);
            let again = client.ask("DELETE", "/v1/kv/a", &[], "").await;
            assert_eq!((again.status.as_u16(), again.etag.as_ref()), (404, None));
        }
    });
}

#[test]
fn keys_are_any_bytes_and_values_may_be_empty() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        assert_eq!(client.put("/v1/kv/a/b%2Fc+%00%ff", "x").await.status, 201);
        assert_eq!(client.get("/v1/kv/a%2fb/c%2b%00%FF").await.text(), "x");
        assert_eq!(client.put("/v1/kv/empty", "").await.status, 201);
        let empty = client.get("/v1/kv/empty").await;
        assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));

        let longest = format!("/v1/kv/{}", "k".repeat(1024));
        assert_eq!(client.put(&longest, "x").await.status, 201);
        for path in ["/v1/kv/", &format!("{longest}k"), "/v1/kv/%f", "/v1/kv/%zz"] {
            let refused = client.put(path, "x").await;
            assert_eq!(refused.status, 400, "{path}");
            assert!(!refused.error().is_empty());
        }
        assert_eq!(client.get("/v1/kv/").await.status, 400);
    });
}

#[test]
fn a_compare_that_is_lost_writes_nothing_and_says_what_is_there() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let only_new = [("if-none-match", "*")];
        let created = client.ask("PUT", "/v1/kv/a", &only_new, "one").await;
        assert_eq!(created.status, 201);
        let etag = created.etag.unwrap();
        assert_eq!(etag, "\"2\"");

        let lost = client.ask("PUT", "/v1/kv/a", &only_new, "two").await;
        assert_eq!(
            (lost.status.as_u16(), lost.etag.as_deref()),
            (412, Some("\"2\""))
        );
        assert_eq!(lost.json()["revision"], 2);

        let won = client
            .ask("PUT", "/v1/kv/a", &[("if-match", &etag)], "three")
            .await;
        assert_eq!(
            (won.status.as_u16(), won.etag.as_deref()),
            (204, Some("\"3\""))
        );
        let lost = client
            .ask("PUT", "/v1/kv/a", &[("if-match", &etag)], "four")
            .await;
        assert_eq!(
            (lost.status.as_u16(), lost.etag.as_deref()),
            (412, Some("\"3\""))
        );
        let lost = client
            .ask("DELETE", "/v1/kv/a", &[("if-match", "2")], "")
            .await;
        assert_eq!(lost.status, 412);
        assert_eq!(client.get("/v1/kv/a").await.text(), "three");
        let won = client
            .ask("DELETE", "/v1/kv/a", &[("if-match", "3")], "")
            .await;
        assert_eq!(
            (won.status.as_u16(), won.etag.as_deref()),
            (204, Some("\"4\""))
        );

        let gone = client
            .ask("PUT", "/v1/kv/a", &[("if-match", "3")], "five")
            .await;
        assert_eq!((gone.status.as_u16(), gone.etag), (412, None));
        assert_eq!(client.get("/v1/kv/a").await.status, 404);
    });
}

#[test]
fn a_condition_that_cannot_be_meant_is_refused() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let conditions: [&[(&str, &str)]; 9] = [
            &[("if-match", "*")],
            &[("if-match", "W/\"2\"")],
            &[("if-match", "\"2")],
            &[("if-match", "\"2\", \"3\"")],
            &[("if-match", "0")],
            &[("if-match", "18446744073709551616")],
            &[("if-match", "1"), ("if-match", "2")],
            &[("if-match", "1"), ("if-none-match", "*")],
            &[("if-none-match", "\"1\"")],
        ];
        for condition in conditions {
            let refused = client.ask("PUT", "/v1/kv/a", condition, "x").await;
            assert_eq!(refused.status, 400, "{condition:?}");
        }
        assert_eq!(client.get("/v1/kv/a").await.status, 404);
        let zipped = [("content-encoding", "gzip")];
        assert_eq!(
            client.ask("PUT", "/v1/kv/a", &zipped, "x").await.status,
            415
        );
    });
}

#[test]
fn the_largest_value_fits_and_a_larger_one_does_not() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let largest = vec![7; VALUE_BYTES_MAX];
        assert_eq!(client.put("/v1/kv/a", largest.clone()).await.status, 201);
        assert_eq!(client.get("/v1/kv/a").await.body, largest);
        let refused = client.put("/v1/kv/b", vec![7; VALUE_BYTES_MAX + 1]).await;
        assert_eq!(refused.status, 413);
        assert!(refused.error().contains("1048576"));
        let mut client = fixture.client().await;
        assert_eq!(client.get("/v1/kv/b").await.status, 404);
    });
}

#[test]
fn large_bodies_wait_for_room_and_are_refused_after_a_while() {
    run(async {
        let limits = Limits {
            buffered_bytes_max: 1 << 20,
            body_wait: Duration::from_millis(100),
            ..Limits::default()
        };
        let fixture = Fixture::with(Store::default(), limits);
        fixture.driver.feel(Mood::Silent);
        let mut clients = [fixture.client().await, fixture.client().await];
        let [first, second] = &mut clients;
        let large = vec![7; VALUE_BYTES_MAX];
        // One holds all there is, until its request times out after 200 ms.
        let (one, other) = tokio::join!(
            first.put("/v1/kv/a", large.clone()),
            second.put("/v1/kv/b", large.clone())
        );
        let mut codes = [one.status.as_u16(), other.status.as_u16()];
        codes.sort_unstable();
        assert_eq!(codes, [503, 504]);

        fixture.driver.feel(Mood::Willing);
        let [mut first, mut second] = [fixture.client().await, fixture.client().await];
        let (one, other) = tokio::join!(
            first.put("/v1/kv/a", large.clone()),
            second.put("/v1/kv/b", large.clone())
        );
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (201, 201));
    });
}

#[test]
fn the_state_stays_within_its_quota() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let told = client.get("/v1/quota").await;
        assert_eq!(told.text(), "{\"bytes\":67108864,\"used\":0}\n");
        let set = client.ask("PUT", "/v1/quota", &JSON, "{\"bytes\":1000}");
        assert_eq!(set.await.text(), "{\"bytes\":1000,\"used\":0}\n");
        assert_eq!(client.put("/v1/kv/a", vec![0; 500]).await.status, 201);
        let full = client.put("/v1/kv/b", vec![0; 500]).await;
        assert_eq!(full.status, 507);
        assert!(full.error().contains("/v1/quota"), "{full:?}");
        assert_eq!(client.ask("DELETE", "/v1/kv/a", &[], "").await.status, 204);
        assert_eq!(client.put("/v1/kv/b", vec![0; 500]).await.status, 201);
    });
}

#[test]
fn the_quota_is_set_by_whoever_may_act_to_what_makes_sense() {
    run(async {
        let fixture = Fixture::new();
        let far: std::net::IpAddr = "192.0.2.7".parse().unwrap();
        let mut far = Client::http1(fixture.server.connect(far).0).await;
        let more = "{\"bytes\":134217728}";
        assert_eq!(far.ask("PUT", "/v1/quota", &JSON, more).await.status, 403);
        let mut client = fixture.client().await;
        for (body, headers, status) in [
            (more, &[][..], 415),
            ("{}", &JSON, 400),
            ("{\"bytes\":-1}", &JSON, 400),
            ("{\"bytes\":17179869185}", &JSON, 400),
            ("{\"bytes\":1,\"used\":1}", &JSON, 400),
        ] {
            let refused = client.ask("PUT", "/v1/quota", headers, body).await;
            assert_eq!(refused.status, status, "{body}: {refused:?}");
        }
        assert_eq!(client.ask("DELETE", "/v1/quota", &[], "").await.status, 405);
        assert_eq!(client.get("/v1/quota").await.json()["bytes"], 64 << 20);
        assert_eq!(
            client.ask("PUT", "/v1/quota", &JSON, more).await.status,
            200
        );
        assert_eq!(far.get("/v1/quota").await.json()["bytes"], 128 << 20);
        fixture.driver.feel(Mood::Leaderless);
        assert_eq!(client.get("/v1/quota").await.status, 503);
        let stale = client.get("/v1/quota?consistency=stale").await;
        assert_eq!(stale.json()["bytes"], 128 << 20);
    });
}

#[test]
fn without_a_leader_nothing_is_written_and_stale_reads_go_on() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        client.put("/v1/kv/a", "one").await;
        fixture.driver.feel(Mood::Leaderless);
        let refused = client.put("/v1/kv/a", "two").await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(refused.error().contains("nothing was written"));
        assert_eq!(client.get("/v1/kv/a").await.status, 503);
        assert_eq!(client.get("/v1/kv?prefix=a").await.status, 503);
        assert_eq!(client.get("/v1/kv/a?consistency=stale").await.text(), "one");

        fixture.driver.feel(Mood::Silent);
        assert_eq!(client.put("/v1/kv/a", "three").await.status, 504);
        assert_eq!(
            client.get("/v1/kv/a").await.status,
            503,
            "a read has no outcome to lose"
        );
        fixture.driver.feel(Mood::Forgetful);
        assert_eq!(client.put("/v1/kv/a", "four").await.status, 504);
        assert_eq!(client.get("/v1/kv/a").await.text(), "four");
    });
}

#[test]
fn a_node_without_a_state_says_so_and_a_node_that_ended_too() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        fixture.driver.be(Phase::Founding([NodeId(3)].into()));
        let stale = client.get("/v1/kv/a?consistency=stale").await;
        assert_eq!(stale.status, 503);
        drop(fixture.driver);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stopped = client.put("/v1/kv/a", "x").await;
        assert_eq!(stopped.status, 503);
        assert!(stopped.error().contains("stopping"));
    });
}

#[test]
fn a_list_goes_page_by_page() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        for key in ["b1", "a", "b3", "b2", "c"] {
            client.put(&format!("/v1/kv/{key}"), "v").await;
        }
        client.put("/v1/kv/b%ff", "").await;

        let page = client.get("/v1/kv?prefix=b&limit=2").await;
        let expected = concat!(
            r#"{"revision":7,"more":true,"entries":["#,
            r#"{"key":"b1","value":"dg==","created":2,"modified":2,"version":1},"#,
            r#"{"key":"b2","value":"dg==","created":5,"modified":5,"version":1}]}"#,
            "\n",
        );
        assert_eq!(page.text(), expected);
        assert_eq!(page.header("content-type"), Some("application/json"));
        let rest = client
            .get("/v1/kv?prefix=b&limit=2&after=b2&consistency=stale")
            .await;
        let expected = concat!(
            r#"{"revision":7,"more":false,"entries":["#,
            r#"{"key":"b3","value":"dg==","created":4,"modified":4,"version":1},"#,
            r#"{"keyBase64":"Yv8=","value":"","created":7,"modified":7,"version":1}]}"#,
            "\n",
        );
        assert_eq!(rest.text(), expected);
        let none = client.get("/v1/kv?prefix=x").await;
        assert_eq!(
            none.text(),
            "{\"revision\":7,\"more\":false,\"entries\":[]}\n"
        );
        assert_eq!(
            client.get("/v1/kv").await.json()["entries"]
                .as_array()
                .unwrap()
                .len(),
            6
        );
        for query in [
            "limit=0",
            "limit=10001",
            "limit=x",
            "prefix=%",
            "page=1",
            "consistency=no",
        ] {
            assert_eq!(
                client.get(&format!("/v1/kv?{query}")).await.status,
                400,
                "{query}"
            );
        }
    });
}

#[test]
fn a_long_list_is_sent_in_pieces() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let value = vec![1; 10_000];
        for key in 0..100 {
            client.put(&format!("/v1/kv/{key:03}"), value.clone()).await;
        }
        let list = client.get("/v1/kv").await;
        assert_eq!(list.header("content-length"), None);
        let list = list.json();
        let entries = list["entries"].as_array().unwrap();
        let keys: Vec<_> = entries
            .iter()
            .map(|entry| entry["key"].as_str().unwrap())
            .collect();
        assert_eq!(
            keys,
            (0..100).map(|key| format!("{key:03}")).collect::<Vec<_>>()
        );
    });
}

#[test]
fn requests_may_be_pipelined() {
    run(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let fixture = Fixture::new();
        let (mut stream, _) = fixture.server.connect(LOCAL);
        let put = "PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx";
        let get = "GET /v1/kv/a HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let last = "GET /v1/kv/b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream
            .write_all(format!("{put}{put}{get}{last}").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let heads = text.match_indices("HTTP/1.1 ");
        let codes: Vec<_> = heads.map(|(at, _)| &text[at + 9..at + 12]).collect();
        assert_eq!(codes, ["201", "204", "200", "404"]);
    });
}
