//! Hostile clients: requests mutated at random, one connection each. Whatever comes, nothing
//! panics, the connection ends, answers are of the known kinds, and nothing is held afterwards.
//!
//! `REMEMBER_FUZZ_INPUTS` sets how many; the number of an input is its seed, and a failure names
//! it. `REMEMBER_FUZZ_SEED` begins with another one, or goes straight to one. What broke a promise
//! stays in `tests/corpus/http` once it is mended.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{sleep, timeout};

use super::client::LOCAL;
use super::corpus::{assert_bounded, number, replay};
use super::hex;
use super::{Fixture, Limits, run};
use crate::node::fake::Mood;
use crate::state::Command;

const INPUTS_DEFAULT: u64 = 10_000;

/// More than any wait of the server but for its event streams, which end when their clients do.
/// The clock of these tests runs only while all wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// Long enough for an answer; more than twenty are longer than any body is waited for.
const PAUSE: Duration = Duration::from_secs(2);

/// The most that one connection is answered, in bytes: a value of 1 MiB in base64, many times.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Requests that mutation starts from, and what each is answered unmutated.
fn corpus() -> Vec<(Vec<u8>, &'static str)> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: [::1]\r\n\r\n").into_bytes();
    let put = |headers: &str, value: &str| {
        let len = value.len();
        format!(
            "PUT /v1/kv/k HTTP/1.1\r\nhost: [::1]\r\ncontent-length: {len}\r\n{headers}\r\n{value}"
        )
        .into_bytes()
    };
    let post = |headers: &str, body: &str| {
        let len = body.len();
        format!(
            "POST /v1/leader/transfer HTTP/1.1\r\nhost: [::1]\r\ncontent-length: {len}\r\n\
             {headers}\r\n{body}"
        )
        .into_bytes()
    };
    let chunked = b"PUT /v1/kv/c%2f HTTP/1.1\r\nhost: [::1]\r\ntransfer-encoding: chunked\r\n\r\n\
                    3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
    let delete = b"DELETE /v1/kv/d HTTP/1.1\r\nhost: [::1]\r\nif-match: \"7\"\r\n\r\n";
    let json = "content-type: application/json\r\n";
    let resumed = b"GET /v1/kv?watch=9 HTTP/1.1\r\nhost: [::1]\r\nlast-event-id: 2\r\n\r\n";
    let pipelined = [
        put("", "x"),
        get("/v1/kv/k"),
        get("/v1/leader"),
        put("", "y"),
    ]
    .concat();
    vec![
        (get("/v1/cluster"), "200"),
        (get("/v1/leader"), "200"),
        (get("/v1/members"), "200"),
        (get("/v1/watch"), "200"),
        (get("/v1/kv/none"), "404"),
        (get("/v1/kv/none?consistency=stale"), "404"),
        (get("/v1/kv?prefix=k%00&limit=5&after=k"), "200"),
        (get("/v1/kv?watch=0&prefix="), "200"),
        (resumed.to_vec(), "200"),
        (put("", "value"), "201"),
        (put("if-none-match: *\r\n", "value"), "412"),
        (put("if-match: \"99\"\r\n", "value"), "412"),
        (put("expect: 100-continue\r\n", "value"), "204"),
        (chunked.to_vec(), "201"),
        (delete.to_vec(), "412"),
        (pipelined, "204"),
        (post(json, "{\"to\": 9}"), "400"),
        (post("origin: x\r\n", ""), "403"),
        (b"GET /v1/leader HTTP/1.0\r\n\r\n".to_vec(), "200"),
        (b"OPTIONS * HTTP/1.1\r\nhost: [::1]\r\n\r\n".to_vec(), "404"),
        (http2("GET", b"/v1/leader", b""), "h2"),
        (http2("PUT", b"/v1/kv/h", b"value"), "h2"),
        (http2("GET", b"/v1/kv?watch=0", b""), "h2"),
    ]
}

