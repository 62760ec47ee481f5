//! Where each member is reached, as far as this node knows.
//!
//! A list that was given stays as it is, but for whoever came after the founding, on another disk
//! and maybe elsewhere. In pods addresses change while a node runs: discovery tells new ones. Each
//! peer that dials says where it is reached, and whoever joins is told of the others by the leader.
//! What was learned is kept in the data directory, so that the next start needs nobody to ask
//! (R10). Who answers at an address is settled by the handshake; a wrong one costs time and nothing
//! else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use tokio::sync::watch;
use tracing::{info, warn};

use super::aside::aside;
use crate::consensus::NodeId;
use crate::discovery::Members;
use crate::state;
use crate::wire::MemberAddress;

/// What the file in the data directory is called.
const FILE: &str = "addresses";
/// More than any list of members can have.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The addresses of one node's cluster. All its users run on one thread.
#[derive(Debug)]
pub(super) struct Addresses {
    own: NodeId,
    /// The list, as far as it has addresses.
    given: BTreeMap<NodeId, MemberAddress>,
    known: RefCell<BTreeMap<NodeId, Option<MemberAddress>>>,
    /// Those that stay as they were given.
    fixed: RefCell<BTreeSet<NodeId>>,
    /// What an earlier start has kept.
    kept: RefCell<BTreeMap<NodeId, MemberAddress>>,
    /// How often something was learned.
    learned: watch::Sender<u64>,
}

impl Addresses {
    /// Those that the node `own` was given, none of which ever changes unless that is said.
    pub(super) fn new(
        own: NodeId,
        known: BTreeMap<NodeId, Option<MemberAddress>>,
        may_change: bool,
    ) -> Self {
        let fixed = known.keys().copied().filter(|_| !may_change);
        let given = known.iter();
        let given = given.filter_map(|(id, address)| Some((*id, address.clone()?)));
        Self {
            own,
            given: given.collect(),
            fixed: RefCell::new(fixed.collect()),
            known: RefCell::new(known),
            kept: RefCell::default(),
            learned: watch::Sender::new(0),
        }
    }

    /// Where a member is reached.
    pub(super) fn of(&self, id: NodeId) -> Option<MemberAddress> {
        self.known.borrow().get(&id)?.clone()
    }

    /// Where clients reach each member.
    pub(super) fn apis(&self) -> Vec<(NodeId, Option<state::Address>)> {
        let api = |address: &MemberAddress| state::Address {
            ip: address.api.host.clone(),
            port: address.api.port,
        };
        let known = self.known.borrow();
        let apis = known.iter();
        apis.map(|(id, address)| (*id, address.as_ref().map(api)))
            .collect()
    }

    /// Takes in where a member is reached now. Strangers and fixed addresses are left alone.
    pub(super) fn learn(&self, id: NodeId, address: MemberAddress) {
        if self.known.borrow().contains_key(&id) {
            self.introduce(id, address);
        }
    }

    /// Takes in where a node is reached that belongs to the cluster, by its own word or that of the
    /// leader.
    pub(super) fn introduce(&self, id: NodeId, address: MemberAddress) {
        let stays = id == self.own || self.fixed.borrow().contains(&id);
        if stays || !can_be_kept(id, &address) {
            return;
        }
        let address = Some(address);
        let known = self.known.borrow_mut().insert(id, address.clone());
        if known.as_ref() != Some(&address) {
            let at = address.map(|address| address.peer.to_string());
            info!(peer = id.0, at, "a peer has another address");
            self.learned.send_modify(|count| *count += 1);
        }
    }

    /// Whoever joined after the founding is where it says, even if a list tells where an earlier
    /// disk of its id was.
    pub(super) fn loosen(&self, joined: NodeId) {
        if joined != self.own
            && self.fixed.borrow_mut().remove(&joined)
            && let Some(kept) = self.kept.borrow().get(&joined)
        {
            self.introduce(joined, kept.clone());
        }
    }

    /// Forgets all others, but for the ones that were given.
    pub(super) fn keep_only(&self, named: &BTreeSet<NodeId>) {
        let mut known = self.known.borrow_mut();
        let before = known.len();
        known.retain(|id, _| self.fixed.borrow().contains(id) || named.contains(id));
        if known.len() < before {
            self.learned.send_modify(|count| *count += 1);
        }
    }

