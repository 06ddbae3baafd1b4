//! The event stream: server-sent events of every change, resumable without gaps or duplicates.
//!
//! A follower subscribes to the live log first and then reads from the history up to where the live
//! log begins; indices tell what it has seen. One that can't keep up with the live log goes back to
//! the history: it gets everything a little later, and costs one page of entries and one message.
//!
//! What needs a person is a state and no history: a follower hears what is open when it has caught up, and again
//! whenever that has changed.
//!
//! When an app password is taken back, people's streams end: who still may comes again. So does a page's when
//! its session ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fasti_core::command::ConflictView;
use fasti_core::step::Appended;
use fasti_core::{Answer, Command, CommandError};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;

use crate::Handle;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::routes::{Door, query};
use crate::sessions::SessionId;

/// Entries that are read from the history at a time.
const PAGE: usize = 256;

/// How soon after another one conflicts are told again: finding them makes the node apply what it would rather put off.
const CONFLICTS_EVERY: Duration = Duration::from_millis(100);

/// After how long a client should reconnect: it resumes where it was, so early is cheap.
const RETRY: Duration = Duration::from_secs(1);

/// Often enough for the usual proxy, which cuts what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    from: Option<u64>,
    /// Leave out the events themselves, for followers that only want to know that something happened.
    #[serde(default)]
    entries_only: bool,
}

pub(crate) async fn stream(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Extension(session): Extension<Option<SessionId>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut removals = door.people.removals();
    let asked: StreamQuery = query(&uri)?;
    let live = door.handle.follow()?;
    let end = door.handle.node().log_end();
    let next = match last_event_id(&headers)? {
        Some(index) if index < end => index + 1,
        // This log never had that index: it belongs to another log, that of the node before it was
        // set up anew. What the client knows of this one is nothing.
        Some(_) => 0,
        None => asked.from.unwrap_or(end).min(end),
    };
    let follower = Follower {
        handle: door.handle,
        live,
        next,
        is_behind: next < end,
        entries_only: asked.entries_only,
        page: VecDeque::new(),
        conflicts: BTreeMap::new(),
        conflicts_due: (!asked.entries_only).then(Instant::now),
        conflicts_told: false,
    };
    // The first message only carries where the stream begins, so that a client that is cut off before
    // the first entry can resume as well.
    let first = next.checked_sub(1).map(|index| Event::default().id(index.to_string()));
    let first = first.unwrap_or_default().retry(RETRY);
    let (mut stopping, sessions) = (door.stopping, door.sessions);
    let session_over = async move {
        match session {
            Some(session) => sessions.over(session).await,
            None => std::future::pending().await,
        }
    };
    let end = async move {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            _ = removals.changed(), if caller != Caller::Operator => {}
            () = session_over => {}
        }
    };
    let messages = futures::stream::unfold(follower, |mut follower| async {
        Some((follower.next_message().await?, follower))
    })
    .take_until(end);
    let messages = futures::stream::iter([first]).chain(messages).map(Ok::<_, Infallible>);
    let mut response =
        Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx would hold messages back to fill its buffer.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response.headers_mut().extend([unbuffered]);
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    match value.to_str().map(str::parse) {
        Ok(Ok(index)) => Ok(Some(index)),
        _ => Err(Problem::malformed(
            "Last-Event-ID is the id of the last message that arrived, a number; leave it out to begin with what happens now, or begin with ?from=0",
        )),
    }
}

/// One client's place in the log.
struct Follower {
    handle: Handle,
    live: broadcast::Receiver<Arc<[Appended]>>,
    /// The index of the entry that goes onto the page next.
    next: u64,
    /// Whether entries from `next` on may have to come from the history.
    is_behind: bool,
    entries_only: bool,
    /// Entries to be told.
    page: VecDeque<Telling>,
    /// The open conflicts as they were told last, by their ids.
    conflicts: BTreeMap<String, ConflictView>,
    /// When to look for others.
    conflicts_due: Option<Instant>,
    conflicts_told: bool,
}

/// An entry that is being told.
struct Telling {
    entry: Appended,
    /// Events that are still to be shown before the entry: with its id the client confirms them all.
    uids: Vec<String>,
}

