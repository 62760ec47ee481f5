//! `/v1/members`: who belongs to the cluster, and changing that.

use std::net::IpAddr;

use super::client::{Client, JSON};
use super::{Fixture, run};
use crate::consensus::Role;

#[test]
fn members_are_told_dead_or_alive() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let expected = concat!(
            r#"{"term":7,"since":0,"members":["#,
            r#"{"id":1,"ip":"localhost","port":"8001","incarnation":"ffffffffffffffff","#,
            r#""role":"voter","leader":true,"alive":true},"#,
            r#"{"id":2,"ip":"localhost","port":"8002","incarnation":"0000000000000002","#,
            r#""role":"voter","leader":false,"alive":true},"#,
            r#"{"id":3,"ip":"localhost","port":"8003","incarnation":"0000000000000003","#,
            r#""role":"learner","leader":false,"alive":false}]}"#,
            "\n",
        );
        assert_eq!(client.get("/v1/members").await.text(), expected);
        fixture.driver.turn(|status| status.leader = None);
        let members = client.get("/v1/members").await.json();
        assert!(members["members"][2]["alive"].is_null());
    });
}

/// Before the cluster is founded it is those who are to found it, and nobody votes.
#[test]
fn those_who_are_to_found_the_cluster_have_no_role() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.unfound();
        let mut client = fixture.client().await;
        let document = client.get("/v1/members").await.json();
        assert!(document["since"].is_null());
        assert!(document["members"][0]["role"].is_null());
        let body = "{\"promote\": [3]}";
        let refused = client.ask("POST", "/v1/members", &JSON, body).await;
        assert_eq!(refused.status, 503);
    });
}

#[test]
fn members_are_changed_by_whoever_may_act() {
    run(async {
        let fixture = Fixture::new();
        let body = "{\"promote\": [3]}";
        let far: IpAddr = "192.0.2.7".parse().unwrap();
        let mut far = Client::http1(fixture.server.connect(far).0).await;
        let refused = far.ask("POST", "/v1/members", &JSON, body).await;
        assert_eq!(refused.status, 403);

        let mut client = fixture.client().await;
        let done = client.ask("POST", "/v1/members", &JSON, body).await;
        assert_eq!(done.status, 204);
        for (body, sentence) in [
            ("{}", "name somebody"),
            (
                "{\"promote\": [1]}",
                "node 1 is no learner; see /v1/members",
            ),
            ("{\"remove\": [9]}", "node 9 is no member; see /v1/members"),
            ("{\"delete\": [1]}", "is not like {\"promote\": [4, 5]"),
            ("{\"remove\": [-1]}", "is not like {\"promote\": [4, 5]"),
        ] {
            let refused = client.ask("POST", "/v1/members", &JSON, body).await;
            assert_eq!(refused.status, 400, "{body}");
            assert!(refused.error().contains(sentence), "{}", refused.error());
        }
        let body = "{\"remove\": [2, 3]}";
        let refused = client.ask("POST", "/v1/members", &JSON, body).await;
        assert_eq!(refused.status, 409);
        assert!(refused.error().contains("1 voters would be left"));
        let plain = client.ask("POST", "/v1/members", &[], body).await;
        assert_eq!(plain.status, 415);

        fixture.driver.turn(|status| status.role = Role::Follower);
        let body = "{\"remove\": [1]}";
        let elsewhere = client.ask("POST", "/v1/members", &JSON, body).await;
        assert_eq!(elsewhere.status, 409);
        assert!(
            elsewhere.error().contains("ask node"),
            "{}",
            elsewhere.error()
        );
    });
}
