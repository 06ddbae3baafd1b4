//! The network: its members and those who were, how the node stands to them, and invitations.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use fasti_core::entry::Signature;
use fasti_core::statement::{Invite, Role, Succeed};
use fasti_core::ticket::Ticket;
use fasti_core::{Answer, Command, CommandError, NetworkId, OfficeId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body;
use crate::problem::Problem;
use crate::routes::{Door, Id, query};

/// A day: a ticket is a key, and keys that lie around get lost.
const TTL_S: u64 = 24 * 60 * 60;

/// A year.
const TTL_S_MAX: u64 = 365 * 24 * 60 * 60;

pub(crate) async fn list(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    match door.handle.ask(Command::Members).await? {
        Answer::Members(members) => {
            Ok(Json(json!({ "members": with_links(&door, json!(members)) })))
        }
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn former(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    match door.handle.ask(Command::FormerMembers).await? {
        Answer::FormerMembers(members) => Ok(Json(json!({ "members": members }))),
        _ => Err(Problem::unexpected()),
    }
}

pub(crate) async fn remove(State(door): State<Door>, id: Id) -> Result<StatusCode, Problem> {
    let office = id.0.parse().map_err(|_| CommandError::UnknownMember(id.0))?;
    match door.handle.ask(Command::Remove { office }).await? {
        Answer::Removed => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::unexpected()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Successor {
    office: OfficeId,
    /// 128 hex digits.
    proof: String,
}

/// The new key's secret stays with the caller, who made the proof with it.
pub(crate) async fn succeed(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    body::require_media_type(&headers, &["application/json"])?;
    let asked: Successor = body::parse(&body::read(body, body::EVENT_BYTES_MAX).await?)?;
    let mut proof = [0; 64];
    hex::decode_to_slice(&asked.proof, &mut proof).map_err(|_| CommandError::Invalid {
        path: "proof".into(),
        problem: "expected 128 hex digits".into(),
    })?;
    let succeed = Succeed { office: asked.office, proof: Signature::from_bytes(&proof) };
    match door.handle.ask(Command::Succeed(succeed)).await? {
        Answer::Admitted => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::unexpected()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    policy: Option<String>,
}

/// With `policy`, also how far that has come.
pub(crate) async fn status(State(door): State<Door>, uri: Uri) -> Result<Json<Value>, Problem> {
    let asked: StatusQuery = query(&uri)?;
    let reach = match asked.policy {
        None => None,
        Some(policy) => match door.handle.ask(Command::Reach { policy }).await? {
            Answer::Reach(reach) => Some(reach),
            _ => return Err(Problem::unexpected()),
        },
    };
    match door.handle.ask(Command::Status).await? {
        Answer::Status(status) => {
            let mut status = json!(status);
            status["members"] = with_links(&door, status["members"].take());
            if let Some(reach) = reach {
                status["policy"] = json!(reach);
            }
            Ok(Json(status))
        }
        _ => Err(Problem::unexpected()),
    }
}

/// Adds how each office is linked with us: the core knows only whether.
fn with_links(door: &Door, mut members: Value) -> Value {
    let relayed: Vec<Value> = door.handle.node().relayed().iter().map(|it| json!(it)).collect();
    for member in members.as_array_mut().into_iter().flatten() {
        member["link"] = match (&member["self"], &member["connected"]) {
            (Value::Bool(false), Value::Bool(true)) if relayed.contains(&member["office"]) => {
                "relayed".into()
            }
            (Value::Bool(false), Value::Bool(true)) => "direct".into(),
            _ => Value::Null,
        };
    }
    members
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invitation {
    name: String,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default = "ttl_s")]
    ttl_s: u64,
}

fn ttl_s() -> u64 {
    TTL_S
}

/// The ticket's secret is drawn here, and stays in the answer: the core and the log only ever see its
/// public half.
pub(crate) async fn invite(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    body::require_media_type(&headers, &["application/json"])?;
    let asked: Invitation = body::parse(&body::read(body, body::EVENT_BYTES_MAX).await?)?;
    if !(1..=TTL_S_MAX).contains(&asked.ttl_s) {
        let problem = format!("expected 1 to {TTL_S_MAX} seconds (a year)");
        return Err(CommandError::Invalid { path: "ttl_s".into(), problem }.into());
    }
    let mut roles = asked.roles;
    roles.sort();
    roles.dedup();
    if roles.is_empty() {
        roles.push(Role::Office);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|_| Problem::unexpected())?;
    let expires = now_ms() + (asked.ttl_s * 1000) as i64;
    let node = door.handle.node();
    let ticket = |network| {
        let (sponsor, addresses) = (node.office(), node.addresses());
        Ticket::new(network, secret, asked.name.clone(), expires, sponsor, addresses)
    };
    // A ticket's id depends on its secret alone, so it is known before the network is.
    let id = ticket(NetworkId([0; 32])).id();
    let invite = Invite { ticket: id, name: asked.name.clone(), roles, expires };
    match door.handle.ask(Command::Invite(invite)).await? {
        Answer::Invited { network } => {
            let ticket = json!({ "ticket": ticket(network).to_text(), "expires": expires });
            Ok((StatusCode::CREATED, Json(ticket)).into_response())
        }
        _ => Err(Problem::unexpected()),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
