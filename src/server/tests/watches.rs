//! The event streams.

use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use super::{Fixture, Limits, forgetful_store, run};
use crate::consensus::{NodeId, Role, Term};
use crate::node::WitnessState;

/// What a timer may be late.
const TICK: Duration = Duration::from_millis(2);

#[test]
fn a_role_stream_tells_the_state_at_once_and_each_change_once() {
    run(async {
        let fixture = Fixture::new();
        let mut watch = fixture.client().await.watch("/v1/watch", &[]).await;
        let mut second = fixture.client().await.watch("/v1/watch", &[]).await;
        let claim =
            r#""cluster":"00000000000000c1","incarnation":"ffffffffffffffff","pod":"uid-1","#;
        let seats = concat!(
            r#""seats":{"term":0,"index":0,"members":["#,
            r#"{"id":1,"incarnation":"ffffffffffffffff","votes":true,"outgoing":false},"#,
            r#"{"id":2,"incarnation":"0000000000000002","votes":true,"outgoing":false},"#,
            r#"{"id":3,"incarnation":"0000000000000003","votes":false,"outgoing":false}]},"witness":null}"#,
        );
        let leads = concat!(
            "event: role\n",
            r#"data: {"id":1,"role":"leader","term":7,"token":7,"#,
            r#""leader":{"id":1,"ip":"localhost","port":"8001"},"established":true,"#,
        );
        let expected = format!("{leads}{claim}{seats}");
        assert_eq!(watch.next().await.unwrap(), expected);
        assert_eq!(second.next().await.unwrap(), expected);

        // What concerns nobody is not told.
        fixture.driver.turn(|status| status.log_bytes += 1);
        fixture.driver.turn(|status| {
            status.term = Term(8);
            status.role = Role::Candidate;
            status.leader = None;
            status.established = false;
        });
        let stands = concat!(
            "event: role\n",
            r#"data: {"id":1,"role":"candidate","term":8,"token":null,"leader":null,"#,
            r#""established":false,"#,
        );
        let expected = format!("{stands}{claim}{seats}");
        assert_eq!(watch.next().await.unwrap(), expected);
        assert_eq!(second.next().await.unwrap(), expected);
        fixture.driver.turn(|status| {
            status.role = Role::Follower;
            status.leader = Some(NodeId(2));
        });
        let followed = watch.next().await.unwrap();
        assert!(
            followed.contains(r#""token":8,"leader":{"id":2,"#),
            "{followed}"
        );

        assert_eq!(watch.next().await.unwrap(), ": alive");
        assert_eq!(watch.next().await.unwrap(), ": alive");
    });
}

#[test]
fn a_role_stream_tells_the_name_of_the_cluster_as_soon_as_it_is_founded() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.unfound();
        let mut watch = fixture.client().await.watch("/v1/watch", &[]).await;
        let event = watch.next().await.unwrap();
        assert!(event.contains(r#","cluster":null,"#), "{event}");
        fixture.driver.found();
        let event = watch.next().await.unwrap();
        assert!(
            event.contains(r#","cluster":"00000000000000c1","#),
            "{event}"
        );
    });
}

#[test]
fn a_role_stream_tells_whether_the_witness_answers() {
    run(async {
        let fixture = Fixture::new();
        let mut watch = fixture.client().await.watch("/v1/watch", &[]).await;
        assert!(watch.next().await.unwrap().ends_with(r#","witness":null}"#));
        for (state, told) in [
            (WitnessState::Silent, r#","witness":"silent"}"#),
            (WitnessState::Answers, r#","witness":"answers"}"#),
        ] {
            fixture.driver.hear_witness(state);
            let event = watch.next().await.unwrap();
            assert!(event.ends_with(told), "{event}");
        }
    });
}

#[test]
fn a_role_stream_that_is_silent_for_three_seconds_is_dead() {
    run(async {
        let fixture = Fixture::new();
        let mut watch = fixture.client().await.watch("/v1/watch", &[]).await;
        // This clock moves only while all wait, by as much as they wait for.
        let opened = Instant::now();
        assert!(watch.next().await.unwrap().starts_with("event: role"));
        assert_eq!(opened.elapsed(), Duration::ZERO, "the first event waits");
        for _ in 0..5 {
            let heard = Instant::now();
            assert_eq!(watch.next().await.unwrap(), ": alive");
            // One may be late, and one lost in between.
            assert!(heard.elapsed() <= Duration::from_secs(1) + TICK);
        }
        fixture.driver.turn(|status| status.term = Term(8));
        let changed = Instant::now();
        assert!(watch.next().await.unwrap().contains(r#""term":8,"#));
        assert_eq!(changed.elapsed(), Duration::ZERO, "a change waits");
    });
}

#[test]
fn each_change_is_told_once_in_order() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        client.put("/v1/kv/a", "0").await;
        client.put("/v1/kv/x", "0").await;
        let mut watch = fixture
            .client()
            .await
            .watch("/v1/kv?prefix=a&watch=2", &[])
            .await;
        let first = "event: put\nid: 2\n\
            data: {\"key\":\"a\",\"value\":\"MA==\",\"created\":2,\"modified\":2,\"version\":1}";
        assert_eq!(watch.next().await.unwrap(), first);
        client.put("/v1/kv/a", "1").await;
        client.put("/v1/kv/x", "1").await;
        client.ask("DELETE", "/v1/kv/a", &[], "").await;
        let second = watch.next().await.unwrap();
        assert!(second.starts_with("event: put\nid: 4\n"), "{second}");
        let third = "event: delete\nid: 6\ndata: {\"key\":\"a\",\"modified\":6}";
        assert_eq!(watch.next().await.unwrap(), third);

        // Nothing of interest, but the place to resume from moves on.
        client.put("/v1/kv/x", "2").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(watch.next().await.unwrap(), "id: 7");
        client.put("/v1/kv/a", "2").await;
        assert!(
            watch
                .next()
                .await
                .unwrap()
                .starts_with("event: put\nid: 8\n")
        );
    });
}

#[test]
fn a_watch_is_resumed_behind_the_last_event_seen() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        for value in ["1", "2", "3"] {
            client.put("/v1/kv/a", value).await;
        }
        let seen = [("last-event-id", "3")];
        let mut watch = fixture.client().await.watch("/v1/kv?watch=1", &seen).await;
        assert!(
            watch
                .next()
                .await
                .unwrap()
                .starts_with("event: put\nid: 4\n")
        );
        let mut watch = fixture.client().await.watch("/v1/kv?watch=now", &[]).await;
        client.put("/v1/kv/b", "4").await;
        assert!(
            watch
                .next()
                .await
                .unwrap()
                .starts_with("event: put\nid: 5\n")
        );
        for query in ["watch", "watch=", "watch=x", "watch=-1", "watch=1&limit=3"] {
            assert_eq!(
                client.get(&format!("/v1/kv?{query}")).await.status,
                400,
                "{query}"
            );
        }
        let bad = client
            .ask("GET", "/v1/kv?watch=1", &[("last-event-id", "x")], "")
            .await;
        assert_eq!(bad.status, 400);
    });
}

#[test]
fn a_watch_from_too_long_ago_is_told_so_and_ends() {
    run(async {
        let fixture = Fixture::with(forgetful_store(2), Limits::default());
        let mut client = fixture.client().await;
        for value in ["1", "2", "3", "4"] {
            client.put("/v1/kv/a", value).await;
        }
        let mut watch = fixture.client().await.watch("/v1/kv?watch=2", &[]).await;
        let compacted = watch.next().await.unwrap();
        assert!(
            compacted.starts_with("event: compacted\ndata: {\"oldest\":4,"),
            "{compacted}"
        );
        assert_eq!(watch.next().await, None);
        let mut watch = fixture.client().await.watch("/v1/kv?watch=4", &[]).await;
        assert!(
            watch
                .next()
                .await
                .unwrap()
                .starts_with("event: put\nid: 4\n")
        );
    });
}

#[test]
fn a_slow_watch_costs_little_and_is_compacted_in_the_end() {
    run(async {
        let fixture = Fixture::with(forgetful_store(4), Limits::default());
        let mut client = fixture.client().await;
        let mut watch = fixture.client().await.watch("/v1/kv?watch=1", &[]).await;
        let value = vec![7; 200_000];
        for _ in 0..40 {
            assert!(
                client
                    .put("/v1/kv/a", value.clone())
                    .await
                    .status
                    .is_success()
            );
        }
        let mut ids = Vec::new();
        let end = loop {
            let event = watch.next().await.unwrap();
            let Some(rest) = event.strip_prefix("event: put\nid: ") else {
                break event;
            };
            let id = rest.split('\n').next().unwrap();
            ids.push(id.parse::<u64>().unwrap());
        };
        assert!(end.starts_with("event: compacted\n"), "{}", &end[..40]);
        let expected: Vec<u64> = (2..).take(ids.len()).collect();
        assert_eq!(ids, expected, "in order, without a gap, until the end");
        assert!(
            ids.len() < 20,
            "{} events were kept for a slow client",
            ids.len()
        );
        assert_eq!(watch.next().await, None);
    });
}

#[test]
fn there_are_only_so_many_streams_and_closed_ones_make_room() {
    run(async {
        let limits = Limits {
            streams_max: 1,
            ..Limits::default()
        };
        let fixture = Fixture::with(crate::state::Store::default(), limits);
        let mut holder = fixture.client().await;
        let mut watch = holder.watch("/v1/watch", &[]).await;
        watch.next().await.unwrap();
        let mut client = fixture.client().await;
        let refused = client.get("/v1/kv?watch=now").await;
        assert_eq!(refused.status, 503);
        drop((watch, holder));
        tokio::time::sleep(Duration::from_millis(1)).await;
        client.watch("/v1/kv?watch=now", &[]).await;
    });
}

#[test]
fn streams_share_one_connection_over_http2() {
    run(async {
        let fixture = Fixture::new();
        let (stream, _) = fixture.server.connect(super::client::LOCAL);
        let mut client = Client::http2(stream).await;
        let mut roles = client.watch("/v1/watch", &[]).await;
        let mut keys = client.watch("/v1/kv?watch=now", &[]).await;
        client.put("/v1/kv/a", "x").await;
        assert!(keys.next().await.unwrap().contains("id: 2"));
        assert!(roles.next().await.unwrap().starts_with("event: role"));
    });
}
