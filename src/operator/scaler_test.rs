use std::cell::Cell;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::*;

#[expect(dead_code, reason = "others ask it for more")]
#[path = "../../tests/nodes/fake_api.rs"]
pub(in crate::operator) mod fake_api;

use fake_api::{CLUSTER, FakeApi, NAMESPACE};

fn key() -> ClusterKey {
    ClusterKey {
        namespace: NAMESPACE.into(),
        name: CLUSTER.into(),
    }
}

/// Three pods that run, and a record.
fn three() -> FakeApi {
    let api = FakeApi::new();
    for n in 0..3 {
        api.put_pod(&format!("store-{n}"), &format!("u{n}"));
    }
    api.put_record("7");
    run_three(&api, 1);
    api
}

/// The StatefulSet is to run three pods, by a spec of this generation.
fn run_three(api: &FakeApi, generation: u64) {
    let set = json!({
        "metadata": {"namespace": NAMESPACE, "name": CLUSTER, "generation": generation},
        "spec": {
            "replicas": 3, "serviceName": CLUSTER, "selector": {}, "template": {"metadata": {}},
        },
    });
    api.put("statefulsets", CLUSTER, set);
}

fn replicas(api: &FakeApi) -> Value {
    api.object("statefulsets", CLUSTER).unwrap()["spec"]["replicas"].clone()
}

/// The step that is in the record.
fn claimed(api: &FakeApi) -> String {
    let record = api.record().unwrap();
    record["data"]["step"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Lowers as often as it is said to be due.
async fn visit(api: &FakeApi, due: usize) -> Result<Next, Trouble> {
    let (client, left) = (api.client(), Cell::new(due));
    let records = Records::new(client.clone(), key(), OwnerReference::default());
    let decide = |_: &PodViews, set: &StatefulSet, _: &Record| {
        let is_due = left.replace(left.get().saturating_sub(1)) > 0;
        let last = running(set) - 1;
        if is_due {
            Next::Lower {
                pod: format!("store-{last}").into(),
                uid: format!("u{last}").into(),
                to: last,
            }
        } else {
            Next::Wait("it has a vote".to_owned())
        }
    };
    lower(&client, &records, &key(), decide).await
}

#[tokio::test]
async fn nobody_ends_who_got_a_vote_while_the_step_was_claimed() {
    let api = three();
    let next = visit(&api, 1).await.unwrap();
    assert!(matches!(next, Next::Retry(_)), "{next:?}");
    assert_eq!(replicas(&api), 3);
    // Once it has none any more, the step is still claimed.
    let next = visit(&api, 2).await.unwrap();
    assert!(matches!(next, Next::Lower { to: 2, .. }), "{next:?}");
    assert_eq!(replicas(&api), 2);
}

/// Somebody raises the StatefulSet before the pod has ended: that it ends is another step.
#[tokio::test]
async fn a_step_that_was_taken_is_not_claimed_any_more() {
    let api = three();
    visit(&api, 2).await.unwrap();
    let first = claimed(&api);
    run_three(&api, 3);
    let before = api.writes();
    visit(&api, 2).await.unwrap();
    assert_ne!(claimed(&api), first);
    assert_eq!(api.writes() - before, 2, "claimed, and lowered");
}
