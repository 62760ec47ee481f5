//! Who keeps registers on a disk, one file for each cluster.
//!
//! ```text
//!   register-00000000000000c1        what it holds, as text
//!   register-00000000000000c1.new    what it is to hold, while that is being written
//! ```
//!
//! A change is on the disk before it is told: the new file is written and synced, takes the place
//! of the old one, and the directory is synced. Whatever is read was told in that way, or is what
//! was there before.

use std::cell::Cell;
use std::io;
use std::path::Path;

use super::text::{self, Illegible, TEXT_BYTES_MAX};
use crate::consensus::{Answer, Ask, ClusterId, Register};
use crate::storage::{self, Disk as _, DiskFile as _, FileDisk};

/// Of how many clusters registers are kept; that of a further one is refused.
const CLUSTERS_MAX: usize = 1024;

/// What the names of the files begin with.
const PREFIX: &str = "register-";

/// Why a register is not told, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] storage::Error),
    /// The file system failed. Nothing was changed.
    #[error("could not {action} {file}: {source}; nothing was changed")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// Which file.
        file: String,
        /// What the file system said.
        source: io::Error,
    },
    /// It failed in the midst of a change, and nobody knows what the disk holds (R23).
    #[error("the disk failed in the midst of a change; start the witness again: {0}")]
    Uncertain(String),
    /// The file holds something else.
    #[error(
        "{file} holds no register: {why}. Nobody goes on alone by it. If the leader of the pair is \
         there, remove the file, and it writes another one"
    )]
    Illegible {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: Illegible,
    },
    /// There are too many.
    #[error(
        "registers of {CLUSTERS_MAX} clusters are kept here; remove the files of those that are \
         gone"
    )]
    TooMany,
}

/// Keeps them in a directory of its own, locked against every other process.
#[derive(Debug)]
pub struct Keeper {
    disk: FileDisk,
    /// Whether it failed in the midst of a change.
    is_uncertain: Cell<bool>,
}

impl Keeper {
    /// Opens the directory, and makes it if there is none.
    pub fn open(path: &Path) -> Result<Self, KeeperError> {
        let disk = FileDisk::open(path)?;
        let keeper = Self {
            disk,
            is_uncertain: Cell::new(false),
        };
        // A name that is seen after a kill may not be durable.
        let synced = keeper.disk.sync_dir();
        synced.map_err(failed("sync", "the data directory"))?;
        Ok(keeper)
    }

    /// Does what is asked; a change is durable when this returns. Waits for the disk.
    pub fn carry_out(&self, cluster: ClusterId, ask: &Ask) -> Result<Answer, KeeperError> {
        if self.is_uncertain.get() {
            return Err(KeeperError::Uncertain(
                "nothing is told until then".to_owned(),
            ));
        }
        let held = self.read(cluster)?;
        match ask {
            Ask::Swap { from, to } if *from == held => {
                if held.is_none() {
                    self.demand_room()?;
                }
                self.write(cluster, *to)?;
                Ok(Answer::Swapped)
            }
            Ask::Swap { .. } | Ask::Read => Ok(Answer::Holds(held)),
        }
    }

    fn read(&self, cluster: ClusterId) -> Result<Option<Register>, KeeperError> {
        let name = name(cluster);
        let file = match self.disk.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("open", &name))?,
        };
        let illegible = |why| KeeperError::Illegible {
            file: name.clone(),
            why,
        };
        let length = file.length().map_err(failed("read", &name))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        // With the end of its line.
        if length > TEXT_BYTES_MAX + 1 {
            return Err(illegible(Illegible::TooLong(length)));
        }
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, 0);
        read.map_err(failed("read", &name))?;
        let text = String::from_utf8_lossy(&bytes);
        // None of ours says that it was never written.
        match text::read(cluster, &text).map_err(illegible)? {
            None => Err(illegible(Illegible::NoRegister(text.into_owned()))),
            held => Ok(held),
        }
    }

    fn write(&self, cluster: ClusterId, to: Register) -> Result<(), KeeperError> {
        let name = name(cluster);
        let unfinished = format!("{name}.new");
        let text = format!("{}\n", text::write(cluster, Some(to)));
        let written = || {
            match self.disk.remove(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.disk.create(&unfinished)?;
            file.write_at(text.as_bytes(), 0)?;
            file.sync()
        };
        written().map_err(failed("write", &unfinished))?;
        let renamed = self.disk.rename(&unfinished, &name);
        let named = renamed.and_then(|()| self.disk.sync_dir());
        named.map_err(|error| {
            self.is_uncertain.set(true);
            KeeperError::Uncertain(format!("{name}: {error}"))
        })
    }

    /// Refuses a register too many.
    fn demand_room(&self) -> Result<(), KeeperError> {
        let names = self.disk.list();
        let names = names.map_err(failed("list", "the data directory"))?;
        let kept = names.iter().filter(|name| name.starts_with(PREFIX));
        if kept.count() >= CLUSTERS_MAX {
            return Err(KeeperError::TooMany);
        }
        Ok(())
    }
}

fn name(cluster: ClusterId) -> String {
    format!("{PREFIX}{:016x}", cluster.0)
}

