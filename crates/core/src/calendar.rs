//! Commands on events: from what people ask to the fields that are written. Reads the event as it
//! stands, so that only what differs is written and concurrent edits of other fields survive.

use serde_json::{Value, json};

use crate::collection::is_calendar;
use crate::command::{Command, CommandError, Condition, EventView, Object, Written};
use crate::document::Hash;
use crate::entry::BODY_BYTES_MAX;
use crate::event::{self, FieldEdits, Flat};
use crate::ids::{EntryHash, Incarnation};
use crate::ledger::{Ledger, TooLarge};
use crate::policy::PolicyEvent;
use crate::views;

/// What every write needs besides the edit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The incarnation to open if this node has written nothing yet.
    pub(crate) fresh: Incarnation,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

/// An event before an edit.
pub(crate) struct Present {
    /// What is said of a calendar is no event, and need not be valid as one.
    is_calendar: bool,
    pub(crate) flat: Flat,
    pub(crate) view: Option<EventView>,
}

impl Present {
    /// The event after these edits.
    pub(crate) fn after(&self, edits: &FieldEdits) -> Result<Object, CommandError> {
        let mut after = self.flat.clone();
        for (path, leaf) in edits {
            match leaf {
                Some(leaf) => after.insert(path.clone(), leaf.clone()),
                None => after.remove(path),
            };
        }
        let shown = event::unflatten(&after);
        if !self.is_calendar {
            event::validate(&shown, self.view.as_ref().map(|view| &view.event))?;
        }
        if after.len() > event::FIELDS_MAX {
            return Err(invalid("", format!("an event has at most {} fields", event::FIELDS_MAX)));
        }
        Ok(shown)
    }
}

/// Members of an event that Fasti derives, which nobody writes.
const DERIVED: [&str; 3] = ["uid", "created", "updated"];

impl Ledger {
    pub(crate) fn present(&mut self, uid: &str) -> Present {
        self.settle(uid);
        let flat = self.document.flat(uid).unwrap_or_default();
        Present { is_calendar: is_calendar(uid), flat, view: views::event(self, uid) }
    }

    /// A publication about a policy.
    pub(crate) fn publish(
        &mut self,
        context: Context,
        policy: &PolicyEvent,
    ) -> Result<Written, CommandError> {
        let uid = policy.uid();
        let present = self.present(&uid);
        let patch = policy.patch(present.view.as_ref().map(|view| &view.event))?;
        self.apply(context, &uid, &present, |flat| event::merge_patch(flat, &patch))
    }

    pub(crate) fn put(
        &mut self,
        context: Context,
        uid: &str,
        mut wanted: Object,
        condition: &Condition,
    ) -> Result<Written, CommandError> {
        check_uid(uid)?;
        if let Some(own) = wanted.get("uid")
            && own != uid
        {
            return Err(invalid(
                "uid",
                format!("the event's uid is {own}, but it is put at {uid:?}"),
            ));
        }
        wanted.entry("@type").or_insert(json!("Event"));
        let present = self.present(uid);
        check_condition(condition, present.view.as_ref())?;
        strip(&mut wanted);
        let wanted = event::flatten(&wanted)?;
        self.apply(context, uid, &present, |flat| Ok(event::replace(flat, &wanted)))
    }

    pub(crate) fn patch(
        &mut self,
        context: Context,
        uid: &str,
        mut patch: Object,
        condition: &Condition,
    ) -> Result<Written, CommandError> {
        let present = self.existing(uid, condition)?;
        if let Some(own) = patch.get("uid")
            && own != uid
        {
            return Err(invalid("uid", "an event keeps its uid; put a new one instead".into()));
        }
        strip(&mut patch);
        self.apply(context, uid, &present, |flat| event::merge_patch(flat, &patch))
    }

    pub(crate) fn cancel(
        &mut self,
        context: Context,
        uid: &str,
        condition: &Condition,
    ) -> Result<Written, CommandError> {
        let present = self.existing(uid, condition)?;
        let status = present.view.as_ref().map_or("status", |view| event::status_of(&view.event));
        let patch = Object::from_iter([(status.to_owned(), json!("cancelled"))]);
        self.apply(context, uid, &present, |flat| event::merge_patch(flat, &patch))
    }

    fn existing(&mut self, uid: &str, condition: &Condition) -> Result<Present, CommandError> {
        let present = self.present(uid);
        if present.view.is_none() {
            return Err(CommandError::UnknownEvent(uid.to_owned()));
        }
        check_condition(condition, present.view.as_ref())?;
        Ok(present)
    }

    /// Writes a field over all values that it has, whichever shows: that is what ends a conflict.
    pub(crate) fn write_value(
        &mut self,
        context: Context,
        uid: &str,
        path: &str,
        value: Value,
    ) -> Result<Written, CommandError> {
        let present = self.present(uid);
        self.apply(context, uid, &present, |flat| {
            let mut edits = event::merge_patch(flat, &nested(path, value))?;
            if let Some(leaf) = flat.get(path) {
                edits.entry(path.to_owned()).or_insert_with(|| Some(leaf.clone()));
            }
            Ok(edits)
        })
    }

    /// Makes an event what it was, but for how it was written in another program.
    pub(crate) fn restore(
        &mut self,
        context: Context,
        uid: &str,
        content: Object,
    ) -> Result<(), CommandError> {
        let present = self.present(uid);
        let mut wanted = event::flatten(&content)?;
        let kept = present.flat.iter().filter(|(path, _)| event::is_kept(path));
        wanted.extend(kept.map(|(path, leaf)| (path.clone(), leaf.clone())));
        self.apply(context, uid, &present, |flat| Ok(event::replace(flat, &wanted))).map(|_| ())
    }

