//! Whether the witness of a pair answers this node (R17).

/// What became of the last request to the witness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WitnessState {
    /// It was answered.
    Answers,
    /// It was not, or none was answered yet: while that lasts, no node goes on alone.
    Silent,
}
