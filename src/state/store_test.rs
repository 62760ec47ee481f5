use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::consensus::Term;
use crate::state::{Condition, PAGE_BYTES_MAX, QUOTA_BYTES_DEFAULT, Record, VALUE_BYTES_MAX};

impl Store {
    /// Applies bytes as the next entry.
    fn apply_bytes(&mut self, bytes: Bytes) -> Outcome {
        let last = self.view().position();
        let position = Position {
            term: Term(last.term.0.max(1)),
            index: last.index.next(),
        };
        self.apply(position, &Payload::Command(bytes))
    }

    /// Applies a command as the next entry.
    fn execute_next(&mut self, command: &Command) -> Outcome {
        self.apply_bytes(command.encode())
    }

    fn put(&mut self, key: &str, value: &str) -> Outcome {
        self.execute_next(&put(key.as_bytes(), value.as_bytes(), Condition::Always))
    }

    fn delete(&mut self, key: &str) -> Outcome {
        self.execute_next(&delete(key.as_bytes(), Condition::Always))
    }
}

fn put(key: &[u8], value: &[u8], condition: Condition) -> Command {
    Command::Put {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        condition,
    }
}

fn delete(key: &[u8], condition: Condition) -> Command {
    let key = Bytes::copy_from_slice(key);
    Command::Delete { key, condition }
}

/// One key of the model: value, creation and modification revision, version.
type Row = (Vec<u8>, u64, u64, u64);

/// The same store, written to be obviously right.
#[derive(Clone)]
struct Model {
    rows: BTreeMap<Vec<u8>, Row>,
    revision: u64,
    quota: u64,
    /// Revision, key, and the value if it was a put.
    events: Vec<(u64, Vec<u8>, Option<Vec<u8>>)>,
}

impl Model {
    fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            revision: 1,
            quota: QUOTA_BYTES_DEFAULT,
            events: Vec::new(),
        }
    }

    fn used(&self) -> u64 {
        let size = |(key, row): (&Vec<u8>, &Row)| (128 + key.len() + row.0.len()) as u64;
        self.rows.iter().map(size).sum()
    }

    fn modified(&self, key: &[u8]) -> u64 {
        self.rows.get(key).map_or(0, |row| row.2)
    }

    fn execute(&mut self, command: &Command) -> Outcome {
        let (key, condition) = match command {
            Command::SetQuota { bytes } => {
                self.quota = *bytes;
                return Outcome::QuotaSet;
            }
            Command::Put { key, condition, .. } | Command::Delete { key, condition } => {
                (key.to_vec(), condition)
            }
        };
        let current = self.modified(&key);
        if *condition != Condition::Always && *condition != Condition::Modified(Revision(current)) {
            let current = Revision(current);
            return Outcome::CompareFailed { current };
        }
        let mut after = self.clone();
        after.revision += 1;
        let revision = Revision(after.revision);
        let outcome = match command {
            Command::Put { value, .. } => {
                let (_, created, _, version) =
                    (self.rows.get(&key).cloned()).unwrap_or((vec![], revision.0, 0, 0));
                let row = (value.to_vec(), created, revision.0, version + 1);
                after.rows.insert(key.clone(), row);
                if after.used() > self.quota && after.used() > self.used() {
                    return Outcome::QuotaExceeded;
                }
                after.events.push((revision.0, key, Some(value.to_vec())));
                let created = current == 0;
                Outcome::Put { revision, created }
            }
            _ if current == 0 => return Outcome::NotFound,
            _ => {
                after.rows.remove(&key);
                after.events.push((revision.0, key, None));
                Outcome::Deleted { revision }
            }
        };
        *self = after;
        outcome
    }

    fn agrees_with(&self, view: &View) {
        let rows = |record: &Arc<Record>| {
            let Record {
                created,
                modified,
                version,
                ..
            } = **record;
            let row = (record.value.to_vec(), created.0, modified.0, version);
            (record.key.to_vec(), row)
        };
        let page = view.list(b"", None, usize::MAX);
        assert!(!page.more);
        assert_eq!(
            page.records.iter().map(rows).collect::<BTreeMap<_, _>>(),
            self.rows
        );
        assert_eq!(page.revision.0, self.revision);
        assert_eq!(view.revision().0, self.revision);
        assert_eq!(view.len(), self.rows.len());
        assert_eq!(view.used_bytes(), self.used());
        assert_eq!(view.quota_bytes(), self.quota);
        assert_eq!(view.hash(), view.rehash());
    }
}

