//! Collections and properties (RFC 4918, sections 9.1 to 9.3 and 9.6; RFC 4791, section 5.3.1; RFC 5689).

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fasti_core::Command;
use fasti_core::collection::{DEFAULT_CALENDAR, is_name};
use fasti_core::command::{Condition, Object};
use serde_json::{Value, json};

use super::multistatus::{Found, Multistatus, error};
use super::path::Target;
use super::properties::{COMPONENTS, DEAD, KINDS, ORDER, TIME_ZONE, TRANSPARENCY, dead_key};
use super::reports::zone_in;
use super::xml::{APPLE, CALDAV, CALENDARSERVER, DAV, Element, Name};
use super::{Asked, Refusal};
use crate::routes::Door;

/// Longest value of a property in bytes.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Most properties that mean nothing here.
const DEAD_MAX: usize = 64;

pub(crate) async fn propfind(
    asked: &Asked,
    target: Target,
    headers: &HeaderMap,
    body: Option<Element>,
) -> Result<Response, Refusal> {
    let depth = headers.get("depth").map(|it| it.as_bytes().to_ascii_lowercase());
    let with_members = match depth.as_deref() {
        None | Some(b"0") => false,
        Some(b"1" | b"1,noroot") => true,
        Some(b"infinity") => {
            let detail = "ask with Depth: 1, and then for what is below";
            let answer = error(StatusCode::FORBIDDEN, "d:propfind-finite-depth", "", detail);
            return Err(Refusal::Answer(Box::new(answer)));
        }
        Some(_) => return Err(Refusal::malformed("Depth is 0, 1 or infinity")),
    };
    if body.as_ref().is_some_and(|it| !it.is(DAV, "propfind")) {
        return Err(Refusal::malformed("the body of PROPFIND is a propfind"));
    }
    let names_in = |part| {
        let part = body.as_ref().and_then(|it| it.child(DAV, part));
        part.map(|it| super::names_of(it.elements())).transpose()
    };
    let (prop, include) = (names_in("prop")?, names_in("include")?.unwrap_or_default());
    asked
        .look(move |view, is_minimal| {
            let mut targets = vec![target.clone()];
            if with_members {
                targets.extend(view.members(&target));
            }
            let is_of_names = body.as_ref().is_some_and(|it| it.child(DAV, "propname").is_some());
            let mut answer = Multistatus::new(is_minimal);
            for target in &targets {
                if is_of_names {
                    let names = view.names(target, false);
                    let found: Vec<Found> =
                        names.into_iter().map(|name| (name, String::new())).collect();
                    answer.properties(target, &found, &[]);
                } else if let Some(names) = &prop {
                    super::sync::properties(&mut answer, view, target, names);
                } else {
                    let mut names = view.names(target, true);
                    names.extend(include.iter().cloned());
                    super::sync::properties(&mut answer, view, target, &names);
                }
            }
            answer.finish()
        })
        .await
}

/// What a request wants to be different of a calendar.
#[derive(Default)]
struct Changes {
    patch: Object,
    dead: BTreeMap<String, Value>,
    done: Vec<Name>,
    refused: Vec<(StatusCode, Name)>,
}

impl Changes {
    /// Of one property: its new value, or none if it is to go.
    fn take(&mut self, name: &Name, element: Option<&Element>) {
        match self.try_take(name, element) {
            Ok(()) => self.done.push(name.clone()),
            Err(status) => self.refused.push((status, name.clone())),
        }
    }

