//! Events: JSCalendar (RFC 8984) over HTTP, with entity tags against lost updates.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fasti_core::command::{AgendaQuery, Condition, EventView, EventsQuery, Written};
use fasti_core::{Answer, Command, CommandError};
use jiff::civil::{Date, DateTime, Time};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::routes::{Door, Id, path_segment, query};
use crate::{body, conditions};

/// RFC 8984, section 6; a plain `application/json` is taken as well.
const EVENT: &str = "application/jscalendar+json;type=event";
const TASK: &str = "application/jscalendar+json;type=task";
const WHOLE: &[&str] = &["application/json", "application/jscalendar+json"];
const PATCHES: &[&str] = &["application/merge-patch+json", "application/json"];

/// Events on a page, unless the caller wants another number of at most [`PAGE_MAX`].
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
/// The same for occurrences.
const OCCURRENCES_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    from: Option<String>,
    to: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    expand: Option<bool>,
    zone: Option<String>,
}

pub(crate) async fn list(State(door): State<Door>, uri: Uri) -> Result<Json<Value>, Problem> {
    let asked: ListQuery = query(&uri)?;
    if asked.expand == Some(true) {
        return expanded(&door, asked).await;
    }
    if asked.zone.is_some() {
        return Err(Problem::malformed("zone goes with expand=true"));
    }
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::malformed(format!("limit is a number from 1 to {PAGE_MAX}")));
    }
    let events = EventsQuery {
        after: asked.after,
        from: asked.from.map(|text| moment("from", &text, false)).transpose()?,
        to: asked.to.map(|text| moment("to", &text, true)).transpose()?,
        limit,
    };
    match door.handle.ask(Command::Events(events)).await? {
        Answer::Events { events, more } => {
            let next = events.last().filter(|_| more).map(|event| &event.uid);
            Ok(Json(json!({ "events": events, "next": next })))
        }
        _ => Err(Problem::unexpected()),
    }
}

/// The occurrences of all events in a range.
async fn expanded(door: &Door, asked: ListQuery) -> Result<Json<Value>, Problem> {
    let (Some(from), Some(to), None) = (asked.from, asked.to, asked.after) else {
        let detail = "expanding recurrences takes from and to, and no after";
        return Err(Problem::malformed(detail));
    };
    let limit = asked.limit.unwrap_or(PAGE_MAX);
    let query = AgendaQuery { limit, ..range(&from, &to, asked.zone)? };
    if !(1..=OCCURRENCES_MAX).contains(&query.limit) {
        return Err(Problem::malformed(format!("limit is a number from 1 to {OCCURRENCES_MAX}")));
    }
    match door.handle.ask(Command::Agenda(query)).await? {
        Answer::Agenda { occurrences, more } => {
            Ok(Json(json!({ "occurrences": occurrences, "more": more })))
        }
        _ => Err(Problem::unexpected()),
    }
}

/// What happens in a range, as much as can be asked for at once.
pub(crate) fn range(from: &str, to: &str, zone: Option<String>) -> Result<AgendaQuery, Problem> {
    Ok(AgendaQuery {
        from: moment("from", from, false)?,
        to: moment("to", to, true)?,
        zone: zone.unwrap_or_else(|| "UTC".into()),
        limit: OCCURRENCES_MAX,
    })
}

pub(crate) async fn create(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let event = body::read_object(&headers, body, WHOLE).await?;
    let uid = match event.get("uid") {
        None => random_uid()?,
        Some(Value::String(uid)) => uid.clone(),
        Some(_) => {
            return Err(CommandError::Invalid {
                path: "uid".into(),
                problem: "expected a string; leave it out to get one".into(),
            }
            .into());
        }
    };
    let location = HeaderValue::try_from(format!("/v1/events/{}", path_segment(&uid)));
    let command = Command::Put { uid, event, condition: Condition::Absent };
    let mut response = match door.handle.ask(command).await {
        Ok(Answer::Written(written)) => answer(&written)?,
        Err(CommandError::Precondition { .. }) => {
            let detail = "there is an event with this uid; change it with PUT or PATCH, or leave the uid out to get a new one";
            return Err(Problem::new(StatusCode::CONFLICT, "exists", detail));
        }
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Problem::unexpected()),
    };
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(crate) async fn read(
    State(door): State<Door>,
    Id(uid): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = event(&door, uid).await?;
    if conditions::is_fresh(&headers, &event.etag)? {
        return Ok((StatusCode::NOT_MODIFIED, conditions::etag(&event.etag)?).into_response());
    }
    shown(&event)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    limit: Option<usize>,
}

