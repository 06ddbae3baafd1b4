//! Events as resources: GET, PUT, DELETE, COPY and MOVE (RFC 4791, section 5.3.2; RFC 4918, section 9).

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fasti_calendar::ical;
use fasti_core::collection::{Place, is_name, uid_beside};
use fasti_core::command::{Condition, Object, Save};
use fasti_core::{Answer, Command, CommandError};

use super::multistatus::{PREFERENCE_APPLIED, error};
use super::path::Target;
use super::properties::{COMPONENTS, content_type, http_date};
use super::shelf::{Calendar, Item, Shelf};
use super::xml::Xml;
use super::{Asked, Refusal, prefers};
use crate::conditions;
use crate::problem::Problem;
use crate::routes::Door;

pub(crate) async fn get(
    asked: &Asked,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    match target {
        Target::Object(id, name) => match asked.library.shelf().await.item(id, name) {
            Some(item) if conditions::is_fresh(headers, &item.etag)? => {
                Ok((StatusCode::NOT_MODIFIED, conditions::etag(&item.etag)?).into_response())
            }
            Some(item) => shown(StatusCode::OK, item),
            None => Err(Refusal::not_found()),
        },
        Target::Calendar(_) if !asked.has(target).await => Err(Refusal::not_found()),
        Target::Calendar(id) => {
            let id = id.clone();
            let whole = asked.look(move |view, _| {
                let items = view.shelf.calendar(&id).into_iter().flat_map(|it| it.items());
                let events: Vec<Object> = items.map(|it| (*it.event).clone()).collect();
                let content_type = [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")];
                (content_type, ical::write(&events)).into_response()
            });
            whole.await
        }
        _ => {
            let text = "This is a CalDAV address: give it to a calendar app, with your name and app password.\n";
            Ok(text.into_response())
        }
    }
}

/// An event as it is.
fn shown(status: StatusCode, item: &Item) -> Result<Response, Refusal> {
    let etag = conditions::etag(&item.etag)?;
    let content_type = [(header::CONTENT_TYPE, content_type(item.is_task()))];
    let mut response = (status, etag, content_type, item.text().to_owned()).into_response();
    let updated = item.member("updated").and_then(|it| it.parse().ok());
    if let Some(value) = updated.and_then(|at| HeaderValue::try_from(http_date(at)).ok()) {
        response.headers_mut().insert(header::LAST_MODIFIED, value);
    }
    Ok(response)
}

fn refuse<T>(status: StatusCode, name: &str, detail: &str) -> Result<T, Refusal> {
    Err(Refusal::Answer(Box::new(error(status, name, "", detail))))
}

pub(crate) fn too_large() -> Refusal {
    let detail = "the event is too large: leave attachments out, or link to them";
    let answer = error(StatusCode::FORBIDDEN, "c:max-resource-size", "", detail);
    Refusal::Answer(Box::new(answer))
}

/// The one event of a body.
fn read(body: &[u8]) -> Result<Object, Refusal> {
    let invalid = |detail: &str| refuse(StatusCode::FORBIDDEN, "c:valid-calendar-data", detail);
    let mut contents = ical::read(body);
    let components = ical::components_of(body);
    let [calendar] = components.as_slice() else {
        return invalid("expected one VCALENDAR, in iCalendar");
    };
    if calendar.name != "VCALENDAR" {
        return invalid("expected one VCALENDAR, in iCalendar");
    }
    let mut kept = calendar.components.iter().filter(|it| it.name != "VTIMEZONE");
    if kept.any(|it| it.name != "VEVENT" && it.name != "VTODO") {
        let detail = "only events and tasks (VEVENT, VTODO) are kept here";
        return refuse(StatusCode::FORBIDDEN, "c:supported-calendar-component", detail);
    }
    if calendar.line("METHOD").is_some() {
        let detail = "an event in a calendar has no METHOD: that is for messages";
        return refuse(StatusCode::FORBIDDEN, "c:valid-calendar-object-resource", detail);
    }
    let mut kept = calendar.components.iter().filter(|it| it.name != "VTIMEZONE");
    if let Some(first) = kept.next()
        && kept.any(|it| it.name != first.name)
    {
        let detail = "an event and a task are two things: each has an address of its own";
        return refuse(StatusCode::FORBIDDEN, "c:valid-calendar-object-resource", detail);
    }
    let mut kept = calendar.components.iter().filter(|it| it.name != "VTIMEZONE");
    let is_whole = contents.events.len() == 1
        && kept.all(|it| it.line("UID").is_some_and(|line| !line.value.trim().is_empty()));
    if let Some(problem) = contents.problems.first() {
        return invalid(&problem.to_string());
    }
    match contents.events.pop() {
        Some((_, event)) if is_whole => Ok(event),
        _ => {
            let detail = "expected one event or task, with its UID, and with what changes some of its occurrences";
            refuse(StatusCode::FORBIDDEN, "c:valid-calendar-object-resource", detail)
        }
    }
}

/// The calendar, if it is there and keeps such things.
fn kept_in<'a>(calendar: Option<&'a Calendar>, event: &Object) -> Result<&'a Calendar, Refusal> {
    let Some(calendar) = calendar else {
        return refuse(
            StatusCode::CONFLICT,
            "c:calendar-collection-location-ok",
            "there is no such calendar: make it first, with MKCALENDAR",
        );
    };
    let is_task = event.get("@type").is_some_and(|it| it == "Task");
    let kind = if is_task { "VTODO" } else { "VEVENT" };
    let kinds = calendar.about.get(COMPONENTS).and_then(serde_json::Value::as_array);
    if kinds.is_some_and(|kinds| !kinds.iter().any(|it| it == kind)) {
        let detail = format!("this calendar was made for other things than {kind}");
        return refuse(StatusCode::FORBIDDEN, "c:supported-calendar-component", &detail);
    }
    Ok(calendar)
}

