//! Bugs made on purpose. Each is one that a change of the program could bring; the suite must find
//! each within a few seeds, or its oracles are worth nothing.

#![expect(clippy::disallowed_types, reason = "HashOrder is the bug that the ban is there for")]

use std::collections::HashMap;

use fasti_core::Input;

/// A bug to run with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// None.
    #[default]
    None,
    /// Effects come out before the writes are durable: the classic lost write (invariant 3).
    AckBeforeDurable,
    /// The disk says that a transaction is durable and loses the latest one in a crash (invariant 3).
    LyingDisk,
    /// Whoever serves a fetch leaves out the first of the ranges that were asked for (invariant 2).
    SkipRange,
    /// Inputs that share a step are taken in the order of a hash map: the same seed gives another trace
    /// in another process.
    HashOrder,
    /// Rows about conflicts are not stored, so that a restarted node shows fewer (invariant 1).
    ForgetConflicts,
    /// Where logs fork is not stored: after a restart what it shows depends on which history came first
    /// (invariant 1).
    ForgetForks,
    /// A node panics over a frame that isn't one (invariant 6).
    PanicOnGarbage,
    /// A node answers whatever it can't read by a greeting, which is answered in turn: the network
    /// never falls silent (invariant 6).
    Chatter,
}

/// The inputs in the order of a hash map with random keys.
pub(crate) fn shuffle(inputs: Vec<Input>) -> Vec<Input> {
    let map: HashMap<usize, Input> = inputs.into_iter().enumerate().collect();
    map.into_values().collect()
}
