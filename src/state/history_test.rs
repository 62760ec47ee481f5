use super::*;

fn deleted(key: &str, revision: u64) -> Event {
    Event::Deleted {
        key: key.as_bytes().into(),
        revision: Revision(revision),
    }
}

/// A history of deletes with these keys, from revision 2 on.
fn history(keys: &[&str], limits: HistoryLimits) -> History {
    let mut history = History::behind(Revision::START, limits);
    for (key, revision) in keys.iter().zip(2..) {
        history.push(deleted(key, revision));
    }
    history
}

fn limits(events: usize, bytes: u64) -> HistoryLimits {
    HistoryLimits { events, bytes }
}

fn since(history: &History, from: u64, prefix: &str, limit: usize) -> (Vec<u64>, u64, bool) {
    let batch = history.since(Revision(from), prefix.as_bytes(), limit);
    let batch = batch.unwrap();
    let revisions = batch.events.iter().map(|event| event.revision().0);
    (revisions.collect(), batch.next.0, batch.more)
}

#[test]
fn a_batch_goes_on_where_the_last_one_ended() {
    let history = history(
        &["a/1", "b/1", "a/2", "a/3", "b/2"],
        HistoryLimits::default(),
    );
    assert_eq!(since(&history, 0, "", 9), (vec![2, 3, 4, 5, 6], 7, false));
    assert_eq!(since(&history, 2, "a/", 2), (vec![2, 4], 5, true));
    assert_eq!(since(&history, 5, "a/", 2), (vec![5], 7, false));
    assert_eq!(since(&history, 3, "a/", 1), (vec![4], 5, true));
    assert_eq!(since(&history, 2, "c", 9), (vec![], 7, false));
}

#[test]
fn a_limit_of_nothing_still_gets_on() {
    let history = history(&["a", "b"], HistoryLimits::default());
    assert_eq!(since(&history, 2, "", 0), (vec![2], 3, true));
}

#[test]
fn a_watch_of_an_empty_store_waits_for_the_first_change() {
    let mut history = history(&[], HistoryLimits::default());
    for from in 0..=2 {
        assert_eq!(since(&history, from, "", 9), (vec![], 2, false));
    }
    history.push(deleted("a", 2));
    assert_eq!(since(&history, 0, "", 9), (vec![2], 3, false));
}

#[test]
fn the_future_is_waited_for() {
    let mut history = history(&["a"], HistoryLimits::default());
    assert_eq!(since(&history, 3, "", 9), (vec![], 3, false));
    assert_eq!(since(&history, 5, "", 9), (vec![], 5, false));
    assert_eq!(since(&history, u64::MAX, "", 9), (vec![], u64::MAX, false));
    for revision in 3..=6 {
        history.push(deleted("a", revision));
    }
    assert_eq!(since(&history, 5, "", 9), (vec![5, 6], 7, false));
}

#[test]
fn what_is_forgotten_is_said_to_be() {
    let keys = ["a", "b", "c", "d"];
    let compacted = |history: &History, from| history.since(Revision(from), b"", 9).err();
    let oldest = |oldest| {
        Some(Compacted {
            oldest: Revision(oldest),
        })
    };

    let by_count = history(&keys, limits(2, u64::MAX));
    assert_eq!(compacted(&by_count, 0), oldest(4));
    assert_eq!(compacted(&by_count, 3), oldest(4));
    assert_eq!(since(&by_count, 4, "", 9), (vec![4, 5], 6, false));

    let each = Record::OVERHEAD_BYTES + 1;
    let by_bytes = history(&keys, limits(usize::MAX, 3 * each));
    assert_eq!(compacted(&by_bytes, 2), oldest(3));
    assert_eq!(since(&by_bytes, 3, "", 9), (vec![3, 4, 5], 6, false));

    let newest = history(&keys, limits(0, 0));
    assert_eq!(compacted(&newest, 4), oldest(5));
    assert_eq!(since(&newest, 5, "", 9), (vec![5], 6, false));
}

#[test]
fn nothing_is_known_from_before_a_snapshot() {
    let mut history = History::behind(Revision(40), HistoryLimits::default());
    let oldest = Revision(41);
    assert_eq!(
        history.since(Revision(40), b"", 9),
        Err(Compacted { oldest })
    );
    assert_eq!(since(&history, 41, "", 9), (vec![], 41, false));
    history.push(deleted("a", 41));
    assert_eq!(since(&history, 41, "", 9), (vec![41], 42, false));
}

#[test]
fn one_call_looks_at_a_bounded_part_of_the_past() {
    let mut history = History::behind(Revision::START, HistoryLimits::default());
    let many = 2 * SCANNED_MAX as u64 + 10;
    for revision in 2..2 + many {
        history.push(deleted("a", revision));
    }
    let (events, next, more) = since(&history, 0, "b", usize::MAX);
    assert_eq!(
        (events.len(), next, more),
        (0, 2 + SCANNED_MAX as u64, true)
    );
    let (events, ..) = since(&history, 0, "a", usize::MAX);
    assert_eq!(events.len(), SCANNED_MAX);
}

#[test]
fn one_batch_holds_bounded_memory() {
    let mut history = History::behind(Revision::START, HistoryLimits::default());
    let value = bytes::Bytes::from(vec![0; 400 << 10]);
    for revision in (2..9).map(Revision) {
        let record = Record::new(b"a".as_slice().into(), value.clone(), revision, revision, 1);
        history.push(Event::Put(Arc::new(record)));
    }
    assert_eq!(since(&history, 0, "", 9), (vec![2, 3, 4], 5, true));
}
