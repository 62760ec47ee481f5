//! A register as a line of text, the same in a file, over HTTP and in an object of Kubernetes.
//!
//! ```text
//!   cluster 00000000000000c1, 0: never written
//!   cluster 00000000000000c1, 7: pair 1.92e1c07d44ab3f15 2.5f0a9b2c31d8e764 @ 1234, made 1230
//!   cluster 00000000000000c1, 8: sole 2.5f0a9b2c31d8e764 @ 1234, made 1230
//! ```
//!
//! It names the cluster, so that no cluster takes the register of another for its own; then how
//! often it was changed, what it says of which members on which disks, the index of the
//! configuration that this is about, and that of the entry by which this register was made, so that
//! a pair does not take another one of its own cluster for it either. Each value has one text:
//! whatever is not that very text, to the letter, is illegible, and says nothing to anybody.

use crate::consensus::{ClusterId, Incarnation, Index, MemberId, NodeId, Register, Word};
use crate::wire::limits::NODE_ID_MAX;

/// No text is longer, in bytes.
pub const TEXT_BYTES_MAX: usize = 160;

/// A text that is no register of this cluster.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Illegible {
    /// It is longer than any.
    #[error("it has {0} bytes, and no register has more than {TEXT_BYTES_MAX}")]
    TooLong(usize),
    /// It is none.
    #[error(
        "{0:?} is no register, which is like \"cluster 00000000000000c1, 7: pair \
         1.00000000000000a1 2.00000000000000a2 @ 12, made 9\""
    )]
    NoRegister(String),
    /// It is of another cluster.
    #[error("it is the register of cluster {:016x}, and this is cluster {:016x}", .found.0, .due.0)]
    OtherCluster {
        /// Whose it is.
        found: ClusterId,
        /// Whose it has to be.
        due: ClusterId,
    },
}

/// The text of a register, or of one that was never written. Without an end of line.
#[must_use]
pub fn write(cluster: ClusterId, held: Option<Register>) -> String {
    let cluster = format!("cluster {:016x}", cluster.0);
    let Some(Register { number, word, made }) = held else {
        return format!("{cluster}, 0: never written");
    };
    let (said, at) = match word {
        Word::Pair([one, other], at) => (format!("pair {} {}", name(one), name(other)), at),
        Word::Sole(one, at) => (format!("sole {}", name(one)), at),
    };
    format!("{cluster}, {number}: {said} @ {}, made {}", at.0, made.0)
}

/// Reads what [`write()`] wrote for this cluster; one end of line behind it is left out.
pub fn read(cluster: ClusterId, text: &str) -> Result<Option<Register>, Illegible> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.len() > TEXT_BYTES_MAX {
        return Err(Illegible::TooLong(text.len()));
    }
    let parsed = parse(text).filter(|(found, held)| write(*found, *held) == text);
    let Some((found, held)) = parsed else {
        return Err(Illegible::NoRegister(text.to_owned()));
    };
    if found != cluster {
        let due = cluster;
        return Err(Illegible::OtherCluster { found, due });
    }
    Ok(held)
}

fn name(member: MemberId) -> String {
    format!("{}.{:016x}", member.id.0, member.incarnation.0)
}

/// Reads loosely; that it is the one text of its value is seen by writing it again.
fn parse(text: &str) -> Option<(ClusterId, Option<Register>)> {
    let (cluster, rest) = text.strip_prefix("cluster ")?.split_once(", ")?;
    let cluster = ClusterId(u64::from_str_radix(cluster, 16).ok()?);
    let (number, rest) = rest.split_once(": ")?;
    let number = number.parse().ok()?;
    if number == 0 {
        return Some((cluster, None));
    }
    let (said, rest) = rest.split_once(" @ ")?;
    let (at, made) = rest.split_once(", made ")?;
    let (at, made) = (Index(at.parse().ok()?), Index(made.parse().ok()?));
    let word = match *said.split(' ').collect::<Vec<_>>() {
        ["sole", one] => Word::Sole(member(one)?, at),
        ["pair", one, other] => {
            let pair = [member(one)?, member(other)?];
            (pair[0] != pair[1]).then_some(Word::Pair(pair, at))?
        }
        _ => return None,
    };
    Some((cluster, Some(Register { number, word, made })))
}

