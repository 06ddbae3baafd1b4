//! What an external system says of an event, as an edit of this office. It was made by somebody who knew what the system
//! had been told and nothing else: where the event was changed here since then, both are changes that were made at
//! once, and are merged, or shown as a conflict, as those of two offices are.

use fasti_calendar::ical;
use serde_json::json;

use crate::calendar::{Context, check_uid};
use crate::command::{CommandError, Condition, Object, TakeOver};
use crate::entry::BODY_BYTES_MAX;
use crate::event::{self, Flat};
use crate::graph::Index;
use crate::ids::{EntryHash, Incarnation, LogId};
use crate::ledger::{Ledger, TooLarge};
use crate::views;

impl Ledger {
    /// Writes it; gives the latest entries that have changed the event, as far as the system knows of them now. `aside`
    /// names a log that is new.
    pub(crate) fn take_over(
        &mut self,
        context: Context,
        aside: Incarnation,
        said: &TakeOver,
    ) -> Result<Vec<EntryHash>, CommandError> {
        let TakeOver { uid, event, before, calendar, .. } = said;
        check_uid(uid)?;
        let present = self.present(uid);
        let Some(view) = &present.view else {
            if let Some(event) = event
                && !event::takes_no_place(event)
            {
                let mut event = event.clone();
                if let Some(calendar) = calendar {
                    event.entry("fasti:calendar").or_insert_with(|| json!(calendar));
                }
                self.put(context, uid, event, &Condition::Always)?;
            }
            return Ok(self.latest_of(uid));
        };
        let known;
        let (before, heads): (_, Vec<Index>) = match before {
            Some((before, heads)) => {
                let held = heads.iter().filter_map(|hash| self.graph.index(hash));
                // What was cut off since then must not be built upon: that would make it count again.
                let counts = |at: &Index| self.history_of(uid).contains(at);
                (before, held.filter(counts).collect())
            }
            // Two that have the same uid were made at once, as far as anybody knows.
            None => {
                known = ical::as_read(&view.event);
                (&known, Vec::new())
            }
        };
        let wanted = match event {
            Some(event) => {
                let mut changed = ical::changed(before, event);
                // How it is written is no edit where nobody knows who wrote it first.
                if said.before.is_none() {
                    changed.remove(ical::KEPT);
                }
                event::replace_members(&changed, before, event)?
            }
            None => {
                let status = event::status_of(&view.event).to_owned();
                event::merge_patch(
                    &Flat::new(),
                    &Object::from_iter([(status, json!("cancelled"))]),
                )?
            }
        };
        let latest = self.latest_of(uid);
        let hashes: Vec<EntryHash> = heads.iter().map(|at| self.graph.node(*at).hash).collect();
        if hashes == latest {
            self.apply(context, uid, &present, |flat| Ok(event::carried_over(flat, &wanted)))?;
            return Ok(self.latest_of(uid));
        }
        let deps = self.changes_under(&heads);
        let fields = self.document.fields_at(uid, &deps).unwrap_or_default();
        let flat: Flat = fields.into_iter().map(|(path, (leaf, _))| (path, leaf)).collect();
        let mut edits = event::carried_over(&flat, &wanted);
        edits.retain(|path, leaf| present.flat.get(path) != leaf.as_ref());
        if edits.is_empty() {
            // What is there is what is here, or older.
            return Ok(if said.before.is_some() { hashes } else { latest });
        }
        present.after(&edits)?;
        // On top of our admission, without which we had no say.
        let admissions = self.roster.member(&self.office()).into_iter();
        let admissions = admissions.flat_map(|it| it.admissions()).map(|at| self.graph.node(at));
        let mut parents: Vec<EntryHash> = admissions.map(|node| node.hash).chain(hashes).collect();
        parents.sort();
        parents.dedup();
        let aside = self.aside(uid, &heads).unwrap_or(aside);
        let entry = self
            .write_edits_aside(parents, uid, edits, aside, context.time)
            .map_err(|TooLarge(size)| CommandError::TooLarge { size, max: BODY_BYTES_MAX })?;
        self.settle(uid);
        if let Some(view) = views::event(self, uid) {
            self.move_bookings(context, uid, &view.event)?;
        }
        Ok(vec![entry])
    }

    /// The log that was written aside last, if what stands in it knows of no more changes of the event than these.
    fn aside(&self, uid: &str, heads: &[Index]) -> Option<Incarnation> {
        let log = LogId { author: self.office(), incarnation: self.aside? };
        let tip = [self.graph.index(&self.graph.last(&log)?.hash)?];
        let knows_more =
            |at: &Index| self.graph.is_under(*at, &tip) && !self.graph.is_under(*at, heads);
        (!self.history_of(uid).iter().any(knows_more)).then_some(log.incarnation)
    }
}
