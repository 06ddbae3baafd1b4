//! Carries out what a durable step wants done: answers, pushes, chunks, whom to admit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fasti_core::step::Appended;
use fasti_core::{Command, Effect, Kept, OfficeId, RequestId};
use fasti_delivery::Deliverer;
use fasti_net as net;

use super::Shared;
use super::chunks::Server;
use super::engine::Callers;

/// What the core is to be asked again, and what it goes on with.
pub(crate) type Again = (Vec<(RequestId, Command)>, Kept);

pub(crate) struct Outlets {
    pub(crate) shared: Arc<Shared>,
    pub(crate) net: net::Handle,
    pub(crate) server: Server,
    pub(crate) deliverer: Deliverer,
    pub(crate) appended: tokio::sync::broadcast::Sender<Arc<[Appended]>>,
}

impl Outlets {
    /// Gives what a core that has to be opened anew leaves to the next one.
    pub(crate) fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        callers: &mut Callers,
    ) -> Option<Again> {
        let mut again = None;
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
                Effect::Sync { to, frames } => self.server.send(to, frames),
                Effect::Serve { to, fetch, from, end } => self.server.serve(to, fetch, from, end),
                Effect::Admit { members, tickets } => self.net.admit(members, tickets),
                Effect::Neighbours(neighbours) => self.net.neighbours(parse(neighbours)),
                Effect::Relays(relays) => self.net.relays(parse(relays)),
                Effect::Appended(appended) => {
                    self.shared.appended(&appended);
                    let _ = self.appended.send(appended.into());
                }
                Effect::Subscriptions(all) => self.deliverer.subscriptions(&all),
                Effect::Deliver(attempts) => self.deliverer.deliver(attempts),
                Effect::Alarm(text) => tracing::warn!("{text}"),
                Effect::Reopen { unanswered, kept } => again = Some((unanswered, kept)),
            }
        }
        again
    }
}

fn parse(neighbours: BTreeMap<OfficeId, Vec<String>>) -> BTreeMap<OfficeId, Vec<net::Multiaddr>> {
    let parse = |addresses: Vec<String>| {
        addresses.iter().filter_map(|address| address.parse().ok()).collect()
    };
    neighbours.into_iter().map(|(office, addresses)| (office, parse(addresses))).collect()
}
