//! Every way in for people and programs: the HTTP API, the event stream and the web page.
//!
//! A request takes the same way whichever door it comes through: [`serve`] limits it, `browser`
//! refuses what foreign pages send, `auth` asks who it is, a route parses it into a [`fasti_core::Command`], [`Handle::ask`] waits for the core's
//! answer, and `view` or `problem` says it in JSON.
//!
//! Deliberately absent: the store, the network, and the core's state. Whatever a door needs of them it
//! asks through the [`Handle`], which the node provides.

mod attempts;
mod auth;
mod backup;
mod body;
mod bookings;
mod browser;
mod calendars;
mod conditions;
mod conflicts;
mod dav;
mod events;
#[cfg(feature = "fake")]
pub mod fake;
mod faults;
mod feeds;
mod handle;
mod login;
mod members;
mod openapi;
mod page;
mod people;
mod policies;
mod probes;
mod problem;
mod publish;
mod report;
mod routes;
mod server;
mod sessions;
mod stream;
mod subscriptions;
mod users;

pub use handle::{CoreEnd, Handle, Metric, MetricKind, Node, Request, Tested};
pub use report::text as report_text;
pub use routes::path_segment;
#[cfg(feature = "fake")]
pub use server::respond;
pub use server::{Guard, serve};
pub use sessions::LINK_TTL;