    /// Is told of each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.learned.subscribe()
    }

    /// Waits until a member is reached elsewhere than `before`.
    pub(super) async fn moved(&self, id: NodeId, before: Option<&MemberAddress>) {
        let mut changes = self.changes();
        while self.of(id).as_ref() == before {
            if changes.changed().await.is_err() {
                // Nobody can tell any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Fills in what an earlier start has kept, where nothing is known yet. Where the list says
    /// something else now than it did then, it was changed because what was kept holds no more.
    pub(super) fn recall(&self, data_dir: &Path) {
        match read(&data_dir.join(FILE)) {
            Ok((mut kept, given)) => {
                kept.retain(|id, _| self.given.get(id) == given.get(id));
                let mut known = self.known.borrow_mut();
                for (id, address) in &kept {
                    let known = known.entry(*id).or_default();
                    known.get_or_insert_with(|| address.clone());
                }
                self.kept.replace(kept);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It is a hint; others will say it again.
            Err(error) => warn!(%error, "the addresses of an earlier start are of no use"),
        }
    }

    /// Keeps what is known in the data directory, now and after every change.
    pub(super) async fn keep(&self, data_dir: &Path) {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let (text, directory) = (self.to_keep(), data_dir.to_owned());
            if let Err(error) = aside(move || write(&directory, &text)).await {
                warn!(%error, "where peers are is not kept for the next start");
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// What was learned, by now or by an earlier start, and beside what list; nothing if nothing
    /// was.
    fn to_keep(&self) -> String {
        let fixed = self.fixed.borrow();
        let kept = self.kept.borrow().clone().into_iter();
        let mut learned: BTreeMap<_, _> = kept.filter(|(id, _)| fixed.contains(id)).collect();
        let known = self.known.borrow().clone().into_iter();
        let known = known.filter(|(id, _)| *id != self.own && !fixed.contains(id));
        learned.extend(known.filter_map(|(id, address)| Some((id, address?))));
        if learned.is_empty() {
            return String::new();
        }
        format!("{}\n{}", Members(learned), Members(self.given.clone()))
    }
}

/// Whether an address reads as it is written: one that does not would spoil the whole list.
fn can_be_kept(id: NodeId, address: &MemberAddress) -> bool {
    let alone = Members([(id, address.clone())].into());
    alone.to_string().parse() == Ok(alone)
}

type Listed = BTreeMap<NodeId, MemberAddress>;

/// What was learned, and what was given at that time.
fn read(file: &Path) -> io::Result<(Listed, Listed)> {
    if fs::metadata(file)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{} is too long", file.display())));
    }
    let text = fs::read_to_string(file)?;
    let wrong = |error| io::Error::other(format!("in {}, {error}", file.display()));
    let list = |line: Option<&str>| match line {
        None => Ok(Listed::new()),
        Some(line) => line.parse().map(|Members(list)| list).map_err(wrong),
    };
    let mut lines = text.lines();
    Ok((list(lines.next())?, list(lines.next())?))
}

/// All of it or nothing: a reader after a crash finds what was there before, or this.
fn write(directory: &Path, text: &str) -> io::Result<()> {
    let file = directory.join(FILE);
    // No file says as much as an empty one.
    if fs::read_to_string(&file).unwrap_or_default() == text {
        return Ok(());
    }
    let new = directory.join(format!("{FILE}.new"));
    let mut writing = fs::File::create(&new)?;
    writing.write_all(text.as_bytes())?;
    writing.sync_all()?;
    fs::rename(new, file)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::parse_address;

    fn address(text: &str) -> MemberAddress {
        MemberAddress {
            peer: parse_address(text).unwrap(),
            api: parse_address(text).unwrap(),
        }
    }

    /// What node 9 is given.
    fn two(may_change: bool) -> Addresses {
        let known = [(NodeId(1), Some(address("a:1"))), (NodeId(2), None)];
        Addresses::new(NodeId(9), known.into(), may_change)
    }

    /// A directory that goes with the test.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("addresses-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    async fn keep(addresses: &Addresses, directory: &Path) {
        let kept = async {
            while !directory.join(FILE).exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = addresses.keep(directory) => {}
            () = kept => {}
        }
    }

    #[test]
    fn only_members_are_learned_and_only_where_addresses_change() {
        let fixed = two(false);
        fixed.learn(NodeId(1), address("b:1"));
        assert_eq!(fixed.of(NodeId(1)), Some(address("a:1")));
        let free = two(true);
        free.learn(NodeId(1), address("b:1"));
        free.learn(NodeId(3), address("c:1"));
        let mut forged = address("d:1");
        forged.api.host = "d:1,2=e".to_owned();
        free.learn(NodeId(1), forged);
        assert_eq!(free.of(NodeId(1)), Some(address("b:1")));
        assert_eq!(free.of(NodeId(3)), None);
        assert_eq!(*free.changes().borrow(), 1);
    }

    #[tokio::test]
    async fn what_is_known_is_there_at_the_next_start() {
        let directory = Scratch::new("kept");
        let before = two(true);
        before.learn(NodeId(2), address("b:2"));
        keep(&before, &directory.0).await;
        let after = two(true);
        after.recall(&directory.0);
        assert_eq!(after.of(NodeId(2)), Some(address("b:2")));
        fs::write(directory.0.join(FILE), "rubbish").unwrap();
        let spoiled = two(true);
        spoiled.recall(&directory.0);
        assert_eq!(spoiled.of(NodeId(2)), None);
    }

    /// Whoever replaced a member is where it was learned to be, until somebody changes the list.
    #[tokio::test]
    async fn a_list_that_was_changed_counts_more_than_what_was_learned() {
        let directory = Scratch::new("list");
        let before = two(false);
        before.introduce(NodeId(1), address("b:1"));
        assert_eq!(before.of(NodeId(1)), Some(address("a:1")));
        before.loosen(NodeId(1));
        before.introduce(NodeId(1), address("b:1"));
        before.introduce(NodeId(9), address("z:9"));
        assert_eq!(before.of(NodeId(9)), None, "its own address it knows best");
        keep(&before, &directory.0).await;

        let same = two(false);
        same.recall(&directory.0);
        assert_eq!(
            same.of(NodeId(1)),
            Some(address("a:1")),
            "nobody says that it joined"
        );
        assert!(same.to_keep().starts_with("1=b:1"), "{}", same.to_keep());
        same.loosen(NodeId(1));
        assert_eq!(same.of(NodeId(1)), Some(address("b:1")));

        let list = [(NodeId(1), Some(address("c:1")))];
        let moved = Addresses::new(NodeId(9), list.into(), false);
        moved.recall(&directory.0);
        moved.loosen(NodeId(1));
        assert_eq!(moved.of(NodeId(1)), Some(address("c:1")));
    }

    #[tokio::test]
    async fn who_moves_is_noticed() {
        let addresses = two(true);
        let old = address("a:1");
        let moved = addresses.moved(NodeId(1), Some(&old));
        let learned = async { addresses.learn(NodeId(1), address("b:1")) };
        tokio::join!(moved, learned);
    }
}
