//! The bytes on disk, fixed for ever: a change here is a new format version, not a new expectation.

use std::fmt::Write as _;
use std::io::Write as _;

use remember::consensus::Incarnation;
use remember::storage::{DataDir, Disk};

use crate::model::{CONFIG, ID, at, base, change, entry, founding, membership, peer, start, vote};
use crate::sim_disk::SimDisk;

/// Lines of 32 bytes; runs of zero lines are left out.
fn dump(disk: &SimDisk, name: &str) -> String {
    let content = disk.content(name);
    let mut text = format!("{name}, {} bytes\n", content.len());
    for (line, bytes) in content.chunks(32).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            write!(text, "{:05x} ", line * 32).unwrap();
            for quad in bytes.chunks(4) {
                text.push(' ');
                for byte in quad {
                    write!(text, "{byte:02x}").unwrap();
                }
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_bytes_stay_as_they_are() {
    let disk = SimDisk::new(1);
    drop(start(&disk).unwrap());
    let mut opened = start(&disk).unwrap();
    let wal = &mut opened.wal;
    wal.append(&[vote(3, 0), vote(3, 2), peer(2, 9)]).unwrap();
    wal.sync().unwrap();
    wal.append(&[entry(3, 1, b""), entry(3, 2, b"golden"), change(3, 3)])
        .unwrap();
    wal.append(&[base(3, 1, true), base(3, 4, false)]).unwrap();
    wal.mark().unwrap();
    let mut writer = opened.snapshots.write(at(3, 4), &founding()).unwrap();
    writer.write_all(b"the state").unwrap();
    writer.finish().unwrap();
    let names = disk.list().unwrap();
    let found: String = names.iter().map(|name| dump(&disk, name)).collect();
    let golden = include_str!("golden.txt");
    assert!(found == golden, "the format changed; it is now:\n{found}");
}

#[test]
fn what_was_written_once_is_read() {
    let disk = SimDisk::new(1);
    let mut name = String::new();
    let mut content = Vec::new();
    for line in include_str!("golden.txt").lines() {
        if let Some((file, rest)) = line.split_once(", ") {
            let length = rest.strip_suffix(" bytes").unwrap().parse().unwrap();
            name = file.to_owned();
            content = vec![0; length];
        } else {
            let (offset, bytes) = line.split_once("  ").unwrap();
            let place = usize::from_str_radix(offset, 16).unwrap();
            let digits: String = bytes.split(' ').collect();
            for byte in 0..digits.len() / 2 {
                let value = u8::from_str_radix(&digits[byte * 2..][..2], 16).unwrap();
                content[place + byte] = value;
            }
        }
        disk.put(&name, &content);
    }
    let directory = DataDir::open(disk, ID, Incarnation(0)).unwrap();
    assert_eq!(directory.identity().boots.newest().count(), 3);
    let opened = directory.recover(CONFIG).unwrap();
    assert_eq!(opened.recovered.membership, membership());
    assert_eq!(opened.recovered.base, at(3, 4));
    assert_eq!(opened.recovered.hard_state.term.0, 3);
    assert_eq!(opened.recovered.peers[0].boot.0, 9);
    let snapshot = opened.snapshots.newest().unwrap().unwrap();
    assert_eq!(snapshot.position(), at(3, 4));
    let read = std::io::copy(&mut snapshot.state(), &mut std::io::sink());
    assert_eq!(read.unwrap(), 9);
}
