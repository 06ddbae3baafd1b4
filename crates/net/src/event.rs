//! What the shell tells its consumer. Leaves to the consumer what to do about it.

use std::fmt;

use fasti_core::{OfficeId, TicketId};
use libp2p::Multiaddr;
use tokio::sync::oneshot;

use crate::inbox::Room;

/// The two kinds of traffic between linked offices, each on a stream of its own so that bulk never
/// delays a fresh change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Small and urgent: sent at once, dropped when a peer can't keep up.
    Push,
    /// Bulk: waits for room, compressed.
    Sync,
}

impl Lane {
    /// Both, push first: that is the order in which they are served.
    pub(crate) const ALL: [Self; 2] = [Self::Push, Self::Sync];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Push => 0,
            Self::Sync => 1,
        }
    }
}

/// What happened. For each peer, `Connected` comes before its frames, and `Disconnected` after them;
/// a peer has at most one link at any time.
#[derive(Debug)]
pub enum Event {
    /// The whole list of addresses others can dial (each ending in `/p2p/<our id>`), whenever it
    /// changes.
    Listening {
        /// The most useful first; one for each interface and transport, and those through relays.
        addresses: Vec<Multiaddr>,
    },
    /// A link is up: the peer has acknowledged both of our lanes. What is pushed from now on is sent.
    Connected {
        /// Who.
        peer: OfficeId,
        /// The remote end, as we see it (for a link that they dialled, not an address to dial).
        address: Multiaddr,
        /// Whether it goes through a relay.
        relayed: bool,
    },
    /// The link is gone, and whatever was still queued for it. A neighbour is being redialled.
    Disconnected {
        /// Who.
        peer: OfficeId,
        /// Why, as far as this side can tell.
        reason: DownReason,
    },
    /// A frame arrived.
    Frame {
        /// From whom; the transport has authenticated it.
        peer: OfficeId,
        /// On which lane.
        lane: Lane,
        /// The frame, as the peer handed it in.
        bytes: Vec<u8>,
        /// What it takes of what this peer may make us hold: until it is dropped.
        room: Room,
    },
    /// Push frames for this peer were dropped because its queue was full. Sent once the queue has
    /// drained, so that this is the moment to compare frontiers.
    Congested {
        /// Who missed frames.
        peer: OfficeId,
    },
    /// Someone who holds a ticket's secret key asks to become a member.
    Join {
        /// Which ticket; its key was proved by the connection.
        ticket: TicketId,
        /// The request, as [`crate::join`] was given it.
        request: Vec<u8>,
        /// Takes the answer. Dropping it refuses.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// Where a member can be reached, by its own word or as seen on the local network.
    Discovered {
        /// Who.
        peer: OfficeId,
        /// Where, most without `/p2p`.
        addresses: Vec<Multiaddr>,
    },
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// It is no longer admitted, or was cut.
    NotAdmitted,
    /// It said something, but answered no ping. (Where nothing at all is heard, the transport fails
    /// first, and the link is `Lost`.)
    Silent,
    /// It sent what is no frame; it may come back after a pause.
    BadFrame(String),
    /// A newer connection took over.
    Replaced,
    /// The connection broke or the peer closed it.
    Lost(String),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAdmitted => f.write_str("not admitted"),
            Self::Silent => f.write_str("pings unanswered"),
            Self::BadFrame(what) => write!(f, "bad frame: {what}"),
            Self::Replaced => f.write_str("replaced by a newer connection"),
            Self::Lost(why) => write!(f, "lost: {why}"),
        }
    }
}
