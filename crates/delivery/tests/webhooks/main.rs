//! Webhooks against real servers on loopback.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod http;
mod python;
mod reach;
mod sent;
mod server;