/// Who edited it, and when.
pub(crate) async fn history(
    State(door): State<Door>,
    Id(uid): Id,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let limit = query::<HistoryQuery>(&uri)?.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::malformed(format!("limit is a number from 1 to {PAGE_MAX}")));
    }
    match door.handle.ask(Command::History { uid, limit }).await? {
        Answer::History { edits, more } => Ok(Json(json!({ "edits": edits, "more": more }))),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn put(
    State(door): State<Door>,
    Id(uid): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let condition = conditions::of_write(&headers)?;
    let event = body::read_object(&headers, body, WHOLE).await?;
    write(&door, Command::Put { uid, event, condition }).await
}

pub(crate) async fn patch(
    State(door): State<Door>,
    Id(uid): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let condition = conditions::of_write(&headers)?;
    let patch = body::read_object(&headers, body, PATCHES).await?;
    write(&door, Command::Patch { uid, patch, condition }).await
}

/// Cancelling is a status, not a removal: the answer is the event as it stands.
pub(crate) async fn cancel(
    State(door): State<Door>,
    Id(uid): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let condition = conditions::of_write(&headers)?;
    door.handle.ask(Command::Cancel { uid: uid.clone(), condition }).await?;
    shown(&event(&door, uid).await?)
}

/// Does a write and says what became of it.
pub(crate) async fn write(door: &Door, command: Command) -> Result<Response, Problem> {
    match door.handle.ask(command).await? {
        Answer::Written(written) => answer(&written),
        _ => Err(Problem::unexpected()),
    }
}

fn answer(written: &Written) -> Result<Response, Problem> {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, conditions::etag(&written.etag)?, Json(written)).into_response())
}

async fn event(door: &Door, uid: String) -> Result<EventView, Problem> {
    match door.handle.ask(Command::Event { uid }).await? {
        Answer::Event(event) => Ok(event),
        _ => Err(Problem::unexpected()),
    }
}

fn shown(event: &EventView) -> Result<Response, Problem> {
    let is_task = event.event.get("@type").is_some_and(|kind| kind == "Task");
    let content_type = [(header::CONTENT_TYPE, if is_task { TASK } else { EVENT })];
    let etag = conditions::etag(&event.etag)?;
    Ok((etag, content_type, Value::Object(event.event.clone()).to_string()).into_response())
}

/// A day or a local date-time as a local date-time. A day as the end of a span belongs to it, as it
/// does when people say "to the 30th".
fn moment(name: &str, text: &str, is_end: bool) -> Result<String, Problem> {
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let moment = match day {
        Some(day) if is_end => day.tomorrow().ok().map(|day| day.to_datetime(Time::midnight())),
        Some(day) => Some(day.to_datetime(Time::midnight())),
        None => text.parse::<DateTime>().ok().filter(|_| text.len() == 19),
    };
    match moment {
        Some(moment) => Ok(moment.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
        None => Err(Problem::malformed(format!(
            "{name} is a day or a local date-time, such as 2024-04-01 or 2024-04-01T09:00:00"
        ))),
    }
}

/// A random UUID (RFC 9562, version 4), as RFC 8984 recommends for uids.
pub(crate) fn random_uid() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Problem::unexpected())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_at_the_end_of_a_span_belongs_to_it() {
        assert_eq!(moment("from", "2024-04-30", false).unwrap(), "2024-04-30T00:00:00");
        assert_eq!(moment("to", "2024-04-30", true).unwrap(), "2024-05-01T00:00:00");
        assert_eq!(moment("to", "2024-04-30T09:30:00", true).unwrap(), "2024-04-30T09:30:00");
        for wrong in ["2024-02-30", "tomorrow", "2024-04-30T09:30:00Z", "2024-04-30T09:30", ""] {
            assert!(moment("to", wrong, true).is_err(), "{wrong}");
        }
    }
}
