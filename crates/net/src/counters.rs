//! Numbers for `/metrics`. Written from many tasks, so plain atomics; each stands alone, hence
//! relaxed order.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::event::Lane;

/// What went over one lane, all peers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames handed to the connections.
    pub frames_out: u64,
    /// Their bytes on the wire, headers included.
    pub bytes_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Their bytes on the wire, headers included.
    pub bytes_in: u64,
}

/// A reading of all counters; they only rise, apart from `links` and `open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The push lane.
    pub push: LaneCounters,
    /// The sync lane.
    pub sync: LaneCounters,
    /// Push frames dropped: queue full, peer not linked, or frame above the limit.
    pub dropped_pushes: u64,
    /// Links up at this moment.
    pub links: u64,
    /// Connections open at this moment: more than links only while duplicates are being closed.
    pub open: u64,
    /// Connections established, both directions.
    pub connections: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
    /// Inbound connections refused or failed in the handshake.
    pub refused: u64,
    /// Connections closed because of a bad frame.
    pub bad_frames: u64,
}

#[derive(Default)]
struct LaneCells {
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
}

/// The live cells behind [`Counters`].
#[derive(Default)]
pub(crate) struct Cells {
    lanes: [LaneCells; 2],
    pub(crate) dropped_pushes: AtomicU64,
    pub(crate) links: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) dials: AtomicU64,
    pub(crate) dial_failures: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) bad_frames: AtomicU64,
}

impl Cells {
    pub(crate) fn sent(&self, lane: Lane, frames: usize, bytes: usize) {
        let cells = &self.lanes[lane.index()];
        cells.frames_out.fetch_add(frames as u64, Relaxed);
        cells.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn received(&self, lane: Lane, bytes: usize) {
        let cells = &self.lanes[lane.index()];
        cells.frames_in.fetch_add(1, Relaxed);
        cells.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn one(cell: &AtomicU64) {
        cell.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        let lane = |lane: Lane| {
            let cells = &self.lanes[lane.index()];
            LaneCounters {
                frames_out: cells.frames_out.load(Relaxed),
                bytes_out: cells.bytes_out.load(Relaxed),
                frames_in: cells.frames_in.load(Relaxed),
                bytes_in: cells.bytes_in.load(Relaxed),
            }
        };
        Counters {
            push: lane(Lane::Push),
            sync: lane(Lane::Sync),
            dropped_pushes: self.dropped_pushes.load(Relaxed),
            links: self.links.load(Relaxed),
            open: self.open.load(Relaxed),
            connections: self.connections.load(Relaxed),
            dials: self.dials.load(Relaxed),
            dial_failures: self.dial_failures.load(Relaxed),
            refused: self.refused.load(Relaxed),
            bad_frames: self.bad_frames.load(Relaxed),
        }
    }
}