    fn try_take(&mut self, name: &Name, element: Option<&Element>) -> Result<(), StatusCode> {
        let text = element.map(Element::text);
        if element.is_some_and(|it| it.inner().len() > VALUE_BYTES_MAX) {
            return Err(StatusCode::INSUFFICIENT_STORAGE);
        }
        let mut set = |member: &str, value: Value| {
            self.patch.insert(member.to_owned(), value);
        };
        match (name.space.as_str(), name.local.as_str()) {
            (DAV, "displayname") => set("title", json!(text)),
            (CALDAV, "calendar-description") => set("description", json!(text)),
            (APPLE, "calendar-color") => set("color", json!(text.map(|it| it.trim().to_owned()))),
            (APPLE, "calendar-order") => {
                let order: Option<i64> = match text {
                    None => None,
                    Some(text) => Some(text.trim().parse().map_err(|_| StatusCode::CONFLICT)?),
                };
                set(ORDER, json!(order));
            }
            (CALDAV, "calendar-timezone") => {
                // One that can't be understood would silently be UTC.
                if text.as_ref().is_some_and(|text| zone_in(text).is_none()) {
                    return Err(StatusCode::FORBIDDEN);
                }
                set(TIME_ZONE, json!(text));
            }
            (CALDAV, "schedule-calendar-transp") => {
                let is_transparent =
                    element.is_some_and(|it| it.child(CALDAV, "transparent").is_some());
                set(TRANSPARENCY, json!(is_transparent.then_some("transparent")));
            }
            (CALDAV, "supported-calendar-component-set") => {
                let comps = element.into_iter().flat_map(Element::elements);
                let comps = comps.filter(|it| it.is(CALDAV, "comp"));
                let names: Vec<&str> = comps.filter_map(|it| it.attribute("name")).collect();
                let kept: Vec<&str> =
                    KINDS.into_iter().filter(|kind| names.contains(kind)).collect();
                if element.is_some() && kept.is_empty() {
                    return Err(StatusCode::FORBIDDEN);
                }
                set(COMPONENTS, json!((kept.len() < KINDS.len()).then_some(kept)));
            }
            // What follows from other things can't be said.
            (DAV | CALDAV, _) | (CALENDARSERVER, "getctag") => return Err(StatusCode::FORBIDDEN),
            _ => {
                let value = element.map(Element::inner);
                self.dead.insert(dead_key(name), json!(value));
            }
        }
        Ok(())
    }

    /// The patch of the calendar's Group.
    fn patch(mut self) -> Object {
        if !self.dead.is_empty() {
            self.patch.insert(DEAD.into(), json!(self.dead));
        }
        self.patch
    }
}

pub(crate) async fn proppatch(
    door: &Door,
    asked: &Asked,
    target: &Target,
    body: Option<Element>,
) -> Result<Response, Refusal> {
    let Some(body) = body.filter(|it| it.is(DAV, "propertyupdate")) else {
        return Err(Refusal::malformed("the body of PROPPATCH is a propertyupdate"));
    };
    let mut changes = Changes::default();
    for part in body.elements() {
        let is_set = part.is(DAV, "set");
        if !is_set && !part.is(DAV, "remove") {
            continue;
        }
        for element in part.child(DAV, "prop").into_iter().flat_map(Element::elements) {
            let is_made_once = element.is(CALDAV, "supported-calendar-component-set");
            match target {
                Target::Calendar(_) if !is_made_once => {
                    changes.take(&element.name, is_set.then_some(element));
                }
                _ => changes.refused.push((StatusCode::FORBIDDEN, element.name.clone())),
            }
        }
    }
    if let Target::Calendar(id) = target {
        let shelf = asked.library.shelf().await;
        let dead = shelf.calendar(id).and_then(|it| it.about.get(DEAD)).and_then(Value::as_object);
        let known = dead.map_or(0, |it| it.len());
        if known + changes.dead.len() > DEAD_MAX {
            let dead = std::mem::take(&mut changes.done);
            changes
                .refused
                .extend(dead.into_iter().map(|it| (StatusCode::INSUFFICIENT_STORAGE, it)));
        }
    }
    let mut statuses: Vec<(StatusCode, Vec<Found>)> = Vec::new();
    let plain = |names: &[Name]| names.iter().map(|it| (it.clone(), String::new())).collect();
    if changes.refused.is_empty() {
        statuses.push((StatusCode::OK, plain(&changes.done)));
        if let Target::Calendar(id) = target
            && !changes.done.is_empty()
        {
            let command =
                Command::EditCalendar { calendar: id.clone(), patch: Some(changes.patch()) };
            door.handle.ask(command).await?;
        }
    } else {
        // All or nothing.
        for (status, name) in &changes.refused {
            statuses.push((*status, plain(std::slice::from_ref(name))));
        }
        statuses.push((StatusCode::FAILED_DEPENDENCY, plain(&changes.done)));
    }
    let mut answer = Multistatus::new(false);
    answer.statuses(target, &statuses);
    Ok(answer.finish())
}

