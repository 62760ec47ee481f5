//! A body that passed its checksum and still makes no sense: which field, and why.

use super::Kind;

/// What is wrong with a body, by field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} {fault}")]
pub struct Malformed {
    /// The field, as `Append.entries`; a body that cannot be parsed at all names only its kind.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: String,
}

/// A frame of a stream whose body makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind:?} at byte {offset} of the stream: {malformed}")]
pub struct MalformedFrame {
    /// Where the frame began, in bytes.
    pub offset: u64,
    /// What it is.
    pub kind: Kind,
    /// What is wrong with it.
    pub malformed: Malformed,
}

impl Malformed {
    /// Something wrong with `field`; `fault` continues the sentence that the field begins.
    pub(super) fn new(field: &'static str, fault: impl Into<String>) -> Self {
        Self {
            field,
            fault: fault.into(),
        }
    }

    /// `field` is absent or has the value that stands for absence.
    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }
}

/// Unwraps a field that must be there.
pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::missing(field))
}

/// Refuses a number or count above its limit.
pub(super) fn at_most(
    value: impl Into<u128>,
    most: impl Into<u128>,
    field: &'static str,
) -> Result<(), Malformed> {
    let (value, most) = (value.into(), most.into());
    if value > most {
        return Err(Malformed::new(
            field,
            format!("is {value}, at most {most} is allowed"),
        ));
    }
    Ok(())
}
