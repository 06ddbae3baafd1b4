//! Resources and bookings: rooms, people and vehicles, and who has them when.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fasti_core::command::{
    BookRequest, BookingState, BookingsQuery, NewResource, Object, ResourceEdit,
};
use fasti_core::resource::{Description, ResourceKind, Terms};
use fasti_core::{Answer, Command, EntryHash, OfficeId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body;
use crate::events::random_uid;
use crate::problem::Problem;
use crate::routes::{Door, Id, query};

/// Bookings in an answer.
const BOOKINGS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    kind: Option<ResourceKind>,
    capacity: Option<u32>,
    before_s: Option<u32>,
    after_s: Option<u32>,
    #[serde(default)]
    stakeholders: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    kind: Option<ResourceKind>,
    capacity: Option<u32>,
    before_s: Option<u32>,
    after_s: Option<u32>,
    add: Option<String>,
    dismiss: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    proposal: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    resource: Option<String>,
    uid: Option<String>,
    from: Option<String>,
    to: Option<String>,
    state: Option<BookingState>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Booking {
    resource: String,
    uid: Option<String>,
    event: Option<Object>,
    zone: Option<String>,
}

fn id(name: &str, text: &str) -> Result<[u8; 32], Problem> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id).map_err(|_| {
        invalid(name, "expected 64 hex digits; /v1/members and /v1/resources have them")
    })?;
    Ok(id)
}

fn invalid(path: &str, problem: &str) -> Problem {
    let (path, problem) = (path.into(), problem.into());
    fasti_core::CommandError::Invalid { path, problem }.into()
}

pub(crate) async fn resources(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    match door.handle.ask(Command::Resources).await? {
        Answer::Resources(resources) => Ok(Json(json!({ "resources": resources }))),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn add(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted: Wanted = body::parsed(&headers, body).await?;
    let stakeholders = wanted.stakeholders.iter().map(|it| Ok(OfficeId(id("stakeholders", it)?)));
    let terms = Terms {
        capacity: wanted.capacity.unwrap_or(1),
        before: wanted.before_s.unwrap_or(0),
        after: wanted.after_s.unwrap_or(0),
    };
    let kind = wanted.kind.unwrap_or(ResourceKind::Room);
    let new = NewResource {
        description: Description { name: wanted.name, kind, terms },
        stakeholders: stakeholders.collect::<Result<_, Problem>>()?,
    };
    let resource = told(&door, Command::AddResource(new)).await?;
    Ok((StatusCode::CREATED, resource))
}

pub(crate) async fn edit(
    State(door): State<Door>,
    Id(resource): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let wanted: Edit = body::parsed(&headers, body).await?;
    let office = |name: &str, text: Option<String>| {
        text.map(|text| id(name, &text).map(OfficeId)).transpose()
    };
    let edit = ResourceEdit {
        name: wanted.name,
        kind: wanted.kind,
        capacity: wanted.capacity,
        before: wanted.before_s,
        after: wanted.after_s,
        add: office("add", wanted.add)?,
        dismiss: office("dismiss", wanted.dismiss)?,
    };
    told(&door, Command::EditResource { resource, edit }).await
}

pub(crate) async fn accept(
    State(door): State<Door>,
    Id(resource): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let Accept { proposal } = body::parsed(&headers, body).await?;
    let proposal = EntryHash(id("proposal", &proposal)?);
    told(&door, Command::AcceptStakeholders { resource, proposal }).await
}

async fn told(door: &Door, command: Command) -> Result<Json<Value>, Problem> {
    match door.handle.ask(command).await? {
        Answer::Resource(resource) => Ok(Json(json!(resource))),
        _ => Err(Problem::unexpected()),
    }
}

/// A moment: seconds since 1970.
fn moment(name: &str, text: &str) -> Result<i64, Problem> {
    let at: Timestamp = text.parse().map_err(|_| {
        Problem::malformed(format!("{name} is a moment such as 2024-04-01T09:00:00Z"))
    })?;
    Ok(at.as_second())
}

pub(crate) async fn free(
    State(door): State<Door>,
    Id(resource): Id,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let Span { from, to } = query(&uri)?;
    let (from, to) = (moment("from", &from)?, moment("to", &to)?);
    match door.handle.ask(Command::Free { resource, from, to }).await? {
        Answer::Free { resource, free } => Ok(Json(json!({ "resource": resource, "free": free }))),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn list(State(door): State<Door>, uri: Uri) -> Result<Json<Value>, Problem> {
    let asked: ListQuery = query(&uri)?;
    let limit = asked.limit.unwrap_or(BOOKINGS);
    if !(1..=BOOKINGS).contains(&limit) {
        return Err(Problem::malformed(format!("limit is a number from 1 to {BOOKINGS}")));
    }
    let moment = |name: &str, text: Option<String>| text.map(|it| moment(name, &it)).transpose();
    let query = BookingsQuery {
        resource: asked.resource,
        uid: asked.uid,
        from: moment("from", asked.from)?,
        to: moment("to", asked.to)?,
        state: asked.state,
        limit,
    };
    match door.handle.ask(Command::Bookings(query)).await? {
        Answer::Bookings { bookings, more } => {
            Ok(Json(json!({ "bookings": bookings, "more": more })))
        }
        _ => Err(Problem::unexpected()),
    }
}

/// Books a resource for an event: the times are the event's.
pub(crate) async fn book(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Booking { resource, uid, event, zone } = body::parsed(&headers, body).await?;
    let said = event.as_ref().and_then(|event| event.get("uid")?.as_str());
    let uid = match uid.or_else(|| said.map(str::to_owned)) {
        Some(uid) => uid,
        None if event.is_some() => random_uid()?,
        None => return Err(invalid("event", "missing: the event to book for, or its uid")),
    };
    let request = BookRequest { resource, uid, event, slots: Vec::new(), zone };
    Ok((StatusCode::CREATED, booked(&door, Command::Book(request)).await?))
}

/// Gives up all that an event has booked, and cancels it.
pub(crate) async fn cancel(State(door): State<Door>, Id(uid): Id) -> Result<Json<Value>, Problem> {
    booked(&door, Command::CancelBooking { uid }).await
}

async fn booked(door: &Door, command: Command) -> Result<Json<Value>, Problem> {
    match door.handle.ask(command).await? {
        Answer::Booked(bookings) => Ok(Json(json!({ "bookings": bookings }))),
        _ => Err(Problem::unexpected()),
    }
}
