//! All events as calendar apps ask for them, in memory: by calendar and name, by time, by what changed last. It is filled
//! when somebody asks first; before each answer it takes what changed since, so that it is never older than the question.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use fasti_calendar::{Agenda, ical};
use fasti_core::collection::{DEFAULT_CALENDAR, Place, content};
use fasti_core::command::{ChangedView, Object};
use fasti_core::{Answer, Command, CommandError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, RwLockReadGuard};

use super::path::Target;
use crate::Handle;

/// Changes that are asked for at a time: some 40 ms of the core's time.
const PAGE: usize = 1000;

/// The shelf, and whoever brings it up to date.
#[derive(Default)]
pub(crate) struct Library {
    shelf: Arc<RwLock<Shelf>>,
    /// One at a time.
    refreshing: Mutex<()>,
}

impl Library {
    /// The shelf, which nobody changes meanwhile: not to be held over a [`Library::refresh`].
    pub(crate) async fn shelf(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().await
    }

    /// The same, for a thread that may take its time.
    pub(crate) async fn shelf_for_long(&self) -> OwnedRwLockReadGuard<Shelf> {
        Arc::clone(&self.shelf).read_owned().await
    }

    /// Takes what has changed.
    pub(crate) async fn refresh(&self, handle: &Handle) -> Result<(), CommandError> {
        let _turn = self.refreshing.lock().await;
        loop {
            let since = self.shelf().await.end;
            let asked = handle.ask(Command::Changes { since, limit: PAGE }).await?;
            let Answer::Changes { changes, more, end, may_write, numbering } = asked else {
                return Err(CommandError::Unavailable("it answered what was not asked".into()));
            };
            let mut shelf = self.shelf.write().await;
            if shelf.numbering != numbering && since > 0 {
                *shelf = Shelf { numbering, ..Shelf::default() };
                continue;
            }
            let last = changes.last().map(|it| it.at + 1);
            changes.into_iter().for_each(|it| shelf.take(it));
            (shelf.numbering, shelf.may_write) = (numbering, may_write);
            match last {
                Some(next) if more => shelf.end = next,
                _ => {
                    shelf.end = end;
                    return Ok(());
                }
            }
        }
    }
}

/// See above.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) numbering: u64,
    /// The index that the next change will have.
    pub(crate) end: u64,
    /// Whether this office may write.
    pub(crate) may_write: bool,
    items: HashMap<Arc<str>, Arc<Item>>,
    calendars: BTreeMap<String, Calendar>,
    agenda: Agenda,
    /// Those without a time of their own: tasks.
    undated: BTreeSet<Arc<str>>,
}

/// A calendar.
#[derive(Default)]
pub(crate) struct Calendar {
    /// What is said of it: a Group (RFC 8984, 5.3), or nothing.
    pub(crate) about: Object,
    /// Somebody said that there is such a calendar.
    is_told: bool,
    /// By name.
    members: BTreeMap<String, Arc<Item>>,
    by_change: BTreeMap<(u64, Arc<str>), Arc<Item>>,
    /// By the UIDs that apps know them by.
    by_uid: BTreeMap<String, Arc<Item>>,
}

/// An event in a calendar.
pub(crate) struct Item {
    pub(crate) uid: Arc<str>,
    pub(crate) place: Place,
    /// The index of its last change.
    pub(crate) at: u64,
    /// Without quotes.
    pub(crate) etag: String,
    /// Without what says where it is.
    pub(crate) event: Arc<Object>,
    text: OnceLock<String>,
}

impl Item {
    pub(crate) fn is_task(&self) -> bool {
        self.event.get("@type").is_some_and(|it| it == "Task")
    }

    /// The UID that apps know it by.
    pub(crate) fn known_as(&self) -> &str {
        self.member("uid").unwrap_or(&self.uid)
    }

    /// In iCalendar.
    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| ical::write(std::slice::from_ref(&*self.event)))
    }

    /// A member that is a text.
    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        self.event.get(name).and_then(Value::as_str)
    }
}

impl Calendar {
    pub(crate) fn items(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.members.values()
    }

    pub(crate) fn item(&self, name: &str) -> Option<&Arc<Item>> {
        self.members.get(name)
    }

    /// By the UID that apps know it by.
    pub(crate) fn known_as(&self, uid: &str) -> Option<&Arc<Item>> {
        self.by_uid.get(uid)
    }

