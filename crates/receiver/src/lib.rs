//! What a system needs that Fasti delivers to: verify the signature, drop repeats and older states, apply, answer.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod signature;

pub use signature::{NoSecret, Secret, TOLERANCE_S};
