//! People's app passwords, as the operator manages them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body;
use crate::people::{People, PeopleError};
use crate::problem::Problem;
use crate::routes::{Door, Id};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Newcomer {
    name: String,
}

pub(crate) async fn list(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    let people = on_its_thread(&door.people, |people| Ok(people.list())).await?.into_iter();
    let users: Vec<Value> =
        people.map(|(name, added)| json!({ "name": name, "added": added })).collect();
    Ok(Json(json!({ "users": users })))
}

pub(crate) async fn add(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    body::require_media_type(&headers, &["application/json"])?;
    let asked: Newcomer = body::parse(&body::read(body, body::EVENT_BYTES_MAX).await?)?;
    let answer = on_its_thread(&door.people, move |people| {
        let password = people.add(&asked.name)?;
        Ok(json!({ "name": asked.name, "password": *password }))
    });
    Ok((StatusCode::CREATED, Json(answer.await?)).into_response())
}

pub(crate) async fn remove(State(door): State<Door>, Id(name): Id) -> Result<Json<Value>, Problem> {
    let answer = on_its_thread(&door.people, move |people| {
        people.remove(&name)?;
        Ok(json!({ "name": name }))
    });
    Ok(Json(answer.await?))
}

/// Hashing and the disk take their time, and whoever looks meanwhile waits for them.
async fn on_its_thread<T: Send + 'static>(
    people: &Arc<People>,
    work: impl FnOnce(&People) -> Result<T, PeopleError> + Send + 'static,
) -> Result<T, Problem> {
    let people = Arc::clone(people);
    match tokio::task::spawn_blocking(move || work(&people)).await {
        Ok(done) => done.map_err(Problem::from),
        Err(_) => Err(Problem::unexpected()),
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        let (status, name, detail) = match error {
            PeopleError::Name => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "name: expected 1 to 64 bytes without colons and control characters, and no spaces around them".into(),
            ),
            PeopleError::Exists => (
                StatusCode::CONFLICT,
                "exists",
                "there is a user with this name; for a new password remove them first: fasti user remove NAME".into(),
            ),
            PeopleError::Unknown => (
                StatusCode::NOT_FOUND,
                "unknown-user",
                "there is no user with this name; see fasti user list".into(),
            ),
            PeopleError::Full => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "full",
                "there are as many users as a node keeps; remove some first: fasti user remove NAME".into(),
            ),
            PeopleError::Storage(error) => {
                (StatusCode::INSUFFICIENT_STORAGE, "storage", format!("the change could not be stored: {error}; look with fasti user list, and try again"))
            }
        };
        Self::new(status, name, detail)
    }
}
