//! The consumer's side: what to admit, whom to want, what to send. Everything returns at once, apart
//! from `sync` (which waits for room) and `shutdown`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fasti_core::{OfficeId, TicketId};
use libp2p::Multiaddr;
use tokio::sync::watch;

use crate::config::Limits;
use crate::counters::{Cells, Counters};
use crate::outbox::{Outbox, Pushed};
use crate::wire::Coded;

/// What the consumer wants. Only the latest state counts, so the driver watches it; there is no
/// queue of commands that could fill.
#[derive(Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) members: BTreeSet<OfficeId>,
    pub(crate) tickets: BTreeSet<TicketId>,
    pub(crate) neighbours: BTreeMap<OfficeId, Vec<Multiaddr>>,
    pub(crate) relays: BTreeMap<OfficeId, Vec<Multiaddr>>,
    pub(crate) cut: BTreeSet<OfficeId>,
    pub(crate) shutdown: bool,
}

/// The outboxes of all links that are up.
#[derive(Default)]
pub(crate) struct Outboxes(RwLock<BTreeMap<OfficeId, Arc<Outbox>>>);

impl Outboxes {
    pub(crate) fn insert(&self, peer: OfficeId, outbox: Arc<Outbox>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(peer, outbox);
    }

    pub(crate) fn remove(&self, peer: &OfficeId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }

    fn find(&self, peer: &OfficeId) -> Option<Arc<Outbox>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(peer).cloned()
    }
}

/// There is no link to this peer (any more).
#[derive(Debug, thiserror::Error)]
#[error("no link to office {0}")]
pub struct Gone(pub OfficeId);

/// A sync frame that was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no link.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The peer would close the connection over it.
    #[error("a frame of {len} bytes is above the limit of {max}; send it in smaller pieces")]
    TooLong {
        /// Its length in bytes: as it is, or compressed.
        len: usize,
        /// The limit that it exceeds.
        max: usize,
    },
}

/// Controls a running node's network. Cheap to clone; the network stops when the last one is dropped.
#[derive(Clone)]
pub struct Handle {
    pub(crate) wishes: Arc<watch::Sender<Wishes>>,
    pub(crate) outboxes: Arc<Outboxes>,
    pub(crate) cells: Arc<Cells>,
    pub(crate) limits: Arc<Limits>,
}

impl Handle {
    /// Replaces the list of who may connect: members with links and frames, holders of tickets with
    /// one request to join. Connections of anyone else are closed at once.
    pub fn admit(&self, members: BTreeSet<OfficeId>, tickets: BTreeSet<TicketId>) {
        self.wishes.send_modify(|wishes| {
            wishes.members = members;
            wishes.tickets = tickets;
        });
    }

    /// Replaces the list of whom to be linked with, and where each was last seen (addresses learnt
    /// by mDNS and from the peers themselves are tried as well). They are dialled for ever. Peers
    /// that aren't admitted are left alone until they are. Dropping a neighbour from the list
    /// closes nothing: the peer may want us.
    pub fn neighbours(&self, peers: BTreeMap<OfficeId, Vec<Multiaddr>>) {
        self.wishes.send_modify(|wishes| wishes.neighbours = peers);
    }

    /// Replaces the list of members that say that they are relays, and where each was last seen. Where we
    /// can't be dialled, we ask some of them for a place.
    pub fn relays(&self, relays: BTreeMap<OfficeId, Vec<Multiaddr>>) {
        self.wishes.send_modify(|wishes| wishes.relays = relays);
    }

    /// Sends a frame on the push lane, as soon as possible and without compression. Never blocks: without
    /// a link the frame is dropped, and with a full queue too, which is reported as
    /// [`crate::Event::Congested`].
    pub fn push(&self, peer: OfficeId, frame: Bytes) {
        let queued = match self.outboxes.find(&peer) {
            Some(outbox) if frame.len() <= self.limits.frame_bytes_max => outbox.push(frame),
            Some(outbox) => {
                tracing::warn!(%peer, len = frame.len(), "push frame above the limit: dropped");
                outbox.mark_dropped();
                Pushed::Dropped
            }
            None => Pushed::Dropped,
        };
        if queued == Pushed::Dropped {
            Cells::one(&self.cells.dropped_pushes);
        }
    }

    /// Sends a frame on the sync lane, compressed if it is large enough to gain; waits while the
    /// peer's queue is full. `Ok` means queued: if the link goes down, what is queued is lost.
    ///
    /// # Errors
    /// [`SendError::Gone`] without a link, or when it goes down while waiting;
    /// [`SendError::TooLong`] if the peer would refuse the frame.
    pub async fn sync(&self, peer: OfficeId, frame: Bytes) -> Result<(), SendError> {
        let too_long = |len, max| {
            if len > max { Err(SendError::TooLong { len, max }) } else { Ok(()) }
        };
        too_long(frame.len(), self.limits.inflated_bytes_max)?;
        let outbox = self.outboxes.find(&peer).ok_or(Gone(peer))?;
        // Here, on the caller's task, so that a connection's task never stalls on it.
        let coded = if frame.len() >= self.limits.compress_bytes_min {
            Coded::squeezed(frame)
        } else {
            Coded::raw(frame)
        };
        too_long(coded.payload.len(), self.limits.frame_bytes_max)?;
        if outbox.sync(coded).await { Ok(()) } else { Err(Gone(peer).into()) }
    }

    /// Fault injection: refuses and drops links with these offices until told otherwise. Replaces the
    /// previous set.
    pub fn cut(&self, peers: BTreeSet<OfficeId>) {
        self.wishes.send_modify(|wishes| wishes.cut = peers);
    }

    /// A reading of all counters; a few dozen atomic loads.
    pub fn counters(&self) -> Counters {
        self.cells.read()
    }

    /// Closes all connections with a goodbye and returns when the network is down.
    pub async fn shutdown(&self) {
        self.wishes.send_modify(|wishes| wishes.shutdown = true);
        self.wishes.closed().await;
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("counters", &self.counters()).finish_non_exhaustive()
    }
}
