//! The ordered map of records, copied on write.
//!
//! A tree of nodes with up to [`WIDTH`] places, every leaf at the same depth. A clone shares all
//! nodes with its original and costs one reference count; a change then copies only the shared
//! nodes between the root and one leaf. So a frozen copy of a million records costs nothing to
//! take, and a writer never waits for whoever reads it.
//!
//! Not a textbook B-tree: nodes that a removal leaves small are joined with a neighbour where the
//! two fit into one, and no more balance is kept than that.

use std::slice;
use std::sync::Arc;

use super::Record;
use super::keys::Keys;

/// The most places of a node.
const WIDTH: usize = Keys::MAX - 1;

/// A node with fewer places than this is joined with a neighbour if they fit into one.
const SMALL: usize = WIDTH / 4;

/// Records by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    root: Arc<Node>,
    len: usize,
}

/// A node: as many keys as there are places below it. Only the root may have none.
#[derive(Clone, Debug, Default)]
struct Node {
    /// In a leaf, the keys of its records. Above nodes, one key for each: nothing below that node
    /// is smaller, and everything below the node before it is. What the very first key says is not
    /// used: whatever is smaller goes to the first node as well.
    keys: Keys,
    below: Below,
}

/// What a node's places hold, in order.
#[derive(Clone, Debug)]
enum Below {
    Records(Vec<Arc<Record>>),
    Nodes(Vec<Arc<Node>>),
}

impl Tree {
    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The record of a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Arc<Record>> {
        let mut node = &self.root;
        loop {
            match &node.below {
                Below::Nodes(nodes) => node = &nodes[node.keys.place(key)],
                Below::Records(records) => {
                    return node.keys.search(key).ok().map(|at| &records[at]);
                }
            }
        }
    }

    /// The records whose keys are not smaller than `from`, in order.
    pub(super) fn range(&self, from: &[u8]) -> Range<'_> {
        let mut above = Vec::new();
        let mut node = &self.root;
        loop {
            match &node.below {
                Below::Nodes(nodes) => {
                    let at = node.keys.place(from);
                    above.push(nodes[at + 1..].iter());
                    node = &nodes[at];
                }
                Below::Records(records) => {
                    let at = node.keys.search(from).unwrap_or_else(|at| at);
                    let leaf = records[at..].iter();
                    return Range { leaf, above };
                }
            }
        }
    }

    /// Adds a record and returns the one of the same key that it replaces.
    pub(super) fn insert(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        let (replaced, upper) = insert(&mut self.root, record);
        if let Some(upper) = upper {
            let mut keys = Keys::default();
            keys.insert(0, &[]);
            keys.insert(1, upper.keys.at(0));
            let below = Below::Nodes(vec![Arc::clone(&self.root), upper]);
            self.root = Arc::new(Node { keys, below });
        }
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Takes out the record of a key.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Arc<Record>> {
        let removed = remove(&mut self.root, key)?;
        self.len -= 1;
        while let Below::Nodes(nodes) = &self.root.below
            && let [only] = nodes.as_slice()
        {
            self.root = Arc::clone(only);
        }
        Some(removed)
    }
}

/// Records in order; see [`Tree::range`].
pub(super) struct Range<'a> {
    leaf: slice::Iter<'a, Arc<Record>>,
    /// What is left of every node above the leaf, the root's first.
    above: Vec<slice::Iter<'a, Arc<Node>>>,
}

impl<'a> Iterator for Range<'a> {
    type Item = &'a Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.leaf.next() {
                return Some(record);
            }
            match self.above.last_mut()?.next().map(|node| &node.below) {
                Some(Below::Nodes(nodes)) => self.above.push(nodes.iter()),
                Some(Below::Records(records)) => self.leaf = records.iter(),
                None => drop(self.above.pop()),
            }
        }
    }
}

/// Adds a record below a node: returns what it replaces, and the node's upper part if it had to be
/// split.
fn insert(node: &mut Arc<Node>, record: Arc<Record>) -> (Option<Arc<Record>>, Option<Arc<Node>>) {
    let node = Arc::make_mut(node);
    match &mut node.below {
        Below::Records(records) => match node.keys.search(&record.key) {
            Ok(at) => (Some(std::mem::replace(&mut records[at], record)), None),
            Err(at) => {
                node.keys.insert(at, &record.key);
                records.insert(at, record);
                (None, node.split(at))
            }
        },
        Below::Nodes(nodes) => {
            let at = node.keys.place(&record.key);
            let (replaced, upper) = insert(&mut nodes[at], record);
            let Some(upper) = upper else {
                return (replaced, None);
            };
            node.keys.insert(at + 1, upper.keys.at(0));
            nodes.insert(at + 1, upper);
            (replaced, node.split(at + 1))
        }
    }
}

/// Takes out the record of `key` below a node.
fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<Arc<Record>> {
    let node = Arc::make_mut(node);
    match &mut node.below {
        Below::Records(records) => {
            let at = node.keys.search(key).ok()?;
            node.keys.remove(at);
            Some(records.remove(at))
        }
        Below::Nodes(nodes) => {
            let at = node.keys.place(key);
            let removed = remove(&mut nodes[at], key)?;
            node.mend(at);
            Some(removed)
        }
    }
}

impl Node {
    /// Splits off the upper part of a node with too many places: half of them, or only the new one
    /// at `new` when it is the last, so that ordered inserts fill their nodes.
    fn split(&mut self, new: usize) -> Option<Arc<Self>> {
        let len = self.keys.len();
        (len > WIDTH).then(|| {
            let at = if new + 1 == len { new } else { len / 2 };
            let keys = self.keys.split_off(at);
            let below = match &mut self.below {
                Below::Records(records) => Below::Records(records.split_off(at)),
                Below::Nodes(nodes) => Below::Nodes(nodes.split_off(at)),
            };
            Arc::new(Self { keys, below })
        })
    }

    /// Drops the node at `at` if it has become empty, or joins it with a neighbour if small.
    fn mend(&mut self, at: usize) {
        let Below::Nodes(nodes) = &mut self.below else {
            return;
        };
        let len = nodes[at].keys.len();
        let fits = |other: usize| {
            let other = nodes.get(other);
            other.is_some_and(|other| other.keys.len() + len <= WIDTH)
        };
        if len == 0 {
            self.keys.remove(at);
            nodes.remove(at);
        } else if len < SMALL && fits(at + 1) {
            self.join(at);
        } else if len < SMALL && at > 0 && fits(at - 1) {
            self.join(at - 1);
        }
    }

    /// Joins the node at `at` with the one behind it.
    fn join(&mut self, at: usize) {
        let Below::Nodes(nodes) = &mut self.below else {
            return;
        };
        let mut upper = Arc::unwrap_or_clone(nodes.remove(at + 1));
        let lower = Arc::make_mut(&mut nodes[at]);
        match (&mut lower.below, upper.below) {
            (Below::Records(records), Below::Records(more)) => records.extend(more),
            (Below::Nodes(nodes), Below::Nodes(more)) => {
                // It was the very first key; from now on what it says is used.
                upper.keys.remove(0);
                upper.keys.insert(0, self.keys.at(at + 1));
                nodes.extend(more);
            }
            _ => unreachable!("neighbours are at the same depth"),
        }
        lower.keys.append(&upper.keys);
        self.keys.remove(at + 1);
    }
}

impl Default for Below {
    fn default() -> Self {
        Self::Records(Vec::new())
    }
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
