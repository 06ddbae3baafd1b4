//! The network shell of a Fasti node: it owns the libp2p swarm, decides who may connect, keeps the
//! wanted connections alive, and moves opaque frames between members.
//!
//! It leaves to others what is in a frame, whom to admit, whom to want as a neighbour and what to
//! do about a frame that was lost: all of that is the core's, which hears of it as [`Event`]s.
//!
//! # How a frame travels
//! ```text
//!  Handle::push ──► outbox of the peer ──► connection task: batch, write, flush ──► socket
//!  socket ──► connection task: decode ──► Receiver<Event>
//! ```
//! The swarm task is not on that way. The lanes are polled inside the connection's own task (by our
//! `ConnectionHandler`), so that a pushed frame costs one wake-up on each side. That, and that a
//! stream must be tied to *one* connection where two offices dial each other at once, is why the lanes
//! have a handler of their own and don't use `libp2p-stream`: it opens streams on a random
//! connection of the peer and drops inbound ones while its acceptor is busy.
//!
//! # Code map
//! | file | concept |
//! |---|---|
//! | `config` | every number that can be set, and why it is what it is |
//! | `event`, `handle` | what goes out and what comes in |
//! | `identity` | office and ticket keys as libp2p peers |
//! | `wire` | a frame as bytes: header, zstd, limits |
//! | `outbox` | the bounded queues of one link |
//! | `inbox` | what peers may make us hold |
//! | `lane` | one stream: batching writer, bounded reader |
//! | `handler` | one connection: opens, acknowledges and polls the lanes |
//! | `links` | one peer: which of its connections is the link |
//! | `admission` | who may connect, as what |
//! | `redial` | when to dial whom |
//! | `relays` | where to reserve a place, and what we are as a relay ourselves |
//! | `resolve`, `addresses` | host names in addresses; which addresses to tell and to dial |
//! | `start` | the parts put together |
//! | `driver`, `driver/places` | the swarm task; where we can be reached |
//! | `transport` | TCP and QUIC |
//! | `join` | both ends of `/fasti/join/1` |
//! | `counters` | numbers for `/metrics` |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod addresses;
mod admission;
mod config;
mod counters;
mod driver;
mod event;
mod handle;
mod handler;
mod identity;
mod inbox;
mod join;
mod lane;
mod links;
mod outbox;
mod redial;
mod relays;
mod resolve;
mod start;
mod transport;
mod wire;

pub use addresses::{is_local, is_loopback};
pub use config::{Config, Limits};
pub use counters::{Counters, LaneCounters};
pub use event::{DownReason, Event, Lane};
pub use handle::{Gone, Handle, SendError};
pub use identity::{BadKey, office_id, peer_id};
pub use inbox::Room;
pub use join::{JoinError, join};
pub use libp2p::{Multiaddr, PeerId};
pub use start::{StartError, start};
