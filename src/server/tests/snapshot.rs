//! `/v1/snapshot`: the whole state as a file.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::client::{Client, LOCAL};
use super::{Fixture, Limits, run};
use crate::node::Backup;
use crate::node::fake::Mood;
use crate::state::Store;

const PATH: &str = "/v1/snapshot";

/// A file of this test program, which goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn holding(name: &str, bytes: &[u8]) -> Self {
        let name = format!("backup-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn all_that_is_there_comes_as_a_backup() {
    run(async {
        let fixture = Fixture::new();
        let mut client = fixture.client().await;
        for key in 0..40 {
            let value = vec![b'x'; 10_000 + key];
            client.put(&format!("/v1/kv/{key}"), value).await;
        }
        let answer = client.get(PATH).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
        let file = Scratch::holding("whole", &answer.body);
        let backup = Backup::read(&file.0).unwrap();
        let held = fixture.handle.store();
        assert_eq!(backup.view().hash(), held.view().hash());
        assert_eq!(backup.view().len(), 40);
        assert_eq!(backup.configuration().1.members().count(), 3);
        drop(held);
        // What breaks off, or was changed on its way, is found out.
        let mut damaged = answer.body.to_vec();
        damaged[200_000] ^= 1;
        let cut = &answer.body[..answer.body.len() - 1];
        for (name, bytes) in [("damaged", &damaged[..]), ("cut", cut), ("none", b"")] {
            let file = Scratch::holding(name, bytes);
            let error = Backup::read(&file.0).unwrap_err().to_string();
            assert!(error.contains("is no backup, or is damaged"), "{error}");
        }
    });
}

#[test]
fn a_backup_covers_what_was_acknowledged_unless_asked_otherwise() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.feel(Mood::Leaderless);
        let mut client = fixture.client().await;
        let refused = client.get(PATH).await;
        assert_eq!(refused.status, 503);
        assert!(refused.error().contains("no leader"), "{refused:?}");
        let stale = client.get("/v1/snapshot?consistency=stale").await;
        assert_eq!(stale.status, 200);
        assert_eq!(client.get("/v1/snapshot?x=1").await.status, 400);
        let posted = client.ask("POST", PATH, &[], "").await;
        assert_eq!(posted.status, 405);
    });
}

#[test]
fn nobody_from_afar_and_no_web_page_takes_everything() {
    run(async {
        let fixture = Fixture::new();
        let (stream, _) = fixture.server.connect([192, 0, 2, 7].into());
        let mut far = Client::http1(stream).await;
        let host = [("host", "node1")];
        let refused = far.ask("GET", PATH, &host, "").await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let mut near = Client::http1(fixture.server.connect(LOCAL).0).await;
        let page = [("origin", "http://localhost:8001")];
        let refused = near.ask("GET", PATH, &page, "").await;
        assert_eq!(refused.status, 403, "{refused:?}");
    });
}

#[test]
fn as_many_backups_as_the_limit_says_are_under_way() {
    run(async {
        let limits = Limits {
            snapshots_max: 1,
            ..Limits::default()
        };
        let fixture = Fixture::with(Store::default(), limits);
        let mut client = fixture.client().await;
        for key in 0..8 {
            client
                .put(&format!("/v1/kv/{key}"), vec![b'x'; 500_000])
                .await;
        }
        let begun = fixture.client().await.begin("GET", PATH, &[], "").await;
        assert_eq!(begun.status(), 200);
        let refused = client.get(PATH).await;
        assert_eq!(refused.status, 503);
        assert!(refused.error().contains("too many backups"), "{refused:?}");
        // Whoever goes away leaves room for the next.
        drop(begun);
        while !fixture.server.holds_nothing() {
            tokio::task::yield_now().await;
        }
        let answer = client.get(PATH).await;
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn a_node_that_does_not_answer_gives_no_backup() {
    run(async {
        let fixture = Fixture::new();
        fixture.driver.feel(Mood::Silent);
        let mut client = fixture.client().await;
        let asked = client.get("/v1/snapshot?consistency=stale");
        let refused = timeout(Duration::from_mins(1), asked).await.unwrap();
        assert_eq!(refused.status, 503);
        assert!(refused.error().contains("overloaded"), "{refused:?}");
    });
}
