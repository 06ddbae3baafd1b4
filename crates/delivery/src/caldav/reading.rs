//! What was changed at a CalDAV server: asked for by sync-collection (RFC 6578) where there is that, else found in the list of
//! all etags, and taken over by the core, which keeps what was agreed in the same transaction. Where it was interrupted
//! nothing is lost: after a start all etags are compared.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fasti_core::command::TakeOver;
use fasti_core::outbox::Subscription;
use fasti_core::{Answer as CoreAnswer, CommandError};
use hyper::StatusCode;
use libdav::dav::{ListResources, SyncCollection};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{CalDav, Found, Receipt, There, cancelled, event_in};
use crate::Report;
use crate::http::Answer;

/// Resources that are asked for at a time.
const FETCHED_MAX: usize = 16;
/// Answers that a list of changes may come in.
const ANSWERS_MAX: usize = 1000;
/// After events were left out that a delivery was under way for.
const SOON: Duration = Duration::from_millis(200);
/// If more than half of so many events or more have gone at once, somebody has lost them.
const LOSS_MIN: usize = 10;

/// Reads one calendar, until it is dropped.
pub(crate) struct Reading {
    dav: Arc<CalDav>,
    subscription: Arc<Subscription>,
    reports: mpsc::UnboundedSender<Report>,
    /// Where the last list of changes ended.
    token: Option<String>,
    /// What is to be taken over: the etag that was seen last, none if it was deleted.
    waiting: BTreeMap<String, Option<String>>,
    /// What can't be, and why, until it is changed again.
    refused: BTreeMap<String, (Option<String>, String)>,
}

/// What is different at the server.
#[derive(Default)]
struct Changes {
    changed: BTreeMap<String, String>,
    deleted: Vec<String>,
    token: Option<String>,
    /// All that is there is among what changed.
    whole: bool,
}

impl Reading {
    pub(crate) fn new(
        dav: Arc<CalDav>,
        subscription: Arc<Subscription>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (waiting, refused) = (BTreeMap::new(), BTreeMap::new());
        Self { dav, subscription, reports, token: None, waiting, refused }
    }

