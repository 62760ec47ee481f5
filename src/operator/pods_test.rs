use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::{ClusterKey, PodView, Pods, SidecarState, parse_term};
use crate::consensus::{NodeId, Term};
use crate::operator::route::PodRole;

fn pod(name: &str, uid: &str, role: &str, term: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": uid,
            "labels": {
                "remember.krest.io/cluster": "store", "remember.krest.io/role": role,
                "controller-revision-hash": "store-1",
            },
            "annotations": {"remember.krest.io/term": term},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "store", "uid": "set",
                "controller": true,
            }],
        },
        "spec": {"nodeName": "machine-2", "containers": []},
        "status": {
            "phase": "Running", "podIP": "10.1.2.3",
            "conditions": [
                {"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"},
            ],
            "initContainerStatuses": [{
                "name": "remember", "ready": true, "image": "", "imageID": "", "restartCount": 0,
                "state": {"running": {}},
            }],
        },
    }))
    .unwrap()
}

fn store() -> ClusterKey {
    ClusterKey {
        namespace: "shop".into(),
        name: "store".into(),
    }
}

fn view(pod: &Pod) -> PodView {
    PodView::of(pod).unwrap().1
}

fn told(pods: &Pods, event: Event<Pod>) {
    pods.take(event, None, &mut Vec::new());
}

#[test]
fn a_pod_is_seen_with_all_that_it_says() {
    let (cluster, view) = PodView::of(&pod("store-2", "u", "leader", "7")).unwrap();
    assert_eq!(cluster, store());
    let expected = PodView {
        name: "store-2".into(),
        uid: "u".into(),
        ip: Some("10.1.2.3".into()),
        id: Some(NodeId(3)),
        role: Some(PodRole::Leader),
        term: Some(Term(7)),
        ready: true,
        deleting: false,
        revision: Some("store-1".into()),
        maker: Some("set".into()),
        sidecar: SidecarState::Ready,
        node: Some("machine-2".into()),
    };
    assert_eq!(view, expected);
}

#[test]
fn a_bare_pod_says_nothing_and_one_of_no_cluster_is_none() {
    let mut bare = pod("store-x", "u", "leader", "7");
    (bare.spec, bare.status) = (None, None);
    let labels = bare.metadata.labels.as_mut().unwrap();
    labels.retain(|name, _| name.ends_with("cluster"));
    bare.metadata.annotations = None;
    let seen = view(&bare);
    assert_eq!((seen.ip, seen.id, seen.node), (None, None, None));
    assert_eq!((seen.role, seen.term, seen.revision), (None, None, None));
    assert!(!seen.ready && !seen.deleting);
    bare.metadata.labels = None;
    assert_eq!(PodView::of(&bare), None);
}

#[test]
fn spoiled_labels_say_nothing() {
    for role in ["", "Leader", "boss", "leader "] {
        assert_eq!(view(&pod("store-0", "u", role, "7")).role, None, "{role}");
    }
    for term in [
        "",
        "x",
        "-1",
        "+7",
        "07",
        " 7",
        "9223372036854775808",
        "99999999999999999999",
    ] {
        assert_eq!(
            view(&pod("store-0", "u", "leader", term)).term,
            None,
            "{term}"
        );
    }
    assert_eq!(parse_term(&Term::MAX.to_string()), Some(Term::MAX));
}

#[test]
fn a_pod_that_has_ended_has_no_address_any_more() {
    for phase in ["Failed", "Succeeded"] {
        let mut ended = pod("store-0", "u", "leader", "7");
        ended.status.as_mut().unwrap().phase = Some(phase.to_owned());
        assert_eq!(view(&ended).ip, None);
    }
}

#[test]
fn each_cluster_has_its_pods_and_hears_of_changes_once() {
    let pods = Pods::default();
    let mut changes = Box::pin(pods.changes());
    let mut ours = pods.of(&store());
    assert!(ours.borrow_and_update().is_empty());
    told(&pods, Event::Apply(pod("store-0", "u0", "candidate", "0")));
    told(&pods, Event::Apply(pod("store-1", "u1", "candidate", "0")));
    assert_eq!(ours.borrow_and_update().len(), 2);
    assert_eq!(changes.next().now_or_never(), Some(Some(store())));
    assert_eq!(changes.next().now_or_never(), None, "two changes, one call");
    // Told again without news.
    told(&pods, Event::Apply(pod("store-1", "u1", "candidate", "0")));
    assert_eq!(changes.next().now_or_never(), None);
    assert!(!ours.has_changed().unwrap());
}

