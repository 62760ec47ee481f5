//! The operator: makes what a `RememberCluster` asks for, and leads traffic to its leader.
//!
//! It elects nobody and never asks a node of this process: it hears over HTTP what nodes say of
//! themselves, and writes labels ([`route`]). Any number of operators may run at once.
//!
//! `route` decides and calls nobody, so it builds with the pure layers, and bugs are planted in it
//! as in them (`tests/mutants`).

pub mod route;
