//! Serving what others lack: reads rows from the store and sends them as chunks, as fast as the peer
//! takes them. One fetch for each peer; a new one replaces the old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// The number of the current fetch of each peer; one with another number ends.
    current: BTreeMap<OfficeId, Arc<AtomicU64>>,
    fetches: u64,
}

/// One fetch.
struct Fetch {
    to: OfficeId,
    number: u32,
    from: Vec<(LogId, u64)>,
    end: u64,
    turn: u64,
    current: Arc<AtomicU64>,
    net: net::Handle,
    runtime: Handle,
}

impl Server {
    pub(crate) fn new(store: Arc<Store>, net: net::Handle, runtime: Handle) -> Self {
        Self { store, net, runtime, current: BTreeMap::new(), fetches: 0 }
    }

    pub(crate) fn serve(&mut self, to: OfficeId, number: u32, from: Vec<(LogId, u64)>, end: u64) {
        self.fetches += 1;
        let current = Arc::clone(self.current.entry(to).or_default());
        current.store(self.fetches, Relaxed);
        let (net, runtime) = (self.net.clone(), self.runtime.clone());
        let fetch = Fetch { to, number, from, end, turn: self.fetches, current, net, runtime };
        let reader = self.store.reader();
        self.runtime.spawn_blocking(move || {
            if let Err(error) = fetch.run(&reader) {
                // The peer notices that nothing comes and asks again, here or elsewhere.
                tracing::warn!(peer = %fetch.to, %error, "a fetch could not be served");
            }
        });
    }
}

impl Fetch {
    fn run(&self, reader: &Reader) -> anyhow::Result<()> {
        let mut chunks = Chunks::new();
        let mut sent = 0;
        for row in reader.rows_of(&self.from, self.end)? {
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
        let frame = Message::Chunk { fetch: self.number, last, bundle }.encode();
        self.current.load(Relaxed) == self.turn
            && self.runtime.block_on(self.net.sync(self.to, Bytes::from(frame))).is_ok()
    }
}