    pub(crate) async fn run(mut self) {
        let mut remembers = false;
        loop {
            let mut pause = self.dav.look_every();
            let looked = match remembers {
                true => self.look().await,
                false => self.remember().map(|()| false),
            };
            let problem = match looked {
                Ok(soon) => {
                    if soon || !remembers {
                        pause = SOON;
                    }
                    remembers = true;
                    self.refusals()
                }
                Err(problem) => Some(problem),
            };
            self.note(problem);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.dav.surprise.notified() => {}
            }
        }
    }

    fn note(&self, problem: Option<String>) {
        let mut noted = self.dav.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != problem {
            match &problem {
                Some(problem) => {
                    tracing::warn!(
                        system = self.subscription.name,
                        problem,
                        "a calendar can't be read"
                    );
                }
                None => {
                    tracing::info!(system = self.subscription.name, "the calendar is read again");
                }
            }
            *noted = problem;
        }
    }

    fn refusals(&self) -> Option<String> {
        let (href, (_, reason)) = self.refused.first_key_value()?;
        let more = match self.refused.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{href} can't be taken over: {reason}{more}"))
    }

    /// What is known to be there, from what was agreed.
    fn remember(&self) -> Result<(), String> {
        let mut known = BTreeMap::new();
        self.dav.memory.all_agreed(self.subscription.id, &mut |uid, agreed| {
            if let Some(Receipt { href, etag, .. }) = Receipt::decode(&agreed.receipt) {
                known.insert(href, There { uid: uid.to_owned(), etag });
            }
        })?;
        let mut there = self.dav.there();
        // What was written meanwhile is newer.
        for (href, it) in known {
            there.entry(href).or_insert(it);
        }
        Ok(())
    }

    /// Looks once; gives whether to look again soon.
    async fn look(&mut self) -> Result<bool, String> {
        let changes = self.changes().await?;
        let there = self.dav.there().clone();
        let is_known = |href: &str, etag: &str| {
            there.get(href).is_some_and(|it| it.etag.as_deref() == Some(etag))
        };
        for (href, etag) in &changes.changed {
            match is_known(href, etag) {
                true => self.waiting.remove(href),
                false => self.waiting.insert(href.clone(), Some(etag.clone())),
            };
        }
        let live = || there.iter().filter(|it| it.1.etag.is_some());
        let mut deleted = changes.deleted;
        if changes.whole {
            self.waiting.retain(|href, _| changes.changed.contains_key(href));
            self.refused.retain(|href, _| changes.changed.contains_key(href));
            let gone = live().filter(|it| !changes.changed.contains_key(it.0));
            let gone: Vec<String> = gone.map(|it| it.0.clone()).collect();
            let count = live().count();
            if gone.len() >= LOSS_MIN && gone.len() * 2 > count {
                for href in &gone {
                    self.dav.is_there(href, &there[href].uid, None);
                }
                // It is not looked at again: whoever asks for it gets it back.
                self.token = changes.token;
                return Err(format!(
                    "{} of {count} events are gone there at once: they are not cancelled here; \
                     `fasti replay NAME --since beginning` puts them back",
                    gone.len()
                ));
            }
            deleted.extend(gone);
        }
        for href in deleted {
            self.refused.remove(&href);
            match there.get(&href).is_some_and(|it| it.etag.is_some()) {
                true => drop(self.waiting.insert(href, None)),
                false => drop(self.waiting.remove(&href)),
            }
        }
        self.token = changes.token;
        self.take_all().await
    }

    async fn changes(&self) -> Result<Changes, String> {
        if self.token.is_some() {
            match self.changes_since(self.token.clone()).await? {
                Ok(changes) => return Ok(changes),
                // The server has forgotten it.
                Err(answer) if answer.status.is_client_error() => {}
                Err(answer) => return Err(super::explained(&answer)),
            }
        }
        match self.changes_since(None).await? {
            Ok(changes) => Ok(Changes { whole: true, ..changes }),
            Err(answer)
                if answer.status.is_client_error() && answer.status != StatusCode::UNAUTHORIZED
                    || answer.status == StatusCode::NOT_IMPLEMENTED =>
            {
                self.all().await
            }
            Err(answer) => Err(super::explained(&answer)),
        }
    }

    /// By sync-collection; or what else the server answers.
    async fn changes_since(
        &self,
        token: Option<String>,
    ) -> Result<Result<Changes, Answer>, String> {
        let mut changes = Changes { token, ..Changes::default() };
        // A server may give a part at a time (RFC 6578, 3.6).
        for _ in 0..ANSWERS_MAX {
            let mut ask = SyncCollection::new(&self.dav.collection);
            if let Some(token) = &changes.token {
                ask = ask.with_sync_token(token);
            }
            let answer = self.dav.ask(&ask).await?;
            if !answer.status.is_success() {
                return Ok(Err(answer));
            }
            let part = self.dav.parsed(&ask, &answer)?;
            let is_last = part.changed.is_empty() && part.deleted.is_empty();
            for it in part.changed.into_iter().filter(|it| !it.href.ends_with('/')) {
                changes.changed.insert(it.href, it.etag.unwrap_or_default());
            }
            for href in part.deleted {
                changes.changed.remove(&href);
                changes.deleted.push(href);
            }
            changes.token = Some(part.new_sync_token);
            if is_last {
                return Ok(Ok(changes));
            }
        }
        Err("the server's list of changes has no end".into())
    }

    /// By the list of all etags.
    async fn all(&self) -> Result<Changes, String> {
        let ask = ListResources::new(&self.dav.collection);
        let answer = self.dav.ask(&ask).await?;
        let found = self.dav.parsed(&ask, &answer)?.resources;
        let found = found.into_iter().filter(|it| !it.resource_type.is_collection);
        let changed = found.filter_map(|it| Some((it.href, it.etag?))).collect();
        Ok(Changes { changed, whole: true, ..Changes::default() })
    }

    /// Takes over what waits; gives whether something has to wait.
    async fn take_all(&mut self) -> Result<bool, String> {
        let changed = self.waiting.iter().filter(|it| it.1.is_some());
        let changed: Vec<String> = changed.map(|it| it.0.clone()).collect();
        let mut waits = false;
        for hrefs in changed.chunks(FETCHED_MAX) {
            for (href, found) in self.dav.fetch(hrefs.iter().map(String::as_str)).await? {
                waits |= !self.take(href, found).await?;
            }
        }
        let deleted = self.waiting.iter().filter(|it| it.1.is_none());
        let deleted: Vec<String> = deleted.map(|it| it.0.clone()).collect();
        for href in deleted {
            waits |= !self.take(href, None).await?;
        }
        Ok(waits)
    }

    /// Takes over what is there now; false if that has to wait.
    async fn take(&mut self, href: String, found: Option<Found>) -> Result<bool, String> {
        let etag = found.as_ref().map(|it| it.etag.clone());
        let known = self.dav.there().get(&href).cloned();
        let is_known = known.as_ref().is_some_and(|it| it.etag == etag);
        if is_known || self.refused.get(&href).is_some_and(|it| it.0 == etag) {
            self.waiting.remove(&href);
            return Ok(true);
        }
        let said = self.said(&href, found, known.map(|it| it.uid));
        let (uid, outcome) = match said {
            Ok(Some(said)) => (said.uid.clone(), self.tell(said).await),
            // It came and went, and nobody here knew of it.
            Ok(None) => {
                self.waiting.remove(&href);
                return Ok(true);
            }
            Err(problem) => (String::new(), Err(problem)),
        };
        match outcome {
            Ok(true) => {
                self.dav.is_there(&href, &uid, etag.as_deref());
                self.refused.remove(&href);
            }
            Ok(false) => return Ok(false),
            Err(Refusal::Ever(reason)) => {
                self.refused.insert(href.clone(), (etag, reason));
            }
            Err(Refusal::Now(reason)) => return Err(reason),
        }
        self.waiting.remove(&href);
        Ok(true)
    }

    /// What the core is told of a resource.
    fn said(
        &self,
        href: &str,
        found: Option<Found>,
        known: Option<String>,
    ) -> Result<Option<TakeOver>, Refusal> {
        let subscription = self.subscription.id;
        let (uid, read) = match (found, known) {
            (Some(found), _) => {
                let event = event_in(&found.text).map_err(Refusal::Ever)?;
                let uid = event.get("uid").and_then(|it| it.as_str()).unwrap_or_default();
                (uid.to_owned(), Some((found, event)))
            }
            (None, Some(uid)) => (uid, None),
            (None, None) => return Ok(None),
        };
        let other = self.dav.there().iter().find_map(|(other, it)| {
            let is_other = other != href && it.uid == uid && it.etag.is_some();
            is_other.then(|| other.clone())
        });
        if let Some(other) = other {
            return Err(Refusal::Ever(format!("{other} has the same UID, {uid:?}")));
        }
        let agreed = self.dav.memory.agreed(subscription, &uid).map_err(Refusal::Now)?;
        let agreed = agreed.and_then(|it| Some((Receipt::decode(&it.receipt)?, it.heads)));
        let before =
            agreed.as_ref().and_then(|it| Some((event_in(&it.0.text).ok()?, it.1.clone())));
        let href = href.to_owned();
        let (event, receipt) = match read {
            Some((found, mut event)) => {
                if let Some(calendar) = &self.dav.options.calendar {
                    event.entry("fasti:calendar").or_insert_with(|| json!(calendar));
                }
                (
                    Some(event),
                    Receipt { href, etag: Some(found.etag), text: found.text, sent: None },
                )
            }
            None => {
                let text = agreed.map(|it| cancelled(&it.0.text)).unwrap_or_default();
                (None, Receipt { href, etag: None, text, sent: None })
            }
        };
        Ok(Some(TakeOver { subscription, uid, event, before, receipt: receipt.encode() }))
    }

    async fn tell(&self, said: TakeOver) -> Result<bool, Refusal> {
        let (answer, reply) = oneshot::channel();
        let away = || Refusal::Now("the node is not ready".into());
        self.reports.send(Report::Read(said, answer)).map_err(|_| away())?;
        match reply.await.map_err(|_| away())? {
            Ok(CoreAnswer::TakenOver(taken)) => Ok(taken),
            Ok(_) => Err(away()),
            Err(error @ (CommandError::Invalid { .. } | CommandError::TooLarge { .. })) => {
                Err(Refusal::Ever(error.to_string()))
            }
            Err(error) => Err(Refusal::Now(error.to_string())),
        }
    }
}

/// Why something is not taken over.
enum Refusal {
    /// Because of what it is.
    Ever(String),
    /// For the time being.
    Now(String),
}