    /// Writes the edits, unless the event would not be valid or nothing would change.
    pub(crate) fn apply(
        &mut self,
        context: Context,
        uid: &str,
        present: &Present,
        edit: impl FnOnce(&Flat) -> Result<FieldEdits, CommandError>,
    ) -> Result<Written, CommandError> {
        let edits = edit(&present.flat)?;
        let created = present.view.is_none();
        if let Some(view) = &present.view
            && edits.is_empty()
        {
            let entry = self.last_entry(uid);
            return Ok(Written { uid: uid.into(), entry, etag: view.etag.clone(), created: false });
        }
        let mut shown = present.after(&edits)?;
        let removes_only = edits.values().all(Option::is_none);
        let entry = self
            .write_edits(uid, edits, context.fresh, context.time)
            .map_err(|TooLarge(size)| CommandError::TooLarge { size, max: BODY_BYTES_MAX })?;
        self.move_bookings(context, uid, &shown)?;
        // A removal leaves no field behind that could say when it was: what shows then is left to what
        // stands in the document.
        if removes_only {
            self.settle(uid);
            let etag = views::event(self, uid).map(|view| view.etag).unwrap_or_default();
            return Ok(Written { uid: uid.into(), entry, etag, created });
        }
        views::complete(
            &mut shown,
            uid,
            present.view.as_ref().and_then(|view| view.event.get("created")).cloned(),
            context.time,
        );
        let etag = event::etag(&shown);
        Ok(Written { uid: uid.into(), entry, etag, created })
    }

    /// Whatever an event was edited by: who cancels gives up what was booked.
    pub(crate) fn move_bookings(
        &mut self,
        context: Context,
        uid: &str,
        event: &Object,
    ) -> Result<(), CommandError> {
        if event::takes_no_place(event) {
            self.release(context, uid)?;
        } else if self.bookings.of_event(uid).next().is_some() {
            self.follow(context, uid)?;
        }
        Ok(())
    }

    /// The latest entry that wrote a field of the event.
    fn last_entry(&self, uid: &str) -> EntryHash {
        let fields = self.document.fields(uid).unwrap_or_default();
        let latest = fields.into_values().map(|(_, id)| id).max();
        latest
            .and_then(|id| self.entry_of(self.document.change_of(&id)?))
            .unwrap_or(EntryHash([0; 32]))
    }

    /// The entry that brought a change.
    pub(crate) fn entry_of(&self, change: Hash) -> Option<EntryHash> {
        self.graph.by_change(&change).map(|node| node.hash)
    }
}

/// Commands that write need a member.
pub(crate) fn writes(command: &Command) -> bool {
    match command {
        Command::By { command, .. } => writes(command),
        Command::Publish(_)
        | Command::Put { .. }
        | Command::Patch { .. }
        | Command::Cancel { .. }
        | Command::TakeOver(_)
        | Command::Save(_)
        | Command::Discard { .. }
        | Command::EditCalendar { .. }
        | Command::Resolve { .. }
        | Command::Invite(_)
        | Command::Admit(_)
        | Command::Remove { .. }
        | Command::Succeed(_)
        | Command::Propose { .. }
        | Command::Approve { .. }
        | Command::Withdraw { .. }
        | Command::AddResource(_)
        | Command::EditResource { .. }
        | Command::AcceptStakeholders { .. }
        | Command::Book(_)
        | Command::CancelBooking { .. } => true,
        Command::Event { .. }
        | Command::Events(_)
        | Command::History { .. }
        | Command::Changes { .. }
        | Command::Departed { .. }
        | Command::Conflicts
        | Command::Agenda(_)
        | Command::Policy { .. }
        | Command::Policies
        | Command::Report(_)
        | Command::Evidence(_)
        | Command::Members
        | Command::FormerMembers
        | Command::Resources
        | Command::Bookings(_)
        | Command::Free { .. }
        | Command::Status
        | Command::Subscribe(_)
        | Command::Subscriptions
        | Command::EditSubscription { .. }
        | Command::Unsubscribe { .. }
        | Command::Target { .. }
        | Command::Reach { .. }
        | Command::Replay(_)
        | Command::Deliveries(_)
        | Command::Delivery { .. }
        | Command::Unconfirmed { .. } => false,
    }
}

fn strip(object: &mut Object) {
    for name in DERIVED {
        object.shift_remove(name);
    }
}

/// The merge patch that sets one path.
fn nested(path: &str, value: Value) -> Object {
    let mut parts = path.rsplit('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
    let mut object = Object::new();
    if let Some(last) = parts.next() {
        object.insert(last, value);
    }
    parts.fold(object, |inner, name| Object::from_iter([(name, Value::Object(inner))]))
}

pub(crate) fn check_uid(uid: &str) -> Result<(), CommandError> {
    if event::is_uid(uid) && !is_calendar(uid) {
        Ok(())
    } else {
        Err(invalid(
            "uid",
            format!(
                "{uid:?} can't name an event: uids are 1 to {} bytes without control characters, or spaces at the ends",
                event::UID_BYTES_MAX
            ),
        ))
    }
}

pub(crate) fn check_condition(
    condition: &Condition,
    view: Option<&EventView>,
) -> Result<(), CommandError> {
    let holds = match condition {
        Condition::Always => true,
        Condition::Exists => view.is_some(),
        Condition::Absent => view.is_none(),
        Condition::Matches(etags) => view.is_some_and(|view| etags.contains(&view.etag)),
    };
    if holds {
        Ok(())
    } else {
        Err(CommandError::Precondition { now: view.map(|view| view.etag.clone()) })
    }
}

pub(crate) fn invalid(path: &str, problem: String) -> CommandError {
    CommandError::Invalid { path: path.into(), problem }
}
