//! Links between members over mutual TLS: who is let in, who is not, and who says so.

use std::time::Duration;

use bytes::BytesMut;
use remember::consensus::{Incarnation, NodeId};
use remember::state::{Command, Condition};
use remember::tls::{Authority, Subject};
use remember::wire::{Address, Dialer, Introduction, Verdict};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};
use crate::tls_desk::{DAY, Desk, Ear};

/// Writes at a node, which all have to agree on but one.
async fn write(cluster: &Cluster, id: u64, key: &str) {
    let command = Command::Put {
        key: key.to_owned().into(),
        value: "x".into(),
        condition: Condition::Always,
    };
    cluster.handle(id).write(&command).await.unwrap();
}

/// Waits until a node has what was written.
async fn read(cluster: &Cluster, id: u64, key: &str) {
    let handle = cluster.handle(id);
    handle.catch_up().await.unwrap();
    assert!(handle.store().view().find(key.as_bytes()).is_some());
}

/// Waits until a node has a leader again.
async fn follows(cluster: &Cluster, id: u64) {
    while cluster.handle(id).status().leader.is_none() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn members_over_mutual_tls_elect_and_agree() {
    on_one_thread(async {
        let desk = Desk::new("agree");
        let mut cluster = desk.cluster("tls-agree", 3).await;
        let leader = cluster.leader().await;
        for id in 1..=3 {
            write(&cluster, id, &format!("from-{id}")).await;
        }
        // A value of many records of TLS.
        let large = Command::Put {
            key: "large".into(),
            value: vec![7; 1 << 20].into(),
            condition: Condition::Always,
        };
        cluster.handle(leader).write(&large).await.unwrap();
        cluster.stop(leader).await;
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        cluster.restart(leader).await;
        follows(&cluster, leader).await;
        read(&cluster, leader, "large").await;
        cluster.end().await;
    });
}

#[test]
fn a_member_of_another_cluster_is_refused_and_both_sides_say_so() {
    on_one_thread(async {
        let desk = Desk::new("red");
        let mut cluster = desk.cluster("tls-red", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        cluster.leader().await;
        let red = desk.issue(&Desk::member(3, "red"));
        desk.confuse(3, Some(desk.files("red", &red)));
        let ear = Ear::open();
        cluster.restart(3).await;
        // Those who dial it, and it itself when it is dialled; and the other way round.
        ear.wait_for("its certificate is for 3.red.remember").await;
        ear.wait_for("it looked here for 3.blue.remember, but this is 3.red.remember")
            .await;
        ear.wait_for("it looked here for 1.red.remember, but this is 1.blue.remember")
            .await;
        write(&cluster, 1, "without-3").await;
        assert_eq!(cluster.handle(3).status().leader, None);
        assert_eq!(ear.count("link up peer=3"), 0);
        drop(ear);
        cluster.stop(3).await;
        cluster.restart(3).await;
        follows(&cluster, 3).await;
        read(&cluster, 3, "without-3").await;
        cluster.end().await;
    });
}

#[test]
fn a_member_of_another_authority_is_refused_and_both_sides_say_so() {
    on_one_thread(async {
        let (desk, other) = (Desk::new("ours"), Desk::new("theirs"));
        let mut cluster = desk.cluster("tls-authority", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        cluster.leader().await;
        desk.confuse(3, Some(other.renew(3)));
        let ear = Ear::open();
        cluster.restart(3).await;
        ear.wait_for("was not issued by the authority that is trusted here")
            .await;
        ear.wait_for("it refuses this side's certificate").await;
        write(&cluster, 1, "without-3").await;
        assert_eq!(cluster.handle(3).status().leader, None);
        assert_eq!(ear.count("link up peer=3"), 0);
        cluster.end().await;
    });
}

#[test]
fn a_member_without_tls_is_told_to_switch_it_on() {
    on_one_thread(async {
        let desk = Desk::new("plain");
        let mut cluster = desk.cluster("tls-plain", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        cluster.leader().await;
        desk.confuse(3, None);
        let ear = Ear::open();
        cluster.restart(3).await;
        // By those who speak TLS, and by the one that does not.
        ear.wait_for("it does not speak TLS; switch TLS on, or off, on both sides")
            .await;
        ear.wait_for("which is TLS; switch it on, or off, on both sides")
            .await;
        write(&cluster, 1, "without-3").await;
        assert_eq!(ear.count("link up peer=3"), 0);
        cluster.end().await;
    });
}

fn introduction(id: u64, expects: u64) -> Introduction {
    let address = |port| Address {
        host: "127.0.0.1".to_owned(),
        port,
    };
    Introduction {
        id: NodeId(id),
        expects: NodeId(expects),
        incarnation: Incarnation(7),
        api: address(1),
        peer: address(2),
        member: None,
        registers: false,
    }
}

/// Introduces itself, and returns the verdict, or how the connection ended.
async fn introduce(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ours: &Introduction,
) -> Result<Verdict, String> {
    let mut opening = BytesMut::new();
    let mut dialer = Dialer::new(ours, &mut opening).unwrap();
    drop(stream.write_all(&opening).await);
    drop(stream.flush().await);
    loop {
        if let Some(answer) = dialer.answer().map_err(|error| error.to_string())? {
            return Ok(answer.verdict);
        }
        let read = stream.read_buf(dialer.space()).await;
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("ended".to_owned());
        }
    }
}

#[test]
fn a_member_is_not_taken_for_another_by_its_certificate() {
    on_one_thread(async {
        let desk = Desk::new("claims");
        let cluster = desk.cluster("tls-claims", 3).await;
        cluster.leader().await;
        let ear = Ear::open();
        let claims = [
            (
                Desk::member(2, "blue"),
                "2.blue.remember, not for 3.blue.remember",
            ),
            (
                Desk::member(3, "red"),
                "of another cluster than 3.blue.remember",
            ),
            (
                Subject::Client("operator".to_owned()),
                "nobody by name, not for 3.blue.remember",
            ),
        ];
        for (subject, part) in &claims {
            let issued = desk.issue(subject);
            let stranger = desk.stranger(Some(&issued)).speaking("remember-peer");
            let stream = stranger.connect(cluster.peer(1), "1.blue.remember").await;
            let verdict = introduce(&mut stream.unwrap(), &introduction(3, 1)).await;
            let Ok(Verdict::Refused { sentence, .. }) = verdict else {
                panic!("{verdict:?}");
            };
            assert!(
                sentence.contains("node 3 showed a certificate for"),
                "{sentence}"
            );
            assert!(sentence.contains(part), "{sentence}");
            assert!(ear.heard().contains(&sentence), "{}", ear.heard());
        }
        // The right one gets further: its disk is fresh, so there is nothing to send yet.
        let issued = desk.issue(&Desk::member(3, "blue"));
        let stranger = desk.stranger(Some(&issued)).speaking("remember-peer");
        let stream = stranger.connect(cluster.peer(1), "1.blue.remember").await;
        let verdict = introduce(&mut stream.unwrap(), &introduction(3, 1)).await;
        assert_eq!(verdict, Ok(Verdict::Noted));
        cluster.end().await;
    });
}

#[test]
fn whoever_has_no_certificate_of_ours_is_not_even_heard() {
    on_one_thread(async {
        let desk = Desk::new("nobody");
        let cluster = desk.cluster("tls-nobody", 3).await;
        cluster.leader().await;
        let (foreign, _) = Authority::make().unwrap();
        let foreign = foreign.issue(&Desk::member(3, "blue"), DAY).unwrap();
        let expired = desk.issue_expired(&Desk::member(3, "blue"));
        let own = desk.issue(&Desk::member(3, "blue"));
        let strangers = [
            (desk.stranger(None), "remember-peer", "CertificateRequired"),
            (desk.stranger(Some(&foreign)), "remember-peer", "alert"),
            (
                desk.stranger(Some(&expired)),
                "remember-peer",
                "CertificateExpired",
            ),
            (
                desk.stranger(Some(&own)),
                "http/1.1",
                "NoApplicationProtocol",
            ),
        ];
        for (stranger, protocol, part) in strangers {
            let stranger = stranger.speaking(protocol);
            let connected = stranger.connect(cluster.peer(1), "1.blue.remember").await;
            let ended = match connected {
                Ok(mut stream) => introduce(&mut stream, &introduction(3, 1))
                    .await
                    .unwrap_err(),
                Err(error) => error.to_string(),
            };
            assert!(ended.contains(part), "{part}: {ended}");
        }
        write(&cluster, 2, "still").await;
        cluster.end().await;
    });
}

/// The beginning of a connection by TLS, which then stalls.
const HALF_A_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
];

#[test]
fn garbage_and_half_handshakes_end_and_hold_nobody_up() {
    on_one_thread(async {
        let desk = Desk::new("garbage");
        let mut cluster = desk.cluster("tls-garbage", 3).await;
        cluster.leader().await;
        cluster.stop(3).await;
        let mut stalled = Vec::new();
        for _ in 0..20 {
            for id in 1..=2 {
                let mut stream = TcpStream::connect(cluster.peer(id)).await.unwrap();
                stream.write_all(HALF_A_HELLO).await.unwrap();
                stalled.push(stream);
            }
        }
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"remember",
            &[0x16; 4096],
            &[0; 9],
        ] {
            let mut stream = TcpStream::connect(cluster.peer(1)).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said).await);
            assert!(said.len() <= 7, "an alert at most: {said:?}");
        }
        // Others get in meanwhile.
        cluster.restart(3).await;
        follows(&cluster, 3).await;
        write(&cluster, 3, "meanwhile").await;
        for mut stream in stalled {
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said).await);
            assert!(said.is_empty(), "{said:?}");
        }
        cluster.end().await;
    });
}