impl Follower {
    /// Waits for the next message; none if the node stops, or fails: the client will reconnect.
    async fn next_message(&mut self) -> Option<Event> {
        loop {
            let Some(telling) = self.page.front_mut() else {
                if let Some(message) = self.fill_page().await? {
                    return Some(message);
                }
                continue;
            };
            let Some(uid) = telling.uids.pop() else {
                return self.page.pop_front().map(|telling| entry_message(&telling.entry));
            };
            match self.handle.ask(Command::Event { uid }).await {
                Ok(Answer::Event(view)) => {
                    let entry = telling.entry.hash.to_string();
                    let data = json!({ "uid": view.uid, "etag": view.etag, "entry": entry, "event": view.event });
                    return Some(Event::default().event("event").data(data.to_string()));
                }
                // The entry touched what is no event (yet): there is nothing to show.
                Err(CommandError::UnknownEvent(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Waits for entries, or finds that they have to be read from the history, or that conflicts are to be told.
    async fn fill_page(&mut self) -> Option<Option<Event>> {
        if self.is_behind {
            let entries = self.handle.history(self.next, PAGE).await;
            let entries = entries
                .inspect_err(|error| tracing::warn!(%error, "the log can't be read for a stream"))
                .ok()?;
            self.is_behind = !entries.is_empty();
            self.tell(entries);
            return Some(None);
        }
        let conflicts_due = self.conflicts_due;
        let entries = tokio::select! {
            entries = self.live.recv() => entries,
            () = async {
                match conflicts_due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            } => return self.tell_conflicts().await,
        };
        match entries {
            // Entries are in the history before they are here, so what is skipped is found there.
            Ok(batch) if batch.first().is_some_and(|entry| entry.index > self.next) => {
                self.is_behind = true;
            }
            Ok(batch) => {
                let new = batch.iter().filter(|entry| entry.index >= self.next);
                self.tell(new.cloned().collect());
            }
            Err(RecvError::Lagged(_)) => self.is_behind = true,
            Err(RecvError::Closed) => return None,
        }
        Some(None)
    }

    /// What is open, if it isn't what was told last.
    async fn tell_conflicts(&mut self) -> Option<Option<Event>> {
        self.conflicts_due = None;
        let Ok(Answer::Conflicts(conflicts)) = self.handle.ask(Command::Conflicts).await else {
            return None;
        };
        let open: Vec<&str> = conflicts.iter().map(|it| it.id.as_str()).collect();
        let is_new = |it: &&ConflictView| self.conflicts.get(&it.id) != Some(it);
        let changed: Vec<&ConflictView> = conflicts.iter().filter(is_new).collect();
        if self.conflicts_told && changed.is_empty() && open.len() == self.conflicts.len() {
            return Some(None);
        }
        let data = json!({ "open": open, "changed": changed });
        self.conflicts = conflicts.into_iter().map(|it| (it.id.clone(), it)).collect();
        self.conflicts_told = true;
        Some(Some(Event::default().event("conflicts").data(data.to_string())))
    }

    /// An event that several entries of the page touched is shown once, with the last of them.
    fn tell(&mut self, entries: Vec<Appended>) {
        if !(entries.is_empty() || self.entries_only) {
            let soon = || Instant::now() + CONFLICTS_EVERY;
            self.conflicts_due.get_or_insert_with(soon);
        }
        let mut seen = BTreeSet::new();
        for entry in entries.into_iter().rev() {
            self.next = self.next.max(entry.index + 1);
            let mut uids = entry.uids.clone();
            uids.retain(|uid| !self.entries_only && seen.insert(uid.clone()));
            uids.reverse();
            self.page.push_front(Telling { entry, uids });
        }
    }
}

fn entry_message(entry: &Appended) -> Event {
    let mut data = json!({
        "index": entry.index,
        "entry": entry.hash.to_string(),
        "office": entry.author.to_string(),
        "time": entry.time,
        "uids": entry.uids,
    });
    if !entry.person.is_empty() {
        data["person"] = json!(entry.person);
    }
    Event::default().event("entry").id(entry.index.to_string()).data(data.to_string())
}
