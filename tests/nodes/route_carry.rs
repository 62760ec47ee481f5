//! Labels, the record and its step slot, as they are written on an API server that is slow,
//! refuses, forgets, or is written to by others at the same time (R1, R3).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use remember::consensus::{ClusterId, Incarnation, NodeId, Term};
use remember::operator::route::{
    Carrier, Claim, End, Fault, GaveUp, OUTRUN_WAIT, PodRole, PodSeen, ROUNDS_MAX,
};
use remember::operator::{ClusterKey, Fence, Founding, Hex, Records, Step, StepKind};
use serde_json::Value;
use tokio::time::Instant;

use crate::fake_api::{CLUSTER, FakeApi, Fate, NAMESPACE, RECORD};

const POD: &str = "PATCH /api/v1/namespaces/shop/pods/";

pub(crate) fn store() -> ClusterKey {
    ClusterKey {
        namespace: NAMESPACE.into(),
        name: CLUSTER.into(),
    }
}

pub(crate) fn records(api: &FakeApi) -> Records {
    let owner = OwnerReference {
        name: CLUSTER.to_owned(),
        uid: "the-owner".to_owned(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    Records::new(api.client(), store(), owner)
}

pub(crate) fn carrier(api: &FakeApi) -> Carrier {
    Carrier::new(api.client(), &store(), records(api))
}

/// Three pods that nobody has written to, and a record.
fn fresh() -> FakeApi {
    let api = FakeApi::new();
    for n in 0..3 {
        api.put_pod(&format!("store-{n}"), &format!("u{n}"));
    }
    api.put_record("0");
    api
}

/// That the node in pod `store-N` leads.
fn claim(pod: u64, term: u64) -> Claim {
    Claim {
        cluster: ClusterId(1),
        term: Term(term),
        id: NodeId(pod + 1),
        incarnation: Incarnation(1),
        pod: format!("u{pod}").into(),
    }
}

const SECOND_LEADS: [&str; 3] = [
    "store-0 follower 7",
    "store-1 leader 7",
    "store-2 follower 7",
];

#[tokio::test]
async fn the_label_goes_to_the_leader_and_moves_with_it() {
    let api = fresh();
    let carrier = carrier(&api);
    assert_eq!(carrier.label(&claim(1, 7)).await, Ok(End::Labelled));
    assert_eq!(api.labels(), SECOND_LEADS);
    assert_eq!(api.fence(), "7");
    let writes = api.writes();
    assert_eq!(carrier.label(&claim(1, 7)).await, Ok(End::Labelled));
    assert_eq!(api.writes(), writes, "nothing has changed");
    assert_eq!(carrier.label(&claim(2, 9)).await, Ok(End::Labelled));
    let moved = [
        "store-0 follower 9",
        "store-1 follower 9",
        "store-2 leader 9",
    ];
    assert_eq!(api.labels(), moved);
    let late = carrier.label(&claim(1, 7)).await;
    assert_eq!(late, Ok(End::Overtaken(Term(9))));
    api.remove_pod("store-0");
    assert_eq!(carrier.label(&claim(0, 10)).await, Ok(End::LeaderGone));
}

#[tokio::test]
async fn a_known_fence_is_raised_without_a_look_and_all_others_are_marked_before_the_leader() {
    let api = fresh();
    let carrier = carrier(&api);
    carrier.label(&claim(1, 7)).await.unwrap();
    let before = api.calls().len();
    carrier.label(&claim(2, 8)).await.unwrap();
    let calls = api.calls().split_off(before);
    let record = format!("/api/v1/namespaces/shop/configmaps/{RECORD}");
    assert_eq!(calls.len(), 6, "{calls:?}");
    assert!(
        calls[0].starts_with(&format!("PATCH {record}")),
        "{calls:?}"
    );
    assert!(
        calls[1].starts_with("GET /api/v1/namespaces/shop/pods"),
        "{calls:?}"
    );
    assert!(calls[2].starts_with(&format!("GET {record}")), "{calls:?}");
    assert_eq!(calls[5], format!("{POD}store-2"));
}

/// What the fence is raised to by another operator just before this one raises it to 9, and
/// whether the labels are left to that one for a while.
#[tokio::test(start_paused = true)]
async fn labels_are_left_to_the_operator_that_raised_the_fence_to_the_same_term() {
    for (raised, is_outrun) in [("9", true), ("8", false)] {
        let api = fresh();
        let carrier = carrier(&api);
        carrier.label(&claim(1, 7)).await.unwrap();
        let (other, mut is_first) = (api.clone(), true);
        api.before(move |call| {
            if call.starts_with("PATCH") && std::mem::take(&mut is_first) {
                other.edit("configmaps", RECORD, |record| {
                    record["data"]["fence"] = raised.into();
                });
            }
        });
        let begun = Instant::now();
        assert_eq!(carrier.label(&claim(2, 9)).await, Ok(End::Labelled));
        assert_eq!(begun.elapsed() >= OUTRUN_WAIT, is_outrun, "{raised}");
        assert_eq!(api.labels()[2], "store-2 leader 9");
    }
}

#[tokio::test]
async fn a_known_fence_whose_record_is_lost_or_spoiled_is_made_anew() {
    for spoiled in ["", "5"] {
        let api = fresh();
        let carrier = carrier(&api);
        carrier.label(&claim(1, 7)).await.unwrap();
        api.edit("configmaps", RECORD, |record| {
            record["data"]["fence"] = spoiled.into();
        });
        assert_eq!(
            carrier.label(&claim(2, 8)).await,
            Ok(End::Labelled),
            "{spoiled:?}"
        );
        assert_eq!(api.fence(), "8");
        assert_eq!(api.labels()[2], "store-2 leader 8");
    }
}

/// Meets each fate once, at the n-th request, for every n.
async fn once_at_every_call(fate: Fate) {
    for at in 0..12 {
        let api = fresh();
        let mut calls = 0;
        api.decide(move |_| {
            calls += 1;
            if calls == at { fate } else { Fate::Answered }
        });
        let end = carrier(&api).label(&claim(1, 7)).await;
        assert_eq!(end, Ok(End::Labelled), "{fate:?} at {at}");
        assert_eq!(api.labels(), SECOND_LEADS, "{fate:?} at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_once_is_got_over() {
    once_at_every_call(Fate::Refused(409, "modified")).await;
    once_at_every_call(Fate::Refused(500, "the store is away")).await;
    once_at_every_call(Fate::Refused(429, "slow down")).await;
    once_at_every_call(Fate::Lost).await;
    once_at_every_call(Fate::AnswerLost).await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_never_answers_is_given_up() {
    for fate in [Fate::Lost, Fate::Refused(503, "away")] {
        let api = fresh();
        api.decide(move |_| fate);
        let end = carrier(&api).label(&claim(1, 7)).await;
        assert!(matches!(end, Err(GaveUp { .. })), "{end:?}");
        assert_eq!(api.calls().len(), ROUNDS_MAX as usize);
    }
}

#[tokio::test]
async fn who_may_not_be_stripped_keeps_everybody_from_the_label() {
    let api = fresh();
    let carrier = carrier(&api);
    carrier.label(&claim(1, 7)).await.unwrap();
    let refuse = "pods \"store-1\" is forbidden: ValidatingAdmissionPolicy 'p' denied request";
    api.decide(move |call| {
        if call.starts_with(POD) && call.ends_with("store-1") {
            Fate::Refused(422, refuse)
        } else {
            Fate::Answered
        }
    });
    let denied = End::Denied {
        pod: Some("store-1".into()),
        why: refuse.to_owned(),
    };
    assert_eq!(carrier.label(&claim(2, 8)).await, Ok(denied));
    assert!(
        api.labels().contains(&"store-1 leader 7".to_owned()),
        "{:?}",
        api.labels()
    );
    let pod = seen("store-1", "u1", PodRole::Leader, 7);
    let stripped = carrier.strip(&pod).await;
    assert_eq!(stripped, Err(Fault::Denied(refuse.to_owned())));
}

#[tokio::test]
async fn a_lost_record_is_made_anew_from_the_highest_term_that_is_to_be_seen() {
    let api = FakeApi::new();
    api.put_pod("store-0", "u0");
    api.put_pod("store-1", "u1");
    let carrier = carrier(&api);
    assert_eq!(carrier.label(&claim(1, 7)).await, Ok(End::Labelled));
    assert_eq!(api.fence(), "7");
    let record = api.record().unwrap();
    assert_eq!(
        record["metadata"]["labels"]["remember.krest.io/cluster"],
        "store"
    );
    assert_eq!(record["metadata"]["ownerReferences"][0]["uid"], "the-owner");
    for spoiled in ["seven", "", "+3", "007"] {
        api.edit("configmaps", RECORD, |record| {
            record["data"]["fence"] = spoiled.into();
        });
        let behind = carrier.label(&claim(0, 6)).await;
        assert_eq!(behind, Ok(End::Overtaken(Term(7))), "{spoiled}");
        assert_eq!(api.fence(), "7", "{spoiled}");
    }
    api.edit("configmaps", RECORD, |record| {
        record["data"]["fence"] = "0012".into();
    });
    let behind = carrier.label(&claim(0, 8)).await;
    assert_eq!(
        behind,
        Ok(End::Overtaken(Term(12))),
        "what can be read holds"
    );
    api.edit("configmaps", RECORD, |record| record["data"] = Value::Null);
    assert_eq!(carrier.label(&claim(0, 8)).await, Ok(End::Labelled));
    assert_eq!(api.fence(), "8");
}

#[tokio::test]
async fn pods_whose_labels_are_spoiled_are_labelled_too() {
    let api = fresh();
    api.edit("pods", "store-0", |pod| {
        pod["metadata"]["annotations"] = Value::Null;
        pod["metadata"]["labels"]["remember.krest.io/role"] = "boss".into();
    });
    api.edit("pods", "store-1", |pod| {
        let labels = pod["metadata"]["labels"].as_object_mut().unwrap();
        labels.remove("remember.krest.io/role");
    });
    api.edit("pods", "store-2", |pod| {
        pod["metadata"]["annotations"]["remember.krest.io/term"] = "07".into();
    });
    assert_eq!(carrier(&api).label(&claim(1, 7)).await, Ok(End::Labelled));
    assert_eq!(api.labels(), SECOND_LEADS);
}

#[tokio::test]
async fn a_pod_that_says_nothing_and_changes_meanwhile_is_looked_at_again() {
    let api = fresh();
    api.edit("pods", "store-2", |pod| {
        pod["metadata"]["labels"]["remember.krest.io/role"] = "".into();
    });
    let kubelet = api.clone();
    let mut is_late = true;
    // Between the list and the write its kubelet writes, and its version is another one.
    api.before(move |call| {
        if call == format!("{POD}store-2") && std::mem::take(&mut is_late) {
            kubelet.edit("pods", "store-2", |pod| {
                pod["status"]["phase"] = "Failed".into();
            });
        }
    });
    assert_eq!(carrier(&api).label(&claim(1, 7)).await, Ok(End::Labelled));
    assert_eq!(api.labels(), SECOND_LEADS);
    let calls = api.calls();
    let patches = calls
        .iter()
        .filter(|call| **call == format!("{POD}store-2"));
    assert_eq!(patches.count(), 2, "{calls:?}");
}

#[tokio::test]
async fn who_was_overtaken_between_its_list_and_its_write_writes_nothing() {
    for pod in ["store-0", "store-1", "store-2"] {
        let api = fresh();
        let later = api.clone();
        let mut is_first = true;
        // A later operator does all its work while this write is on its way.
        api.before(move |call| {
            if call == format!("{POD}{pod}") && std::mem::take(&mut is_first) {
                later.edit("configmaps", RECORD, |record| {
                    record["data"]["fence"] = "8".into();
                });
                for (n, role) in ["leader", "follower", "follower"].iter().enumerate() {
                    later.edit("pods", &format!("store-{n}"), |pod| {
                        let metadata = &mut pod["metadata"];
                        metadata["labels"]["remember.krest.io/role"] = (*role).into();
                        metadata["annotations"]["remember.krest.io/term"] = "8".into();
                    });
                }
            }
        });
        let end = carrier(&api).label(&claim(1, 7)).await;
        assert_eq!(end, Ok(End::Overtaken(Term(8))), "{pod}");
        let expected = [
            "store-0 leader 8",
            "store-1 follower 8",
            "store-2 follower 8",
        ];
        assert_eq!(api.labels(), expected, "{pod}");
    }
}

fn seen(name: &str, uid: &str, role: PodRole, term: u64) -> PodSeen {
    PodSeen {
        name: name.into(),
        uid: uid.into(),
        role: Some(role),
        term: Some(Term(term)),
    }
}

#[tokio::test]
async fn only_the_label_that_was_seen_is_stripped() {
    let api = fresh();
    let carrier = carrier(&api);
    carrier.label(&claim(1, 7)).await.unwrap();
    for other in [
        seen("store-1", "the-pod-before", PodRole::Leader, 7),
        seen("store-1", "u1", PodRole::Leader, 6),
        seen("store-0", "u0", PodRole::Leader, 7),
    ] {
        assert_eq!(
            carrier.strip(&other).await,
            Err(Fault::Conflict),
            "{other:?}"
        );
    }
    assert_eq!(api.labels(), SECOND_LEADS);
    let gone = seen("store-7", "u7", PodRole::Leader, 7);
    assert_eq!(carrier.strip(&gone).await, Err(Fault::Gone));
    let right = seen("store-1", "u1", PodRole::Leader, 7);
    assert_eq!(carrier.strip(&right).await, Ok(()));
    assert_eq!(api.labels()[1], "store-1 follower 7");
}

#[tokio::test]
async fn operators_that_label_at_once_come_to_one_leader() {
    let (earlier, later) = (claim(0, 7), claim(1, 8));
    for (fence, first, second) in [
        ("0", &earlier, &later),
        ("0", &later, &later),
        // Nobody is the first to raise it, and both write at once.
        ("8", &later, &later),
    ] {
        let api = fresh();
        api.put_record(fence);
        let (one, two) = (carrier(&api), carrier(&api));
        let ends = tokio::join!(one.label(first), two.label(second));
        assert_eq!(ends.1, Ok(End::Labelled));
        assert!(ends.0.is_ok(), "{ends:?}");
        assert_eq!(api.labels()[1], "store-1 leader 8");
        assert!(
            api.calls().len() < 40,
            "they hinder each other: {:?}",
            api.calls()
        );
    }
}

#[tokio::test]
async fn of_two_operators_one_claims_a_step() {
    let api = fresh();
    let (one, two) = (records(&api), records(&api));
    let seen = one.read().await.unwrap().unwrap();
    assert_eq!(seen.fence, Fence::Whole(Term(0)));
    assert_eq!(seen.step, None);
    let step = |pod: &str| Step {
        kind: StepKind::DeletePod,
        pod: pod.to_owned(),
        uid: format!("uid-of-{pod}"),
        generation: None,
    };
    one.claim_step(&seen, &step("store-1")).await.unwrap();
    let late = two.claim_step(&seen, &step("store-2")).await.unwrap_err();
    assert_eq!(Fault::from(&late), Fault::Conflict);
    let of = ClusterId(1);
    let unbound = one.raise_fence(of, Term(0), Term(5)).await.unwrap_err();
    assert_eq!(Fault::from(&unbound), Fault::Conflict);
    let late = two.bind_fence(&seen, of).await.unwrap_err();
    assert_eq!(Fault::from(&late), Fault::Conflict);
    let seen = one.read().await.unwrap().unwrap();
    one.bind_fence(&seen, of).await.unwrap();
    one.raise_fence(of, Term(0), Term(5)).await.unwrap();
    let late = two.raise_fence(of, Term(0), Term(4)).await.unwrap_err();
    assert_eq!(Fault::from(&late), Fault::Conflict);
    one.create(Term(1)).await.unwrap();
    let now = two.read().await.unwrap().unwrap();
    assert_eq!(
        (now.fence, now.step),
        (Fence::Whole(Term(5)), Some(step("store-1")))
    );
}

/// That the node in pod `store-0` leads this cluster.
fn claim_of(cluster: u64, term: u64) -> Claim {
    Claim {
        cluster: ClusterId(cluster),
        ..claim(0, term)
    }
}

fn is_denied(end: &Result<End, GaveUp>) -> bool {
    matches!(end, Ok(End::Denied { pod: None, why }) if why.contains("is of cluster"))
}

/// What is founded anew has another name, whatever terms those know who believe in the one before.
#[tokio::test]
async fn the_fence_is_raised_for_the_cluster_of_its_record_only() {
    let api = fresh();
    let (late, newest) = (carrier(&api), carrier(&api));
    let founding = |cluster: u64, epoch| Founding {
        cluster: Hex(cluster),
        epoch,
        voters: Vec::new(),
    };
    let found = async |founding: &Founding| {
        let records = records(&api);
        let seen = records.read().await.unwrap().unwrap();
        records.found(&seen, founding, &[]).await.unwrap();
    };
    found(&founding(1, 1)).await;
    assert_eq!(late.label(&claim_of(1, 7)).await, Ok(End::Labelled));
    found(&founding(2, 2)).await;
    // It knows where the fence is, and raises it without a look.
    let end = late.label(&claim_of(1, u64::from(u32::MAX) << 31)).await;
    assert!(is_denied(&end), "{end:?}");
    assert_eq!(
        (api.fence().as_str(), api.labels()[0].as_str()),
        ("7", "store-0 leader 7")
    );
    assert_eq!(newest.label(&claim_of(2, 2 << 32)).await, Ok(End::Labelled));
    assert_eq!(api.labels()[0], "store-0 leader 8589934592");
}

#[tokio::test]
async fn a_record_without_a_cluster_gets_that_of_its_founding_or_of_its_first_leader() {
    let founding = r#"{"cluster":"0000000000000002","epoch":1,"voters":[]}"#;
    for (data, right) in [("founding", 2), ("step", 1)] {
        let api = fresh();
        api.edit("configmaps", RECORD, |record| {
            record["data"][data] = founding.into();
        });
        if right == 2 {
            assert!(is_denied(&carrier(&api).label(&claim_of(1, 7)).await));
            assert_eq!(api.fence(), "0");
        }
        let end = carrier(&api).label(&claim_of(right, 7)).await;
        assert_eq!(end, Ok(End::Labelled));
        let name = format!("{right:016x}");
        assert_eq!(api.record().unwrap()["data"]["cluster"], name);
        assert!(is_denied(&carrier(&api).label(&claim_of(3, 8)).await));
        // Whoever spoils the fence does not make it another cluster's.
        api.edit("configmaps", RECORD, |record| {
            record["data"]["fence"] = "x".into();
        });
        assert!(is_denied(&carrier(&api).label(&claim_of(3, 9)).await));
        let end = carrier(&api).label(&claim_of(right, 8)).await;
        assert_eq!(end, Ok(End::Labelled));
    }
}
