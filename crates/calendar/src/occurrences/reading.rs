//! What an event's properties say of its times. Each that can't be read leaves a [`Problem`] and is
//! taken for absent.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde_json::Value;

use crate::Object;
use crate::duration::Duration;
use crate::patch::check_override;
use crate::recurrence::{Expansion, Plan, Rule, local_date_time};
use crate::zone::Zone;
use crate::{RANGE, THIS_AND_FUTURE};

use super::{Anchor, Override, Placement, Problem, STEPS_MAX, is_task, template};

/// Rules of one event that are heeded, and exclusions. People need one or two.
const RULES_MAX: usize = 32;

/// The properties that say when an event is, as an override leaves them.
pub(super) struct Times<'a> {
    pub(super) event: &'a Object,
    pub(super) patch: Option<&'a Object>,
    pub(super) path: String,
}

impl<'a> Times<'a> {
    fn property(&self, name: &str) -> Option<&'a Value> {
        let patched = self.patch.and_then(|patch| patch.get(name));
        patched.or_else(|| self.event.get(name)).filter(|value| !value.is_null())
    }

    /// The same, without the event's where there is a patch.
    fn own_property(&self, name: &str) -> Option<&'a Value> {
        self.patch.unwrap_or(self.event).get(name).filter(|value| !value.is_null())
    }

    fn time(
        &self,
        name: &str,
        value: Option<&Value>,
        problems: &mut Vec<Problem>,
    ) -> Option<DateTime> {
        let time = value?.as_str().and_then(local_date_time);
        if time.is_none() {
            let expected = "a local date-time such as \"2024-04-01T00:00:00\"";
            problems.push(Problem::Time { path: format!("{}{name}", self.path), expected });
        }
        time
    }

    /// `series` has the recurrence id of the occurrence and where the series is, for an override.
    pub(super) fn placement(
        &self,
        series: Option<(DateTime, &Placement)>,
        problems: &mut Vec<Problem>,
    ) -> Option<Placement> {
        let own_start = self.time("start", self.own_property("start"), problems);
        let mut start = own_start.or(series.map(|(id, _)| id));
        let mut duration = match series {
            Some((_, placement))
                if self.patch.is_some_and(|patch| !patch.contains_key("duration")) =>
            {
                placement.duration
            }
            _ => self.duration(problems),
        };
        if is_task(self.event)
            && let Some(due) = self.time("due", self.own_property("due"), problems)
        {
            // A task takes until it is due, and one without a start is when it is due.
            let is_point = own_start.is_none() && !self.event.contains_key("start");
            let from = if is_point { due } else { start.unwrap_or(due) };
            duration = Duration::between(from, due);
            start = Some(from);
        }
        let (zone, anchor) = match series {
            Some((_, placement))
                if self.patch.is_some_and(|patch| !patch.contains_key("timeZone")) =>
            {
                (placement.zone.clone(), placement.anchor)
            }
            _ => self.zone(problems),
        };
        Some(Placement { start: start?, duration, zone, anchor })
    }

    fn duration(&self, problems: &mut Vec<Problem>) -> Duration {
        let Some(value) = self.property("duration") else { return Duration::default() };
        value.as_str().and_then(Duration::parse).unwrap_or_else(|| {
            let path = format!("{}duration", self.path);
            problems.push(Problem::Time {
                path,
                expected: "a duration such as \"P1D\" or \"PT1H30M\"",
            });
            Duration::default()
        })
    }

    fn zone(&self, problems: &mut Vec<Problem>) -> (Option<Zone>, Anchor) {
        let Some(value) = self.property("timeZone") else { return (None, Anchor::Floating) };
        let name = value.as_str().unwrap_or_default();
        let zone =
            if name.starts_with('/') { Zone::custom(name, self.event) } else { Zone::iana(name) };
        if zone.is_some() {
            return (zone, Anchor::Zone);
        }
        problems.push(Problem::Zone { path: format!("{}timeZone", self.path), name: name.into() });
        (None, Anchor::UnknownZone)
    }
}

pub(super) fn plans(
    event: &Object,
    name: &str,
    start: DateTime,
    starts_with_start: bool,
    steps: &mut u64,
    problems: &mut Vec<Problem>,
) -> Vec<Plan> {
    let Some(Value::Array(items)) = event.get(name) else { return Vec::new() };
    if items.len() > RULES_MAX {
        let path = name.to_owned();
        problems.push(Problem::ManyRules { path, max: RULES_MAX, found: items.len() });
    }
    let mut plans = Vec::new();
    for (n, item) in items.iter().take(RULES_MAX).enumerate() {
        let path = format!("{name}/{n}");
        let rule = match Rule::from_json(item, &path) {
            Ok(rule) => rule,
            Err(error) => {
                problems.push(error.into());
                continue;
            }
        };
        let mut plan = Plan::new(&rule, start);
        if plan.count().is_some() {
            // Its last occurrence says the same as its count, and allows jumping.
            let (last, is_whole) = last_occurrence(&plan, starts_with_start, steps);
            if !is_whole {
                problems.push(Problem::LongCount { path, max: STEPS_MAX });
            }
            match last {
                Some(last) => plan.end_with(last),
                None => continue,
            }
        }
        plans.push(plan);
    }
    plans
}

fn last_occurrence(plan: &Plan, starts: bool, steps: &mut u64) -> (Option<DateTime>, bool) {
    let mut expansion = Expansion::of(plan, starts).searching(*steps);
    let mut last = None;
    while *steps > 0 {
        match expansion.next() {
            Some(next) => last = Some(next),
            None => {
                *steps = (*steps).min(expansion.periods_left());
                return (last, !expansion.gave_up());
            }
        }
        *steps -= 1;
    }
    (last, false)
}

pub(super) fn overrides(
    event: &Object,
    placement: &Placement,
    problems: &mut Vec<Problem>,
) -> BTreeMap<DateTime, Override> {
    let mut overrides = BTreeMap::new();
    let Some(Value::Object(items)) = event.get("recurrenceOverrides") else { return overrides };
    let template = template(event);
    for (key, patch) in items {
        let (Some(id), Value::Object(patch)) = (local_date_time(key), patch) else {
            problems.push(Problem::Override { key: key.clone() });
            continue;
        };
        if patch.get("excluded") == Some(&Value::Bool(true)) {
            overrides.insert(id, Override::Excluded);
            continue;
        }
        let nothing = Object::new();
        let patch = match check_override(&template, patch) {
            Ok(()) => patch,
            Err(source) => {
                problems.push(Problem::Patch { key: key.clone(), source });
                &nothing
            }
        };
        let path = format!("recurrenceOverrides/{key}/");
        let times = Times { event, patch: Some(patch), path };
        if let Some(placement) = times.placement(Some((id, placement)), problems) {
            overrides.insert(id, Override::Changed(placement));
        }
    }
    overrides
}

/// The overrides that hold for the occurrences after them as well.
pub(super) fn onwards(
    event: &Object,
    overrides: &BTreeMap<DateTime, Override>,
) -> BTreeMap<DateTime, Placement> {
    let items = event.get("recurrenceOverrides").and_then(Value::as_object);
    let onwards = items
        .into_iter()
        .flatten()
        .filter(|(_, patch)| patch.get(RANGE).is_some_and(|range| range == THIS_AND_FUTURE));
    let placed = onwards.filter_map(|(key, _)| {
        let id = local_date_time(key)?;
        match overrides.get(&id)? {
            Override::Changed(placement) => Some((id, placement.clone())),
            Override::Excluded => None,
        }
    });
    placed.collect()
}
