use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::state::Revision;

/// What a test knows a record by: its key, and a number in its revision.
fn record(key: &[u8], number: u64) -> Arc<Record> {
    let revision = Revision(number);
    Arc::new(Record::new(key.into(), Bytes::new(), revision, revision, 1))
}

fn content(tree: &Tree) -> Vec<(Vec<u8>, u64)> {
    tree.range(&[])
        .map(|record| (record.key.to_vec(), record.modified.0))
        .collect()
}

impl Tree {
    /// Checks every promise of the structure, and returns its depth.
    fn check(&self) -> usize {
        let mut depths = Vec::new();
        let mut last = None;
        let mut len = 0;
        let mut open = vec![(&self.root, 1, Vec::new(), None::<Vec<u8>>)];
        while let Some((node, depth, lower, upper)) = open.pop() {
            let keys: Vec<_> = (0..node.keys.len())
                .map(|at| node.keys.at(at).to_vec())
                .collect();
            assert!(keys.len() <= WIDTH && keys.is_sorted_by(|a, b| a < b));
            assert!(!keys.is_empty() || Arc::ptr_eq(node, &self.root));
            match &node.below {
                Below::Records(records) => {
                    depths.push(depth);
                    assert_eq!(records.len(), keys.len());
                    for (record, key) in records.iter().zip(keys) {
                        assert_eq!(*record.key, *key);
                        assert!(lower <= key && upper.as_ref().is_none_or(|upper| key < *upper));
                        assert!(last < Some(key.clone()));
                        last = Some(key);
                        len += 1;
                    }
                }
                Below::Nodes(nodes) => {
                    assert_eq!(nodes.len(), keys.len());
                    for (at, node) in nodes.iter().enumerate().rev() {
                        let lower = if at == 0 { &lower } else { &keys[at] };
                        let upper = keys.get(at + 1).or(upper.as_ref());
                        open.push((node, depth + 1, lower.clone(), upper.cloned()));
                    }
                }
            }
        }
        assert_eq!(len, self.len());
        assert!(depths.iter().all(|depth| *depth == depths[0]));
        depths[0]
    }
}

#[test]
fn ordered_inserts_fill_the_nodes() {
    let mut tree = Tree::default();
    for number in 0..10_000_u32 {
        tree.insert(record(&number.to_be_bytes(), 1));
    }
    assert_eq!(tree.check(), 3, "31 to the third is more than 10,000");
}

#[test]
fn the_tree_shrinks_again() {
    let mut tree = Tree::default();
    let key = |number: u32| number.wrapping_mul(0x9E37_79B1).to_be_bytes();
    for number in 0..10_000 {
        tree.insert(record(&key(number), 1));
    }
    let (frozen, before) = (tree.clone(), content(&tree));
    for number in 0..9_990 {
        assert!(tree.remove(&key(number)).is_some());
        assert!(tree.remove(&key(number)).is_none());
    }
    assert!(tree.check() <= 2, "ten records lie close together");
    for number in 9_990..10_000 {
        tree.remove(&key(number));
    }
    assert_eq!((tree.check(), tree.len()), (1, 0));
    frozen.check();
    assert_eq!(content(&frozen), before, "joining copies what is shared");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>),
    Remove(Vec<u8>),
    Freeze,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few enough keys to hit one twice, many enough for three levels.
    let key = || {
        prop_oneof![
            4 => (0..3000_u16).prop_map(|number| number.to_be_bytes().to_vec()),
            1 => prop::collection::vec(0..3_u8, 1..6),
        ]
    };
    let step = prop_oneof![
        500 => key().prop_map(Step::Insert),
        350 => key().prop_map(Step::Remove),
        5 => Just(Step::Freeze),
    ];
    prop::collection::vec(step, 0..6000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_does_what_an_ordered_map_does(steps in steps(), from in (0..3000_u16)) {
        let mut tree = Tree::default();
        let mut model = BTreeMap::new();
        let mut frozen = Vec::new();
        for (step, number) in steps.into_iter().zip(1..) {
            match step {
                Step::Insert(key) => {
                    let replaced = tree.insert(record(&key, number));
                    let expected = model.insert(key, number);
                    prop_assert_eq!(replaced.map(|record| record.modified.0), expected);
                }
                Step::Remove(key) => {
                    let removed = tree.remove(&key);
                    prop_assert_eq!(removed.map(|record| record.modified.0), model.remove(&key));
                }
                Step::Freeze => frozen.push((tree.clone(), model.clone())),
            }
        }
        frozen.push((tree, model));
        for (tree, model) in frozen {
            tree.check();
            prop_assert_eq!(content(&tree), model.clone().into_iter().collect::<Vec<_>>());
            let from = from.to_be_bytes().to_vec();
            let rest: Vec<_> = tree.range(&from).map(|record| record.modified.0).collect();
            let expected: Vec<_> = model.range(from..).map(|(_, number)| *number).collect();
            prop_assert_eq!(rest, expected);
            for (key, number) in &model {
                prop_assert_eq!(tree.find(key).map(|record| record.modified.0), Some(*number));
            }
        }
    }
}