#[test]
fn new_certificates_are_shown_and_links_stay() {
    on_one_thread(async {
        let desk = Desk::new("renewed");
        let ear = Ear::open();
        let cluster = desk.cluster("tls-renewed", 3).await;
        cluster.leader().await;
        // Each of the three dials the two others.
        while ear.count("link up") < 6 {
            sleep(Duration::from_millis(5)).await;
        }
        let term = cluster.handle(1).status().term;
        let mut shown = Vec::new();
        for id in 1..=3 {
            let issued = desk.issue(&Desk::member(id, "blue"));
            desk.files(&format!("member-{id}"), &issued);
            assert!(desk.identity(id).refresh().await.unwrap());
            shown.push(issued);
        }
        for id in 1..=3 {
            write(&cluster, id, &format!("renewed-{id}")).await;
        }
        assert_eq!(ear.count("link up"), 6, "{}", ear.heard());
        assert_eq!(cluster.handle(1).status().term, term);
        let stranger = desk.stranger(Some(&shown[1])).speaking("remember-peer");
        let stream = stranger
            .connect(cluster.peer(1), "1.blue.remember")
            .await
            .unwrap();
        let seen = stream.get_ref().1.peer_certificates().unwrap();
        let newest = CertificateDer::from_pem_slice(shown[0].certificate.as_bytes()).unwrap();
        assert_eq!(seen, [newest]);
        cluster.end().await;
    });
}
