//! What is said of files that cannot be used, and what a change of them does. Who is let in is
//! tested over whole nodes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Authority, Connector, Error, Files, Identity, Issued, MemberName, Subject};
use crate::consensus::NodeId;

const DAY: Duration = Duration::from_hours(24);

/// A directory that goes with the test, and an authority.
struct Desk {
    path: PathBuf,
    authority: Authority,
    root: Issued,
}

impl Desk {
    fn new(name: &str) -> Self {
        let name = format!("remember-tls-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        let (authority, root) = Authority::make().unwrap();
        Self {
            path,
            authority,
            root,
        }
    }

    fn member(&self, id: u64, cluster: &str) -> Issued {
        let name = MemberName {
            cluster: cluster.parse().unwrap(),
            id: NodeId(id),
        };
        let hosts = vec!["localhost".to_owned()];
        let subject = Subject::Member { name, hosts };
        self.authority.issue(&subject, DAY).unwrap()
    }

    /// Where everything is, with these contents.
    fn files(&self, certificate: &str, key: &str, authority: &str) -> Files {
        let put = |name: &str, text: &str| {
            let path = self.path.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        Files {
            certificate: put("node.crt", certificate),
            key: put("node.key", key),
            authority: put("ca.crt", authority),
        }
    }

    fn files_of(&self, issued: &Issued) -> Files {
        self.files(&issued.certificate, &issued.key, &self.root.certificate)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

fn complaint(files: Files) -> String {
    Identity::read(files, NodeId(3)).unwrap_err().to_string()
}

#[track_caller]
fn demand(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
}

#[test]
fn a_member_is_who_its_certificate_says() {
    let desk = Desk::new("member");
    let files = desk.files_of(&desk.member(3, "blue"));
    let identity = Identity::read(files.clone(), NodeId(3)).unwrap();
    assert_eq!(identity.name().to_string(), "3.blue.remember");
    assert!(Connector::read(&files).is_ok());
    // No key is ever shown.
    let shown = format!("{identity:?} {:?}", desk.member(1, "blue"));
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

/// Pods have no fixed addresses that a certificate could name.
#[test]
fn a_member_that_is_a_client_knows_what_the_others_are_called() {
    let desk = Desk::new("siblings");
    let sibling = |issued: &Issued| {
        let connector = Connector::read(&desk.files_of(issued)).unwrap();
        connector.sibling(NodeId(1)).map(|name| name.to_string())
    };
    let member = desk.member(3, "blue");
    assert_eq!(sibling(&member).as_deref(), Some("1.blue.remember"));
    let client = Subject::Client("alice".to_owned());
    let client = desk.authority.issue(&client, DAY).unwrap();
    assert_eq!(sibling(&client), None);
}

#[test]
fn an_authority_goes_on_where_its_key_was_kept() {
    let desk = Desk::new("kept");
    let again = Authority::open(&desk.root.certificate, &desk.root.key).unwrap();
    let name = desk.member(3, "blue");
    let later = Desk {
        path: desk.path.clone(),
        authority: again,
        root: desk.root.clone(),
    };
    assert_ne!(later.member(3, "blue"), name);
    let files = later.files_of(&later.member(3, "blue"));
    assert!(Identity::read(files, NodeId(3)).is_ok());
    let (_, other) = Authority::make().unwrap();
    for (certificate, key) in [
        (&desk.root.certificate, &other.key),
        (&desk.root.certificate, &"nothing".to_owned()),
        (&String::new(), &desk.root.key),
    ] {
        assert!(Authority::open(certificate, key).is_err());
    }
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let desk = Desk::new("wrong");
    let own = desk.member(3, "blue");
    let (certificate, key, root) = (&own.certificate, &own.key, &desk.root.certificate);

    let mut missing = desk.files(certificate, key, root);
    missing.key = desk.path.join("nowhere.key");
    demand(&complaint(missing), &["cannot read the key", "nowhere.key"]);
    let long = "x".repeat((1 << 20) + 1);
    demand(
        &complaint(desk.files(&long, key, root)),
        &["cannot read the certificate"],
    );

    let nothing = desk.files("nothing", key, root);
    demand(
        &complaint(nothing),
        &["node.crt holds no certificate in PEM"],
    );
    let torn = desk.files(&certificate[..certificate.len() / 2], key, root);
    demand(&complaint(torn), &["node.crt holds no certificate in PEM"]);
    let no_key = desk.files(certificate, certificate, root);
    demand(
        &complaint(no_key),
        &["node.key holds no private key in PEM"],
    );
    let no_root = desk.files(certificate, key, "");
    demand(&complaint(no_root), &["ca.crt holds no authority in PEM"]);
    let rotten = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    demand(
        &complaint(desk.files(certificate, key, rotten)),
        &["ca.crt holds no authority"],
    );
    demand(
        &complaint(desk.files(rotten, key, root)),
        &["node.crt cannot be used"],
    );

    let other = desk.member(3, "blue");
    let mixed = desk.files(certificate, &other.key, root);
    demand(&complaint(mixed), &["node.key does not match", "node.crt"]);
    let (_, stranger) = Authority::make().unwrap();
    let foreign = desk.files(certificate, key, &stranger.certificate);
    demand(&complaint(foreign), &["was not issued by the authority"]);
}

#[test]
fn a_certificate_for_another_use_or_time_is_not_used() {
    let desk = Desk::new("use");
    let second = desk.member(2, "blue");
    let sentence = complaint(desk.files_of(&second));
    demand(
        &sentence,
        &[
            "is for 2.blue.remember",
            "not for member 3",
            "3.CLUSTER.remember",
        ],
    );
    let client = desk.authority.issue(&Subject::Client("me".to_owned()), DAY);
    let files = desk.files_of(&client.unwrap());
    assert!(Connector::read(&files).is_ok(), "it is a client's");
    demand(&complaint(files), &["is for nobody by name"]);

    let member = |hosts: &[&str]| Subject::Member {
        name: MemberName::parse("3.blue.remember").unwrap(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    };
    let two = desk.authority.issue(&member(&["3.red.remember"]), DAY);
    let sentence = complaint(desk.files_of(&two.unwrap()));
    demand(
        &sentence,
        &["3.blue.remember, 3.red.remember", "one cluster"],
    );
    let wrong = desk.authority.issue(&member(&["a b"]), DAY);
    demand(&wrong.unwrap_err().to_string(), &["\"a b\" cannot stand"]);

    let now = SystemTime::now();
    let issue = |from, until| {
        let issued = desk.authority.issue_between(&member(&[]), from, until);
        complaint(desk.files_of(&issued.unwrap()))
    };
    demand(
        &issue(now - 2 * DAY, now - DAY),
        &["node.crt", "has expired"],
    );
    demand(
        &issue(now + DAY, now + 2 * DAY),
        &["node.crt", "is not valid yet"],
    );
}

#[tokio::test]
async fn a_change_is_taken_if_it_is_of_use() {
    let desk = Desk::new("change");
    let files = desk.files_of(&desk.member(3, "blue"));
    let identity = Identity::read(files, NodeId(3)).unwrap();
    assert!(!identity.refresh().await.unwrap(), "nothing has changed");
    desk.files_of(&desk.member(3, "blue"));
    assert!(identity.clone().refresh().await.unwrap());
    assert!(!identity.refresh().await.unwrap(), "clones change together");

    // What is half written, gone, or another's is left alone.
    let next = desk.member(3, "blue");
    let half = desk.files(&next.certificate, "", &desk.root.certificate);
    let refused = identity.refresh().await.unwrap_err();
    assert!(matches!(refused, Error::NotPem { .. }), "{refused}");
    fs::remove_file(half.key).unwrap();
    let refused = identity.refresh().await.unwrap_err();
    assert!(matches!(refused, Error::Unreadable { .. }), "{refused}");
    desk.files_of(&desk.member(3, "red"));
    let refused = identity.refresh().await.unwrap_err().to_string();
    demand(
        &refused,
        &["is now for 3.red.remember, but this node is 3.blue.remember"],
    );
    desk.files_of(&next);
    assert!(identity.refresh().await.unwrap());
}