/// A uid for what apps know by this one: another, as long as an event in another calendar has it.
fn unused(shelf: &Shelf, uid: &str, calendar: &str) -> String {
    let mut unused = uid.to_owned();
    while shelf.by_uid(&unused).is_some() {
        unused = uid_beside(&unused, calendar);
    }
    unused
}

fn uid_conflict(other: &Item) -> Refusal {
    let mut xml = Xml::fragment();
    let target = Target::Object(other.place.calendar.clone(), other.place.name.clone());
    xml.leaf("d:href", &target.href());
    let detail = "a UID has one address in a calendar, and an address one UID";
    let answer = error(StatusCode::FORBIDDEN, "c:no-uid-conflict", &xml.text, detail);
    Refusal::Answer(Box::new(answer))
}

/// What a PUT finds where it goes.
struct Found {
    /// Of the event that is written.
    uid: String,
    condition: Condition,
    is_new: bool,
}

/// Whether an event may be put there, and under which condition.
fn find(
    shelf: &Shelf,
    place: &Place,
    event: &Object,
    headers: &HeaderMap,
) -> Result<Found, Refusal> {
    let calendar = kept_in(shelf.calendar(&place.calendar), event)?;
    let uid = event.get("uid").and_then(serde_json::Value::as_str).unwrap_or_default();
    let here = calendar.item(&place.name);
    let other = calendar.known_as(uid).filter(|it| it.place != *place);
    if let Some(other) = other.or(here.filter(|it| it.known_as() != uid)) {
        return Err(uid_conflict(other));
    }
    let asked = conditions::of_write(headers)?;
    let holds = match (&asked, here) {
        (Condition::Always, _) | (Condition::Exists, Some(_)) | (Condition::Absent, None) => true,
        (Condition::Matches(etags), Some(item)) => etags.contains(&item.etag),
        (Condition::Exists | Condition::Matches(_), None) | (Condition::Absent, Some(_)) => false,
    };
    if !holds {
        return Err(CommandError::Precondition { now: here.map(|it| it.etag.clone()) }.into());
    }
    let uid = match here {
        Some(item) => item.uid.to_string(),
        None => unused(shelf, uid, &place.calendar),
    };
    Ok(Found { uid, condition: asked, is_new: here.is_none() })
}

