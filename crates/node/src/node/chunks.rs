//! Serving what others lack: reads rows from the store and sends them as chunks, as fast as the peer
//! takes them. One fetch for each peer; a new one replaces the old.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fasti_core::entry::Bundle;
use fasti_core::log::Chunks;
use fasti_core::message::Message;
use fasti_core::{LogId, OfficeId};
use fasti_net as net;
use fasti_store::{Reader, Store};
use tokio::runtime::Handle;

pub(crate) struct Server {
    store: Arc<Store>,
    net: net::Handle,
    runtime: Handle,
    desks: BTreeMap<OfficeId, Arc<Desk>>,
}

/// Where a peer is served. However often it asks, one answer is under way and one wish waits.
#[derive(Default)]
struct Desk {
    wish: Mutex<Wish>,
    /// Frames are under way to it.
    sending: AtomicBool,
}

#[derive(Default)]
struct Wish {
    next: Option<Want>,
    /// Somebody is at the desk, and looks at the next wish before going away.
    attended: bool,
}

/// What is wanted.
struct Want {
    number: u32,
    from: Vec<(LogId, u64)>,
    end: u64,
}

/// One fetch.
struct Fetch {
    to: OfficeId,
    want: Want,
    desk: Arc<Desk>,
    net: net::Handle,
    runtime: Handle,
}

impl Server {
    pub(crate) fn new(store: Arc<Store>, net: net::Handle, runtime: Handle) -> Self {
        Self { store, net, runtime, desks: BTreeMap::new() }
    }

    /// Sends frames as fast as the peer takes them, unless others are under way to it.
    pub(crate) fn send(&mut self, to: OfficeId, frames: Vec<Vec<u8>>) {
        let desk = Arc::clone(self.desks.entry(to).or_default());
        if desk.sending.swap(true, Ordering::AcqRel) {
            return;
        }
        let net = self.net.clone();
        self.runtime.spawn(async move {
            for frame in frames {
                if net.sync(to, Bytes::from(frame)).await.is_err() {
                    break;
                }
            }
            desk.sending.store(false, Ordering::Release);
        });
    }

    pub(crate) fn serve(&mut self, to: OfficeId, number: u32, from: Vec<(LogId, u64)>, end: u64) {
        let desk = Arc::clone(self.desks.entry(to).or_default());
        {
            let mut wish = desk.wish();
            wish.next = Some(Want { number, from, end });
            if std::mem::replace(&mut wish.attended, true) {
                return;
            }
        }
        let (net, runtime) = (self.net.clone(), self.runtime.clone());
        let reader = self.store.reader();
        self.runtime.spawn_blocking(move || {
            let _leave = Leave(Arc::clone(&desk));
            while let Some(want) = desk.next() {
                let (desk, net, runtime) = (Arc::clone(&desk), net.clone(), runtime.clone());
                let fetch = Fetch { to, want, desk, net, runtime };
                if let Err(error) = fetch.run(&reader) {
                    // The peer notices that nothing comes and asks again, here or elsewhere.
                    tracing::warn!(peer = %to, %error, "a fetch could not be served");
                }
            }
        });
    }
}

/// Leaves the desk, however that comes.
struct Leave(Arc<Desk>);

impl Drop for Leave {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wish().attended = false;
        }
    }
}

impl Desk {
    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next wish; if there is none, nobody is at the desk any more.
    fn next(&self) -> Option<Want> {
        let mut wish = self.wish();
        wish.attended = wish.next.is_some();
        wish.next.take()
    }
}

impl Fetch {
    fn run(&self, reader: &Reader) -> anyhow::Result<()> {
        let mut chunks = Chunks::new();
        let mut sent = 0;
        for row in reader.rows_of(&self.want.from, self.want.end)? {
            if let Some(bundle) = chunks.add(row?.1) {
                sent += 1;
                if !self.send(bundle, false) {
                    return Ok(());
                }
            }
        }
        self.send(chunks.finish(), true);
        tracing::debug!(peer = %self.to, chunks = sent + 1, "served a fetch");
        Ok(())
    }

    /// Waits for room; false if nobody wants it any more.
    fn send(&self, bundle: Bundle, last: bool) -> bool {
        let frame = Message::Chunk { fetch: self.want.number, last, bundle }.encode();
        self.desk.wish().next.is_none()
            && self.runtime.block_on(self.net.sync(self.to, Bytes::from(frame))).is_ok()
    }
}