/// One entry, before it is known what the store holds.
#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>, Compare),
    Delete(Vec<u8>, Compare),
    SetQuota(u64),
    Noop,
    Garbage(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum Compare {
    Nothing,
    Absent,
    Current,
    Exactly(u64),
}

impl Step {
    fn payload(&self, model: &Model) -> Payload {
        let condition = |key: &[u8], compare: Compare| match compare {
            Compare::Nothing => Condition::Always,
            Compare::Absent => Condition::ABSENT,
            Compare::Current => Condition::Modified(Revision(model.modified(key))),
            Compare::Exactly(revision) => Condition::Modified(Revision(revision)),
        };
        let command = match self {
            Self::Put(key, value, compare) => put(key, value, condition(key, *compare)),
            Self::Delete(key, compare) => delete(key, condition(key, *compare)),
            Self::SetQuota(bytes) => Command::SetQuota { bytes: *bytes },
            Self::Noop => return Payload::Noop,
            Self::Garbage(bytes) => {
                // In the present format, but cut off within its first field.
                let bytes = [b"\x01\x1a\x7f".as_slice(), bytes].concat();
                return Payload::Command(bytes.into());
            }
        };
        Payload::Command(command.encode())
    }
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xff)], 1..4)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || prop::collection::vec(any::<u8>(), 0..30);
    let compare = || {
        prop_oneof![
            6 => Just(Compare::Nothing),
            1 => Just(Compare::Absent),
            2 => Just(Compare::Current),
            1 => (0..60_u64).prop_map(Compare::Exactly),
        ]
    };
    let step = prop_oneof![
        12 => (keys(), value(), compare()).prop_map(|(k, v, c)| Step::Put(k, v, c)),
        6 => (keys(), compare()).prop_map(|(k, c)| Step::Delete(k, c)),
        1 => (0..4000_u64).prop_map(Step::SetQuota),
        1 => Just(Step::Noop),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Garbage),
    ];
    prop::collection::vec(step, 1..120)
}

/// Applies a step to both, with a new term now and then, and compares what they say.
fn apply(store: &mut Store, model: &mut Model, step: &Step) {
    let payload = step.payload(model);
    let index = store.view().position().index.next();
    let term = Term(1 + index.0 / 10);
    let position = Position { term, index };
    let said = store.apply(position, &payload);
    assert_eq!(store.view().position(), position, "every entry counts");
    let expected = match &payload {
        Payload::Noop | Payload::Configuration(_) => Outcome::Noop,
        Payload::Command(bytes) => match Command::decode(bytes) {
            Ok(command) => model.execute(&command),
            Err(error) => Outcome::Malformed(error),
        },
    };
    assert_eq!(said, expected, "{step:?}");
}

/// A watch, and what it has seen.
struct Watch {
    prefix: Vec<u8>,
    from: Revision,
    next: Revision,
    seen: Vec<(u64, Vec<u8>, Option<Vec<u8>>)>,
}

impl Watch {
    fn poll(&mut self, store: &Store, limit: usize) {
        let batch = store.events_since(self.next, &self.prefix, limit).unwrap();
        assert!(batch.events.len() <= limit);
        assert!(batch.more || batch.next > store.view().revision());
        assert!(
            !batch.more || batch.next > self.next,
            "asking again at once gets on"
        );
        self.next = batch.next;
        self.seen.extend(batch.events.iter().map(|event| {
            let value = match event {
                Event::Put(record) => Some(record.value.to_vec()),
                Event::Deleted { .. } => None,
            };
            (event.revision().0, event.key().to_vec(), value)
        }));
    }

