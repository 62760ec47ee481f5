//! The `remember` binary: parse, dispatch, exit code.

fn main() {}
