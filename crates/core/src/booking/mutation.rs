//! Mistakes that are made on purpose: what the exhaustive check must find, and the simulator. Compiled in for tests and
//! with the feature `mutations` alone: what is released can't make them.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub enum Mutation {
    /// Settled though entries of a stakeholder's from before its acknowledgement are missing.
    NoGapCheck,
    /// Settled when the claim is acknowledged, though what freed its place isn't.
    NoDecider,
    /// Settled when the claim and what decided it are acknowledged, though something before isn't.
    NoPrefix,
    /// A new stakeholder is waited for once it has written something.
    NewcomerTooLate,
    /// A new stakeholder's entries count from the proposal on.
    NewcomerTooEarly,
    /// When something is freed, those who wait push out those who hold and came later.
    ReviveBeforeHeld,
    /// What an office wrote that is being dismissed counts as safe.
    NoRisk,
    /// Who takes over alone waits for nobody.
    NoAdmins,
}

#[cfg(any(test, feature = "mutations"))]
thread_local! {
    static MUTATION: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Makes this mistake, or none, on this thread from now on.
#[cfg(any(test, feature = "mutations"))]
pub fn make(mutation: Option<Mutation>) {
    MUTATION.set(mutation);
}

/// Whether this mistake is made.
#[cfg(any(test, feature = "mutations"))]
pub(crate) fn is(mutation: Mutation) -> bool {
    MUTATION.get() == Some(mutation)
}

/// Whether this mistake is made: never.
#[cfg(not(any(test, feature = "mutations")))]
pub(crate) fn is(_: Mutation) -> bool {
    false
}
