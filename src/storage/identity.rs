//! Who a data directory is: the node, the disk, how often it started, and its cluster (R13, R15).
//!
//! The file has two slots of equal content, which are written one after the other, the one that is
//! not needed first, each durable before the next. Torn or rotten, one of them is always good, and
//! a change needs no room on a full disk. Format version 4, little-endian, CRC-32C:
//!
//! ```text
//!   slot, 4,096 bytes   8 magic "rmbr-idn"   8 generation     8 boot      8, 8 settled since
//!                       4 version            8 node id        8 cluster   configuration, as in
//!                       4 members            8 incarnation    4 epoch        the log
//!                                                                         4 per earlier boot
//!                                                                         zeroes, 4 CRC
//! ```
//!
//! The generation counts the changes, and the slot with the higher one counts. No members: the
//! node belongs to no cluster yet. Of the earlier boots it is the nonces, the oldest first; how
//! many there are follows from the number of the boot.

use super::layout::{
    CONFIGURATION_BYTES_MAX, Fields, configuration_bytes, decode_configuration,
    encode_configuration, encode_position,
};
use super::{Disk, DiskFile, Error};
use crate::consensus::{
    Boot, Boots, ClusterId, Epoch, Incarnation, MEMBERS_MAX, MemberId, Membership, NodeId,
};

/// The name of the file.
pub(super) const NAME: &str = "identity";
/// Its name while it is made for the first time.
const UNFINISHED: &str = "identity-unfinished";
const VERSION: u32 = 4;
const MAGIC: &[u8; 8] = b"rmbr-idn";
const SLOT_BYTES: usize = 4096;
const SLOTS: [u64; 2] = [0, SLOT_BYTES as u64];
const CRC_AT: usize = SLOT_BYTES - 4;

const _: () = assert!(
    76 + CONFIGURATION_BYTES_MAX + 4 * (Boots::KEPT_MAX - 1) <= CRC_AT,
    "every identity fits in a slot"
);

/// Who a data directory is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The node.
    pub id: NodeId,
    /// This disk's life.
    pub incarnation: Incarnation,
    /// The starts of this disk; a new one is durable before anything else is done (R15).
    pub boots: Boots,
    /// The cluster, once there is one.
    pub membership: Option<Membership>,
}

type Slot = [u8; SLOT_BYTES];

/// Which change of the identity the file holds, and in which slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edition {
    generation: u64,
    slot: usize,
}

impl Edition {
    /// The first.
    pub(super) const FIRST: Self = Self {
        generation: 1,
        slot: 0,
    };
}

/// Why a slot says nothing.
enum NotASlot {
    Version(u32),
    Damaged,
}

impl Identity {
    /// Makes the file. There must be none.
    pub(super) fn create<D: Disk>(&self, disk: &D) -> Result<(), Error> {
        let names = disk
            .list()
            .map_err(Error::io("list", "the data directory"))?;
        if names.iter().any(|name| name == UNFINISHED) {
            disk.remove(UNFINISHED)
                .map_err(Error::io("remove", UNFINISHED))?;
        }
        let file = disk.create(UNFINISHED).map_err(Error::io("make", NAME))?;
        let slot = self.encode(1);
        SLOTS
            .iter()
            .try_for_each(|offset| file.write_at(&slot, *offset))
            .and_then(|()| file.sync())
            .and_then(|()| disk.rename(UNFINISHED, NAME))
            .and_then(|()| disk.sync_dir())
            .map_err(Error::io("make", NAME))
    }

    /// Reads the file.
    pub(super) fn read<D: Disk>(disk: &D) -> Result<(Self, Edition), Error> {
        let file = disk.open(NAME).map_err(Error::io("open", NAME))?;
        let length = file.length().map_err(Error::io("open", NAME))?;
        if length != 2 * SLOT_BYTES as u64 {
            return Err(Error::rotten(NAME, length, "the file has a wrong length"));
        }
        let mut bytes = [0; SLOT_BYTES];
        let mut found: Option<(Self, Edition)> = None;
        for (slot, offset) in SLOTS.into_iter().enumerate() {
            (file.read_at(&mut bytes, offset)).map_err(Error::io("read", NAME))?;
            let (identity, generation) = match Self::decode(&bytes) {
                Ok(decoded) => decoded,
                Err(NotASlot::Damaged) => continue,
                Err(NotASlot::Version(found)) => {
                    return Err(Error::OtherFormat {
                        file: NAME.to_owned(),
                        found,
                        supported: VERSION,
                    });
                }
            };
            match &found {
                Some((other, edition)) if edition.generation == generation => {
                    if *other != identity {
                        return Err(Error::rotten(NAME, offset, "its two copies differ"));
                    }
                }
                Some((_, edition)) if edition.generation > generation => {}
                _ => found = Some((identity, Edition { generation, slot })),
            }
        }
        found.ok_or_else(|| Error::rotten(NAME, 0, "both its copies are damaged"))
    }

