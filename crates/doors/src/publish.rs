//! Publishing policy events: one, or a batch, plainly or as CloudEvents 1.0 (JSON format and HTTP
//! binding, structured, batched and binary mode).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fasti_core::command::Written;
use fasti_core::policy::PolicyEvent;
use fasti_core::{Answer, Command, CommandError};
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::routes::Door;
use crate::{body, conditions};

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const JSON: &str = "application/json";

/// Events of a batch that the core gets at a time: a batch must not keep others waiting for long.
const EVENTS_AT_A_TIME: usize = 1000;

pub(crate) async fn publish(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if headers.contains_key("ce-specversion") {
        body::require_media_type(&headers, &[JSON])?;
        let data = body::parse(&body::read(body, body::EVENT_BYTES_MAX).await?)?;
        return publish_one(&door, from_binary_mode(&headers, data)?).await;
    }
    body::require_media_type(&headers, &[JSON, ONE, BATCH])?;
    // Plain JSON may hold one event or many: only its beginning tells, so that its size is checked
    // again below.
    let media_type = body::media_type(&headers);
    let max = if media_type == ONE { body::EVENT_BYTES_MAX } else { body::BATCH_BYTES_MAX };
    let bytes = body::read(body, max).await?;
    match body::parse(&bytes)? {
        Value::Array(items) if media_type != ONE => publish_batch(&door, items).await,
        _ if media_type == BATCH => {
            Err(Problem::malformed("a batch is a JSON array: [{...}, ...]"))
        }
        _ if bytes.len() > body::EVENT_BYTES_MAX => Err(body::too_large(body::EVENT_BYTES_MAX)),
        value => publish_one(&door, value).await,
    }
}

async fn publish_one(door: &Door, value: Value) -> Result<Response, Problem> {
    let event = PolicyEvent::from_json(value)?;
    match ask(door, vec![event]).await?.pop() {
        Some(Ok(written)) => {
            let etag = conditions::etag(&written.etag)?;
            Ok((StatusCode::CREATED, etag, Json(written)).into_response())
        }
        Some(Err(error)) => Err(error.into()),
        None => Err(Problem::unexpected()),
    }
}

/// Publishes what can be published. Each item of the answer stands for the event at its place: what a
/// single publication would have got, with its `status`.
async fn publish_batch(door: &Door, items: Vec<Value>) -> Result<Response, Problem> {
    let parsed: Vec<_> = items.into_iter().map(PolicyEvent::from_json).collect();
    let events: Vec<PolicyEvent> = parsed.iter().flatten().cloned().collect();
    let mut results = Vec::with_capacity(events.len());
    let mut failed = None;
    for some in events.chunks(EVENTS_AT_A_TIME) {
        match ask(door, some.to_vec()).await {
            Ok(done) => results.extend(done),
            Err(problem) if results.is_empty() => return Err(problem),
            // What is published must be told, so this is the answer for the rest only.
            Err(problem) => {
                failed = Some(problem);
                break;
            }
        }
    }
    let mut results = results.into_iter();
    let mut status = StatusCode::CREATED;
    let answer = parsed.into_iter().map(|event| {
        let problem = match event.map(|_| results.next()) {
            Ok(Some(Ok(written))) => {
                let mut item = serde_json::to_value(&written).unwrap_or_default();
                item["status"] = StatusCode::CREATED.as_u16().into();
                return item;
            }
            Ok(Some(Err(error))) | Err(error) => error.into(),
            Ok(None) => failed.clone().unwrap_or_else(Problem::unexpected),
        };
        status = StatusCode::MULTI_STATUS;
        problem.to_json()
    });
    let answer: Vec<Value> = answer.collect();
    Ok((status, Json(answer)).into_response())
}

async fn ask(
    door: &Door,
    events: Vec<PolicyEvent>,
) -> Result<Vec<Result<Written, CommandError>>, Problem> {
    match door.handle.ask(Command::Publish(events)).await? {
        Answer::Published(results) => Ok(results),
        _ => Err(Problem::unexpected()),
    }
}

/// The event of a request in binary mode, whose attributes are `ce-` headers and whose body is `data`.
fn from_binary_mode(headers: &HeaderMap, data: Value) -> Result<Value, Problem> {
    let mut event = Map::new();
    for attribute in ["specversion", "id", "source", "type"] {
        if let Some(value) = headers.get(format!("ce-{attribute}")) {
            let text = value.to_str().map_err(|_| {
                Problem::malformed(format!("the header ce-{attribute} is not ASCII text"))
            })?;
            event.insert(attribute.into(), text.into());
        }
    }
    event.insert("data".into(), data);
    Ok(Value::Object(event))
}
