//! Health, metrics and the state's hash.

use super::client::Client;
use super::{Fixture, run};
use crate::consensus::{Index, NodeId, Role};
use crate::node::Phase;
use crate::node::fake::Mood;

#[test]
fn a_node_is_alive_before_it_is_started_and_started_before_it_is_ready() {
    run(async {
        let fixture = Fixture::new();
        fixture
            .driver
            .be(Phase::Founding([NodeId(2), NodeId(3)].into()));
        fixture.driver.turn(|status| {
            status.role = Role::Follower;
            status.leader_commit = None;
        });
        let mut admin = fixture.admin().await;
        assert_eq!(admin.get("/livez").await.text(), "ok\n");
        let starting = admin.get("/startupz").await;
        assert_eq!(starting.status, 503);
        assert!(
            starting.error().contains("not heard of: 2, 3"),
            "{}",
            starting.text()
        );
        assert_eq!(admin.get("/readyz").await.status, 503);

        fixture.driver.be(Phase::Running);
        assert_eq!(admin.get("/startupz").await.status, 200);
        assert!(admin.get("/readyz").await.error().contains("no leader"));
        fixture
            .driver
            .turn(|status| status.leader_commit = Some(Index(1)));
        assert!(
            admin
                .get("/readyz")
                .await
                .error()
                .contains("applied 0 of the leader's 1")
        );
        fixture.client().await.put("/v1/kv/a", "x").await;
        assert_eq!(admin.get("/readyz").await.status, 200);
        assert_eq!(admin.get("/ready").await.status, 404);
        assert_eq!(admin.ask("POST", "/readyz", &[], "").await.status, 405);
    });
}

#[test]
fn a_node_whose_loop_does_not_turn_is_not_alive() {
    run(async {
        let fixture = Fixture::new();
        let mut admin = fixture.admin().await;
        fixture.driver.feel(Mood::Leaderless);
        assert_eq!(admin.get("/livez").await.status, 200);
        fixture.driver.feel(Mood::Silent);
        let hangs = admin.get("/livez").await;
        assert_eq!(hangs.status, 503);
        assert!(hangs.error().contains("does not turn"), "{}", hangs.text());
        fixture.driver.feel(Mood::Willing);
        assert_eq!(admin.get("/livez").await.status, 200);

        let Fixture { driver, server, .. } = fixture;
        drop(driver);
        let mut admin = Client::http1(server.connect_admin()).await;
        assert_eq!(admin.get("/livez").await.status, 503);
    });
}

#[test]
fn readiness_is_noticed_without_being_asked_for_and_stays() {
    run(async {
        let fixture = Fixture::new();
        tokio::task::yield_now().await;
        fixture.driver.turn(|status| {
            status.role = Role::Candidate;
            status.leader = None;
            status.leader_commit = None;
        });
        assert_eq!(fixture.admin().await.get("/readyz").await.status, 200);
    });
}

#[test]
fn metrics_say_what_the_node_is_and_what_it_was_asked() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        client.put("/v1/kv/a", "x").await;
        client.put("/v1/kv/a", "x").await;
        client.get("/v1/kv/b").await;
        let mut watch = fixture.client().await.watch("/v1/watch", &[]).await;
        watch.next().await;
        fixture.driver.turn(|status| {
            status.term = status.term.next().unwrap();
            status.commit = Index(2);
            status.leader = Some(NodeId(2));
            status.role = Role::Follower;
        });
        watch.next().await;
        let metrics = fixture.admin().await.get("/metrics").await;
        let kind = metrics.header("content-type").unwrap();
        assert!(kind.starts_with("application/openmetrics-text"));
        for line in [
            concat!(
                "remember_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "remember_term 8",
            "remember_role 2",
            "remember_is_leader 0",
            "remember_members_alive 2",
            "remember_commit_index 2",
            "remember_durable_index 0",
            "remember_applied_index 2",
            "remember_applied_revision 3",
            "remember_state_keys 1",
            "remember_state_bytes 130",
            "remember_state_quota_bytes 67108864",
            "remember_log_bytes 0",
            "remember_leader_changes_total 2",
            "remember_requests_total{endpoint=\"/v1/kv/{key}\",code=\"201\"} 1",
            "remember_requests_total{endpoint=\"/v1/kv/{key}\",code=\"204\"} 1",
            "remember_requests_total{endpoint=\"/v1/kv/{key}\",code=\"404\"} 1",
            "remember_request_duration_seconds_count{endpoint=\"/v1/kv/{key}\"} 3",
            "remember_streams{kind=\"role\"} 1",
            "remember_streams{kind=\"keys\"} 0",
            "# EOF",
        ] {
            let found = metrics.text().lines().any(|found| found == line);
            assert!(found, "{line} is not in\n{}", metrics.text());
        }
    });
}

#[test]
fn the_state_is_told_by_its_hash() {
    run(async {
        let fixture = Fixture::new();
        let mut admin = fixture.admin().await;
        let mut client = fixture.client().await;
        client.put("/v1/kv/a", "x").await;
        let told = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
        let before = told(admin.get("/statez").await.text());
        assert_eq!(before["index"], 1);
        assert_eq!(before["revision"], 2);
        assert_eq!(before["keys"], 1);
        let hash = fixture.handle.store().view().rehash();
        assert_eq!(before["hash"], format!("{hash:016x}"));
        client.put("/v1/kv/a", "y").await;
        let after = told(admin.get("/statez").await.text());
        assert_ne!(before["hash"], after["hash"]);
    });
}
