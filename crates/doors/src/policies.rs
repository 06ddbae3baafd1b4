//! Policies and their approval.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fasti_core::command::{OccurrenceView, PolicyView};
use fasti_core::{Answer, Command, CommandError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::routes::{Door, Id, query};
use crate::{body, conditions, events};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    from: Option<String>,
    to: Option<String>,
    zone: Option<String>,
}

pub(crate) async fn list(State(door): State<Door>, uri: Uri) -> Result<Json<Value>, Problem> {
    let asked: ListQuery = query(&uri)?;
    match (asked.from, asked.to) {
        (None, None) if asked.zone.is_none() => {}
        (Some(from), Some(to)) => return in_range(&door, &from, &to, asked.zone).await,
        _ => return Err(Problem::malformed("from and to go together, and zone with them")),
    }
    match door.handle.ask(Command::Policies).await? {
        Answer::Policies(policies) => Ok(Json(json!({ "policies": policies }))),
        _ => Err(Problem::unexpected()),
    }
}

/// Those that a calendar shows in a range. One question for each, so that whoever asks for something else
/// meanwhile doesn't wait for all of them.
async fn in_range(
    door: &Door,
    from: &str,
    to: &str,
    zone: Option<String>,
) -> Result<Json<Value>, Problem> {
    let Answer::Agenda { occurrences, more } =
        door.handle.ask(Command::Agenda(events::range(from, to, zone)?)).await?
    else {
        return Err(Problem::unexpected());
    };
    let is_policy = |it: &OccurrenceView| it.event.contains_key("fasti:policy");
    let uids: BTreeSet<String> =
        occurrences.into_iter().filter(is_policy).map(|it| it.uid).collect();
    let mut policies = Vec::with_capacity(uids.len());
    for policy in uids {
        match door.handle.ask(Command::Policy { policy }).await {
            Ok(Answer::Policy(policy)) => policies.push(*policy),
            Err(CommandError::UnknownPolicy(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Problem::unexpected()),
        }
    }
    Ok(Json(json!({ "policies": policies, "more": more })))
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
