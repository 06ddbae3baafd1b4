//! Who may use the doors: whoever holds the node's token.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::problem::Problem;
use crate::routes::Door;

/// Lets a request through that brings the token.
pub(crate) async fn require_token(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Response {
    match bearer(request.headers()) {
        Some(token) if token.as_bytes().ct_eq(door.token.as_bytes()).into() => {
            next.run(request).await
        }
        Some(_) => refused("the token is not this node's; it draws a new one with every start"),
        None => refused("no token was sent"),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(why: &str) -> Response {
    let detail = format!(
        "{why}: send the header \"Authorization: Bearer TOKEN\"; the token is in node.json in the node's folder (fasti run --dir)"
    );
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response()
}
