//! Webhooks against real servers on loopback.

#![allow(clippy::unwrap_used)]

mod http;
mod python;
mod reach;
mod sent;
mod server;
