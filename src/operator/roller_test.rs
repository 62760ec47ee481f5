use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::*;
use crate::operator::scaler::tests::fake_api::{CLUSTER, FakeApi, NAMESPACE};

fn three() -> FakeApi {
    let api = FakeApi::new();
    for n in 0..3 {
        api.put_pod(&format!("store-{n}"), &format!("u{n}"));
    }
    api.put_record("7");
    api
}

/// Ends the second pod, if that is still due behind the claim; what is to be done instead.
async fn end(api: &FakeApi, version: Option<String>, is_due: bool) -> Option<Next> {
    let key = ClusterKey {
        namespace: NAMESPACE.into(),
        name: CLUSTER.into(),
    };
    let records = Records::new(api.client(), key, OwnerReference::default());
    let record = records.read().await.unwrap().unwrap();
    let end = End {
        pod: "store-1",
        uid: "u1",
        version,
    };
    let pods = Api::<Pod>::namespaced(api.client(), NAMESPACE);
    let is_due = || {
        let record = api.record().unwrap();
        assert!(record["data"]["step"].as_str().unwrap().contains("u1"));
        is_due
    };
    let ended = end.carry_out(&pods, &records, &record, is_due).await;
    ended.unwrap()
}

fn is_there(api: &FakeApi) -> bool {
    api.object("pods", "store-1").is_some()
}

#[tokio::test]
async fn no_pod_ends_that_is_needed_by_the_time_its_end_is_claimed() {
    let api = three();
    let instead = end(&api, None, false).await;
    assert!(matches!(instead, Some(Next::Wait(_))), "{instead:?}");
    assert!(is_there(&api));
    // Once it can go, the step is still claimed.
    let before = api.writes();
    assert_eq!(end(&api, None, true).await, None);
    assert!(!is_there(&api));
    assert_eq!(api.writes() - before, 1, "only ended");
}

#[tokio::test]
async fn no_other_pod_ends_than_was_seen_as_it_was_seen() {
    let api = three();
    assert_eq!(end(&api, Some("0".to_owned()), true).await, None);
    assert!(is_there(&api), "it has changed");
    api.put_pod("store-1", "u9");
    assert_eq!(end(&api, None, true).await, None);
    assert!(is_there(&api), "it is another");
}
