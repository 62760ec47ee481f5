//! A snapshot in pieces: only the one that was sent passes.

use remember::wire::{Transfer, TransferError};

use crate::samples::{TERM, at};

fn begun(total_bytes: u64) -> Transfer {
    Transfer::new(TERM, at(6, 40), total_bytes)
}

#[test]
fn a_whole_snapshot_passes() {
    let snapshot: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    for size in [1, 999, 10_000] {
        let mut transfer = begun(10_000);
        for piece in snapshot.chunks(size) {
            transfer.piece(transfer.received(), piece).unwrap();
        }
        assert_eq!(transfer.end(crc32c::crc32c(&snapshot)), Ok(()));
        assert_eq!((transfer.term(), transfer.position()), (TERM, at(6, 40)));
    }
    assert_eq!(begun(0).end(0), Ok(()));
}

#[test]
fn anything_else_is_told() {
    let mut transfer = begun(8);
    transfer.piece(0, b"four").unwrap();
    let before = transfer.clone();
    for given in [0, 3, 5, u64::MAX] {
        let gap = TransferError::Gap { given, due: 4 };
        assert_eq!(transfer.piece(given, b"more"), Err(gap));
    }
    let too_long = TransferError::TooLong {
        received: 9,
        total_bytes: 8,
    };
    assert_eq!(transfer.piece(4, b"extra"), Err(too_long));
    let too_short = TransferError::TooShort {
        received: 4,
        total_bytes: 8,
    };
    assert_eq!(transfer.end(crc32c::crc32c(b"four")), Err(too_short));
    assert_eq!(transfer, before, "what was refused left no trace");
    transfer.piece(4, b"more").unwrap();
    let computed = crc32c::crc32c(b"fourmore");
    let given = computed ^ 1;
    let damaged = TransferError::Checksum { given, computed };
    assert_eq!(transfer.end(given), Err(damaged));
}
