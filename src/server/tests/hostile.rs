//! Mutated requests; filled in below.
