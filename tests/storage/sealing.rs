//! Seals damaged files anew: right checksums over wrong content, which only checks of the content
//! can refuse. Written from the formats as the modules describe them, not from their code.

use crate::hostile::File;

/// Where numbers stand in a segment: its header, and the header of a batch.
const SEGMENT_CRC_AT: usize = 52;
const BATCH_HEADER_BYTES: usize = 40;
const SECTOR: usize = 512;

/// Seals the files in order: a later segment quotes the end of the one before.
pub(crate) fn seal(files: &mut [File]) {
    let mut before = None;
    for file in files {
        let bytes = &mut file.content;
        match file.name.split('-').next().unwrap() {
            "wal" => before = segment(bytes, before),
            "identity" => identity(bytes),
            "snapshot" => {
                state_of_snapshot(bytes);
                snapshot(bytes);
            }
            _ => {}
        }
    }
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(get(bytes, at)?) as usize)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// Seals a segment; returns where it ends and its last CRC.
fn segment(bytes: &mut [u8], before: Option<(usize, u32)>) -> Option<(usize, u32)> {
    if let Some((offset, chain)) = before {
        put(bytes, 40, &(offset as u64).to_le_bytes());
        put(bytes, 48, &chain.to_le_bytes());
    }
    let mut chain = crc32c::crc32c(bytes.get(..SEGMENT_CRC_AT)?);
    put(bytes, SEGMENT_CRC_AT, &chain.to_le_bytes());
    let seed = crc32c::crc32c(bytes.get(16..24)?);
    let seed = crc32c::crc32c_append(seed, bytes.get(24..32)?);
    let mut offset = SECTOR;
    while bytes.get(offset..offset + 4) == Some(b"btch") {
        let length = number(bytes, offset + 4)?;
        put(bytes, offset + 12, &chain.to_le_bytes());
        chain = crc32c::crc32c_append(seed, bytes.get(offset..offset + 36)?);
        put(bytes, offset + 36, &chain.to_le_bytes());
        let mut at = offset + BATCH_HEADER_BYTES;
        let end = at + length;
        while at < end {
            let crc_at = at + 5 + number(bytes, at)?;
            chain = crc32c::crc32c_append(chain, bytes.get(at..crc_at)?);
            put(bytes, crc_at, &chain.to_le_bytes());
            at = crc_at + 4;
        }
        offset += (BATCH_HEADER_BYTES + length).next_multiple_of(SECTOR);
    }
    Some((offset, chain))
}

fn identity(bytes: &mut [u8]) {
    for slot in bytes.chunks_exact_mut(4096) {
        let crc = crc32c::crc32c(&slot[..4092]);
        put(slot, 4092, &crc.to_le_bytes());
    }
}

/// Where the CRC of a snapshot's header stands: behind the configuration.
fn crc_of_header(bytes: &[u8]) -> Option<usize> {
    Some(32 + number(bytes, 12)?)
}

/// Seals a snapshot's header, chunks and end.
fn snapshot(bytes: &mut [u8]) -> Option<()> {
    let crc_at = crc_of_header(bytes)?;
    let mut chain = crc32c::crc32c(bytes.get(..crc_at)?);
    put(bytes, crc_at, &chain.to_le_bytes());
    let (mut at, mut all) = (crc_at + 4, 0);
    loop {
        let length = number(bytes, at)?;
        let content = bytes.get(at + 8..at + 8 + length)?;
        if length == 0 {
            put(bytes, at + 16, &u32::to_le_bytes(all));
            chain = crc32c::crc32c_append(chain, bytes.get(at..at + 4)?);
            chain = crc32c::crc32c_append(chain, bytes.get(at + 8..at + 20)?);
            put(bytes, at + 4, &chain.to_le_bytes());
            return Some(());
        }
        all = crc32c::crc32c_append(all, content);
        chain = crc32c::crc32c_append(chain, bytes.get(at..at + 4)?);
        chain = crc32c::crc32c_append(chain, bytes.get(at + 8..at + 8 + length)?);
        put(bytes, at + 4, &chain.to_le_bytes());
        at += 8 + length;
    }
}

/// Seals the sums of the state inside a snapshot that has one chunk.
fn state_of_snapshot(bytes: &mut [u8]) -> Option<()> {
    let begins = crc_of_header(bytes)? + 4;
    let length = number(bytes, begins)?;
    let state = bytes.get_mut(begins + 8..begins + 8 + length)?;
    let mut sum = crc32c::crc32c(state.get(..60)?);
    put(state, 60, &sum.to_le_bytes());
    let mut at = 64;
    loop {
        let records = number(state, at)?;
        let content = if records == 0 { 8 } else { records };
        sum = crc32c::crc32c_append(sum, state.get(at..at + 4)?);
        sum = crc32c::crc32c_append(sum, state.get(at + 8..at + 8 + content)?);
        put(state, at + 4, &sum.to_le_bytes());
        if records == 0 {
            return Some(());
        }
        at += 8 + records;
    }
}
