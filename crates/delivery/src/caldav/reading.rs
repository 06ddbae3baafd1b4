//! What was changed at a CalDAV server: asked for by sync-collection (RFC 6578) where there is that, else found in the list of
//! all etags, and taken over by the core, which keeps what was agreed in the same transaction. Where it was interrupted
//! nothing is lost: after a start all etags are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fasti_core::command::TakeOver;
use fasti_core::outbox::Subscription;
use fasti_core::{Answer as CoreAnswer, CommandError};
use hyper::StatusCode;
use libdav::dav::{ListResources, SyncCollection};
use tokio::sync::{mpsc, oneshot};

use super::{ANSWER_BYTES_MAX, CalDav, Found, Receipt, There, Trouble, cancelled, event_in};
use crate::http::Answer;
use crate::{Report, envelope};

/// Resources that are asked for at a time.
const FETCHED_MAX: usize = 16;
/// Answers that a list of changes may come in.
const ANSWERS_MAX: usize = 1000;
/// Events of a calendar: as many as a network is made for.
const ENTRIES_MAX: usize = 100_000;
/// After events were left out that a delivery was under way for.
const SOON: Duration = Duration::from_millis(200);
/// If so many events or more have gone, and they are more than half, somebody has lost them.
const LOSS_MIN: usize = 3;

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
    /// What was lost there, and nobody has put back.
    lost: BTreeSet<String>,
}