/// One request over HTTP/2, with every header as plain as can be.
fn http2(method: &str, path: &[u8], body: &[u8]) -> Vec<u8> {
    let literal = |name: u8, value: &[u8]| {
        let len = u8::try_from(value.len()).unwrap();
        [&[name, len], value].concat()
    };
    let head = [
        literal(0x02, method.as_bytes()),
        literal(0x04, path),
        literal(0x01, b"localhost"),
        vec![0x86],
    ];
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let end = u8::from(body.is_empty());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    bytes.extend(frame(1, 4 | end, 1, &head.concat()));
    if !body.is_empty() {
        bytes.extend(frame(0, 1, 1, body));
    }
    bytes
}

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b"%",
    b"%00",
    b"%ff%fe",
    b"&",
    b"=",
    b"?",
    b"../",
    b" HTTP/1.1\r\n",
    b"content-length: 18446744073709551616\r\n",
    b"content-length: 1048577\r\n",
    b"content-length: -1\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n",
    b"expect: 100-continue\r\n",
    b"if-match: \"18446744073709551615\"\r\n",
    b"last-event-id: 18446744073709551615\r\n",
    b"watch=18446744073709551615",
    b"limit=10000",
    b"ffffffffffffffff\r\n",
    b"\xff\xff\xff\x09\x00\x00\x00\x00\x01",
];

/// How the node feels; mostly well.
const MOODS: [Mood; 6] = [
    Mood::Willing,
    Mood::Willing,
    Mood::Willing,
    Mood::Leaderless,
    Mood::Forgetful,
    Mood::Silent,
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn mutated(corpus: &[(Vec<u8>, &str)], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(corpus).0.clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let until = (at + 1 + random.below(12)).min(bytes.len());
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.byte(),
            2 => drop(bytes.drain(at..until)),
            3 => bytes.truncate(at),
            4 => {
                let copy = bytes[at..until].to_vec();
                bytes.splice(at..at, copy);
            }
            5 | 6 => {
                let piece = *random.pick(&PIECES);
                bytes.splice(at..at, piece.iter().copied());
            }
            7 => {
                let other = &random.pick(corpus).0;
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => {
                let many = [1, 100, 3000, 70_000][random.below(4)];
                let byte = random.byte();
                bytes.splice(at..at, std::iter::repeat_n(byte, many));
            }
        }
    }
    bytes
}

/// Sends the input and, after a pause, its end; returns all that comes back until the connection
/// ends, or until the client is tired of it and goes.
async fn answer_to(fixture: &Fixture, number: u64, input: &[u8], pause: Duration) -> Vec<u8> {
    let (stream, activity) = fixture.server.connect(LOCAL);
    let (read, mut write) = split(stream);
    let send = async {
        // The server may end the connection before it has read everything.
        if write.write_all(input).await.is_ok() {
            sleep(pause).await;
            write.shutdown().await.ok();
        }
    };
    let mut answer = Vec::new();
    let mut limited = read.take(ANSWER_BYTES_MAX + 1);
    let both = async { tokio::join!(send, limited.read_to_end(&mut answer)) };
    timeout(PATIENCE, both).await.ok();
    assert!(answer.len() as u64 <= ANSWER_BYTES_MAX, "input {number}");
    drop((write, limited));
    // A stream learns of it when it says that it is alive.
    sleep(Limits::default().keep_alive * 2).await;
    let held = Rc::strong_count(&activity);
    assert_eq!(held, 1, "the connection of input {number} is held");
    answer
}

/// The status codes in what came back; `h2` for HTTP/2.
fn codes(answer: &[u8]) -> Vec<String> {
    if matches!(answer, [0, _, _, 4, ..]) {
        return vec!["h2".to_owned()];
    }
    let mut codes = Vec::new();
    let mut rest = answer;
    while let Some(end) = rest.windows(4).position(|end| end == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).to_lowercase();
        codes.extend(
            head.strip_prefix("http/1.")
                .map(|line| line[2..5].to_owned()),
        );
        let body = &rest[end + 4..];
        let behind = &body[length(&head, body).min(body.len())..];
        // An answer to HEAD, or to nothing, says how long a body would be and has none.
        let has_body = behind.is_empty() || behind.starts_with(b"HTTP/1.");
        rest = if has_body { behind } else { body };
    }
    codes.retain(|code| code != "100");
    codes
}

