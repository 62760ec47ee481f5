//! `POST /v1/bootstrap`: who is told that it founds a cluster, and what is refused.

use super::{Fixture, run};

fn founding(cluster: &str, disk: &str) -> String {
    of(cluster, 1, &founder(disk))
}

fn founder(disk: &str) -> String {
    format!("{{\"id\":1,\"incarnation\":\"{disk}\"}}")
}

fn of(cluster: &str, epoch: u32, voters: &str) -> String {
    format!("{{\"cluster\":\"{cluster}\",\"epoch\":{epoch},\"voters\":[{voters}]}}")
}

const OWN: &str = "ffffffffffffffff";
const CLUSTER: &str = "00000000000000c1";

#[test]
fn a_founder_is_told_once_or_twice_and_never_of_another_cluster() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let told = async |client: &mut super::client::Client, text: String| {
            let json = [("content-type", "application/json")];
            client.ask("POST", "/v1/bootstrap", &json, text).await
        };
        assert_eq!(told(&mut client, founding(CLUSTER, OWN)).await.status, 204);
        let other = told(&mut client, founding("00000000000000c2", OWN)).await;
        assert_eq!(other.status, 409);
        assert!(other.error().contains("cluster 00000000000000c1 already"));
        let other = told(&mut client, founding(CLUSTER, "0000000000000001")).await;
        assert_eq!(other.status, 409);
        assert!(
            other.error().contains("none of those founders"),
            "{}",
            other.text()
        );
    });
}

#[test]
fn what_founds_nothing_is_refused_with_a_sentence() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        let json = [("content-type", "application/json")];
        let twice = format!("{},{}", founder(OWN), founder("00000000000000a2"));
        for (text, why) in [
            ("{".to_owned(), "the body is not like"),
            (founding("c1", OWN), "not 16 hexadecimal digits"),
            (founding(CLUSTER, "+fffffffffffffff"), "can be no founder"),
            (of(CLUSTER, 1, ""), "1 to 64 founders"),
            (of(CLUSTER, 1, &twice), "1 to 64 founders"),
            (of(CLUSTER, u32::MAX, &founder(OWN)), "is no epoch"),
        ] {
            let answer = client
                .ask("POST", "/v1/bootstrap", &json, text.clone())
                .await;
            assert_eq!(answer.status, 400, "{text}");
            assert!(answer.error().contains(why), "{}", answer.text());
        }
        assert_eq!(client.get("/v1/bootstrap").await.status, 405);
    });
}
