//! The bounded queues of one link: callers put frames in from any thread, the connection's task takes
//! them out. Leaves writing to `lane`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::event::Lane;
use crate::wire::Coded;

/// A writer takes at most about this much at once: big enough to fill several TCP segments with
/// one flush, small enough that a fresh push never waits behind much.
const BATCH_BYTES: usize = 64 << 10;

/// Room in the sync queue is counted in units of this many bytes, as a semaphore's permits are u32.
const UNIT: usize = 1024;

pub(crate) struct Outbox {
    queues: Mutex<Queues>,
    push_frames_max: usize,
    push_bytes_max: usize,
    sync_room: Semaphore,
    sync_units: usize,
}

#[derive(Default)]
struct Queues {
    push: VecDeque<Bytes>,
    push_bytes: usize,
    sync: VecDeque<Coded>,
    closed: bool,
    dropped: bool,
    waker: Option<Waker>,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    Dropped,
}

impl Outbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        let sync_units = units(limits.sync_bytes_max);
        Self {
            queues: Mutex::default(),
            push_frames_max: limits.push_frames_max,
            push_bytes_max: limits.push_bytes_max,
            sync_room: Semaphore::new(sync_units),
            sync_units,
        }
    }

    /// Never blocks. What doesn't fit is dropped and remembered until the queue has drained.
    pub(crate) fn push(&self, frame: Bytes) -> Pushed {
        let mut queues = self.lock();
        if queues.closed {
            return Pushed::Dropped;
        }
        if queues.push.len() >= self.push_frames_max
            || queues.push_bytes + frame.len() > self.push_bytes_max
        {
            drop(queues);
            self.mark_dropped();
            return Pushed::Dropped;
        }
        queues.push_bytes += frame.len();
        queues.push.push_back(frame);
        wake(queues);
        Pushed::Queued
    }

    /// A frame for this peer was dropped. Wakes the writer, which reports it: there may be nothing
    /// waiting that would.
    pub(crate) fn mark_dropped(&self) {
        let mut queues = self.lock();
        queues.dropped = true;
        wake(queues);
    }

    /// Waits for room. `false`: the link is gone.
    pub(crate) async fn sync(&self, frame: Coded) -> bool {
        // A frame larger than the whole queue waits for it to be empty.
        let need = units(frame.wire_len()).min(self.sync_units);
        let need = u32::try_from(need).unwrap_or(u32::MAX);
        let Ok(room) = self.sync_room.acquire_many(need).await else {
            return false;
        };
        let mut queues = self.lock();
        if queues.closed {
            return false;
        }
        room.forget();
        queues.sync.push_back(frame);
        wake(queues);
        true
    }

    /// Moves waiting frames of a lane into `buffer`, as many as make a good write. Returns how many;
    /// for none, the task is woken by the next.
    pub(crate) fn take(&self, lane: Lane, buffer: &mut Vec<u8>, cx: &Context<'_>) -> usize {
        let mut queues = self.lock();
        let mut frames = 0;
        let mut freed = 0;
        while buffer.len() < BATCH_BYTES {
            let next = match lane {
                Lane::Push => queues.push.pop_front().map(Coded::raw),
                Lane::Sync => queues.sync.pop_front(),
            };
            let Some(frame) = next else { break };
            match lane {
                Lane::Push => queues.push_bytes -= frame.payload.len(),
                Lane::Sync => freed += units(frame.wire_len()).min(self.sync_units),
            }
            frame.write_to(buffer);
            frames += 1;
        }
        if frames == 0 && !queues.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            queues.waker = Some(cx.waker().clone());
        }
        drop(queues);
        self.sync_room.add_permits(freed);
        frames
    }

    /// Whether pushes were dropped and the queue has drained since: said once.
    pub(crate) fn drained(&self) -> bool {
        let mut queues = self.lock();
        queues.push.is_empty() && std::mem::take(&mut queues.dropped)
    }

    /// The link is gone: frees the queues and lets waiting callers know.
    pub(crate) fn close(&self) {
        let mut queues = self.lock();
        queues.closed = true;
        queues.push.clear();
        queues.push_bytes = 0;
        queues.sync.clear();
        queues.waker = None;
        drop(queues);
        self.sync_room.close();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

/// Wakes the writer outside the lock, which it takes first thing.
fn wake(mut queues: MutexGuard<'_, Queues>) {
    let waker = queues.waker.take();
    drop(queues);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn a_full_queue_drops_and_says_so_once_when_it_has_drained() {
        let outbox = Outbox::new(&Limits { push_frames_max: 2, ..Limits::default() });
        let sent: Vec<_> = (0..4).map(|_| outbox.push("x".into())).collect();
        assert_eq!(sent, [Pushed::Queued, Pushed::Queued, Pushed::Dropped, Pushed::Dropped]);
        assert!(!outbox.drained(), "two frames are still waiting");
        assert_eq!(outbox.take(Lane::Push, &mut Vec::new(), &context()), 2);
        assert!(outbox.drained());
        assert!(!outbox.drained());
    }

    #[tokio::test]
    async fn sync_waits_for_room_and_learns_that_the_link_is_gone() {
        let outbox = Outbox::new(&Limits { sync_bytes_max: 4096, ..Limits::default() });
        let frame = || Coded::raw(vec![1; 10_000].into());
        assert!(outbox.sync(frame()).await, "larger than the queue, but it is empty");
        {
            let mut waiting = std::pin::pin!(outbox.sync(frame()));
            assert!(futures::poll!(&mut waiting).is_pending());
            assert_eq!(outbox.take(Lane::Sync, &mut Vec::new(), &context()), 1);
            assert!(waiting.await);
        }
        let mut waiting = std::pin::pin!(outbox.sync(frame()));
        assert!(futures::poll!(&mut waiting).is_pending());
        outbox.close();
        assert!(!waiting.await);
    }
}
