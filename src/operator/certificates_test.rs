//! Certificates that are missing, damaged, old, or of an authority that is gone.

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::crd::RememberClusterSpec;
use crate::tls::{Files, Identity, Stream};

fn cluster(replicas: i32) -> RememberCluster {
    let spec = json!({
        "replicas": replicas, "storage": {"size": "1Gi"},
        "template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}},
    });
    let spec: RememberClusterSpec = serde_json::from_value(spec).unwrap();
    let mut cluster = RememberCluster::new("blue", spec);
    cluster.metadata.namespace = Some("shop".to_owned());
    cluster
}

fn after(hours: u64) -> SystemTime {
    SystemTime::now() + Duration::from_hours(hours)
}

const DAY: u64 = 24;

/// Two Secrets, and what becomes of them.
#[derive(Default)]
struct Shelf(Held);

impl Shelf {
    fn new() -> Self {
        let mut shelf = Self::default();
        assert!(shelf.renew(0).unwrap(), "there was nothing");
        shelf
    }

    /// Writes what is to be written; whether anything was.
    fn renew(&mut self, hours: u64) -> Result<bool, CertificateError> {
        let Plan { authority, members } = renew(&cluster(3), 3, &self.0, after(hours))?;
        let is_new = authority.is_some() || members.is_some();
        self.0.authority = authority.or_else(|| self.0.authority.take());
        self.0.members = members.or_else(|| self.0.members.take());
        // A second look never finds more to do.
        let again = renew(&cluster(3), 3, &self.0, after(hours))?;
        assert_eq!(again, Plan::default());
        Ok(is_new)
    }

    fn members(&self) -> &Data {
        self.0.members.as_ref().unwrap()
    }

    fn members_mut(&mut self) -> &mut Data {
        self.0.members.as_mut().unwrap()
    }

    fn roots(&self) -> Roots {
        trusted(self.0.members.as_ref())
    }

    fn shown(&self, pod: &str) -> Issued {
        let [certificate, key] = files(pod);
        issued(self.members(), &certificate, &key).unwrap()
    }

    /// Whether every pod with these Secrets accepts every pod with those, and the other way round.
    #[track_caller]
    fn demand_peace(&self, other: &Self, hours: u64) {
        for (pod, subject) in subjects(&cluster(3), 3).unwrap() {
            for (shows, trusts) in [(self, other), (other, self), (self, self)] {
                let shown = shows.shown(&pod);
                let checked = shown.check(&subject, &trusts.roots(), after(hours));
                assert!(checked.is_ok(), "{pod}: {checked:?}");
            }
        }
    }

    fn copy(&self) -> Self {
        Self(self.0.clone())
    }
}

