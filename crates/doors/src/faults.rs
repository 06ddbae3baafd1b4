//! Faults on demand, for demonstrations and tests: a node that was started for it drops its links with
//! some offices, as if a line had been cut, or fails as if there were a fault in it.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fasti_core::OfficeId;
use serde::Deserialize;

use crate::body;
use crate::problem::Problem;
use crate::routes::Door;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    /// Offices to be cut off from; replaces those before.
    cut: BTreeSet<OfficeId>,
    /// Whether the program is to fail, once.
    #[serde(default)]
    panic: bool,
}

pub(crate) async fn set(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    body::require_media_type(&headers, &["application/json"])?;
    let faults: Faults = body::parse(&body::read(body, body::EVENT_BYTES_MAX).await?)?;
    let node = door.handle.node();
    if node.cut(faults.cut) && (!faults.panic || node.panic_once()) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = "this node makes no faults: they are for demonstrations, and need FASTI_FAULTS=1 in the environment of `fasti run`";
    Err(Problem::new(StatusCode::FORBIDDEN, "not-allowed", detail))
}
