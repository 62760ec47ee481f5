//! Whether a configuration agrees: worked out without the code under test.

use remember::consensus::{Configuration, MemberId, Seat};

/// Whether a majority of each set that counts says so. Of two, one whom the witness of the pair
/// names speaks for both (R17).
pub(crate) fn is_agreed(
    configuration: &Configuration,
    named: Option<MemberId>,
    says: impl Fn(MemberId) -> bool,
) -> bool {
    is_majority(configuration, named, |seat| seat.votes, &says)
        && is_majority(configuration, named, |seat| seat.outgoing, &says)
}

/// Whether a majority of one set says so, or that set is empty.
pub(crate) fn is_majority(
    configuration: &Configuration,
    named: Option<MemberId>,
    counts: fn(&Seat) -> bool,
    says: impl Fn(MemberId) -> bool,
) -> bool {
    let counted = configuration.seats().filter(|(_, seat)| counts(seat));
    let counted: Vec<_> = counted.map(|(member, _)| member).collect();
    let said = counted.iter().filter(|member| says(**member)).count();
    let by_name = counted.len() == 2 && named.is_some_and(|it| counted.contains(&it) && says(it));
    counted.is_empty() || said > counted.len() / 2 || by_name
}
