//! Mistakes that are made on purpose: what the simulator must find. Compiled in with the feature `mutations` alone: what
//! is released can't make them.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutations"), allow(dead_code))]
pub enum Mutation {
    /// A confirmation of an older state ends what is owed of the newer one.
    ConfirmOld,
    /// A newer state is sent while the older one is on its way.
    Overtake,
}

#[cfg(feature = "mutations")]
thread_local! {
    static MUTATION: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Makes this mistake, or none, on this thread from now on.
#[cfg(feature = "mutations")]
pub fn make(mutation: Option<Mutation>) {
    MUTATION.set(mutation);
}

/// Whether this mistake is made.
#[cfg(feature = "mutations")]
pub(crate) fn is(mutation: Mutation) -> bool {
    MUTATION.get() == Some(mutation)
}

/// Whether this mistake is made: never.
#[cfg(not(feature = "mutations"))]
pub(crate) fn is(_: Mutation) -> bool {
    false
}
