//! Calendars as calendar apps see them: collections of events, each under a name of its own (RFC 4791, section 4.2), and
//! what has changed in them. A calendar is what its events say; what it is called and its color is an object beside
//! them, so that it is merged as they are.

use std::collections::BTreeSet;

use fasti_calendar::ical;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::calendar::{Context, check_condition, check_uid, invalid};
use crate::command::{
    CalendarView, ChangedView, CommandError, Condition, EventView, Object, Save, Written,
};
use crate::event::{self, Flat, UID_BYTES_MAX};
use crate::graph::Index;
use crate::ledger::Ledger;
use crate::views;

/// The calendar of events that name none.
pub const DEFAULT_CALENDAR: &str = "default";

/// Which calendar an event is in.
const CALENDAR: &str = "fasti:calendar";
/// Its name there, if that doesn't follow from its uid.
const NAME: &str = "fasti:name";
/// It was taken out of its calendar, and not only cancelled.
const REMOVED: &str = "fasti:removed";

/// The UID that apps know it by, where another event had that already: in another calendar, in which UIDs are their own
/// (RFC 4791, section 5.3.2.1).
const KNOWN_AS: &str = "fasti:uid";

/// Members that say where an event is, and not what.
const PLACING: [&str; 4] = [CALENDAR, NAME, REMOVED, KNOWN_AS];

/// Uids of calendars begin so.
const CALENDAR_UIDS: &str = "fasti:calendar/";

/// Longest name of a calendar, or of an event in one, in bytes.
pub const NAME_BYTES_MAX: usize = UID_BYTES_MAX + ".ics".len();

/// Most changes in an answer.
const CHANGES_MAX: usize = 1000;

/// Where an event is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The calendar's id.
    pub calendar: String,
    /// The name in it, such as `4711.ics`.
    pub name: String,
}

impl Place {
    /// Of an event; none if it was taken out of its calendar.
    pub fn of(uid: &str, event: &Object) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        if event.get(REMOVED) == Some(&json!(true)) || is_calendar(uid) {
            return None;
        }
        let calendar = text(CALENDAR).filter(|it| is_name(it)).unwrap_or(DEFAULT_CALENDAR);
        let name = text(NAME).filter(|it| is_name(it));
        Some(Self {
            calendar: calendar.to_owned(),
            name: name.map_or_else(|| Self::name_of(uid), str::to_owned),
        })
    }

    /// The name that follows from a uid.
    pub fn name_of(uid: &str) -> String {
        format!("{uid}.ics")
    }

    fn check(&self) -> Result<(), CommandError> {
        for name in [&self.calendar, &self.name] {
            if !is_name(name) {
                let problem = format!(
                    "{name:?} can't name a calendar or an event in one: names are 1 to {NAME_BYTES_MAX} bytes without control characters"
                );
                return Err(invalid("name", problem));
            }
        }
        Ok(())
    }

    /// The members that say so.
    fn members(&self, uid: &str) -> Object {
        let calendar = Some(&self.calendar).filter(|it| *it != DEFAULT_CALENDAR);
        let name = Some(&self.name).filter(|it| **it != Self::name_of(uid));
        Object::from_iter([
            (CALENDAR.to_owned(), json!(calendar)),
            (NAME.to_owned(), json!(name)),
            (REMOVED.to_owned(), Value::Null),
        ])
    }
}

/// Whether a text can name a calendar, or an event in one.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.chars().any(char::is_control)
        && name != "."
        && name != ".."
}

/// Whether a uid is a calendar's.
pub fn is_calendar(uid: &str) -> bool {
    uid.starts_with(CALENDAR_UIDS)
}

/// An event without what says where it is, and with the UID that apps know it by.
pub fn content(event: &Object) -> Object {
    let content = event.iter().filter(|(name, _)| !PLACING.contains(&name.as_str()));
    let mut content: Object = content.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(uid) = event.get(KNOWN_AS).filter(|it| it.is_string()) {
        content.insert("uid".into(), uid.clone());
    }
    content
}

/// The uid of an event that apps know by one that another event has, in another calendar. The same in every office.
pub fn uid_beside(uid: &str, calendar: &str) -> String {
    let hash = Sha256::digest(format!("{}\0{uid}\0{calendar}", calendar.len()));
    hex::encode(&hash[..16])
}

impl Ledger {
    /// An event that is in a calendar.
    fn placed(&self, uid: &str) -> Option<(EventView, Place)> {
        let view = views::event(self, uid)?;
        let place = Place::of(uid, &view.event)?;
        Some((view, place))
    }

