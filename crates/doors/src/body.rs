//! Request bodies: only of known types, only up to a size, only for so long.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use fasti_core::command::Object;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;

/// Most bytes of one event: far more than people write, and it still fits into an entry.
pub(crate) const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of a batch of events.
pub(crate) const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most bytes that are read of a body that is too long.
const THROWN_AWAY_MAX: usize = 8 * BATCH_BYTES_MAX;

/// How long a client may take to send a body: [`BATCH_BYTES_MAX`] over a slow line. A client that
/// sends byte by byte must not hold a connection for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The media type without its parameters, in lower case; empty if there is none. That is not taken for JSON,
/// as a foreign page may send a body without one and be asked by nobody.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or_else(String::new, |value| value.trim().to_ascii_lowercase())
}

/// Fails unless the body has one of these media types.
pub(crate) fn require_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let found = media_type(headers);
    if accepted.contains(&found.as_str()) {
        return Ok(());
    }
    let found = if found.is_empty() { "of no type".into() } else { format!("{found:?}") };
    let detail = format!("the body is {found}; send \"Content-Type: {}\"", accepted.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail))
}

/// Reads a JSON object as what it should be.
pub(crate) async fn parsed<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let object = read_object(headers, body, &["application/json"]).await?;
    serde_json::from_value(Value::Object(object)).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error.to_string())
    })
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn read(body: Body, max: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, max)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large(max)),
        Ok(Err(error)) => Err(Problem::malformed(format!("the body could not be read: {error}"))),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}

/// The body; none if it is too long. Most clients look for an answer only when they have sent
/// everything, and find a closed connection if nobody reads that: so what is too long is read on for
/// a while and thrown away.
async fn collect(body: Body, max: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut parts = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(part) = parts.next().await.transpose()? {
        length += part.len();
        if length <= max {
            bytes.extend_from_slice(&part);
        } else {
            bytes = Vec::new();
        }
        if length > THROWN_AWAY_MAX {
            break;
        }
    }
    Ok((length <= max).then(|| bytes.into()))
}

pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(json)
        .map_err(|error| Problem::malformed(format!("the body is not the JSON expected: {error}")))
}

/// Reads a JSON object, or no body at all.
pub(crate) async fn read_optional_object(
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<Object>, Problem> {
    let bytes = read(body, EVENT_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    require_media_type(headers, &["application/json"])?;
    match parse(&bytes)? {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(Problem::malformed("the body is JSON, but no object".to_owned())),
    }
}

/// Reads a JSON object that is an event or part of one.
pub(crate) async fn read_object(
    headers: &HeaderMap,
    body: Body,
    accepted: &[&str],
) -> Result<Object, Problem> {
    require_media_type(headers, accepted)?;
    match parse(&read(body, EVENT_BYTES_MAX).await?)? {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::malformed("the body is JSON, but not an object: {...}")),
    }
}

pub(crate) fn too_large(max: usize) -> Problem {
    let detail = format!("the body has more than {max} bytes; split it up");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}
