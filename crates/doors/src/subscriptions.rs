//! External systems: which ones this node delivers to, what they are owed, and what they confirmed.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fasti_core::command::{
    DeliveriesQuery, DeliveryStatus, DeliveryView, Replay, Replayed, SubscriptionView,
};
use fasti_core::outbox::{
    Confirmed, Filter, NewSubscription, Secret, Start, SubscriptionEdit, SubscriptionId, Target,
};
use fasti_core::{Answer, Command, CommandError, OfficeId};
use fasti_receiver::Secret as Key;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body;
use crate::problem::Problem;
use crate::routes::{Door, Id, query};

/// After a rotation the secret before is good for so long: until all receivers have the new one.
const ROTATION: Duration = Duration::from_secs(24 * 3600);
const DELIVERIES: usize = 100;
const DELIVERIES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    callback_url: String,
    #[serde(default)]
    options: Map<String, Value>,
    #[serde(default)]
    types: BTreeSet<String>,
    #[serde(default)]
    calendars: BTreeSet<String>,
    #[serde(default)]
    offices: BTreeSet<OfficeId>,
    #[serde(default)]
    approved: bool,
    start: Option<String>,
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    callback_url: Option<String>,
    options: Option<Map<String, Value>>,
    types: Option<BTreeSet<String>>,
    calendars: Option<BTreeSet<String>>,
    offices: Option<BTreeSet<OfficeId>>,
    approved: Option<bool>,
    paused: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    uid: Option<String>,
    since: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    office: Option<String>,
    system: Option<String>,
    uid: Option<String>,
    status: Option<DeliveryStatus>,
    after: Option<String>,
    limit: Option<usize>,
}

fn invalid(path: &str, problem: impl Into<String>) -> Problem {
    CommandError::Invalid { path: path.into(), problem: problem.into() }.into()
}

pub(crate) async fn list(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    let all = subscriptions(&door).await?;
    let all: Vec<Value> = all.iter().map(|it| shown(&door, it)).collect();
    Ok(Json(json!({ "subscriptions": all })))
}

async fn subscriptions(door: &Door) -> Result<Vec<SubscriptionView>, Problem> {
    match door.handle.ask(Command::Subscriptions).await? {
        Answer::Subscriptions(all) => Ok(all),
        _ => Err(Problem::unexpected()),
    }
}

async fn find(door: &Door, system: String) -> Result<SubscriptionView, Problem> {
    let is_it = |it: &SubscriptionView| it.name == system || it.id.to_string() == system;
    let found = subscriptions(door).await?.into_iter().find(is_it);
    found.ok_or_else(|| CommandError::UnknownSystem(system).into())
}

/// With how it is reached, which the core doesn't look at.
fn shown(door: &Door, view: &SubscriptionView) -> Value {
    let target = Target { url: view.url.clone(), options: view.options.clone() };
    let mut shown = json!(view);
    let node = door.handle.node();
    shown["options"] = node.target_shown(&target);
    if view.problem.is_none() {
        shown["problem"] = json!(node.target_problem(view.id));
    }
    shown
}

pub(crate) async fn read(State(door): State<Door>, Id(system): Id) -> Result<Json<Value>, Problem> {
    let view = find(&door, system).await?;
    Ok(Json(shown(&door, &view)))
}

/// The answer is the only one that has the secret.
pub(crate) async fn add(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Wanted { name, callback_url, options, types, calendars, offices, approved, start, secret } =
        body::parsed(&headers, body).await?;
    let target = target(&door, callback_url, &options)?;
    let secret = match secret {
        Some(text) => Key::from_text(&text).map_err(|it| invalid("secret", it.to_string()))?,
        None => new_secret()?,
    };
    let text = secret.to_text();
    let new = NewSubscription {
        name,
        target,
        filter: Filter { types, calendars, offices, approved },
        start: start.map_or(Ok(Start::Now), |text| begin(&text))?,
        secret: Secret(secret.into_bytes()),
    };
    let view = told(&door, Command::Subscribe(new)).await?;
    let mut shown = shown(&door, &view);
    shown["secret"] = json!(text);
    Ok((StatusCode::CREATED, Json(shown)))
}

fn target(door: &Door, url: String, options: &Map<String, Value>) -> Result<Target, Problem> {
    let target = Target { url, options: Value::Object(options.clone()).to_string() };
    match door.handle.node().target_fault(&target) {
        Some((field, problem)) => Err(invalid(&field, problem)),
        None => Ok(target),
    }
}

fn new_secret() -> Result<Key, Problem> {
    let mut bytes = vec![0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Problem::unexpected())?;
    Ok(Key::new(bytes))
}

/// `now`, `beginning`, a day (in UTC) or a moment.
fn begin(text: &str) -> Result<Start, Problem> {
    match text {
        "now" => Ok(Start::Now),
        "beginning" => Ok(Start::Beginning),
        _ => moment("start", text).map(Start::Time),
    }
}