    /// Those that changed at this index or later, in that order.
    pub(crate) fn changed(&self, since: u64) -> impl Iterator<Item = &Arc<Item>> {
        self.by_change.range((since, Arc::from(""))..).map(|it| it.1)
    }

    /// What people call it.
    pub(crate) fn display_name<'a>(&'a self, id: &'a str) -> &'a str {
        let default = if id == DEFAULT_CALENDAR { "Calendar" } else { id };
        self.about("title").filter(|it| !it.is_empty()).unwrap_or(default)
    }

    /// A member of what is said of it that is a text.
    pub(crate) fn about(&self, name: &str) -> Option<&str> {
        self.about.get(name).and_then(Value::as_str)
    }
}

impl Shelf {
    /// The calendars that there are: those that somebody made, or put something into, and one for all.
    pub(crate) fn calendars(&self) -> impl Iterator<Item = (&str, &Calendar)> {
        static EMPTY: OnceLock<Calendar> = OnceLock::new();
        let is_missing = !self.calendars.contains_key(DEFAULT_CALENDAR);
        let default = is_missing.then(|| (DEFAULT_CALENDAR, EMPTY.get_or_init(Calendar::default)));
        let others = self.calendars.iter().map(|(id, calendar)| (id.as_str(), calendar));
        default.into_iter().chain(others.filter(|(id, calendar)| {
            calendar.is_told || !calendar.members.is_empty() || *id == DEFAULT_CALENDAR
        }))
    }

    pub(crate) fn calendar(&self, id: &str) -> Option<&Calendar> {
        match self.calendars.get(id) {
            Some(it) if it.is_told || !it.members.is_empty() => Some(it),
            _ if id == DEFAULT_CALENDAR => self.calendars().find(|it| it.0 == id).map(|it| it.1),
            _ => None,
        }
    }

    pub(crate) fn item(&self, calendar: &str, name: &str) -> Option<&Arc<Item>> {
        self.calendars.get(calendar)?.item(name)
    }

    /// Without quotes; only events have one.
    pub(crate) fn etag(&self, target: &Target) -> Option<String> {
        let Target::Object(calendar, name) = target else { return None };
        self.item(calendar, name).map(|it| it.etag.clone())
    }

    pub(crate) fn by_uid(&self, uid: &str) -> Option<&Arc<Item>> {
        self.items.get(uid)
    }

    pub(crate) fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    pub(crate) fn is_undated(&self, uid: &str) -> bool {
        self.undated.contains(uid)
    }

    fn take(&mut self, changed: ChangedView) {
        let ChangedView { at, place, calendar, view } = changed;
        if let Some(told) = calendar {
            let calendar = self.calendars.entry(told.id).or_default();
            calendar.is_told = !told.is_removed;
            calendar.about = if told.is_removed { Object::new() } else { view.event };
            return;
        }
        self.drop(&view.uid);
        let Some(place) = place else { return };
        let uid: Arc<str> = view.uid.into();
        let place = self.free(place, &uid);
        let event = Arc::new(content(&view.event));
        if self.agenda.insert(&uid, Arc::clone(&event)).is_err() {
            self.undated.insert(Arc::clone(&uid));
        }
        let item = Arc::new(Item {
            uid: Arc::clone(&uid),
            place,
            at,
            etag: view.etag,
            event,
            text: OnceLock::new(),
        });
        let calendar = self.calendars.entry(item.place.calendar.clone()).or_default();
        calendar.members.insert(item.place.name.clone(), Arc::clone(&item));
        calendar.by_uid.insert(item.known_as().to_owned(), Arc::clone(&item));
        calendar.by_change.insert((at, Arc::clone(&uid)), Arc::clone(&item));
        self.items.insert(uid, item);
    }

    fn drop(&mut self, uid: &str) {
        let Some(item) = self.items.remove(uid) else { return };
        self.agenda.remove(uid);
        self.undated.remove(uid);
        if let Some(calendar) = self.calendars.get_mut(&item.place.calendar) {
            calendar.members.remove(&item.place.name);
            calendar.by_uid.remove(item.known_as());
            calendar.by_change.remove(&(item.at, Arc::clone(&item.uid)));
        }
    }

    /// Two offices may give two events one name at once. Both are shown, one under another name.
    fn free(&self, place: Place, uid: &str) -> Place {
        match self.item(&place.calendar, &place.name) {
            None => place,
            Some(_) => {
                let hash = hex::encode(&Sha256::digest(uid)[..8]);
                Place { name: format!("{hash}-{}", place.name), ..place }
            }
        }
    }
}