#[test]
fn the_end_of_a_pod_does_not_take_its_successor_away() {
    let pods = Pods::default();
    let ours = pods.of(&store());
    told(&pods, Event::Apply(pod("store-0", "old", "leader", "7")));
    told(&pods, Event::Apply(pod("store-0", "new", "candidate", "0")));
    told(&pods, Event::Delete(pod("store-0", "old", "leader", "7")));
    assert_eq!(&*ours.borrow()["store-0"].uid, "new");
    told(
        &pods,
        Event::Delete(pod("store-0", "new", "candidate", "0")),
    );
    assert!(ours.borrow().is_empty());
}

#[test]
fn a_list_replaces_all_that_is_known() {
    let pods = Pods::default();
    let ours = pods.of(&store());
    told(&pods, Event::Apply(pod("store-0", "u0", "leader", "7")));
    let mut listed = Vec::new();
    pods.take(Event::Init, None, &mut listed);
    pods.take(
        Event::InitApply(pod("store-1", "u1", "leader", "8")),
        None,
        &mut listed,
    );
    assert!(
        ours.borrow().contains_key("store-0"),
        "not before it is whole"
    );
    pods.take(Event::InitDone, None, &mut listed);
    let names: Vec<Arc<str>> = ours.borrow().keys().cloned().collect();
    assert_eq!(names, ["store-1".into()]);
    pods.take(Event::Init, None, &mut listed);
    pods.take(Event::InitDone, None, &mut listed);
    assert!(ours.borrow().is_empty());
}

#[test]
fn a_list_of_one_namespace_says_nothing_of_another() {
    let pods = Pods::default();
    let ours = pods.of(&store());
    told(&pods, Event::Apply(pod("store-0", "u0", "leader", "7")));
    let mut listed = Vec::new();
    pods.take(Event::InitDone, Some("garden"), &mut listed);
    assert!(ours.borrow().contains_key("store-0"));
    pods.take(Event::InitDone, Some("shop"), &mut listed);
    assert!(ours.borrow().is_empty());
}

#[test]
fn what_the_kubelet_says_of_the_node_is_told_apart() {
    let mut seen = pod("store-0", "u", "leader", "7");
    let statuses = |seen: &mut Pod| {
        let status = seen.status.as_mut().unwrap();
        status.init_container_statuses.take().unwrap().remove(0)
    };
    let ready = statuses(&mut seen);
    assert_eq!(view(&seen).sidecar, SidecarState::Down);
    let with = |status| {
        let mut seen = seen.clone();
        seen.status.as_mut().unwrap().init_container_statuses = Some(vec![status]);
        view(&seen).sidecar
    };
    let mut catching_up = ready.clone();
    catching_up.ready = false;
    assert_eq!(with(catching_up.clone()), SidecarState::Running);
    catching_up.state.as_mut().unwrap().running = None;
    assert_eq!(with(catching_up), SidecarState::Down);
    assert_eq!(with(ready), SidecarState::Ready);
}

#[test]
fn a_pod_that_changes_its_cluster_leaves_the_one_before() {
    let pods = Pods::default();
    let ours = pods.of(&store());
    told(&pods, Event::Apply(pod("store-0", "u", "leader", "7")));
    let mut moved = pod("store-0", "u", "leader", "7");
    let other = BTreeMap::from([("remember.krest.io/cluster".to_owned(), "till".to_owned())]);
    moved.metadata.labels = Some(other);
    told(&pods, Event::Apply(moved));
    assert!(ours.borrow().is_empty());
    let till = ClusterKey {
        name: "till".into(),
        ..store()
    };
    assert_eq!(pods.of(&till).borrow().len(), 1);
}

#[test]
fn nothing_is_kept_of_clusters_that_are_gone() {
    let pods = Pods::default();
    drop(pods.of(&store()));
    told(&pods, Event::Apply(pod("store-0", "u", "leader", "7")));
    told(&pods, Event::Delete(pod("store-0", "u", "leader", "7")));
    assert!(pods.clusters().views.is_empty());
    drop(pods.of(&store()));
    let till = ClusterKey {
        name: "till".into(),
        ..store()
    };
    let _till = pods.of(&till);
    assert_eq!(pods.clusters().views.len(), 1);
}
