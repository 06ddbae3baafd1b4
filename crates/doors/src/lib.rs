//! Every way in for people and programs: the HTTP API and the event stream.
//!
//! A request takes the same way whichever door it comes through: [`serve`] limits it, `auth` asks for
//! the token, a route parses it into a [`fasti_core::Command`], [`Handle::ask`] waits for the core's
//! answer, and `view` or `problem` says it in JSON.
//!
//! Deliberately absent: the store, the network, and the core's state. Whatever a door needs of them it
//! asks through the [`Handle`], which the node provides.

mod auth;
mod body;
mod conditions;
mod conflicts;
mod events;
#[cfg(feature = "fake")]
pub mod fake;
mod faults;
mod handle;
mod members;
mod openapi;
mod probes;
mod problem;
mod publish;
mod routes;
mod server;
mod stream;

pub use handle::{CoreEnd, Handle, Metric, MetricKind, Node, Request};
pub use routes::path_segment;
#[cfg(feature = "fake")]
pub use server::respond;
pub use server::serve;
