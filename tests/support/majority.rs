//! Whether a configuration agrees: worked out without the code under test.

use remember::consensus::{Configuration, MemberId, Seat};

/// Whether a majority of each set that counts says so.
pub(crate) fn is_agreed(configuration: &Configuration, says: impl Fn(MemberId) -> bool) -> bool {
    is_majority(configuration, |seat| seat.votes, &says)
        && is_majority(configuration, |seat| seat.outgoing, &says)
}

/// Whether a majority of one set says so, or that set is empty.
pub(crate) fn is_majority(
    configuration: &Configuration,
    counts: fn(&Seat) -> bool,
    says: impl Fn(MemberId) -> bool,
) -> bool {
    let counted = configuration.seats().filter(|(_, seat)| counts(seat));
    let said: Vec<_> = counted.map(|(member, _)| says(member)).collect();
    said.is_empty() || said.iter().filter(|said| **said).count() > said.len() / 2
}