    /// Writes what an app says of an event: what it changed of what it had been shown, and nothing else.
    pub(crate) fn save(&mut self, context: Context, said: Save) -> Result<Written, CommandError> {
        let Save { uid, event, place, condition } = said;
        check_uid(&uid)?;
        place.check()?;
        let known_as = event.get("uid").and_then(Value::as_str).map(str::to_owned);
        if let Some(known_as) = &known_as {
            check_uid(known_as)?;
        }
        let present = self.present(&uid);
        let shown = present.view.as_ref().filter(|it| Place::of(&uid, &it.event).is_some());
        check_condition(&condition, shown)?;
        let wanted = match shown {
            Some(view) => {
                let before = ical::as_read(&content(&view.event));
                event::replace_members(&ical::changed(&before, &event), &before, &event)?
            }
            // What was taken out is put in anew.
            None => {
                let mut event = content(&event);
                for derived in ["uid", "created", "updated"] {
                    event.shift_remove(derived);
                }
                event.entry("@type").or_insert(json!("Event"));
                event::replace(&present.flat, &event::flatten(&event)?)
            }
        };
        let mut placing = place.members(&uid);
        placing.insert(KNOWN_AS.into(), json!(known_as.filter(|it| *it != uid)));
        let is_new = shown.is_none();
        let mut written = self.apply(context, &uid, &present, |flat| {
            let mut edits = event::carried_over(flat, &wanted);
            let flat = if is_new { &Flat::new() } else { flat };
            edits.extend(event::merge_patch(flat, &placing)?);
            Ok(edits)
        })?;
        written.created = is_new;
        Ok(written)
    }

    /// Cancels an event, and takes it out of its calendar.
    pub(crate) fn discard(
        &mut self,
        context: Context,
        uid: &str,
        condition: &Condition,
    ) -> Result<Written, CommandError> {
        let present = self.present(uid);
        let shown = present.view.as_ref().filter(|it| Place::of(uid, &it.event).is_some());
        let Some(view) = shown else { return Err(CommandError::UnknownEvent(uid.to_owned())) };
        check_condition(condition, shown)?;
        let status = event::status_of(&view.event).to_owned();
        let patch =
            Object::from_iter([(status, json!("cancelled")), (REMOVED.to_owned(), json!(true))]);
        self.apply(context, uid, &present, |flat| event::merge_patch(flat, &patch))
    }

    /// Changes what is said of a calendar, whether it has events or not; null takes it away.
    pub(crate) fn edit_calendar(
        &mut self,
        context: Context,
        calendar: &str,
        patch: Option<Object>,
    ) -> Result<Written, CommandError> {
        Place { calendar: calendar.to_owned(), name: "_".into() }.check()?;
        let uid = format!("{CALENDAR_UIDS}{calendar}");
        let present = self.present(&uid);
        self.apply(context, &uid, &present, |flat| match patch {
            Some(mut patch) => {
                patch.insert("@type".into(), json!("Group"));
                patch.insert(REMOVED.into(), Value::Null);
                event::merge_patch(flat, &patch)
            }
            // Who makes it again doesn't mean what it was.
            None => {
                let gone = json!({ "@type": "Group", REMOVED: true });
                let gone = gone.as_object().map(event::flatten).transpose()?.unwrap_or_default();
                Ok(event::replace(flat, &gone))
            }
        })
    }

    /// What changed since an entry of the local log, each event once, in the order of its last change.
    pub(crate) fn changes(&mut self, since: u64, limit: usize) -> (Vec<ChangedView>, bool) {
        self.settle_all();
        let limit = limit.clamp(1, CHANGES_MAX);
        let since = Index::try_from(since).unwrap_or(Index::MAX);
        let mut changes = Vec::new();
        for (at, uid) in self.latest.range((since, "".into())..) {
            // Those of one entry stay together: there is no place between them to go on from.
            let is_full = changes.len() >= limit;
            if is_full && changes.last().is_none_or(|it: &ChangedView| it.at != u64::from(*at)) {
                return (changes, true);
            }
            let Some(view) = views::event(self, uid) else { continue };
            let calendar = uid.strip_prefix(CALENDAR_UIDS).map(|id| CalendarView {
                id: id.to_owned(),
                is_removed: view.event.get(REMOVED) == Some(&json!(true)),
            });
            let place = Place::of(uid, &view.event);
            changes.push(ChangedView { at: u64::from(*at), place, calendar, view });
        }
        (changes, false)
    }

    /// The names in a calendar at an entry of the local log, or since, that are there no more: of the events that were
    /// last changed at `from` or later, in the order of that.
    pub(crate) fn departed(&mut self, calendar: &str, since: u64, from: u64) -> Vec<(u64, String)> {
        self.settle_all();
        let index = |at: u64| Index::try_from(at).unwrap_or(Index::MAX);
        let (since, from) = (index(since), index(from));
        let mut departed = Vec::new();
        for (at, uid) in self.latest.range((from, "".into())..) {
            let now = self.placed(uid).map(|it| it.1);
            let history = self.history_of(uid);
            // Where it was at that entry, and after each since.
            let first = history.partition_point(|at| *at < since).max(1);
            let was = (first..history.len()).filter_map(|known| {
                let changes = self.changes_under(&history[..known]);
                let fields = self.document.fields_at(uid, &changes)?.into_iter();
                let placing = fields.filter(|it| PLACING.contains(&it.0.as_str()));
                let flat: Flat = placing.map(|(path, (leaf, _))| (path, leaf)).collect();
                Place::of(uid, &event::unflatten(&flat))
            });
            let gone = was.filter(|it| it.calendar == calendar && now.as_ref() != Some(it));
            let names: BTreeSet<String> = gone.map(|it| it.name).collect();
            departed.extend(names.into_iter().map(|name| (u64::from(*at), name)));
        }
        departed
    }
}
