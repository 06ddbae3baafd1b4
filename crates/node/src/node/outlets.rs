//! The committer: the one thread that writes. It makes a step's writes durable, and only then carries
//! out its effects: answers, pushes, chunks, whom to admit. It works while the engine gathers the next step.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fasti_core::{CommandError, Core, Document, Effect, Now, OfficeId, Step};
use fasti_net as net;
use fasti_store::Store;
use tokio::sync::mpsc;

use super::Shared;
use super::chunks::Server;
use super::engine::Callers;
use super::snapshots::Snapshots;

/// A step, who waits for its replies, and the document if a snapshot is due.
pub(crate) struct Job {
    pub(crate) step: Step,
    pub(crate) callers: Callers,
    pub(crate) snapshot: Option<(u64, Document)>,
}

/// What became of a step.
pub(crate) enum Committed {
    Stored,
    Failed(String),
}

/// Opens the core again from the store; gives it with the entries under its snapshot.
pub(crate) type Reopen = Box<dyn FnMut(Now) -> anyhow::Result<(Core, u64)> + Send>;

pub(crate) struct Committer {
    pub(crate) store: Arc<Store>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) net: net::Handle,
    pub(crate) server: Server,
    pub(crate) snapshots: Snapshots,
    pub(crate) appended: tokio::sync::broadcast::Sender<Arc<[fasti_core::step::Appended]>>,
    pub(crate) committed: mpsc::UnboundedSender<Committed>,
}

impl Committer {
    /// Runs until the engine is gone.
    pub(crate) fn run(mut self, jobs: &std::sync::mpsc::Receiver<Job>) {
        while let Ok(Job { step, callers, snapshot }) = jobs.recv() {
            let (store, shared) = (&self.store, &self.shared);
            let commit = |writes: &[fasti_core::Write]| {
                let started = std::time::Instant::now();
                store.commit(writes)?;
                shared.committed(started.elapsed());
                Ok(())
            };
            let outcome = match step.persist(commit) {
                Ok(effects) => {
                    self.carry_out(effects, callers);
                    if let Some((entries, document)) = snapshot {
                        self.snapshots.save(&self.store, entries, document);
                    }
                    Committed::Stored
                }
                Err(error) => {
                    let error: fasti_store::CommitError = error;
                    let text = format!("{:#}", anyhow::Error::from(error));
                    self.shared.failed(&text);
                    for caller in callers.into_values() {
                        let _ = caller.send(Err(CommandError::Storage(text.clone())));
                    }
                    Committed::Failed(text)
                }
            };
            if self.committed.send(outcome).is_err() {
                break;
            }
        }
        self.snapshots.finish();
    }

    fn carry_out(&mut self, effects: Vec<Effect>, mut callers: Callers) {
        for effect in effects {
            match effect {
                Effect::Reply(request, reply) => {
                    if let Some(caller) = callers.remove(&request) {
                        let _ = caller.send(reply);
                    }
                }
                Effect::Push { to, frame } => {
                    let frame = Bytes::from(frame);
                    for peer in to {
                        self.net.push(peer, frame.clone());
                    }
                }
                Effect::Serve { to, fetch, from, end } => self.server.serve(to, fetch, from, end),
                Effect::Admit { members, tickets } => self.net.admit(members, tickets),
                Effect::Neighbours(neighbours) => self.net.neighbours(parse(neighbours)),
                Effect::Appended(appended) => {
                    self.shared.appended(&appended);
                    let _ = self.appended.send(appended.into());
                }
                Effect::Alarm(text) => tracing::warn!("{text}"),
            }
        }
    }
}

fn parse(neighbours: BTreeMap<OfficeId, Vec<String>>) -> BTreeMap<OfficeId, Vec<net::Multiaddr>> {
    let parse = |addresses: Vec<String>| {
        addresses.iter().filter_map(|address| address.parse().ok()).collect()
    };
    neighbours.into_iter().map(|(office, addresses)| (office, parse(addresses))).collect()
}