fn failed(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> KeeperError {
    let file = file.to_owned();
    move |source| KeeperError::Io {
        action,
        file,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::consensus::{Incarnation, Index, MemberId, NodeId, Word};

    const CLUSTER: ClusterId = ClusterId(0xc1);

    /// A directory that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("remember-keeper-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn file(&self) -> PathBuf {
            self.0.join(name(CLUSTER))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn sole(number: u64) -> Register {
        let member = MemberId {
            id: NodeId(1),
            incarnation: Incarnation(0xa1),
        };
        Register {
            number,
            word: Word::Sole(member, Index(5)),
            made: Index(4),
        }
    }

    fn swap(from: Option<Register>, to: Register) -> Ask {
        Ask::Swap { from, to }
    }

    fn told(keeper: &Keeper, ask: &Ask) -> Answer {
        keeper.carry_out(CLUSTER, ask).unwrap()
    }

    #[test]
    fn a_register_changes_only_from_what_it_holds_and_keeps_that() {
        let scratch = Scratch::new("swap");
        let keeper = Keeper::open(&scratch.0).unwrap();
        assert_eq!(told(&keeper, &Ask::Read), Answer::Holds(None));
        let late = swap(Some(sole(1)), sole(2));
        assert_eq!(told(&keeper, &late), Answer::Holds(None));
        assert_eq!(told(&keeper, &swap(None, sole(1))), Answer::Swapped);
        assert_eq!(
            told(&keeper, &swap(None, sole(1))),
            Answer::Holds(Some(sole(1)))
        );
        // What an earlier life left half done is nobody's.
        std::fs::write(scratch.0.join("register-00000000000000c1.new"), "x").unwrap();
        assert_eq!(told(&keeper, &late), Answer::Swapped);
        assert_eq!(told(&keeper, &late), Answer::Holds(Some(sole(2))));
        drop(keeper);
        let keeper = Keeper::open(&scratch.0).unwrap();
        assert_eq!(told(&keeper, &Ask::Read), Answer::Holds(Some(sole(2))));
        let other = keeper.carry_out(ClusterId(7), &Ask::Read).unwrap();
        assert_eq!(other, Answer::Holds(None), "each cluster has its own");
    }

    #[test]
    fn what_is_no_register_says_no_to_everybody_until_it_is_removed() {
        let scratch = Scratch::new("illegible");
        let keeper = Keeper::open(&scratch.0).unwrap();
        let foreign = text::write(ClusterId(0xc2), Some(sole(1)));
        let never = text::write(CLUSTER, None);
        let long = "x".repeat(1 << 20);
        for (text, why) in [
            ("", "is no register"),
            ("\0\0\0\0", "is no register"),
            (never.as_str(), "is no register"),
            (foreign.as_str(), "of cluster 00000000000000c2"),
            (long.as_str(), "1048576 bytes"),
        ] {
            std::fs::write(scratch.file(), text).unwrap();
            for ask in [Ask::Read, swap(None, sole(1)), swap(Some(sole(1)), sole(2))] {
                let refused = keeper.carry_out(CLUSTER, &ask).unwrap_err().to_string();
                assert!(refused.contains(why), "{refused}");
                assert!(refused.contains("remove the file"), "{refused}");
            }
            assert_eq!(std::fs::read_to_string(scratch.file()).unwrap(), text);
        }
        std::fs::remove_file(scratch.file()).unwrap();
        assert_eq!(told(&keeper, &swap(None, sole(1))), Answer::Swapped);
    }

    #[test]
    fn one_process_keeps_a_directory_and_not_for_any_number_of_clusters() {
        let scratch = Scratch::new("limits");
        let keeper = Keeper::open(&scratch.0).unwrap();
        let second = Keeper::open(&scratch.0).unwrap_err().to_string();
        assert!(second.contains("another process"), "{second}");
        assert_eq!(told(&keeper, &swap(None, sole(1))), Answer::Swapped);
        for cluster in 1..CLUSTERS_MAX {
            std::fs::write(scratch.0.join(format!("{PREFIX}x{cluster}")), "").unwrap();
        }
        let more = keeper.carry_out(ClusterId(7), &swap(None, sole(1)));
        assert!(matches!(more, Err(KeeperError::TooMany)), "{more:?}");
        assert_eq!(
            told(&keeper, &swap(Some(sole(1)), sole(2))),
            Answer::Swapped
        );
    }

    #[test]
    fn a_change_that_could_not_be_written_did_not_happen() {
        let scratch = Scratch::new("failed");
        let keeper = Keeper::open(&scratch.0).unwrap();
        assert_eq!(told(&keeper, &swap(None, sole(1))), Answer::Swapped);
        // A directory stands where the new file is to be written.
        let unfinished = scratch.0.join("register-00000000000000c1.new");
        std::fs::create_dir(&unfinished).unwrap();
        let failed = keeper.carry_out(CLUSTER, &swap(Some(sole(1)), sole(2)));
        assert!(matches!(failed, Err(KeeperError::Io { .. })), "{failed:?}");
        assert_eq!(told(&keeper, &Ask::Read), Answer::Holds(Some(sole(1))));
        std::fs::remove_dir(&unfinished).unwrap();
        assert_eq!(
            told(&keeper, &swap(Some(sole(1)), sole(2))),
            Answer::Swapped
        );
    }
}
