//! When events take place: an index of them for whoever asks for a range. It is made when somebody asks first, and
//! from then on kept as events change.

use std::collections::BTreeSet;
use std::sync::Arc;

use fasti_calendar::{Agenda, Occurrence, Zone};
use jiff::civil::DateTime;
use serde_json::json;

use crate::collection::Place;
use crate::command::{AgendaQuery, CommandError, OccurrenceView};
use crate::event;
use crate::ledger::Ledger;
use crate::views;

/// Most occurrences in an answer.
const OCCURRENCES_MAX: usize = 10_000;

/// Events by when they take place.
#[derive(Default)]
pub(crate) struct EventIndex {
    /// None until somebody asks.
    index: Option<Agenda>,
    /// Events that changed since they were put in.
    changed: BTreeSet<String>,
}

impl EventIndex {
    pub(crate) fn changed(&mut self, uid: &str) {
        if self.index.is_some() {
            self.changed.insert(uid.to_owned());
        }
    }
}

impl Ledger {
    pub(crate) fn agenda(
        &mut self,
        query: &AgendaQuery,
    ) -> Result<(Vec<OccurrenceView>, bool), CommandError> {
        let zone = Zone::iana(&query.zone).ok_or_else(|| {
            invalid(
                "zone",
                format!("{:?} is no IANA time zone, such as America/Denver", query.zone),
            )
        })?;
        let moment = |name: &str, text: &str| {
            let local: Option<DateTime> = text.parse().ok();
            local.and_then(|local| zone.to_timestamp(local)).ok_or_else(|| {
                invalid(name, "expected a local date-time such as 2024-04-01T00:00:00".into())
            })
        };
        let range = moment("from", &query.from)?..moment("to", &query.to)?;
        self.settle_all();
        let mut index = std::mem::take(&mut self.agenda);
        let changed = match &index.index {
            Some(_) => std::mem::take(&mut index.changed),
            None => self.document.uids(),
        };
        let agenda = index.index.get_or_insert_with(Agenda::new);
        for uid in changed {
            // What was taken out of its calendar is in no agenda, and what has no time in no range.
            let view = views::event(self, &uid).filter(|it| Place::of(&uid, &it.event).is_some());
            if view.is_none_or(|view| agenda.insert(&uid, Arc::new(view.event)).is_err()) {
                agenda.remove(&uid);
            }
        }
        let page = agenda.query(range, &zone, query.limit.clamp(1, OCCURRENCES_MAX));
        let occurrences = page.items.into_iter().filter_map(|item| {
            let series = agenda.series(&item.uid)?;
            Some(view(&item.uid, series, &item.occurrence, &zone))
        });
        let occurrences = occurrences.collect();
        self.agenda = index;
        Ok((occurrences, page.is_partial))
    }
}

fn view(
    uid: &str,
    series: &fasti_calendar::Series,
    occurrence: &Occurrence,
    zone: &Zone,
) -> OccurrenceView {
    let local = |at: DateTime| at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let whole = series.event();
    let event = match series.is_recurring() {
        true => series.instance(occurrence.recurrence_id),
        false => (**whole).clone(),
    };
    // A day is the same day everywhere.
    let is_of_days = event.get("showWithoutTime") == Some(&json!(true));
    let (start, end) = match is_of_days {
        true => (occurrence.start, occurrence.end),
        false => (zone.to_local(occurrence.starts_at), zone.to_local(occurrence.ends_at)),
    };
    OccurrenceView {
        uid: uid.to_owned(),
        etag: event::etag(whole),
        recurrence_id: series.is_recurring().then(|| local(occurrence.recurrence_id)),
        start: local(start),
        end: local(end),
        starts_at: occurrence.starts_at.to_string(),
        ends_at: occurrence.ends_at.to_string(),
        event,
    }
}

fn invalid(path: &str, problem: String) -> CommandError {
    CommandError::Invalid { path: path.into(), problem }
}
