//! How much of what peers sent may wait for the consumer: so much for each connection, and so much in all. A
//! frame holds its share until the consumer drops it. While there is no room, nothing more is read from
//! that connection, whose sender then has to wait; the others go on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// The unit of room, in bytes.
const UNIT: usize = 1024;

/// Bounds for all connections together.
pub(crate) struct Inbox {
    all: Arc<Semaphore>,
    each_units: u32,
    frame_units_min: u32,
}

/// Bounds for one connection.
pub(crate) struct Share {
    inbox: Arc<Inbox>,
    own: Arc<Semaphore>,
}

/// A frame's share: dropped, it makes room for another.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held for its drop")] [OwnedSemaphorePermit; 2]);

impl Inbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        let each_units = units(limits.inbox_bytes_max);
        Self {
            all: Arc::new(Semaphore::new(units(limits.inbox_bytes_total) as usize)),
            each_units,
            frame_units_min: (each_units / limits.inbox_frames_max.max(1)).max(1),
        }
    }
}

impl Share {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        let own = Arc::new(Semaphore::new(inbox.each_units as usize));
        Self { inbox, own }
    }

    /// A frame larger than all there is takes all there is.
    fn units_of(&self, frame: usize) -> u32 {
        units(frame).clamp(self.inbox.frame_units_min, self.inbox.each_units)
    }

    /// Room for a frame of so many bytes, if there is any now.
    pub(crate) fn try_take(&self, frame: usize) -> Option<Room> {
        let units = self.units_of(frame);
        let own = Arc::clone(&self.own).try_acquire_many_owned(units).ok()?;
        let all = Arc::clone(&self.inbox.all).try_acquire_many_owned(units).ok()?;
        Some(Room([own, all]))
    }

    /// Room for it, as soon as there is any.
    pub(crate) fn take(&self, frame: usize) -> impl Future<Output = Option<Room>> + use<> {
        let units = self.units_of(frame);
        let (own, all) = (Arc::clone(&self.own), Arc::clone(&self.inbox.all));
        // One's own first: who waits for that keeps nobody else waiting.
        async move {
            let own = own.acquire_many_owned(units).await.ok()?;
            let all = all.acquire_many_owned(units).await.ok()?;
            Some(Room([own, all]))
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> Arc<Inbox> {
        let limits = Limits {
            inbox_bytes_max: 64 * UNIT,
            inbox_frames_max: 16,
            inbox_bytes_total: 100 * UNIT,
            ..Limits::default()
        };
        Arc::new(Inbox::new(&limits))
    }

    #[test]
    fn whoever_sends_much_takes_only_their_own_share() {
        let inbox = inbox();
        let (flood, other) = (Share::new(Arc::clone(&inbox)), Share::new(inbox));
        let mut held: Vec<Room> = Vec::new();
        while let Some(room) = flood.try_take(1) {
            held.push(room);
        }
        assert_eq!(held.len(), 16, "small frames are bounded in number");
        assert!(other.try_take(10 * UNIT).is_some());
        held.pop();
        assert!(flood.try_take(1).is_some(), "what was dropped made room");
    }

    #[test]
    fn all_together_are_bounded_and_the_largest_frame_fits() {
        let inbox = inbox();
        let shares: Vec<Share> = (0..4).map(|_| Share::new(Arc::clone(&inbox))).collect();
        let first = shares[0].try_take(1 << 30).unwrap();
        let rooms: Vec<Room> = shares.iter().filter_map(|it| it.try_take(30 * UNIT)).collect();
        assert_eq!(rooms.len(), 1);
        drop((first, rooms));
        assert!(shares.iter().all(|it| it.try_take(30 * UNIT).is_some()));
    }
}
