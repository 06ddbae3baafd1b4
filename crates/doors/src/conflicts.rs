//! What needs a person: fields that were edited two ways.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use fasti_core::{Answer, Command};
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::routes::{Door, Id};
use crate::{body, events};

pub(crate) async fn list(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    match door.handle.ask(Command::Conflicts).await? {
        Answer::Conflicts(conflicts) => Ok(Json(json!({ "conflicts": conflicts }))),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn resolve(
    State(door): State<Door>,
    Id(conflict): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut decision = body::read_object(&headers, body, &["application/json"]).await?;
    // Null is a decision too (no value at all), so that a missing one must not be taken for it.
    let Some(keep) = decision.shift_remove("keep") else {
        let detail = "\"keep\" is missing: the value to keep, such as {\"keep\": \"Room 2\"}";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail));
    };
    events::write(&door, Command::Resolve { conflict, keep }).await
}
