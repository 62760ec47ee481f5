//! A real directory.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use remember::storage::{Disk, DiskFile, Error, FileDisk};

use crate::model::{Model, Random, any_records, at, base, founding, start};

/// A directory of this test's own, gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("remember-storage-{}-{number}", process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_log_comes_back_from_real_files() {
    let scratch = Scratch::new();
    let path = scratch.0.join("made/on/demand");
    let records = any_records(300, &mut Random(1));
    for (half, records) in records.chunks(150).enumerate() {
        let disk = FileDisk::open(&path).unwrap();
        let mut opened = start(&disk).unwrap();
        assert_eq!(opened.recovered.boots.newest().count(), half as u64 + 1);
        opened.wal.append(records).unwrap();
        opened.wal.mark().unwrap();
    }
    let disk = FileDisk::open(&path).unwrap();
    assert_eq!(disk.path(), path);
    let mut opened = start(&disk).unwrap();
    let model = Model::of(&records);
    assert_eq!(Model::from(&opened.recovered), model);

    let last = at(model.term_at(model.last()).0, model.last().0);
    let mut writer = opened.snapshots.write(last, &founding()).unwrap();
    let content = vec![5; 300_000];
    writer.write_all(&content).unwrap();
    writer.finish().unwrap();
    let segments = opened.wal.segments();
    let record = base(last.term.0, last.index.0, true);
    opened.wal.append(&[record]).unwrap();
    opened.wal.sync().unwrap();
    while opened.wal.release(last).unwrap() {}
    assert!(opened.wal.segments() < segments);
    drop((opened, disk));

    let opened = start(&FileDisk::open(&path).unwrap()).unwrap();
    assert_eq!(opened.recovered.base, last);
    assert!(opened.recovered.entries.is_empty());
    let snapshot = opened.snapshots.newest().unwrap().unwrap();
    let mut state = Vec::new();
    snapshot.state().read_to_end(&mut state).unwrap();
    assert!(state == content);
}

#[test]
fn a_directory_is_locked_while_any_handle_lives() {
    let scratch = Scratch::new();
    let disk = FileDisk::open(&scratch.0).unwrap();
    let clone = disk.clone();
    let error = FileDisk::open(&scratch.0).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"));
    drop(disk);
    assert!(FileDisk::open(&scratch.0).is_err());
    drop(clone);
    FileDisk::open(&scratch.0).unwrap();
}

#[test]
fn real_files_keep_what_the_disk_promises() {
    let scratch = Scratch::new();
    let disk = FileDisk::open(&scratch.0).unwrap();
    let file = disk.create("a").unwrap();
    assert!(disk.create("a").is_err(), "a name is taken once");
    file.write_at(b"later", 1000).unwrap();
    assert_eq!(DiskFile::length(&file).unwrap(), 1005);
    let mut bytes = [9; 5];
    DiskFile::read_at(&file, &mut bytes, 998).unwrap();
    assert_eq!(&bytes, b"\0\0lat");
    assert!(DiskFile::read_at(&file, &mut bytes, 1001).is_err());
    DiskFile::sync(&file).unwrap();
    disk.create("b").unwrap();
    disk.rename("a", "b").unwrap();
    disk.sync_dir().unwrap();
    assert!(disk.open("a").is_err());
    assert_eq!(DiskFile::length(&disk.open("b").unwrap()).unwrap(), 1005);
    assert!(disk.room().unwrap() > 0);
    disk.remove("b").unwrap();
    DiskFile::read_at(&file, &mut bytes, 1000).unwrap();
    assert_eq!(&bytes, b"later", "open files outlive their names");
    assert!(disk.remove("b").is_err());
}

#[test]
fn a_path_that_is_no_directory_says_so() {
    let scratch = Scratch::new();
    let disk = FileDisk::open(&scratch.0).unwrap();
    disk.create("file").unwrap();
    let error = FileDisk::open(scratch.0.join("file")).unwrap_err();
    assert!(error.to_string().contains("could not"), "{error}");
}

#[cfg(unix)]
#[test]
fn values_are_for_their_owner_only() {
    use std::os::unix::fs::MetadataExt;

    let scratch = Scratch::new();
    let disk = FileDisk::open(&scratch.0).unwrap();
    start(&disk).unwrap();
    for name in disk.list().unwrap() {
        let mode = scratch.0.join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