    /// Makes the slot that was read durable. An earlier start may have failed to sync it, so that
    /// it is in the page cache alone, where another sync proves nothing: it is written again (R23).
    /// Until then the other slot may be the only good one on the disk, and must not be touched.
    pub(super) fn settle<D: Disk>(&self, disk: &D, edition: Edition) -> Result<(), Error> {
        let file = disk.open(NAME).map_err(Error::io("open", NAME))?;
        let bytes = self.encode(edition.generation);
        file.write_at(&bytes, SLOTS[edition.slot])
            .and_then(|()| file.sync())
            .map_err(Error::io("write", NAME))
    }

    /// Replaces the content of the file, which is the given edition; returns the next.
    pub(super) fn rewrite<D: Disk>(&self, disk: &D, edition: Edition) -> Result<Edition, Error> {
        let generation = (edition.generation.checked_add(1))
            .ok_or_else(|| Error::rotten(NAME, 16, "its changes cannot be counted any further"))?;
        let next = Edition {
            generation,
            slot: edition.slot,
        };
        let file = disk.open(NAME).map_err(Error::io("open", NAME))?;
        let bytes = self.encode(next.generation);
        // The slot that was read is durable and may be the only good one, so it comes last.
        for slot in [1 - edition.slot, edition.slot] {
            (file.write_at(&bytes, SLOTS[slot]))
                .and_then(|()| file.sync())
                .map_err(Error::io("write", NAME))?;
        }
        Ok(next)
    }

    /// The membership if this disk may take it.
    pub(super) fn check_membership(&self, membership: &Membership) -> Result<(), Error> {
        let refused = |what| Err(Error::membership(self.id, self.incarnation, what));
        let (_, settled) = &membership.settled;
        let own = MemberId {
            id: self.id,
            incarnation: self.incarnation,
        };
        let of_own_id = |member: MemberId| member.id == self.id;
        match settled.seats().len() {
            size if size > MEMBERS_MAX => refused("it has too many members"),
            _ if settled.names(own) => Ok(()),
            _ if settled.members().any(of_own_id) => refused("it names another disk of this node"),
            _ => refused("this node is not one of the members"),
        }
    }

    fn encode(&self, generation: u64) -> Slot {
        let membership = self.membership.as_ref();
        let members = membership.map_or(0, |membership| membership.settled.1.seats().len());
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(members).unwrap_or(u32::MAX).to_le_bytes());
        let cluster = membership.map_or(0, |membership| membership.cluster.0);
        let numbers = [
            generation,
            self.id.0,
            self.incarnation.0,
            self.boots.newest().0,
            cluster,
        ];
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let epoch = membership.map_or(0, |membership| membership.epoch.0);
        bytes.extend_from_slice(&epoch.to_le_bytes());
        if let Some(Membership { settled, .. }) = membership {
            encode_position(settled.0, &mut bytes);
            encode_configuration(&settled.1, &mut bytes);
        }
        for nonce in self.boots.earlier() {
            bytes.extend_from_slice(&nonce.to_le_bytes());
        }
        assert!(
            bytes.len() <= CRC_AT,
            "a membership is checked before it is kept"
        );
        let mut slot = [0; SLOT_BYTES];
        slot[..bytes.len()].copy_from_slice(&bytes);
        let crc = crc32c::crc32c(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn decode(slot: &Slot) -> Result<(Self, u64), NotASlot> {
        let (covered, crc) = slot.split_at(CRC_AT);
        let intact = Fields(crc).u32() == Some(crc32c::crc32c(covered));
        if !intact || !slot.starts_with(MAGIC) {
            return Err(NotASlot::Damaged);
        }
        let mut fields = Fields(&covered[MAGIC.len()..]);
        let version = fields.u32().ok_or(NotASlot::Damaged)?;
        if version != VERSION {
            return Err(NotASlot::Version(version));
        }
        let (identity, generation) = Self::decode_fields(&mut fields).ok_or(NotASlot::Damaged)?;
        if identity.encode(generation) != *slot {
            return Err(NotASlot::Damaged);
        }
        Ok((identity, generation))
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Option<(Self, u64)> {
        let members = usize::try_from(fields.u32()?).ok()?;
        if members > MEMBERS_MAX {
            return None;
        }
        let generation = fields.u64()?;
        let (id, incarnation) = (NodeId(fields.u64()?), Incarnation(fields.u64()?));
        let boot = Boot(fields.u64()?);
        let cluster = ClusterId(fields.u64()?);
        let epoch = Epoch(fields.u32()?);
        let mut membership = None;
        if members > 0 {
            let since = fields.position()?;
            let (configuration, rest) =
                (fields.0).split_at_checked(configuration_bytes(members))?;
            let settled = (since, decode_configuration(&mut Fields(configuration))?);
            fields.0 = rest;
            membership = Some(Membership {
                cluster,
                epoch,
                settled,
            });
        }
        let earlier = (0..Boots::kept_before(boot)).map(|_| fields.u32());
        let boots = Boots::of(boot, earlier.collect::<Option<_>>()?)?;
        let identity = Self {
            id,
            incarnation,
            boots,
            membership,
        };
        Some((identity, generation))
    }
}