fn member(text: &str) -> Option<MemberId> {
    let (id, incarnation) = text.split_once('.')?;
    let id = id
        .parse()
        .ok()
        .filter(|id| (1..=NODE_ID_MAX).contains(id))?;
    let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
    Some(MemberId {
        id: NodeId(id),
        incarnation: Incarnation(incarnation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId(0xc1);

    fn a_member(id: u64, incarnation: u64) -> MemberId {
        MemberId {
            id: NodeId(id),
            incarnation: Incarnation(incarnation),
        }
    }

    fn registers() -> Vec<(Option<Register>, &'static str)> {
        let pair = [a_member(1, 0xa1), a_member(2, u64::MAX)];
        let sole = a_member(NODE_ID_MAX, 0xa2);
        let made = Index(1230);
        let held = |number, word| Some(Register { number, word, made });
        vec![
            (None, "cluster 00000000000000c1, 0: never written"),
            (
                held(7, Word::Pair(pair, Index(1234))),
                "cluster 00000000000000c1, 7: pair 1.00000000000000a1 2.ffffffffffffffff @ 1234, \
                 made 1230",
            ),
            (
                held(u64::MAX, Word::Sole(sole, Index(u64::MAX))),
                "cluster 00000000000000c1, 18446744073709551615: sole \
                 4294967295.00000000000000a2 @ 18446744073709551615, made 1230",
            ),
        ]
    }

    #[test]
    fn each_register_has_one_text() {
        for (held, text) in registers() {
            assert_eq!(write(CLUSTER, held), text);
            assert_eq!(read(CLUSTER, text), Ok(held));
            assert_eq!(read(CLUSTER, &format!("{text}\n")), Ok(held));
        }
        let longest = a_member(NODE_ID_MAX, u64::MAX);
        let word = Word::Pair([longest, a_member(NODE_ID_MAX, 0)], Index(u64::MAX));
        let (number, made) = (u64::MAX, Index(u64::MAX));
        let longest = write(ClusterId(u64::MAX), Some(Register { number, word, made }));
        assert!(longest.len() <= TEXT_BYTES_MAX, "{}", longest.len());
    }

    #[test]
    fn what_is_not_that_very_text_says_nothing() {
        let sole = "cluster 00000000000000c1, 8: sole 2.00000000000000a2 @ 9, made 5";
        assert!(read(CLUSTER, sole).is_ok());
        for (part, other) in [
            (sole, ""),
            (sole, "\n"),
            ("cluster ", ""),
            ("cluster ", "Cluster "),
            ("00000000000000c1", "c1"),
            ("00000000000000c1", "00000000000000C1"),
            ("00000000000000c1", "+0000000000000c1"),
            ("8:", "08:"),
            ("8:", "+8:"),
            ("8:", "-8:"),
            ("8:", "0:"),
            ("8:", "18446744073709551616:"),
            ("sole", "soles"),
            ("sole", "pair"),
            ("sole 2.00000000000000a2", "sole"),
            ("sole 2.00000000000000a2", "sole 2"),
            (
                "sole 2.00000000000000a2",
                "pair 2.00000000000000a2 2.00000000000000a2",
            ),
            ("sole 2", "sole 0"),
            ("sole 2", "sole 4294967296"),
            ("00000000000000a2", "a2"),
            ("00000000000000a2", "g0000000000000a2"),
            ("@ 9", "@ 9 "),
            ("@ 9", "@  9"),
            ("@ 9", "@"),
            ("@ 9", "@ 9 @ 9"),
            (", made 5", ""),
            (", made", ""),
            (", made 5", " made 5"),
            ("made 5", "made"),
            ("made 5", "made 05"),
            ("made 5", "made 5 "),
            ("made 5", "made 5\n\n"),
            ("made 5", "made 5\r\n"),
            ("made 5", "made 5, made 5"),
            (sole, "cluster 00000000000000c1, 0: "),
            (
                sole,
                "cluster 00000000000000c1, 0: sole 2.00000000000000a2 @ 9, made 5",
            ),
            (sole, "cluster 00000000000000c1, 1: never written"),
        ] {
            let text = sole.replacen(part, other, 1);
            let read = read(CLUSTER, &text);
            assert!(
                matches!(read, Err(Illegible::NoRegister(_))),
                "{text:?} {read:?}"
            );
        }
    }

    #[test]
    fn what_is_of_another_cluster_or_far_too_long_is_told_so() {
        let foreign = read(ClusterId(0xc2), &write(CLUSTER, None)).unwrap_err();
        let sentence = foreign.to_string();
        let both = [
            "cluster 00000000000000c1,",
            "this is cluster 00000000000000c2",
        ];
        assert!(
            both.iter().all(|part| sentence.contains(part)),
            "{sentence}"
        );
        let long = "x".repeat(1 << 20);
        assert_eq!(read(CLUSTER, &long), Err(Illegible::TooLong(1 << 20)));
    }
}
