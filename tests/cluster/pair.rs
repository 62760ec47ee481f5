//! Two pods and a witness (R17): either is lost, with its machine, while a client writes; the other
//! leads, and takes writes, until it is back.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::api::{CORE, path};
use crate::cluster::{Cluster, say, wait_for};
use crate::faults::told_leader;
use crate::hello::{Hello, Leader, watch_for};
use crate::helm;
use crate::install::rights;
use crate::scale::demand_disruptions;
use crate::workload::make_namespace;
use crate::writer::Writer;

/// The object that is the witness.
const WITNESS: &str = "hello-witness";
/// How long nobody may go on alone: several times what a pair takes to notice a loss.
const WAITS: Duration = Duration::from_secs(8);

/// The leader is lost, and comes back; so is the witness, and is made again; then the other is
/// lost. What was acknowledged is there, and two become three, and two again.
pub(crate) fn a_pair_survives_the_loss_of_either(cluster: &Cluster) {
    helm::be_installed(cluster);
    let (hello, leader) = begin(cluster);
    let witness = format!("configmaps [] [{WITNESS}] [get update]");
    assert_eq!(
        rights(&hello),
        [witness.as_str(), "pods [] [] [get list watch]"]
    );
    let writer = Writer::begin(&hello);

    let second = go_on_alone(&hello, &leader, &writer);
    assert_ne!(second.pod, leader.pod);
    lose_the_witness(&hello, &writer);
    let third = go_on_alone(&hello, &second, &writer);
    assert_eq!(third.pod, leader.pod, "each of the two has been alone");

    // Nobody is left without a witness who needs one.
    let remove = r#"[{"op": "remove", "path": "/spec/witness"}]"#;
    let patch = ["patch", "remembercluster", "hello", "--type=json", "-p"];
    let without = [&["-n", "pair"], &patch[..], &[remove]].concat();
    let refused = cluster.kubectl_output(&without);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("must not be 2 without spec.witness"),
        "{said}"
    );

    hello.scale_to(3, &writer);
    hello.scale_to(2, &writer);
    be_whole(&hello);
    hello.scale_to(1, &writer);
    hello.scale_to(2, &writer);
    be_whole(&hello);
    writer.finish(&hello);
    // Of which nothing is left, the witness as little as the rest.
    hello.delete();
}

/// A pair of which either may be lost.
pub(crate) fn begin(cluster: &Cluster) -> (Hello<'_>, Leader) {
    make_namespace(cluster, "pair");
    let hello = Hello::apply_pair(cluster, "pair", "hello");
    let leader = be_whole(&hello);
    (hello, leader)
}

/// Where no API server answers, nobody can ask the witness: who does not hear the other waits, and
/// the two elect one of them as soon as they hear each other, for which they need no witness.
pub(crate) fn wait_without_witness(hello: &Hello<'_>, leader: &Leader) {
    let lost = hello.node_of(&leader.pod);
    lost.signal(Signal::STOP);
    watch_for(WAITS, || assert_eq!(told_leader(hello), None));
    lost.signal(Signal::CONT);
    wait_for("one of two to lead", || told_leader(hello));
}

/// The leader's machine has no power: the other pod leads, alone, and everything goes on until it
/// is back and both vote again; who leads then.
fn go_on_alone(hello: &Hello<'_>, leader: &Leader, writer: &Writer) -> Leader {
    say!("  {} in term {} is lost", leader.pod, leader.term);
    writer.goes_on();
    hello.cluster.power_off(&leader.node);
    let next = hello.next_leader(leader);
    assert!(
        next.term > leader.term && next.pod != leader.pod,
        "{next:?}"
    );
    writer.goes_on();
    wait_for(
        "the one that is left to be the only one with a vote",
        || (hello.seen()["status"]["voters"] == 1).then_some(()),
    );
    let register = register(hello).unwrap_or_default();
    assert!(register.contains("sole"), "{register}");
    writer.goes_on();
    hello.cluster.power_on(&leader.node);
    let whole = be_whole(hello);
    writer.goes_on();
    whole
}

/// Somebody deletes the witness while both are there: it is made again, empty, and both agree on
/// what it is to hold. Nobody is elected for that.
fn lose_the_witness(hello: &Hello<'_>, writer: &Writer) {
    let before = (hello.settle(), uid(hello));
    hello.kubectl(&["delete", "configmap", WITNESS]);
    let after = be_whole(hello);
    assert_eq!(after, before.0, "somebody was elected");
    assert_ne!(uid(hello), before.1);
    writer.goes_on();
    wait_for("its loss to be told", || {
        let told = hello.event_reasons();
        told.contains("WitnessMadeAgain").then_some(())
    });
}

/// Waits until both are there with their votes, and the witness says so: from then on either may be
/// lost.
fn be_whole(hello: &Hello<'_>) -> Leader {
    wait_for("both to have votes", || hello.all_vote().then_some(()));
    // A lost one is noticed after a while only, because nobody asks for it as long as all is well.
    wait_for("the witness to name both", || {
        register(hello).filter(|register| register.contains("pair"))
    });
    let answers = ("True".to_owned(), "WitnessAnswers".to_owned());
    wait_for("the witness to answer both", || {
        (hello.condition("WitnessReady") == answers).then_some(())
    });
    demand_disruptions(hello, 1);
    hello.settle()
}

/// What the witness holds, if it is there and was ever written.
fn register(hello: &Hello<'_>) -> Option<String> {
    let object = witness(hello)?;
    object["data"]["register"].as_str().map(str::to_owned)
}

fn uid(hello: &Hello<'_>) -> Option<String> {
    let object = witness(hello)?;
    object["metadata"]["uid"].as_str().map(str::to_owned)
}

fn witness(hello: &Hello<'_>) -> Option<Value> {
    let object = format!("configmaps/{WITNESS}");
    hello.cluster.find(&path(CORE, &hello.namespace, &object))
}
