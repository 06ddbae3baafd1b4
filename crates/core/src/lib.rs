//! The deterministic core of a Fasti node: the same inputs in the same order give the same steps, to
//! the byte. Time, randomness and identity are arguments; there is no async, no clock, no socket, no
//! file and no thread here. Production drives it over libp2p and redb, a simulator drives a thousand
//! of them under one seed.
//!
//! # The loop
//! ```text
//!        inputs                                     effects
//!  ──► handle(now, input) … ──► step(now) ──► persist(commit) ──► carry out ──┐
//!  ▲                                                                         │
//!  └────── commands, frames, links, ticks ◄───────────────────────────────────┘
//! ```
//! Whoever drives a [`Core`] gives it all inputs that have come ([`Core::handle`]), takes one [`Step`],
//! makes its writes durable in one transaction, and only thereby gets at its effects
//! ([`Step::persist`]). Inputs that come while the disk is busy share the next step: that is the
//! group commit. [`Core::next_due`] says when a [`Input::Tick`] is due if nothing else comes.
//!
//! # Code map
//! | module | concept |
//! |---|---|
//! | `ids`, `time` | names of things; time as an argument |
//! | `entry`, `statement`, `ticket` | what travels: signed, hash-chained entries and what they say |
//! | `graph` | how entries lie on each other; frontier, heads |
//! | `roster`, `removal` | who belongs to the network, and what of those who no longer do |
//! | `event`, `document` | JSCalendar as fields; fields in Automerge |
//! | `ledger` | one gate for all entries; keeps the above in step |
//! | `resource`, `booking` | what entries say of rooms and the like; who holds what, and what is final |
//! | `policy`, `calendar`, `reserve`, `conflict`, `views` | what people ask: writes and answers |
//! | `codec`, `join`, `message`, `notice`, `board`, `pending`, `gossip`, `overlay` | how things get around |
//! | `log`, `row` | entries on disk, and chunks cut from them |
//! | `outbox`, `takeover` | what is owed to external systems, and what they say |
//! | `report`, `proof` | what was approved and who held it; a report that whoever is no member can check |
//! | `command`, `step`, `machine`, `opening` | the way in, the way out, the machine, and how it starts |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agenda;
pub mod approval;
mod board;
mod booking;
mod calendar;
mod codec;
pub mod collection;
pub mod command;
mod conflict;
mod document;
pub mod entry;
pub mod event;
#[cfg(test)]
mod faults;
mod gossip;
mod graph;
pub mod ids;
pub mod join;
mod ledger;
pub mod log;
mod machine;
pub mod message;
pub mod notice;
mod opening;
pub mod outbox;
pub mod overlay;
mod pending;
pub mod policy;
pub mod proof;
mod removal;
mod report;
mod reserve;
pub mod resource;
mod roster;
pub mod row;
pub mod statement;
pub mod step;
mod takeover;
pub mod ticket;
pub mod time;
mod views;

#[cfg(feature = "mutations")]
pub use booking::mutation as booking_mutation;
pub use command::{Answer, Command, CommandError, Reply};
pub use document::Document;
pub use ids::{
    Digest, DocumentId, EntryHash, Incarnation, LogId, NetworkId, OfficeId, ResourceId, TicketId,
};
pub use machine::{Config, Core, Input, Load, check_name, found};
pub use opening::{OpenError, Stored};
#[cfg(feature = "mutations")]
pub use outbox::mutation as outbox_mutation;
pub use step::{Effect, Kept, RequestId, Step, Write};
pub use time::{Instant, Now};