type Fetched = (String, Result<Option<Found>, String>);

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
        let (waiting, refused, lost) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { dav, subscription, reports, token: None, waiting, refused, lost }
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

    fn refusals(&mut self) -> Option<String> {
        let there = self.dav.there();
        self.lost.retain(|href| there.get(href).is_some_and(|it| it.etag.is_none()));
        drop(there);
        if !self.lost.is_empty() {
            return Some(format!(
                "{} events were gone there at once: they are not cancelled here; `fasti replay NAME \
                 --since beginning` puts them back",
                self.lost.len()
            ));
        }
        let (href, (_, reason)) = self.refused.first_key_value()?;
        let more = match self.refused.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{href} can't be taken over: {reason}{more}"))
    }

    /// What is known to be there, from what was agreed.
    fn remember(&mut self) -> Result<(), String> {
        let (mut known, mut lost) = (BTreeMap::new(), BTreeSet::new());
        self.dav.memory.all_agreed(self.subscription.id, &mut |uid, agreed| {
            if let Some(Receipt { href, etag, text, .. }) = self.dav.receipt(&agreed) {
                // What was deleted there is kept as cancelled.
                if etag.is_none() && !event_in(&text).is_ok_and(|it| envelope::is_cancelled(&it)) {
                    lost.insert(href.clone());
                }
                known.insert(href, There { uid: uid.to_owned(), etag });
            }
        })?;
        self.lost = lost;
        let mut there = self.dav.there();
        // What was written meanwhile is newer.
        for (href, it) in known {
            there.entry(href).or_insert(it);
        }
        Ok(())
    }

    /// Looks once; gives whether to look again soon.
    async fn look(&mut self) -> Result<bool, String> {
        // As it was before: what is written meanwhile need not be in the list.
        let there = self.dav.there().clone();
        let changes = self.changes().await?;
        let is_known = |href: &str, etag: &str| {
            there.get(href).is_some_and(|it| it.etag.as_deref() == Some(etag))
        };
        for (href, etag) in &changes.changed {
            match is_known(href, etag) {
                true => self.waiting.remove(href),
                false => self.waiting.insert(href.clone(), Some(etag.clone())),
            };
        }
        let is_live = |it: &There| it.etag.is_some();
        let mut deleted = changes.deleted;
        if changes.whole {
            self.waiting.retain(|href, _| changes.changed.contains_key(href));
            self.refused.retain(|href, _| changes.changed.contains_key(href));
            let live = there.iter().filter(|it| is_live(it.1)).map(|it| it.0);
            deleted.extend(live.filter(|it| !changes.changed.contains_key(*it)).cloned());
        }
        if !deleted.is_empty() {
            // One may have had the UID of another.
            let refused = std::mem::take(&mut self.refused).into_iter();
            self.waiting.extend(refused.map(|(href, (etag, _))| (href, etag)));
        }
        for href in deleted {
            match there.get(&href).is_some_and(is_live) {
                true => drop(self.waiting.insert(href, None)),
                false => drop(self.waiting.remove(&href)),
            }
        }
        self.token = changes.token;
        self.take_all().await
    }

    async fn changes(&self) -> Result<Changes, String> {
        if self.token.is_some() {
            match self.changes_since(self.token.clone()).await {
                Ok(Ok(changes)) => return Ok(changes),
                // The server has forgotten it, or says what nobody understands.
                Ok(Err(answer)) if answer.status.is_client_error() => {}
                Err(Trouble::Odd(_)) => {}
                Ok(Err(answer)) => return Err(super::explained(&answer)),
                Err(Trouble::Away(reason)) => return Err(reason),
            }
        }
        let changes = match self.changes_since(None).await {
            Err(Trouble::Odd(_)) => return self.all().await,
            Err(Trouble::Away(reason)) => return Err(reason),
            Ok(changes) => changes,
        };
        match changes {
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
    ) -> Result<Result<Changes, Answer>, Trouble> {
        let mut changes = Changes { token, ..Changes::default() };
        // A server may give a part at a time (RFC 6578, 3.6).
        for _ in 0..ANSWERS_MAX {
            let mut ask = SyncCollection::new(&self.dav.collection);
            if let Some(token) = &changes.token {
                ask = ask.with_sync_token(token);
            }
            let answer = self.dav.ask(&ask, ANSWER_BYTES_MAX).await.map_err(Trouble::Away)?;
            if !answer.status.is_success() {
                return Ok(Err(answer));
            }
            let part = self.dav.parsed(&ask, &answer)?;
            let is_last = part.changed.is_empty() && part.deleted.is_empty();
            for it in part.changed.into_iter().filter(|it| !it.href.ends_with('/')) {
                changes.deleted.retain(|href| *href != it.href);
                changes.changed.insert(it.href, it.etag.unwrap_or_default());
            }
            for href in part.deleted {
                changes.changed.remove(&href);
                changes.deleted.push(href);
            }
            changes.token = Some(part.new_sync_token);
            if changes.changed.len() + changes.deleted.len() > ENTRIES_MAX {
                return Err(Trouble::Away(format!("it has more than {ENTRIES_MAX} events")));
            }
            if is_last {
                return Ok(Ok(changes));
            }
        }
        Err(Trouble::Away("the server's list of changes has no end".into()))
    }

    /// By the list of all etags.
    async fn all(&self) -> Result<Changes, String> {
        let ask = ListResources::new(&self.dav.collection);
        let answer = self.dav.ask(&ask, ANSWER_BYTES_MAX).await?;
        let found = self.dav.parsed(&ask, &answer)?.resources;
        let found = found.into_iter().filter(|it| !it.resource_type.is_collection);
        let changed = found.filter_map(|it| Some((it.href, it.etag?))).collect();
        Ok(Changes { changed, whole: true, ..Changes::default() })
    }

    /// Takes over what waits; gives whether something has to wait.
    async fn take_all(&mut self) -> Result<bool, String> {
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for (href, etag) in &self.waiting {
            if etag.is_some() { &mut changed } else { &mut gone }.push(href.clone());
        }
        let mut waits = false;
        for hrefs in changed.chunks(FETCHED_MAX) {
            for (href, found) in self.fetch(hrefs).await? {
                waits |= !self.take(href, found).await?;
            }
        }
        // What is not in a list may be there under another name, or was written meanwhile.
        let mut deleted = Vec::new();
        gone.retain(|href| self.waiting.get(href) == Some(&None));
        for hrefs in gone.chunks(FETCHED_MAX) {
            for (href, found) in self.fetch(hrefs).await? {
                match found {
                    Ok(None) => deleted.push(href),
                    found => waits |= !self.take(href, found).await?,
                }
            }
        }
        let live = self.dav.there().values().filter(|it| it.etag.is_some()).count();
        let lost = deleted.len() >= LOSS_MIN && deleted.len() * 2 > live;
        for href in deleted {
            waits |= match lost {
                true => !self.lose(href).await?,
                false => !self.take(href, Ok(None)).await?,
            };
        }
        Ok(waits)
    }

    /// What is there of these, one by one if the server's answer to all of them is not understood.
    async fn fetch(&self, hrefs: &[String]) -> Result<Vec<Fetched>, String> {
        match self.dav.fetch(hrefs.iter().map(String::as_str)).await {
            Ok(found) => return Ok(found),
            Err(Trouble::Away(reason)) => return Err(reason),
            Err(Trouble::Odd(_)) => {}
        }
        let mut all = Vec::new();
        for href in hrefs {
            match self.dav.fetch([href.as_str()]).await {
                Ok(found) => all.extend(found),
                Err(Trouble::Away(reason)) => return Err(reason),
                Err(Trouble::Odd(reason)) => all.push((href.clone(), Err(reason))),
            }
        }
        Ok(all)
    }

    /// Keeps in mind that an event was lost there, which is no wish of anybody's; false if that has to wait.
    async fn lose(&mut self, href: String) -> Result<bool, String> {
        let Some(uid) = self.dav.there().get(&href).map(|it| it.uid.clone()) else {
            return Ok(true);
        };
        let subscription = self.subscription.id;
        if let Some(agreed) = self.dav.memory.agreed(subscription, &uid)?
            && let Some(receipt) = self.dav.receipt(&agreed)
            && let Ok(event) = event_in(&receipt.text)
        {
            // As before, but for where it is.
            let receipt = Receipt { etag: None, ..receipt }.encode();
            let (before, event) = (Some((event.clone(), agreed.heads)), Some(event));
            let (uid, calendar) = (uid.clone(), None);
            let said = TakeOver { subscription, uid, event, before, calendar, receipt };
            match self.tell(said).await {
                Ok(true) | Err(Refusal::Ever(_)) => {}
                Ok(false) => return Ok(false),
                Err(Refusal::Now(reason)) => return Err(reason),
            }
        }
        self.dav.is_there(&href, &uid, None);
        self.waiting.remove(&href);
        self.lost.insert(href);
        Ok(true)
    }

    /// Takes over what is there now; false if that has to wait.
    async fn take(
        &mut self,
        href: String,
        found: Result<Option<Found>, String>,
    ) -> Result<bool, String> {
        let found = match found {
            Ok(found) => found,
            Err(reason) => {
                let etag = self.waiting.remove(&href).flatten();
                self.refused.insert(href, (etag, reason));
                return Ok(true);
            }
        };
        let etag = found.as_ref().map(|it| it.etag.clone());
        let known = self.dav.there().get(&href).cloned();
        let is_known = known.as_ref().is_some_and(|it| it.etag == etag);
        if is_known || self.refused.get(&href).is_some_and(|it| it.0 == etag) {
            self.waiting.remove(&href);
            return Ok(true);
        }
        let other = known.as_ref().filter(|it| it.etag.is_some()).map(|it| it.uid.clone());
        let moved_from = self.moved_from(&href, found.as_ref());
        let said = match moved_from {
            Ok(_) => self.said(&href, found, known.map(|it| it.uid)),
            Err(ref problem) => Err(Refusal::Ever(problem.clone())),
        };
        // Another event came in the place of the one that was there.
        if let (Some(other), Ok(Some(said))) = (other, &said)
            && other != said.uid
            && let Ok(Some(gone)) = self.said(&href, None, Some(other))
        {
            match self.tell(gone).await {
                Ok(true) | Err(Refusal::Ever(_)) => {}
                Ok(false) => return Ok(false),
                Err(Refusal::Now(reason)) => return Err(reason),
            }
        }
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
                if let Ok(Some(old)) = moved_from {
                    self.dav.there().remove(&old);
                    self.waiting.remove(&old);
                }
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

    /// Where the event of this resource was before, if it is there no more. An error if it still is.
    fn moved_from(&self, href: &str, found: Option<&Found>) -> Result<Option<String>, String> {
        let Some(event) = found.and_then(|it| event_in(&it.text).ok()) else { return Ok(None) };
        let uid = event.get("uid").and_then(|it| it.as_str()).unwrap_or_default();
        let there = self.dav.there();
        let mut others = there.iter().filter(|(other, it)| *other != href && it.uid == uid);
        let live = others.find(|it| it.1.etag.is_some());
        match live.map(|it| it.0) {
            Some(other) if self.waiting.get(other) == Some(&None) => Ok(Some(other.clone())),
            Some(other) => Err(format!("{other} has the same UID, {uid:?}")),
            None => Ok(None),
        }
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
        let agreed = self.dav.memory.agreed(subscription, &uid).map_err(Refusal::Now)?;
        let agreed = agreed.and_then(|it| Some((self.dav.receipt(&it)?, it.heads)));
        let before =
            agreed.as_ref().and_then(|it| Some((event_in(&it.0.text).ok()?, it.1.clone())));
        let href = href.to_owned();
        let (event, receipt) = match read {
            Some((found, event)) => (Some(event), self.dav.agreed_on(&href, found, None)),
            None => {
                let text = agreed.map(|it| cancelled(&it.0.text)).unwrap_or_default();
                let calendar = self.dav.name();
                (None, Receipt { calendar, href, etag: None, text, sent: None })
            }
        };
        let (calendar, receipt) = (self.dav.options.calendar.clone(), receipt.encode());
        Ok(Some(TakeOver { subscription, uid, event, before, calendar, receipt }))
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
