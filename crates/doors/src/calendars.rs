//! The calendars of the network: their names and colors, which are the same in apps and on the page.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fasti_core::Command;
use fasti_core::collection::is_name;
use fasti_core::command::Object;
use serde_json::{Value, json};

use crate::body;
use crate::problem::Problem;
use crate::routes::{Door, Id};

/// What people may say of a calendar. Apps say more, by CalDAV.
const MEMBERS: [&str; 3] = ["title", "color", "description"];

pub(crate) async fn list(State(door): State<Door>) -> Result<Json<Value>, Problem> {
    door.library.refresh(&door.handle).await?;
    let shelf = door.library.shelf().await;
    let calendars = shelf.calendars().map(|(id, calendar)| {
        json!({
            "id": id,
            "title": calendar.display_name(id),
            "color": calendar.about("color"),
            "description": calendar.about("description"),
            "events": calendar.items().count(),
        })
    });
    Ok(Json(json!({ "calendars": calendars.collect::<Vec<_>>() })))
}

/// Says something of a calendar, which is there from then on; a JSON Merge Patch (RFC 7396).
pub(crate) async fn edit(
    State(door): State<Door>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let invalid =
        |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
    if !is_name(&id) {
        return Err(invalid("a calendar's id is 1 to 259 bytes without control characters".into()));
    }
    let patch: Object =
        body::read_object(&headers, body, &["application/merge-patch+json", "application/json"])
            .await?;
    for (name, value) in &patch {
        if !MEMBERS.contains(&name.as_str()) || !(value.is_string() || value.is_null()) {
            let detail = format!("{name}: expected {} as texts, or null", MEMBERS.join(", "));
            return Err(invalid(detail));
        }
    }
    door.handle.ask(Command::EditCalendar { calendar: id.clone(), patch: Some(patch) }).await?;
    let Json(all) = list(State(door)).await?;
    let all = all["calendars"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|it| it["id"] == json!(id)).cloned();
    found.map(Json).ok_or_else(Problem::unexpected)
}
