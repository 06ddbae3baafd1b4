//! The calls that the running node answers: each returns the text to print.

pub(crate) mod agenda;
pub(crate) mod bookings;
pub(crate) mod conflicts;
pub(crate) mod event;
pub(crate) mod feed;
pub(crate) mod ical;
pub(crate) mod login;
pub(crate) mod members;
pub(crate) mod policies;
pub(crate) mod publish;
pub(crate) mod report;
pub(crate) mod systems;
pub(crate) mod user;