pub(crate) async fn put(
    door: &Door,
    asked: &Asked,
    target: &Target,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let place = match target {
        Target::Object(calendar, name) if is_name(name) => {
            Place { calendar: calendar.clone(), name: name.clone() }
        }
        Target::Object(..) => {
            return refuse(
                StatusCode::FORBIDDEN,
                "c:calendar-collection-location-ok",
                "an event's name in its address is at most 259 bytes long",
            );
        }
        _ => return Err(Refusal::not_allowed()),
    };
    let is_calendar = match crate::body::media_type(headers).as_str() {
        "" | "text/calendar" | "text/plain" | "application/octet-stream" => true,
        // What curl says, whatever it sends.
        "application/x-www-form-urlencoded" => true,
        _ => false,
    };
    if !is_calendar {
        let detail = "send text/calendar";
        return refuse(StatusCode::FORBIDDEN, "c:supported-calendar-data", detail);
    }
    // What is written to take long must keep nobody else waiting.
    let event = tokio::task::spawn_blocking(move || read(&body)).await;
    let event = event.unwrap_or_else(|_| Err(Problem::unexpected().into()))?;
    let found = find(&*asked.library.shelf().await, &place, &event, headers)?;
    let save = Save { uid: found.uid, event, place: place.clone(), condition: found.condition };
    match door.handle.ask(Command::Save(save)).await {
        Ok(Answer::Written(_)) => {}
        Ok(_) => return Err(Problem::unexpected().into()),
        Err(CommandError::TooLarge { .. }) => return Err(too_large()),
        Err(CommandError::Invalid { path, problem }) => {
            let detail = format!("{path}: {problem}");
            return refuse(StatusCode::FORBIDDEN, "c:valid-calendar-data", &detail);
        }
        Err(error) => return Err(error.into()),
    }
    let status = if found.is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    if prefers(headers, "return=representation") {
        asked.library.refresh(&door.handle).await?;
        let shelf = asked.library.shelf().await;
        if let Some(item) = shelf.item(&place.calendar, &place.name) {
            let status = if found.is_new { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = shown(status, item)?;
            let applied = HeaderValue::from_static("return=representation");
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
            return Ok(response);
        }
    }
    // No ETag: lines may come out in another order than they came in, and a strong one would say that they don't
    // (RFC 4791, section 5.3.4).
    Ok(status.into_response())
}

pub(crate) async fn delete(
    door: &Door,
    asked: &Asked,
    calendar: &str,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let uid = {
        let shelf = asked.library.shelf().await;
        let item = shelf.item(calendar, name).ok_or_else(Refusal::not_found)?;
        item.uid.to_string()
    };
    let condition = conditions::of_write(headers)?;
    match door.handle.ask(Command::Discard { uid, condition }).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(CommandError::UnknownEvent(_)) => Err(Refusal::not_found()),
        Err(error) => Err(error.into()),
    }
}

/// To another name, or into another calendar; as a copy, or away from where it was (RFC 4918, sections 9.8 and 9.9).
pub(crate) async fn relocate(
    door: &Door,
    asked: &Asked,
    from: &Target,
    headers: &HeaderMap,
    is_copy: bool,
) -> Result<Response, Refusal> {
    let Target::Object(calendar, name) = from else { return Err(Refusal::not_allowed()) };
    let to = headers.get("destination").and_then(|it| it.to_str().ok()).and_then(Target::of);
    let place = match to {
        Some(Target::Object(calendar, name)) if is_name(&name) => Place { calendar, name },
        _ => {
            return Err(Refusal::malformed(
                "Destination is the address of an event, in a calendar here",
            ));
        }
    };
    let overwrites = headers.get("overwrite").is_none_or(|it| it != "F");
    // All that may fail comes before what is there is discarded.
    let (save, before) = {
        let shelf = asked.library.shelf().await;
        let item = shelf.item(calendar, name).ok_or_else(Refusal::not_found)?;
        if item.place == place {
            let detail = "it is there already: Destination is another address";
            return refuse(StatusCode::FORBIDDEN, "d:cannot-modify-source", detail);
        }
        let of_source = conditions::of_write(headers)?;
        let holds = match &of_source {
            Condition::Always | Condition::Exists => true,
            Condition::Matches(etags) => etags.contains(&item.etag),
            Condition::Absent => false,
        };
        if !holds {
            return Err(CommandError::Precondition { now: Some(item.etag.clone()) }.into());
        }
        let event = read(item.text().as_bytes())?;
        let there = kept_in(shelf.calendar(&place.calendar), &event)?;
        let before = there.item(&place.name);
        let same = there.known_as(item.known_as());
        let is_conflict = |it: &&Arc<Item>| it.place != place && (is_copy || it.uid != item.uid);
        if let Some(other) = same.filter(is_conflict) {
            return Err(uid_conflict(other));
        }
        if before.is_some() && !overwrites {
            return Err(CommandError::Precondition { now: None }.into());
        }
        let uid = match before {
            _ if !is_copy => item.uid.to_string(),
            Some(before) if before.known_as() == item.known_as() => before.uid.to_string(),
            _ => unused(&shelf, item.known_as(), &place.calendar),
        };
        let condition = match is_copy {
            true => Condition::Always,
            false => Condition::Matches(vec![item.etag.clone()]),
        };
        let before = before.map(|it| it.uid.to_string());
        (Save { uid, event, place, condition }, before)
    };
    let is_new = before.is_none();
    if let Some(uid) = before.filter(|it| *it != save.uid) {
        door.handle.ask(Command::Discard { uid, condition: Condition::Always }).await?;
    }
    door.handle.ask(Command::Save(save)).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    Ok(status.into_response())
}