#[test]
fn every_pod_gets_a_certificate_and_no_pod_the_key_of_the_authority() {
    let mut shelf = Shelf::new();
    let keys: Vec<_> = shelf.members().keys().map(String::as_str).collect();
    let due = [
        "blue-0.crt",
        "blue-0.key",
        "blue-1.crt",
        "blue-1.key",
        "blue-2.crt",
        "blue-2.key",
        "ca.crt",
        "changed",
    ];
    assert_eq!(keys, due);
    let key = &shelf.0.authority.as_ref().unwrap()[ROOT_KEY];
    assert!(shelf.members().values().all(|value| value != key));
    shelf.demand_peace(&shelf.copy(), 0);
    assert!(!shelf.renew(0).unwrap(), "nothing is due yet");
    assert!(!shelf.renew(59 * DAY).unwrap(), "nothing is due yet");
    let shown = format!("{:?}", shelf.0);
    assert!(
        shown.contains("blue-2.key") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

#[test]
fn new_pods_get_theirs_and_those_of_others_stay_as_they_are() {
    let shelf = Shelf::new();
    let renew = |members, held: &Held| renew(&cluster(3), members, held, after(1)).unwrap().members;
    let five = renew(5, &shelf.0).unwrap();
    assert!(five.contains_key("blue-4.crt") && five.contains_key("blue-4.key"));
    assert_eq!(five["blue-0.crt"], shelf.members()["blue-0.crt"]);
    let grown = Held {
        members: Some(five),
        ..shelf.0.clone()
    };
    assert_eq!(
        renew(5, &grown),
        None,
        "a pod that is still there keeps its own"
    );
    let four = renew(4, &grown).unwrap();
    assert!(four.contains_key("blue-3.crt") && !four.contains_key("blue-4.crt"));
    // No StatefulSet that was raised by hand makes more members than a cluster can have.
    let most = renew(1 << 40, &grown).unwrap();
    assert!(most.contains_key("blue-8.crt") && !most.contains_key("blue-9.crt"));
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_others_take_it() {
    let mut shelf = Shelf::new();
    let before = shelf.copy();
    assert!(shelf.renew(61 * DAY).unwrap());
    assert_eq!(shelf.0.authority, before.0.authority);
    assert_ne!(shelf.shown("blue-0"), before.shown("blue-0"));
    shelf.demand_peace(&before, 61 * DAY);
}

#[test]
fn what_is_missing_or_damaged_or_anothers_is_made_anew_alone() {
    let damages: [fn(&mut Data); 5] = [
        |data| drop(data.remove("blue-1.crt")),
        |data| drop(data.remove("blue-1.key")),
        |data| drop(data.insert("blue-1.crt".to_owned(), vec![0xff])),
        |data| drop(data.insert("blue-1.key".to_owned(), data["blue-0.key"].clone())),
        |data| {
            for end in ["crt", "key"] {
                data.insert(
                    format!("blue-1.{end}"),
                    data[&format!("blue-0.{end}")].clone(),
                );
            }
        },
    ];
    for damage in damages {
        let mut shelf = Shelf::new();
        let before = shelf.copy();
        damage(shelf.members_mut());
        assert!(shelf.renew(1).unwrap());
        assert_ne!(shelf.shown("blue-1"), before.shown("blue-1"));
        assert_eq!(shelf.shown("blue-2"), before.shown("blue-2"));
        shelf.demand_peace(&before, 1);
    }
    // What is none of ours goes, and a damaged list of authorities is mended.
    let mut shelf = Shelf::new();
    let before = shelf.copy();
    shelf.members_mut().insert("more".to_owned(), Vec::new());
    shelf
        .members_mut()
        .insert(ROOTS.to_owned(), b"nothing".to_vec());
    assert!(shelf.renew(1).unwrap());
    assert!(!shelf.members().contains_key("more"));
    assert_eq!(shelf.shown("blue-0"), before.shown("blue-0"));
    shelf.demand_peace(&before, 1);
}

#[test]
fn a_lost_authority_is_followed_by_another_without_a_moment_of_strangers() {
    let losses: [fn(&mut Held); 3] = [
        |held| held.authority = None,
        |held| drop(held.authority.as_mut().unwrap().remove(ROOT_KEY)),
        |held| {
            let data = held.authority.as_mut().unwrap();
            data.insert(ROOT_KEY.to_owned(), b"rot".to_vec());
        },
    ];
    for loss in losses {
        let mut shelf = Shelf::new();
        let first = shelf.copy();
        loss(&mut shelf.0);
        assert!(shelf.renew(48).unwrap());
        assert_eq!(shelf.roots().count(), 2);
        assert_eq!(
            shelf.shown("blue-0"),
            first.shown("blue-0"),
            "trust comes first"
        );
        shelf.demand_peace(&first, 48);
        assert!(!shelf.renew(71).unwrap(), "a kubelet may be late");
        let second = shelf.copy();
        assert!(shelf.renew(73).unwrap());
        assert_ne!(shelf.shown("blue-0"), first.shown("blue-0"));
        assert_eq!(shelf.roots().count(), 2);
        shelf.demand_peace(&second, 73);
        assert!(!shelf.renew(96).unwrap(), "a kubelet may be late");
        let third = shelf.copy();
        assert!(shelf.renew(98).unwrap());
        assert_eq!(shelf.roots().count(), 1);
        shelf.demand_peace(&third, 98);
        assert!(!shelf.renew(120).unwrap());
    }
}

#[test]
fn an_authority_that_is_lost_again_and_again_cuts_nobody_off() {
    let mut shelf = Shelf::new();
    let first = shelf.copy();
    for _ in 2..=AUTHORITIES_MAX {
        shelf.0.authority = None;
        assert!(shelf.renew(48).unwrap());
        shelf.demand_peace(&first, 48);
    }
    shelf.0.authority = None;
    let refused = shelf.renew(48).unwrap_err();
    assert!(matches!(refused, CertificateError::Restless), "{refused}");
    assert!(refused.to_string().contains("8 times within a day"));
    // After that day only those count whose certificates are still shown.
    assert!(shelf.renew(73).unwrap());
    assert_eq!(shelf.roots().count(), 2);
    shelf.demand_peace(&first, 73);
}

#[test]
fn nobody_waits_with_a_certificate_that_has_ended() {
    let mut shelf = Shelf::new();
    shelf.0.authority = None;
    assert!(shelf.renew(91 * DAY).unwrap());
    shelf.demand_peace(&shelf.copy(), 91 * DAY);
}

#[test]
fn the_time_of_the_last_change_is_never_believed_blindly() {
    for told in ["", "soon", "99999999999999999999", "9999999999999999"] {
        let mut shelf = Shelf::new();
        shelf.0.authority = None;
        assert!(shelf.renew(48).unwrap());
        let before = shelf.copy();
        shelf.members_mut().insert(CHANGED.to_owned(), told.into());
        assert!(shelf.renew(96).unwrap());
        assert_eq!(shelf.shown("blue-0"), before.shown("blue-0"), "{told}");
        assert!(shelf.renew(121).unwrap());
        assert_ne!(shelf.shown("blue-0"), before.shown("blue-0"), "{told}");
    }
}

#[test]
fn an_authority_ends_in_time_for_the_next_one() {
    let shelf = Shelf::new();
    let due = renew(&cluster(3), 3, &shelf.0, after(10 * 365 * DAY)).unwrap();
    assert!(due.authority.is_some());
    let early = renew(&cluster(3), 3, &shelf.0, after(8 * 365 * DAY)).unwrap();
    assert_eq!(early.authority, None);
}

#[test]
fn a_name_that_no_certificate_can_hold_is_refused() {
    let mut cluster = cluster(3);
    cluster.metadata.name = Some("Blue".to_owned());
    let refused = renew(&cluster, 3, &Held::default(), after(0)).unwrap_err();
    assert!(
        refused.to_string().contains("\"Blue.shop\" cannot name"),
        "{refused}"
    );
}

/// The files of a pod, as the kubelet would put them there.
struct Mount(std::path::PathBuf);

impl Mount {
    fn new(name: &str, shelf: &Shelf) -> Self {
        let name = format!("remember-certificates-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        for (key, value) in shelf.members() {
            std::fs::write(path.join(key), value).unwrap();
        }
        Self(path)
    }

    fn identity(&self, pod: &str, id: u64) -> Identity {
        let files = Files {
            certificate: self.0.join(format!("{pod}.crt")),
            key: self.0.join(format!("{pod}.key")),
            authority: self.0.join(ROOTS),
        };
        Identity::read(files, NodeId(id)).unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// How the operator fares that dials a pod and looks for a member there.
async fn dial(held: &Held, identity: Identity, sought: u64) -> Result<Stream, tls::Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let member = MemberName {
        cluster: cluster_name(&cluster(3)).unwrap(),
        id: NodeId(sought),
    };
    let accept = async {
        let (tcp, _) = listener.accept().await.unwrap();
        identity.accept_client(tcp).await
    };
    let connector = connector(held).unwrap();
    let connect = async {
        let tcp = TcpStream::connect(at).await.unwrap();
        connector.connect_member(tcp, &member).await
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    connected.and_then(|stream| accepted.map(|_| stream))
}

#[tokio::test]
async fn the_operator_reaches_the_member_that_it_looks_for_and_no_other() {
    let mut shelf = Shelf::new();
    let mount = Mount::new("dial", &shelf);
    let reached = dial(&shelf.0, mount.identity("blue-1", 2), 2).await;
    assert!(matches!(reached, Ok(Stream::Tls(_))), "{reached:?}");
    let refused = dial(&shelf.0, mount.identity("blue-1", 2), 1).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("not for 1.blue.shop.remember"),
        "{refused}"
    );

    // Another authority follows: pods that have the new Secret still show the old certificate.
    shelf.0.authority = None;
    let without = connector(&shelf.0).unwrap_err();
    assert!(
        matches!(without, CertificateError::NoAuthority),
        "{without}"
    );
    assert!(shelf.renew(0).unwrap());
    let mount = Mount::new("next", &shelf);
    let reached = dial(&shelf.0, mount.identity("blue-1", 2), 2).await;
    assert!(reached.is_ok(), "{reached:?}");
}