    fn missed(&self, model: &Model) -> Vec<(u64, Vec<u8>, Option<Vec<u8>>)> {
        let wanted = |event: &&(u64, Vec<u8>, _)| {
            event.0 >= self.from.0 && event.1.starts_with(&self.prefix)
        };
        model.events.iter().filter(wanted).cloned().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_does_what_the_model_does(steps in steps()) {
        let (mut store, mut model) = (Store::default(), Model::new());
        for step in &steps {
            let before = (store.view().revision(), store.view().used_bytes());
            apply(&mut store, &mut model, step);
            model.agrees_with(store.view());
            let after = (store.view().revision(), store.view().used_bytes());
            if after.0 == before.0 {
                prop_assert_eq!(before.1, after.1, "no change without a revision");
            }
            prop_assert!(after.1 <= before.1 || after.1 <= store.view().quota_bytes());
        }
    }

    #[test]
    fn a_watch_sees_every_event_once_and_in_order(
        steps in steps(),
        watches in prop::collection::vec(
            (prop::collection::vec(Just(b'a'), 0..2), 0..80_u64),
            1..4,
        ),
        polls in prop::collection::vec(0..4_usize, 120),
    ) {
        let (mut store, mut model) = (Store::default(), Model::new());
        let mut watches: Vec<_> = watches
            .into_iter()
            .map(|(prefix, from)| {
                let from = Revision(from);
                Watch { prefix, from, next: from, seen: vec![] }
            })
            .collect();
        for (step, limit) in steps.iter().zip(polls) {
            apply(&mut store, &mut model, step);
            for watch in &mut watches {
                if limit > 0 {
                    watch.poll(&store, limit);
                }
            }
        }
        for watch in &mut watches {
            for _ in 0..=steps.len() {
                watch.poll(&store, 3);
            }
            prop_assert!(watch.next > store.view().revision());
            prop_assert_eq!(&watch.seen, &watch.missed(&model));
        }
    }

    #[test]
    fn a_snapshot_at_any_point_and_the_rest_is_the_whole(
        steps in steps(),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(steps.len());
        let (mut straight, mut model) = (Store::default(), Model::new());
        for step in &steps[..cut] {
            apply(&mut straight, &mut model, step);
        }
        let mut frozen = (straight.view().clone(), model.clone());
        let mut bytes = Vec::new();
        frozen.0.write_to(&mut bytes).unwrap();
        let view = View::read_from(&mut bytes.as_slice()).unwrap();
        prop_assert_eq!(view.hash(), frozen.0.hash());
        let mut restored = Store::resume(view, HistoryLimits::default());
        let mut restored_model = model.clone();
        for step in &steps[cut..] {
            apply(&mut straight, &mut model, step);
            apply(&mut restored, &mut restored_model, step);
            prop_assert_eq!(straight.view().hash(), restored.view().hash());
        }
        model.agrees_with(restored.view());
        prop_assert_eq!(straight.view().position(), restored.view().position());
        // What was frozen does not know of the rest, and still writes the same bytes.
        frozen.1.agrees_with(&frozen.0);
        let mut again = Vec::new();
        frozen.0.write_to(&mut again).unwrap();
        prop_assert_eq!(again, bytes);
        // Only the straight store remembers the changes before the snapshot.
        let since = frozen.0.revision();
        prop_assert!(straight.events_since(since, b"", 1).is_ok());
        if since > Revision::START {
            let oldest = since.next();
            prop_assert_eq!(restored.events_since(since, b"", 1), Err(Compacted { oldest }));
        }
        frozen.0 = straight.replace(restored.view().clone()).view().clone();
        prop_assert_eq!(frozen.0.hash(), straight.view().hash());
    }

    #[test]
    fn pages_make_up_the_list(
        steps in steps(),
        prefix in prop::collection::vec(prop_oneof![Just(b'a'), Just(0xff)], 0..3),
        limit in 1..5_usize,
    ) {
        let (mut store, mut model) = (Store::default(), Model::new());
        for step in &steps {
            apply(&mut store, &mut model, step);
        }
        let (mut listed, mut after) = (Vec::new(), None);
        for _ in 0..=steps.len() {
            let page = store.view().list(&prefix, after.as_deref(), limit);
            prop_assert!(page.records.len() <= limit);
            listed.extend(page.records.iter().map(|record| record.key.to_vec()));
            after = listed.last().cloned();
            if !page.more {
                break;
            }
            prop_assert_eq!(page.records.len(), limit);
        }
        let expected = model.rows.keys().filter(|key| key.starts_with(&prefix));
        prop_assert_eq!(listed, expected.cloned().collect::<Vec<_>>());
    }
}

#[test]
fn revisions_count_as_they_do_in_etcd() {
    let mut store = Store::default();
    assert_eq!(store.view().revision(), Revision(1));
    let put = |revision, created| {
        let revision = Revision(revision);
        Outcome::Put { revision, created }
    };
    assert_eq!(store.put("a", "1"), put(2, true));
    assert_eq!(store.put("a", "2"), put(3, false));
    assert_eq!(store.put("b", ""), put(4, true));
    let record = store.view().find(b"a").unwrap();
    assert_eq!(
        (record.created, record.modified),
        (Revision(2), Revision(3))
    );
    assert_eq!(record.version, 2);
    let revision = Revision(5);
    assert_eq!(store.delete("a"), Outcome::Deleted { revision });
    assert_eq!(store.delete("a"), Outcome::NotFound);
    assert_eq!(store.put("a", "3"), put(6, true));
    assert_eq!(store.view().find(b"a").unwrap().version, 1);
}

#[test]
fn a_full_store_still_deletes_and_shrinks() {
    let mut store = Store::default();
    let row = Record::OVERHEAD_BYTES + 1 + 10;
    let bytes = 2 * row;
    assert_eq!(
        store.execute_next(&Command::SetQuota { bytes }),
        Outcome::QuotaSet
    );
    assert_eq!(store.view().revision(), Revision::START, "no key changed");
    store.put("a", "0123456789");
    store.put("b", "0123456789");
    assert_eq!(store.view().used_bytes(), bytes, "full to the byte");
    let before = store.view().hash();
    assert_eq!(store.put("c", ""), Outcome::QuotaExceeded);
    assert_eq!(store.put("a", "0123456789+"), Outcome::QuotaExceeded);
    assert_eq!(store.view().find(b"a").unwrap().value.len(), 10);
    assert_ne!(
        store.view().hash(),
        before,
        "the position is part of the state"
    );
    assert!(matches!(store.put("a", "9876543210"), Outcome::Put { .. }));
    assert!(matches!(store.put("a", "short"), Outcome::Put { .. }));
    assert!(matches!(store.delete("b"), Outcome::Deleted { .. }));
    assert!(matches!(store.put("c", "0123456789"), Outcome::Put { .. }));

    store.execute_next(&Command::SetQuota { bytes: 0 });
    assert_eq!(store.put("d", ""), Outcome::QuotaExceeded);
    assert!(matches!(store.put("c", "012345678"), Outcome::Put { .. }));
    assert!(matches!(store.delete("c"), Outcome::Deleted { .. }));
    assert!(matches!(store.delete("a"), Outcome::Deleted { .. }));
    assert_eq!(store.view().used_bytes(), 0);
}

#[test]
fn what_is_kept_does_not_hold_what_it_came_in() {
    let mut store = Store::default();
    let bytes = put(b"key", b"value", Condition::Always).encode();
    store.apply_bytes(bytes.clone());
    assert!(
        bytes.is_unique(),
        "a small value in a large message would keep all of it"
    );
}

#[test]
fn a_watch_across_an_installed_snapshot_is_told() {
    let (mut ahead, mut behind) = (Store::default(), Store::default());
    behind.put("a", "1");
    for value in ["1", "2", "3"] {
        ahead.put("a", value);
    }
    let next = behind.view().revision().next();
    let old = behind.replace(ahead.view().clone());
    assert_eq!(old.view().len(), 1);
    assert_eq!(behind.view().hash(), ahead.view().hash());
    let oldest = Revision(5);
    assert_eq!(behind.events_since(next, b"", 9), Err(Compacted { oldest }));
    assert_eq!(behind.events_since(oldest, b"", 9).unwrap().events, []);
    behind.put("a", "4");
    let batch = behind.events_since(oldest, b"", 9).unwrap();
    assert_eq!(batch.events.len(), 1);
    assert_eq!(batch.events[0].revision(), oldest);
}

#[test]
fn a_page_holds_bounded_memory() {
    let mut store = Store::default();
    let value = vec![0; VALUE_BYTES_MAX];
    for key in b'a'..=b'e' {
        store.execute_next(&put(&[key], &value, Condition::Always));
    }
    let page = store.view().list(b"", None, usize::MAX);
    assert!(page.more);
    assert_eq!(
        page.records.len() as u64,
        PAGE_BYTES_MAX / VALUE_BYTES_MAX as u64
    );
}

#[test]
fn a_store_stops_at_what_only_others_understand() {
    let mut store = Store::default();
    store.put("a", "1");
    let before = (store.view().position(), store.view().hash());
    let future = Bytes::from_static(b"\x02anything");
    let said = store.apply_bytes(future.clone());
    assert_eq!(said, Outcome::Unsupported { format: 2 });
    assert_eq!((store.view().position(), store.view().hash()), before);
    let next = Position {
        term: before.0.term,
        index: before.0.index.next().next(),
    };
    let went_on = std::panic::catch_unwind(move || store.apply(next, &Payload::Noop));
    assert!(
        went_on.is_err(),
        "going on would be another state than that of the others"
    );
}

#[test]
#[should_panic(expected = "in order, each once")]
fn an_entry_is_not_applied_twice() {
    let mut store = Store::default();
    store.put("a", "1");
    let again = store.view().position();
    store.apply(again, &Payload::Noop);
}

#[test]
#[should_panic(expected = "must not take the state back")]
fn a_snapshot_does_not_take_the_state_back() {
    let mut store = Store::default();
    let old = store.view().clone();
    store.put("a", "1");
    drop(store.replace(old));
}

#[test]
fn a_view_goes_to_another_thread() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<View>();
    crosses::<Event>();
}

