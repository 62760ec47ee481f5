//! Members come and go while whoever sees to that is disturbed: the API server is killed, all
//! operators are, and one more that nobody has installed takes the same steps beside them.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::{Cluster, root, say, wait_for};
use crate::hello::{Hello, watch_for};
use crate::helm;
use crate::processes::operators;
use crate::workload::{image, make_namespace};
use crate::writer::Writer;

/// How long no API server answers.
const OUTAGE: Duration = Duration::from_secs(5);

/// 3 -> 5 -> 3, as if nobody had disturbed that: so many members and pods, one leader's label at
/// each moment (by the history of all pods), and all that was acknowledged.
pub(crate) fn scaling_outlives_operators_and_the_api_server(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "unrest");
    let hello = Hello::apply_patient(cluster, "unrest", "hello");
    hello.settle();
    let founders = hello.uids();
    let writer = Writer::begin(&hello);
    let rival = Rival::begin(cluster);
    writer.goes_on();

    say!("  to 5, and the API server and all operators end as soon as that is begun");
    hello.scale(5);
    wait_for("the StatefulSet to be raised", || {
        (hello.set()["spec"]["replicas"] == 5).then_some(())
    });
    disturb(cluster);
    writer.goes_on();
    cluster.start_api();
    hello.await_seats();
    hello.settle_labels();
    hello.demand_seats();
    rival.end();
    writer.goes_on();

    // What it watched may have ended with the API server: another one sees all of it at once.
    let rival = Rival::begin(cluster);
    say!("  to 3, and the same as soon as two have left");
    hello.scale(3);
    wait_for("two to leave, by the word of the nodes", || {
        let members = hello.members_told()?;
        let voters = members.values().filter(|role| *role == "voter").count();
        (voters == 3).then_some(())
    });
    rival.end();
    disturb(cluster);
    cluster.start_api();
    hello.await_seats();
    hello.settle_labels();
    hello.demand_seats();
    let stay = |(pod, uid): (&String, &String)| hello.uids().get(pod) == Some(uid);
    assert!(founders.iter().all(stay), "a pod that stays was replaced");
    writer.goes_on();
    writer.finish(&hello);
    hello.delete();
}

/// Kills the API server, and the operators while there is none. Their kubelets start them again.
fn disturb(cluster: &Cluster) {
    cluster.stop_api();
    for operator in operators(cluster) {
        operator.signal(Signal::KILL);
    }
    watch_for(OUTAGE, || {});
}

/// One operator more, the very program of the image, as a process of the control plane: neither a
/// pod nor of the account of the others.
struct Rival {
    process: Child,
    log: PathBuf,
}

impl Rival {
    fn begin(cluster: &Cluster) -> Self {
        let log = cluster.directory().join("log/rival");
        let said = File::create(&log).unwrap();
        let kubeconfig = cluster.directory().join("pki/inside.kubeconfig");
        // It ends with what it reads from here, since `enter` has a process of its own before it.
        let until_told = r#""$@" & read -r _; kill -9 $!"#;
        let process = cluster
            .enter("control")
            // A program that reads variables of ours refuses those that it does not know.
            .args(["env", "-i", "PATH=/usr/bin:/bin"])
            .arg(format!("KUBECONFIG={}", kubeconfig.display()))
            .args(["bash", "-c", until_told, "rival"])
            .arg(program())
            .args([
                "operator",
                "--image",
                &image(),
                "--image-pull-policy",
                "Never",
            ])
            .args(["--listen-admin", "127.0.0.1:17402", "--pod-name", "rival"])
            .args(["--log", "debug"])
            .stdin(Stdio::piped())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let rival = Self { process, log };
        wait_for("the rival to know the clusters", || {
            assert!(!rival.has_said("error:"), "see {}", rival.log.display());
            rival.has_said("the clusters are known").then_some(())
        });
        rival
    }

    fn has_said(&self, what: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap().contains(what)
    }

    /// Ends it, who must have had a part in what happened.
    fn end(self) {
        assert!(self.has_said("visited"), "the rival has visited no cluster");
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

/// The program that is in the image.
fn program() -> PathBuf {
    let target = format!("target/{}-unknown-linux-gnu", std::env::consts::ARCH);
    root().join(target).join("release/remember")
}