pub(crate) async fn make_calendar(
    door: &Door,
    asked: &Asked,
    target: &Target,
    body: Option<Element>,
    is_mkcol: bool,
) -> Result<Response, Refusal> {
    let refuse = |status, name, detail: &str| {
        Err(Refusal::Answer(Box::new(error(status, name, "", detail))))
    };
    let Target::Calendar(id) = target else {
        let detail = "calendars are made in /dav/calendars/";
        // RFC 4918, section 9.3: there is nothing that it could be in.
        if let Target::Object(id, _) = target
            && asked.library.shelf().await.calendar(id).is_none()
        {
            return refuse(StatusCode::CONFLICT, "c:calendar-collection-location-ok", detail);
        }
        return refuse(StatusCode::FORBIDDEN, "c:calendar-collection-location-ok", detail);
    };
    if !is_name(id) {
        let detail = "a calendar's name in its address is at most 259 bytes long";
        return refuse(StatusCode::FORBIDDEN, "c:calendar-collection-location-ok", detail);
    }
    if asked.library.shelf().await.calendar(id).is_some() {
        let detail = "there is a calendar with this address";
        return match is_mkcol {
            true => refuse(StatusCode::METHOD_NOT_ALLOWED, "d:resource-must-be-null", detail),
            false => refuse(StatusCode::FORBIDDEN, "d:resource-must-be-null", detail),
        };
    }
    let expected = if is_mkcol { (DAV, "mkcol") } else { (CALDAV, "mkcalendar") };
    if body.as_ref().is_some_and(|it| !it.is(expected.0, expected.1)) {
        let detail = "the body is none that makes a calendar";
        return Err(Refusal::Answer(Box::new(
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response(),
        )));
    }
    let sets = body.iter().flat_map(Element::elements).filter(|it| it.is(DAV, "set"));
    let props: Vec<&Element> =
        sets.filter_map(|it| it.child(DAV, "prop")).flat_map(Element::elements).collect();
    let kind = props.iter().find(|it| it.is(DAV, "resourcetype"));
    if is_mkcol && kind.is_none_or(|it| it.child(CALDAV, "calendar").is_none()) {
        let detail =
            "there are only calendars here: send MKCALENDAR, or a resourcetype with calendar";
        return refuse(StatusCode::FORBIDDEN, "d:valid-resourcetype", detail);
    }
    let mut changes = Changes::default();
    for element in props.into_iter().filter(|it| !it.is(DAV, "resourcetype")) {
        changes.take(&element.name, Some(element));
    }
    if !changes.refused.is_empty() || changes.dead.len() > DEAD_MAX {
        let mut statuses: Vec<(StatusCode, Vec<Found>)> = Vec::new();
        for (status, name) in changes.refused {
            statuses.push((status, vec![(name, String::new())]));
        }
        let rest = changes.done.into_iter().map(|it| (it, String::new())).collect();
        statuses.push((StatusCode::FAILED_DEPENDENCY, rest));
        let mut answer = Multistatus::new(false);
        answer.statuses(target, &statuses);
        return Ok(answer.finish());
    }
    let command = Command::EditCalendar { calendar: id.clone(), patch: Some(changes.patch()) };
    door.handle.ask(command).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Takes all events out of a calendar, and then the calendar.
pub(crate) async fn remove_calendar(
    door: &Door,
    asked: &Asked,
    id: &str,
) -> Result<Response, Refusal> {
    if id == DEFAULT_CALENDAR {
        let detail = "this calendar is always there; its events can be deleted";
        let answer = error(StatusCode::FORBIDDEN, "d:need-privileges", "", detail);
        return Err(Refusal::Answer(Box::new(answer)));
    }
    let uids: Vec<String> = {
        let shelf = asked.library.shelf().await;
        let items = shelf.calendar(id).into_iter().flat_map(|it| it.items());
        items.map(|it| it.uid.to_string()).collect()
    };
    for uid in uids {
        match door.handle.ask(Command::Discard { uid, condition: Condition::Always }).await {
            Ok(_) | Err(fasti_core::CommandError::UnknownEvent(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    door.handle.ask(Command::EditCalendar { calendar: id.to_owned(), patch: None }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
