//! Where each member is reached, as far as this node knows.
//!
//! A list that was given stays as it is. In pods addresses change while a node runs: discovery
//! tells new ones, and so does each peer that dials, since it says where it is reached. What is
//! known is kept in the data directory, so that the next start needs nobody to ask (R10). Who
//! answers at an address is settled by the handshake; a wrong one costs time and nothing else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use tokio::sync::watch;
use tracing::{info, warn};

use super::aside::aside;
use crate::consensus::NodeId;
use crate::discovery::{MemberAddress, Members};
use crate::state;

/// What the file in the data directory is called.
const FILE: &str = "addresses";
/// More than any list of members can have.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The addresses of one node's cluster. All its users run on one thread.
#[derive(Debug)]
pub(super) struct Addresses {
    known: RefCell<BTreeMap<NodeId, Option<MemberAddress>>>,
    /// How often something was learned.
    learned: watch::Sender<u64>,
    /// Whether anything may be learned.
    may_change: bool,
}

impl Addresses {
    /// Those that were given, none of which ever changes unless that is said.
    pub(super) fn new(known: BTreeMap<NodeId, Option<MemberAddress>>, may_change: bool) -> Self {
        Self {
            known: RefCell::new(known),
            learned: watch::Sender::new(0),
            may_change,
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
        if !self.may_change || !can_be_kept(id, &address) {
            return;
        }
        match self.known.borrow_mut().get_mut(&id) {
            Some(known) if known.as_ref() != Some(&address) => {
                info!(peer = id.0, at = %address.peer, "a peer has another address");
                *known = Some(address);
            }
            _ => return,
        }
        self.learned.send_modify(|count| *count += 1);
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

    /// Fills in what an earlier start has kept, where nothing is known yet.
    pub(super) fn recall(&self, data_dir: &Path) {
        if !self.may_change {
            return;
        }
        match read(&data_dir.join(FILE)) {
            Ok(kept) => {
                let mut known = self.known.borrow_mut();
                for (id, address) in kept.0 {
                    if let Some(unknown @ None) = known.get_mut(&id) {
                        *unknown = Some(address);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It is a hint; others will say it again.
            Err(error) => warn!(%error, "the addresses of an earlier start are of no use"),
        }
    }

    /// Keeps what is known in the data directory, now and after every change.
    pub(super) async fn keep(&self, data_dir: &Path) {
        if !self.may_change {
            return;
        }
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let known = self.known.borrow().clone().into_iter();
            let known = known.filter_map(|(id, address)| Some((id, address?)));
            let text = Members(known.collect()).to_string();
            let directory = data_dir.to_owned();
            if let Err(error) = aside(move || write(&directory, &text)).await {
                warn!(%error, "where peers are is not kept for the next start");
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Whether an address reads as it is written: one that does not would spoil the whole list.
fn can_be_kept(id: NodeId, address: &MemberAddress) -> bool {
    let alone = Members([(id, address.clone())].into());
    alone.to_string().parse() == Ok(alone)
}

fn read(file: &Path) -> io::Result<Members> {
    if fs::metadata(file)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{} is too long", file.display())));
    }
    let text = fs::read_to_string(file)?;
    let wrong = |error| io::Error::other(format!("in {}, {error}", file.display()));
    text.trim().parse().map_err(wrong)
}

/// All of it or nothing: a reader after a crash finds what was there before, or this.
fn write(directory: &Path, text: &str) -> io::Result<()> {
    let file = directory.join(FILE);
    if fs::read_to_string(&file).is_ok_and(|kept| kept == text) {
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

    fn two(may_change: bool) -> Addresses {
        let known = [(NodeId(1), Some(address("a:1"))), (NodeId(2), None)];
        Addresses::new(known.into(), may_change)
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
        let directory = std::env::temp_dir().join(format!("addresses-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let before = two(true);
        before.learn(NodeId(2), address("b:2"));
        let keeping = before.keep(&directory);
        let kept = async {
            while !directory.join(FILE).exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = keeping => {}
            () = kept => {}
        }
        let after = two(true);
        after.recall(&directory);
        assert_eq!(after.of(NodeId(2)), Some(address("b:2")));
        fs::write(directory.join(FILE), "rubbish").unwrap();
        let spoiled = two(true);
        spoiled.recall(&directory);
        assert_eq!(spoiled.of(NodeId(2)), None);
        fs::remove_dir_all(&directory).unwrap();
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
