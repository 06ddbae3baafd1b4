//! Logging in and out, for the web page. What a session is worth, and how long, `sessions` says.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::attempts::Source;
use crate::auth::{self, Caller};
use crate::problem::Problem;
use crate::routes::Door;
use crate::sessions::{LINK_TTL, SessionId, Whose};
use crate::{body, browser};

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Shown {
    Password { name: String, password: Zeroizing<String> },
    Token { token: Zeroizing<String> },
    Code { code: Zeroizing<String> },
}

/// Who is asking, if that can be told, and what they may do. Nobody is an answer too: a page asks this first.
pub(crate) async fn who(State(door): State<Door>, request: Request) -> Response {
    let (parts, source) = head(&door, request);
    let answer = match auth::identify(&door, &parts.method, &parts.headers, source).await {
        Ok((caller, _)) => told(&door, &caller),
        Err(problem) if problem.is_unauthorized() => {
            json!({ "caller": null })
        }
        Err(problem) => return private(problem.into_response()),
    };
    private(Json(answer).into_response())
}

/// Begins a session.
pub(crate) async fn begin(State(door): State<Door>, request: Request) -> Response {
    private(match begun(&door, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    })
}

async fn begun(door: &Door, request: Request) -> Result<Response, Problem> {
    let source = auth::source(door, &request);
    let (parts, body) = request.into_parts();
    let shown = read(&parts.headers, body).await?;
    let whose = match shown {
        Shown::Password { name, password } => {
            auth::check_password(door, &name, &password, source).await?;
            // None if it was taken back since it was checked.
            let password = door.people.password_of(&name);
            let password = password.ok_or_else(auth::unknown_password)?;
            Whose::Person { name, password }
        }
        Shown::Token { token } => {
            auth::check_token(door, token.trim(), source)?;
            Whose::Operator
        }
        Shown::Code { code } => {
            if !door.sessions.follow(&code, Instant::now()) {
                return Err(match door.people.wrong_token(source) {
                    Some(wait) => auth::too_often(wait),
                    None => {
                        let detail = "this link was used already, or is too old: make another with fasti login";
                        Problem::new(StatusCode::UNAUTHORIZED, "link-not-valid", detail)
                    }
                });
            }
            Whose::Operator
        }
    };
    let begun = door.sessions.begin(whose.clone(), Instant::now());
    let (secret, lasts) = begun.map_err(|_| Problem::unexpected())?;
    let caller = match whose {
        Whose::Operator => Caller::Operator,
        Whose::Person { name, .. } => Caller::Person(name.into()),
    };
    let mut response = (StatusCode::CREATED, Json(told(door, &caller))).into_response();
    let (name, secure) = cookie_name(door, browser::is_https(door, &parts.headers));
    let cookie = Zeroizing::new(format!(
        "{name}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        *secret,
        lasts.as_secs()
    ));
    let mut cookie = HeaderValue::try_from(&*cookie).map_err(|_| Problem::unexpected())?;
    cookie.set_sensitive(true);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// A request without its body, and where it comes from.
fn head(door: &Door, request: Request) -> (Parts, Source) {
    let source = auth::source(door, &request);
    (request.into_parts().0, source)
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Shown, Problem> {
    body::require_media_type(headers, &["application/json"])?;
    let bytes = body::read(body, body::EVENT_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|_| {
        let detail = "expected {\"name\", \"password\"} of a person, {\"token\"} of node.json, or {\"code\"} of a link";
        Problem::malformed(detail)
    })
}

/// Ends the session that the request came with, if any.
pub(crate) async fn end(State(door): State<Door>, request: Request) -> Response {
    let (parts, source) = head(&door, request);
    let caller = auth::identify(&door, &parts.method, &parts.headers, source).await;
    if let Ok((_, Some((id, _)))) = caller {
        door.sessions.end(id);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    for is_https in [false, true] {
        let (name, secure) = cookie_name(&door, is_https);
        let cookie = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    private(response)
}

/// A link into the page, for whoever runs the node.
pub(crate) async fn link(State(door): State<Door>) -> Result<Response, Problem> {
    let code = door.sessions.link(Instant::now()).map_err(|_| Problem::unexpected())?;
    let answer = json!({ "path": format!("/#/login/{}", *code), "ttl_s": LINK_TTL.as_secs() });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The session of a request's cookie.
pub(crate) fn session(door: &Door, headers: &HeaderMap) -> Option<(SessionId, Whose)> {
    let names = [true, false].map(|is_https| cookie_name(door, is_https).0);
    // With TLS only what came over TLS: anybody on the way can set other cookies.
    let names = if door.https { &names[..1] } else { &names[..] };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, _)| names.iter().any(|ours| ours == name));
    ours.filter_map(|(_, secret)| door.sessions.find(secret, Instant::now())).next()
}

/// The cookie's name, and what marks it with TLS. Cookies don't know ports: nodes side by side on one machine
/// each need their own. `__Host-` holds browsers to `Secure`, and to this host alone.
fn cookie_name(door: &Door, is_https: bool) -> (String, &'static str) {
    let office = door.handle.node().office().to_string();
    let office = office.get(..16).unwrap_or(&office);
    match is_https {
        true => (format!("__Host-fasti-{office}"), "; Secure"),
        false => (format!("fasti-{office}"), ""),
    }
}

fn told(door: &Door, caller: &Caller) -> Value {
    let (caller, name) = match caller {
        Caller::Operator => ("operator", None),
        Caller::Person(name) => ("person", Some(&**name)),
    };
    json!({ "caller": caller, "name": name, "office": door.handle.node().office().to_string() })
}

fn private(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