#[test]
fn the_hash_is_for_ever() {
    let mut store = Store::default();
    let empty = store.view().hash();
    store.put("a", "1");
    store.put("b", &"long ".repeat(100));
    store.delete("a");
    store.execute_next(&Command::SetQuota { bytes: 1 << 20 });
    let hashes = [empty, store.view().hash()].map(|hash| format!("{hash:016x}"));
    assert_eq!(hashes, ["5e8606c689579542", "973453f90ed6364e"]);
}

#[test]
fn the_hash_sees_every_part_of_the_state() {
    let base = || {
        let mut store = Store::default();
        store.put("a", "1");
        store
    };
    let mut hashes = vec![base().view().hash()];
    for other in [("a", "2"), ("b", "1"), ("a1", "")] {
        let mut store = Store::default();
        store.put(other.0, other.1);
        hashes.push(store.view().hash());
    }
    let mut store = base();
    store.delete("a");
    store.put("a", "1");
    hashes.push(store.view().hash());
    for change in [
        |view: &mut View| view.position.index.0 += 1,
        |view: &mut View| view.position.term.0 += 1,
        |view: &mut View| view.revision.0 += 1,
        |view: &mut View| view.quota_bytes += 1,
        |view: &mut View| view.used_bytes += 1,
    ] {
        let mut view = base().view().clone();
        change(&mut view);
        hashes.push(view.hash());
    }
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}