fn moment(name: &str, text: &str) -> Result<i64, Problem> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let at = day.and_then(|it| TimeZone::UTC.to_timestamp(it.to_datetime(Time::midnight())).ok());
    at.map(|it| it.as_millisecond()).ok_or_else(|| {
        invalid(name, "expected a day such as 2024-04-01, or a moment such as 2024-04-01T09:00:00Z")
    })
}

async fn told(door: &Door, command: Command) -> Result<SubscriptionView, Problem> {
    match door.handle.ask(command).await? {
        Answer::Subscription(view) => Ok(*view),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn edit(
    State(door): State<Door>,
    Id(system): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let asked: Edit = body::parsed(&headers, body).await?;
    let before = match door.handle.ask(Command::Target { system: system.clone() }).await? {
        Answer::Target(it) => it,
        _ => return Err(Problem::unexpected()),
    };
    let target = match (asked.callback_url, asked.options) {
        (None, None) => None,
        (url, options) => {
            let url = url.unwrap_or_else(|| before.target.url.clone());
            let options = match options {
                Some(options) => options,
                None => serde_json::from_str(&before.target.options).unwrap_or_default(),
            };
            Some(target(&door, url, &options)?)
        }
    };
    let filter = Filter {
        types: asked.types.unwrap_or_else(|| before.filter.types.clone()),
        calendars: asked.calendars.unwrap_or_else(|| before.filter.calendars.clone()),
        offices: asked.offices.unwrap_or_else(|| before.filter.offices.clone()),
        approved: asked.approved.unwrap_or(before.filter.approved),
    };
    let edit = SubscriptionEdit {
        name: asked.name,
        target,
        filter: Some(filter),
        paused: asked.paused,
        secret: None,
    };
    let view = told(&door, Command::EditSubscription { system, edit }).await?;
    Ok(Json(shown(&door, &view)))
}

pub(crate) async fn remove(
    State(door): State<Door>,
    Id(system): Id,
) -> Result<StatusCode, Problem> {
    match door.handle.ask(Command::Unsubscribe { system }).await? {
        Answer::Unsubscribed => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::unexpected()),
    }
}

/// As for [`add`]: the answer has the new secret.
pub(crate) async fn rotate(
    State(door): State<Door>,
    Id(system): Id,
) -> Result<Json<Value>, Problem> {
    let secret = new_secret()?;
    let text = secret.to_text();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = i64::try_from((since + ROTATION).as_millis()).unwrap_or(i64::MAX);
    let secret = Some((Secret(secret.into_bytes()), until));
    let edit = SubscriptionEdit { secret, ..SubscriptionEdit::default() };
    let view = told(&door, Command::EditSubscription { system, edit }).await?;
    let mut shown = shown(&door, &view);
    shown["secret"] = json!(text);
    shown["old_secret_until"] = json!(until);
    Ok(Json(shown))
}

/// Sends a message that is no delivery, and says what was answered.
pub(crate) async fn test(State(door): State<Door>, Id(system): Id) -> Result<Json<Value>, Problem> {
    let Answer::Target(subscription) = door.handle.ask(Command::Target { system }).await? else {
        return Err(Problem::unexpected());
    };
    let answer = door.handle.node().target_tested(subscription).await;
    Ok(Json(match answer {
        Ok(said) => json!({ "delivered": true, "answer": said }),
        Err(problem) => json!({ "delivered": false, "problem": problem }),
    }))
}

pub(crate) async fn replay(
    State(door): State<Door>,
    Id(system): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Again { uid, since, from, to } = body::parsed(&headers, body).await?;
    let time = |name: &str, text: Option<String>, other: i64| {
        text.map_or(Ok(other), |text| moment(name, &text))
    };
    let what = match (uid, since) {
        (Some(uid), None) => Replayed::Event(uid),
        (None, Some(since)) => Replayed::Since(match since.as_str() {
            "beginning" => i64::MIN,
            since => moment("since", since)?,
        }),
        (None, None) => {
            Replayed::Dead { from: time("from", from, i64::MIN)?, to: time("to", to, i64::MAX)? }
        }
        (Some(_), Some(_)) => return Err(invalid("since", "leave it out to replay one event")),
    };
    match door.handle.ask(Command::Replay(Replay { system, what })).await? {
        Answer::Replayed(count) => Ok((StatusCode::ACCEPTED, Json(json!({ "replayed": count })))),
        _ => Err(Problem::unexpected()),
    }
}

/// What is not confirmed; of one event also what is.
pub(crate) async fn deliveries(State(door): State<Door>, uri: Uri) -> Result<Json<Value>, Problem> {
    let asked: ListQuery = query(&uri)?;
    if let Some(office) = asked.office {
        return unconfirmed(&door, office).await;
    }
    let limit = asked.limit.unwrap_or(DELIVERIES).clamp(1, DELIVERIES_MAX);
    let after = asked.after.as_deref().map(place).transpose()?;
    if asked.status == Some(DeliveryStatus::Confirmed) {
        return confirmed(&door, &asked, after, limit).await;
    }
    let query = DeliveriesQuery {
        system: asked.system.clone(),
        uid: asked.uid.clone(),
        status: asked.status,
        after,
        limit,
    };
    let (mut deliveries, more) = match door.handle.ask(Command::Deliveries(query)).await? {
        Answer::Deliveries { deliveries, more } => (deliveries, more),
        _ => return Err(Problem::unexpected()),
    };
    if asked.uid.is_some() && asked.status.is_none() {
        let is_owed =
            |it: &DeliveryView| deliveries.iter().any(|owed| owed.subscription == it.subscription);
        let confirmed = rows(&door, &asked, None, limit).await?;
        let confirmed: Vec<_> = confirmed.into_iter().filter(|it| !is_owed(it)).collect();
        deliveries.extend(confirmed);
    }
    Ok(page(deliveries, more))
}

/// What systems of any office have not confirmed.
async fn unconfirmed(door: &Door, office: String) -> Result<Json<Value>, Problem> {
    match door.handle.ask(Command::Unconfirmed { office }).await? {
        Answer::Unconfirmed { deliveries, more } => {
            Ok(Json(json!({ "deliveries": deliveries, "more": more })))
        }
        _ => Err(Problem::unexpected()),
    }
}

/// What is owed of an event, as it would be sent now.
pub(crate) async fn delivery_of(
    State(door): State<Door>,
    Id((system, uid)): Id<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let asked = Command::Delivery { system, uid };
    let Answer::Delivery(subscription, delivery) = door.handle.ask(asked).await? else {
        return Err(Problem::unexpected());
    };
    let query = DeliveriesQuery {
        system: Some(subscription.id.to_string()),
        uid: Some(delivery.uid.clone()),
        limit: 1,
        ..DeliveriesQuery::default()
    };
    let view = match door.handle.ask(Command::Deliveries(query)).await? {
        Answer::Deliveries { mut deliveries, .. } => deliveries.pop(),
        _ => return Err(Problem::unexpected()),
    };
    let (kind, body) = door.handle.node().delivery_shown(&subscription.target, &delivery);
    let mut shown = json!(view);
    shown["content_type"] = json!(kind);
    shown["body"] = json!(body);
    Ok(Json(shown))
}

async fn confirmed(
    door: &Door,
    asked: &ListQuery,
    after: Option<(SubscriptionId, String)>,
    limit: usize,
) -> Result<Json<Value>, Problem> {
    let mut deliveries = rows(door, asked, after, limit + 1).await?;
    let more = deliveries.len() > limit;
    deliveries.truncate(limit);
    Ok(page(deliveries, more))
}

fn page(deliveries: Vec<DeliveryView>, more: bool) -> Json<Value> {
    let last = deliveries.last().filter(|_| more);
    let next = last.map(|it| format!("{}/{}", it.subscription, it.uid));
    Json(json!({ "deliveries": deliveries, "next": next }))
}

/// What was confirmed, as the disk has it.
async fn rows(
    door: &Door,
    asked: &ListQuery,
    after: Option<(SubscriptionId, String)>,
    limit: usize,
) -> Result<Vec<DeliveryView>, Problem> {
    let mut systems = subscriptions(door).await?;
    systems.sort_by_key(|it| it.id);
    if let Some(system) = &asked.system {
        let only = find(door, system.clone()).await?.id;
        systems.retain(|it| it.id == only);
    }
    let mut deliveries = Vec::new();
    for system in systems {
        let after = match &after {
            Some((id, _)) if system.id < *id => continue,
            Some((id, uid)) if system.id == *id => uid.clone(),
            _ => String::new(),
        };
        let room = limit - deliveries.len();
        let found = door.handle.confirmed(system.id, asked.uid.clone(), after, room).await;
        let found = found.map_err(|error| {
            let detail = format!("what was confirmed can't be read: {error}");
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage", detail)
        })?;
        deliveries.extend(found.into_iter().map(|(uid, row)| delivery(&system, uid, row)));
    }
    Ok(deliveries)
}

fn delivery(system: &SubscriptionView, uid: String, row: Confirmed) -> DeliveryView {
    DeliveryView {
        subscription: system.id,
        system: system.name.clone(),
        uid,
        version: row.version,
        kind: row.kind,
        status: DeliveryStatus::Confirmed,
        state: row.state,
        attempts: row.attempts,
        since: None,
        next: None,
        confirmed_at: Some(row.at),
        applied: row.applied,
        problem: None,
    }
}

/// Where the page before ended: a subscription and a uid.
fn place(text: &str) -> Result<(SubscriptionId, String), Problem> {
    let parts = text.split_once('/');
    let id = parts.and_then(|it| u64::from_str_radix(it.0, 16).ok());
    match (id, parts) {
        (Some(id), Some((_, uid))) => Ok((SubscriptionId(id), uid.to_owned())),
        _ => Err(invalid("after", "expected what \"next\" said")),
    }
}
