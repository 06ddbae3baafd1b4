//! The other reports: `calendar-query`, `calendar-multiget` and `free-busy-query` (RFC 4791, section 7), and those about
//! people (RFC 3744, section 9, and 3253, section 3.8).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fasti_calendar::ical::{self, components_of};
use fasti_calendar::{Occurrence, Zone};
use jiff::Timestamp;

use super::filter::{BadFilter, CompFilter, kind_of, time_range, with_edges};
use super::multistatus::{Multistatus, error, xml};
use super::path::Target;
use super::properties::{TIME_ZONE, View};
use super::shelf::{Item, Shelf};
use super::sync::properties;
use super::xml::{CALDAV, DAV, Element, Name, Xml};
use super::{Asked, Refusal};

/// Most occurrences that are looked at for a free-busy answer.
const BUSY_MAX: usize = 20_000;
/// Most properties that lead to further resources, one after another.
const EXPAND_DEPTH_MAX: usize = 4;

impl From<BadFilter> for Refusal {
    fn from(bad: BadFilter) -> Self {
        let (name, detail) = match bad {
            BadFilter::Malformed(detail) => ("c:valid-filter", detail),
            BadFilter::UnsupportedCollation(collation) => {
                let detail = format!("there is no collation {collation} here");
                ("c:supported-collation", detail)
            }
            BadFilter::UnsupportedData => {
                ("c:supported-calendar-data", "events are given as text/calendar 2.0".to_owned())
            }
        };
        Self::Answer(Box::new(error(StatusCode::FORBIDDEN, name, "", &detail)))
    }
}

/// The zone in which events without one are looked at: that of the request, of the calendar, or UTC.
pub(crate) fn zone_of(body: Option<&Element>, shelf: &Shelf, target: &Target) -> Zone {
    let told = body.and_then(|it| it.child(CALDAV, "timezone")).map(Element::text);
    let own = match target {
        Target::Calendar(id) => shelf.calendar(id).and_then(|it| it.about(TIME_ZONE)),
        _ => None,
    };
    let text = told.or_else(|| own.map(str::to_owned)).unwrap_or_default();
    zone_in(&text).unwrap_or_else(Zone::utc)
}

/// The time zone that a calendar with a VTIMEZONE defines.
pub(crate) fn zone_in(text: &str) -> Option<Zone> {
    let calendars = components_of(text.as_bytes());
    let definition =
        calendars.iter().flat_map(|it| &it.components).find(|it| it.name == "VTIMEZONE");
    ical::zone(definition?)
}