/// The length of a body with that head, as far as it has come.
fn length(head: &str, mut body: &[u8]) -> usize {
    let value = |name| head.lines().find_map(|line| line.strip_prefix(name));
    if value("transfer-encoding: chunked").is_none() {
        let unsaid = if head.contains(" 204 ") || head.contains(" 100 ") {
            0
        } else {
            usize::MAX
        };
        return value("content-length: ").map_or(unsaid, |length| length.parse().unwrap());
    }
    let whole = body.len();
    while let Some(end) = body.iter().position(|byte| *byte == b'\n') {
        let size = std::str::from_utf8(&body[..end]).unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        body = body.get(end + 1 + size + 2..).unwrap_or_default();
        if size == 0 {
            return whole - body.len();
        }
    }
    // It is cut off, as an event stream is.
    whole
}

#[test]
fn hostile_requests_are_answered_or_dropped_and_nothing_is_held() {
    const KNOWN: [&str; 18] = [
        "200", "201", "204", "400", "403", "404", "405", "408", "409", "412", "413", "414", "415",
        "431", "503", "504", "507", "h2",
    ];
    let inputs = number("REMEMBER_FUZZ_INPUTS", INPUTS_DEFAULT);
    let first = number("REMEMBER_FUZZ_SEED", 0);
    count_panics();
    run(async {
        let corpus = corpus();
        let fixture = Fixture::new();
        let quota = Command::SetQuota { bytes: 4 << 20 };
        fixture.handle.write(&quota).await.unwrap();
        for (request, expected) in &corpus {
            let answer = answer_to(&fixture, 0, request, PAUSE).await;
            let codes = codes(&answer);
            let text = String::from_utf8_lossy(&answer);
            assert_eq!(codes.last().unwrap(), expected, "{text}");
        }
        let mut seen = BTreeMap::<String, u64>::new();
        for input in first..first + inputs {
            let mut random = Random(input);
            let bytes = mutated(&corpus, &mut random);
            fixture.driver.feel(*random.pick(&MOODS));
            let pause = *random.pick(&[Duration::ZERO, PAUSE, 20 * PAUSE]);
            let answer = answer_to(&fixture, input, &bytes, pause).await;
            for code in codes(&answer) {
                let known = KNOWN.contains(&code.as_str());
                let text = || hex::write(&bytes);
                assert!(known, "input {input} was answered {code}:\n{}", text());
                *seen.entry(code).or_default() += 1;
            }
            let panics = PANICS.with(Cell::get);
            let text = || hex::write(&bytes);
            assert_eq!(panics, 0, "input {input} made something panic:\n{}", text());
        }
        sleep(Duration::from_mins(1)).await;
        assert!(
            fixture.server.holds_nothing(),
            "a share or a stream is lost"
        );
        println!("{inputs} inputs were answered {seen:?}");
    });
    assert_bounded();
}

#[test]
fn every_recorded_request_is_answered_as_recorded() {
    count_panics();
    replay("corpus/http", 20, |recorded| {
        let mut said = String::new();
        run(async {
            let fixture = Fixture::new();
            assert_eq!(recorded.surface, "api");
            let bytes = hex::read(&recorded.input);
            let answer = answer_to(&fixture, 0, &bytes, PAUSE).await;
            said = codes(&answer).join(", ");
            assert_eq!(PANICS.with(Cell::get), 0, "something panicked");
        });
        said
    });
}

/// Counts the panics of this thread, those in the tasks of a connection among them.
fn count_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.with(|panics| panics.set(panics.get() + 1));
        hook(panic);
    }));
}
