//! Policies and their approval.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fasti_core::command::PolicyView;
use fasti_core::{Answer, Command};
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::routes::{Door, Id};
use crate::{body, conditions};

pub(crate) async fn list(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    match door.handle.ask(Command::Policies).await? {
        Answer::Policies(policies) => Ok(Json(json!({ "policies": policies }))),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn read(
    State(door): State<Door>,
    Id(policy): Id,
) -> Result<Json<PolicyView>, Problem> {
    told(&door, Command::Policy { policy }).await
}

pub(crate) async fn propose(
    State(door): State<Door>,
    Id(policy): Id,
    headers: HeaderMap,
) -> Result<Json<PolicyView>, Problem> {
    let condition = conditions::of_write(&headers)?;
    told(&door, Command::Propose { policy, condition }).await
}

pub(crate) async fn approve(
    State(door): State<Door>,
    Id(policy): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PolicyView>, Problem> {
    let condition = conditions::of_write(&headers)?;
    let mut asked = body::read_optional_object(&headers, body).await?.unwrap_or_default();
    let supersedes = match asked.shift_remove("supersedes") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(all)) => {
            all.into_iter().map(|it| it.as_str().map(str::to_owned)).collect()
        }
        Some(_) => None,
    };
    let Some(supersedes) = supersedes else {
        let detail = "\"supersedes\" is a list of policies, such as [\"YSP-2023\"]";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail));
    };
    told(&door, Command::Approve { policy, supersedes, condition }).await
}

pub(crate) async fn withdraw(
    State(door): State<Door>,
    Id(policy): Id,
) -> Result<Json<PolicyView>, Problem> {
    told(&door, Command::Withdraw { policy }).await
}

/// The policy as it stands after what was asked.
async fn told(door: &Door, command: Command) -> Result<Json<PolicyView>, Problem> {
    match door.handle.ask(command).await? {
        Answer::Policy(policy) => Ok(Json(*policy)),
        _ => Err(Problem::unexpected()),
    }
}