/// Whose events a report looks at.
fn items<'a>(view: &View<'a>, target: &Target) -> Vec<&'a std::sync::Arc<Item>> {
    match target {
        Target::Calendar(id) => {
            view.shelf.calendar(id).into_iter().flat_map(|it| it.items()).collect()
        }
        Target::Home => view.shelf.calendars().flat_map(|it| it.1.items()).collect(),
        Target::Object(id, name) => view.shelf.item(id, name).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn is_inside(item: &Item, target: &Target) -> bool {
    match target {
        Target::Calendar(id) => item.place.calendar == *id,
        Target::Object(id, name) => item.place.calendar == *id && item.place.name == *name,
        Target::Home => true,
        _ => false,
    }
}

pub(crate) async fn query(
    asked: &Asked,
    target: Target,
    body: Element,
) -> Result<Response, Refusal> {
    let names = asked.names_in(&body)?;
    let filter = match body.child(CALDAV, "filter") {
        Some(filter) => CompFilter::read(filter)?,
        None => return Err(BadFilter::Malformed("a calendar-query has a filter".into()).into()),
    };
    asked
        .look(move |view, is_minimal| {
            let shelf = view.shelf;
            // What only asks for a time is answered by the index.
            let time = match filter.comps.as_slice() {
                [only] => only.time.clone().map(|range| (range, only.name == "VTODO")),
                _ => None,
            };
            let candidates: Vec<_> = match &time {
                Some((range, is_of_tasks)) => {
                    let range = if *is_of_tasks { with_edges(range) } else { range.clone() };
                    let dated = shelf.agenda().events(range, view.zone).into_iter();
                    let dated = dated.filter_map(|uid| shelf.by_uid(uid));
                    let undated = items(view, &target).into_iter();
                    let undated = undated.filter(|it| *is_of_tasks && shelf.is_undated(&it.uid));
                    dated.filter(|it| is_inside(it, &target)).chain(undated).collect()
                }
                None => items(view, &target),
            };
            let is_timed = time.is_some();
            let mut answer = Multistatus::new(is_minimal);
            for item in candidates {
                let fits = match filter.is_plain() && is_timed {
                    // The index says enough of events, but not of tasks.
                    true if !item.is_task() => filter.comps[0].name == kind_of(item),
                    _ => filter.fits(item, shelf, view.zone),
                };
                if fits {
                    let place = &item.place;
                    let target = Target::Object(place.calendar.clone(), place.name.clone());
                    properties(&mut answer, view, &target, &names);
                }
            }
            answer.finish()
        })
        .await
}

pub(crate) async fn multiget(
    asked: &Asked,
    target: Target,
    body: Element,
) -> Result<Response, Refusal> {
    let names = asked.names_in(&body)?;
    asked
        .look(move |view, is_minimal| {
            let mut answer = Multistatus::new(is_minimal);
            // Each once: a short question must not have an answer of any length.
            let hrefs = body.elements().filter(|it| it.is(DAV, "href")).map(Element::text);
            let mut seen = BTreeSet::new();
            for href in hrefs.filter(|it| seen.insert(it.trim().to_owned())) {
                match Target::of(href.trim()) {
                    Some(found @ Target::Object(..)) if view.has(&found) => {
                        let is_here = match (&found, &target) {
                            (Target::Object(id, _), Target::Calendar(own)) => id == own,
                            (_, Target::Object(..)) => found == target,
                            _ => true,
                        };
                        if is_here {
                            properties(&mut answer, view, &found, &names);
                            continue;
                        }
                        answer.status(&found.href(), StatusCode::NOT_FOUND, None);
                    }
                    // In the client's own words: it looks for these.
                    _ => answer.status(href.trim(), StatusCode::NOT_FOUND, None),
                }
            }
            answer.finish()
        })
        .await
}

pub(crate) async fn free_busy(
    asked: &Asked,
    target: Target,
    body: Element,
) -> Result<Response, Refusal> {
    let Some(range) = body.child(CALDAV, "time-range") else {
        return Err(BadFilter::Malformed("a free-busy-query has a time-range".into()).into());
    };
    let range = time_range(range)?;
    asked
        .look(move |view, _| {
            let page = view.shelf.agenda().query(range.clone(), view.zone, BUSY_MAX);
            if page.is_partial {
                let detail = "there is more in this range than one answer holds: ask for less";
                return error(
                    StatusCode::FORBIDDEN,
                    "d:number-of-matches-within-limits",
                    "",
                    detail,
                );
            }
            let mut busy: Vec<(bool, Timestamp, Timestamp)> = Vec::new();
            for found in &page.items {
                let Some(item) = view.shelf.by_uid(&found.uid) else { continue };
                if is_inside(item, &target) && !item.is_task() {
                    let series = view.shelf.agenda().series(&found.uid);
                    let event = match series {
                        Some(it) if it.is_recurring() => {
                            it.instance(found.occurrence.recurrence_id)
                        }
                        _ => (*item.event).clone(),
                    };
                    let text = |name: &str| event.get(name).and_then(|it| it.as_str());
                    if text("freeBusyStatus") == Some("free") || text("status") == Some("cancelled")
                    {
                        continue;
                    }
                    let Occurrence { starts_at, ends_at, .. } = found.occurrence;
                    let (start, end) = (starts_at.max(range.start), ends_at.min(range.end));
                    if start < end {
                        busy.push((text("status") == Some("tentative"), start, end));
                    }
                }
            }
            let text = written(&range, busy);
            let content_type = [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")];
            (StatusCode::OK, content_type, text).into_response()
        })
        .await
}

/// VFREEBUSY, with what overlaps joined.
fn written(
    range: &std::ops::Range<Timestamp>,
    mut busy: Vec<(bool, Timestamp, Timestamp)>,
) -> String {
    busy.sort();
    let mut joined: Vec<(bool, Timestamp, Timestamp)> = Vec::new();
    for it in busy {
        match joined.last_mut() {
            Some(last) if last.0 == it.0 && it.1 <= last.2 => last.2 = last.2.max(it.2),
            _ => joined.push(it),
        }
    }
    joined.sort_by_key(|it| it.1);
    let utc = |at: Timestamp| Zone::utc().to_local(at).strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut text = String::from(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Fasti//Fasti//EN\r\nBEGIN:VFREEBUSY\r\n",
    );
    // When it was asked is when it ends, to a client that has no use for it; but it must be there.
    let _ = write!(text, "DTSTAMP:{}\r\n", utc(Timestamp::now()));
    let _ = write!(text, "DTSTART:{}\r\nDTEND:{}\r\n", utc(range.start), utc(range.end));
    for (is_tentative, start, end) in joined {
        let kind = if is_tentative { ";FBTYPE=BUSY-TENTATIVE" } else { "" };
        let _ = write!(text, "FREEBUSY{kind}:{}/{}\r\n", utc(start), utc(end));
    }
    text.push_str("END:VFREEBUSY\r\nEND:VCALENDAR\r\n");
    text
}

/// Resources that properties lead to, with properties of theirs.
pub(crate) async fn expand_property(
    asked: &Asked,
    target: Target,
    body: Element,
) -> Result<Response, Refusal> {
    asked
        .look(move |view, is_minimal| {
            let mut answer = Multistatus::new(is_minimal);
            let (found, missing) = expanded(view, &target, &body, 0);
            answer.properties(&target, &found, &missing);
            answer.finish()
        })
        .await
}

fn expanded(
    view: &View<'_>,
    target: &Target,
    wanted: &Element,
    depth: usize,
) -> (Vec<(Name, String)>, Vec<Name>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for property in wanted.elements().filter(|it| it.is(DAV, "property")) {
        let space = property.attribute("namespace").unwrap_or(DAV);
        let name = Name::new(space, property.attribute("name").unwrap_or_default());
        let Some(value) = view.value(target, &name) else {
            missing.push(name);
            continue;
        };
        if property.elements().next().is_none() || depth >= EXPAND_DEPTH_MAX {
            found.push((name, value));
            continue;
        }
        let mut document = Xml::document("d:prop");
        document.text.push_str(&value);
        document.close("d:prop");
        let hrefs = super::xml::parse(document.text.as_bytes()).ok().flatten();
        let hrefs = hrefs.iter().flat_map(Element::elements).filter(|it| it.is(DAV, "href"));
        let targets = hrefs.filter_map(|it| Target::of(&it.text()));
        let mut inner = Xml::fragment();
        for target in targets.filter(|it| view.has(it)) {
            let (found, missing) = expanded(view, &target, property, depth + 1);
            let mut part = Multistatus::part();
            part.properties(&target, &found, &missing);
            inner.text.push_str(&part.responses());
        }
        found.push((name, inner.text));
    }
    (found, missing)
}

/// People by their names.
pub(crate) async fn search_principals(asked: &Asked, body: Element) -> Result<Response, Refusal> {
    let names = asked.names_in(&body)?;
    asked
        .look(move |view, is_minimal| {
            let any_will_do = body.attribute("test") == Some("anyof");
            let mut wanted = Vec::new();
            for search in body.elements().filter(|it| it.is(DAV, "property-search")) {
                let text = search.child(DAV, "match").map(Element::text).unwrap_or_default();
                let of = search.child(DAV, "prop").into_iter().flat_map(Element::elements);
                let is_known = of.into_iter().any(|it| it.is(DAV, "displayname"));
                wanted.push((is_known, text.trim().to_lowercase()));
            }
            // Some put them beside.
            let beside =
                body.elements().filter(|it| names.is_empty() && !it.is(DAV, "property-search"));
            let names: Vec<Name> =
                names.iter().cloned().chain(beside.map(|it| it.name.clone())).collect();
            let mut answer = Multistatus::new(is_minimal);
            for target in view.members(&Target::Principals) {
                let Target::Principal(name) = &target else { continue };
                let name = name.to_lowercase();
                let fits = |(is_known, text): &(bool, String)| *is_known && name.contains(text);
                let is_found =
                    if any_will_do { wanted.iter().any(fits) } else { wanted.iter().all(fits) };
                if is_found {
                    properties(&mut answer, view, &target, &names);
                }
            }
            answer.finish()
        })
        .await
}

/// Whoever asks, among what is there (RFC 3744, section 9.3). Nothing else here is a single person's.
pub(crate) async fn match_principals(
    asked: &Asked,
    target: Target,
    body: Element,
) -> Result<Response, Refusal> {
    let names = asked.names_in(&body)?;
    asked
        .look(move |view, is_minimal| {
            let own = Target::Principal(view.person.to_owned());
            let is_here = matches!(target, Target::Root | Target::Principals) || target == own;
            let mut answer = Multistatus::new(is_minimal);
            if is_here && body.child(DAV, "self").is_some() {
                properties(&mut answer, view, &own, &names);
            }
            answer.finish()
        })
        .await
}

/// By what people can be looked for.
pub(crate) fn search_properties() -> Response {
    let mut document = Xml::document("d:principal-search-property-set");
    document.open("d:principal-search-property");
    document.open("d:prop");
    document.empty("d:displayname");
    document.close("d:prop");
    document.text.push_str("<d:description xml:lang=\"en\">Name</d:description>");
    document.close("d:principal-search-property");
    document.close("d:principal-search-property-set");
    xml(StatusCode::OK, document)
}
