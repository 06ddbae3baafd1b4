//! CalDAV (RFC 4791): the door for people's calendar apps. One collection for each calendar of the network; people are
//! principals, and share one home.
//!
//! A request is parsed here, `shelf` is brought up to date, and a method answers from it; what changes something is a
//! command to the core. Deliberately absent: locks (apps use entity tags), scheduling by messages (there is no mail
//! here; its properties are only there for apps that look for them), and access rules of single calendars (an office's
//! people may do what the office may).

mod collections;
mod data;
mod filter;
mod if_header;
mod multistatus;
mod objects;
mod path;
mod properties;
mod reports;
mod shelf;
mod sync;
mod xml;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fasti_calendar::Zone;
use fasti_core::CommandError;

use self::data::Wanted;
use self::multistatus::error;
use self::path::Target;
use self::properties::View;
pub(crate) use self::shelf::Library;
use self::shelf::Shelf;
use self::xml::{CALDAV, DAV, Element, Name};
use crate::auth::Caller;
use crate::body::{self, BATCH_BYTES_MAX, EVENT_BYTES_MAX};
use crate::problem::Problem;
use crate::routes::Door;

/// What this speaks (RFC 4918, section 10.1).
const CAPABILITIES: HeaderValue =
    HeaderValue::from_static("1, 3, access-control, calendar-access, extended-mkcol");

const ALLOWED: HeaderValue = HeaderValue::from_static(
    "OPTIONS, GET, HEAD, PUT, DELETE, COPY, MOVE, PROPFIND, PROPPATCH, REPORT, MKCALENDAR, MKCOL",
);

/// Most properties of a request: each is answered for each event. No app asks for more than some fifty.
const NAMES_MAX: usize = 1000;

/// The operator, as a principal.
const OPERATOR: &str = "operator";

/// Why a request is not done.
pub(crate) enum Refusal {
    Problem(Problem),
    Answer(Box<Response>),
}

impl Refusal {
    fn malformed(detail: &str) -> Self {
        Self::Problem(Problem::malformed(detail))
    }

    fn not_found() -> Self {
        let detail = "there is nothing at this address";
        Self::Problem(Problem::new(StatusCode::NOT_FOUND, "unknown-path", detail))
    }

    fn not_allowed() -> Self {
        let detail = "this can't be done with what is at this address";
        Self::Problem(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotAllowed(why) => Self::Answer(Box::new(multistatus::error(
                StatusCode::FORBIDDEN,
                "d:need-privileges",
                "",
                &why,
            ))),
            error => Self::Problem(error.into()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Answer(answer) => *answer,
        }
    }
}

/// A request for something under `/dav/`.
#[derive(Clone)]
pub(crate) struct Asked {
    library: Arc<Library>,
    person: String,
    people: Vec<String>,
    is_minimal: bool,
    wanted: Option<Wanted>,
    zone: Zone,
}

impl Asked {
    /// Answers out of the shelf, on a thread that may take its time.
    async fn look(
        &self,
        answer: impl FnOnce(&View<'_>, bool) -> Response + Send + 'static,
    ) -> Result<Response, Refusal> {
        let (asked, shelf) = (self.clone(), self.library.shelf_for_long().await);
        let looked =
            tokio::task::spawn_blocking(move || answer(&asked.view(&shelf), asked.is_minimal));
        looked.await.map_err(|_| Problem::unexpected().into())
    }

    fn view<'a>(&'a self, shelf: &'a Shelf) -> View<'a> {
        View {
            shelf,
            person: &self.person,
            people: &self.people,
            wanted: self.wanted.as_ref(),
            zone: &self.zone,
        }
    }

    /// Whether there is such a thing.
    async fn has(&self, target: &Target) -> bool {
        self.view(&*self.library.shelf().await).has(target)
    }

    /// The properties that a report asks for.
    fn names_in(&self, body: &Element) -> Result<Vec<Name>, Refusal> {
        match body.child(DAV, "prop") {
            Some(prop) => names_of(prop.elements()),
            None if body.child(DAV, "allprop").is_some() => {
                Ok(["getetag", "getcontenttype", "resourcetype"]
                    .map(|it| Name::new(DAV, it))
                    .into())
            }
            // Only which there are.
            None => Ok(vec![Name::new(DAV, "getetag")]),
        }
    }
}

/// Names of properties, each once.
fn names_of<'a>(elements: impl Iterator<Item = &'a Element>) -> Result<Vec<Name>, Refusal> {
    let mut seen = BTreeSet::new();
    let names: Vec<Name> =
        elements.map(|it| &it.name).filter(|it| seen.insert(*it)).cloned().collect();
    if names.len() > NAMES_MAX {
        let detail = format!("ask for at most {NAMES_MAX} properties at once");
        return Err(Refusal::malformed(&detail));
    }
    Ok(names)
}

/// Says in every answer what is spoken here (RFC 4918, section 10.1): also to those who have to log in first, as some apps
/// ask before they do.
pub(crate) async fn introduce(request: Request, next: Next) -> Response {
    let is_question = *request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    response.headers_mut().insert(HeaderName::from_static("dav"), CAPABILITIES);
    if is_question || response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, ALLOWED);
    }
    response
}

/// `/.well-known/caldav` (RFC 6764, section 5).
pub(crate) async fn well_known() -> Response {
    let location = [(header::LOCATION, "/dav/")];
    (StatusCode::MOVED_PERMANENTLY, location).into_response()
}

/// What iOS asks of `/` and `/principals/`, whatever it was told.
pub(crate) async fn elsewhere(
    state: State<Door>,
    caller: Extension<Caller>,
    request: Request,
) -> Response {
    let is_probe = request.method().as_str() == "PROPFIND" || *request.method() == Method::OPTIONS;
    match is_probe {
        true => serve_at(state.0, &caller.0, Some(Target::Root), request).await,
        false => Refusal::not_allowed().into_response(),
    }
}

/// All of `/dav/`.
pub(crate) async fn serve(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let target = Target::of(request.uri().path());
    serve_at(door, &caller, target, request).await
}

async fn serve_at(
    door: Door,
    caller: &Caller,
    target: Option<Target>,
    request: Request,
) -> Response {
    let answered = match target {
        Some(target) => answer(&door, caller, target, request).await,
        None => Err(Refusal::not_found()),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(
    door: &Door,
    caller: &Caller,
    target: Target,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (method, headers) = (parts.method, parts.headers);
    if method == Method::OPTIONS {
        return Ok(().into_response());
    }
    let person = match caller {
        Caller::Operator => OPERATOR.to_owned(),
        Caller::Person(name) => name.to_string(),
    };
    let library = Arc::clone(&door.library);
    library.refresh(&door.handle).await?;
    let mut asked = Asked {
        library,
        person,
        people: door.people.list().into_iter().map(|it| it.0).collect(),
        is_minimal: prefers(&headers, "return=minimal")
            || headers.get("brief").is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"t")),
        wanted: None,
        zone: Zone::utc(),
    };
    check_if(&asked, &target, &headers).await?;
    match method.as_str() {
        "GET" | "HEAD" => return objects::get(&asked, &target, &headers).await,
        "PUT" => {
            // What is far too large is refused as what is a little too large is.
            let body = body::read(body, EVENT_BYTES_MAX).await.map_err(|problem| {
                match problem.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    true => objects::too_large(),
                    false => Refusal::Problem(problem),
                }
            })?;
            return objects::put(door, &asked, &target, &headers, body).await;
        }
        "COPY" | "MOVE" => {
            let is_copy = method.as_str() == "COPY";
            return objects::relocate(door, &asked, &target, &headers, is_copy).await;
        }
        "DELETE" => {
            return match &target {
                Target::Object(calendar, name) => {
                    objects::delete(door, &asked, calendar, name, &headers).await
                }
                Target::Calendar(id) if asked.has(&target).await => {
                    collections::remove_calendar(door, &asked, id).await
                }
                Target::Calendar(_) => Err(Refusal::not_found()),
                _ => Err(Refusal::not_allowed()),
            };
        }
        "PROPFIND" | "PROPPATCH" | "REPORT" | "MKCALENDAR" | "MKCOL" => {}
        _ => return Err(Refusal::not_allowed()),
    }
    let bytes = read(body, BATCH_BYTES_MAX).await?;
    let body = xml::parse(&bytes).map_err(|detail| Refusal::malformed(&detail))?;
    let is_new = matches!(method.as_str(), "MKCALENDAR" | "MKCOL");
    if is_new {
        let is_mkcol = method.as_str() == "MKCOL";
        return collections::make_calendar(door, &asked, &target, body, is_mkcol).await;
    }
    if !asked.has(&target).await {
        return Err(Refusal::not_found());
    }
    match method.as_str() {
        "PROPFIND" => collections::propfind(&asked, target, &headers, body).await,
        "PROPPATCH" => collections::proppatch(door, &asked, &target, body).await,
        _ => {
            let Some(body) = body else {
                return Err(Refusal::malformed("a REPORT has a body that says which"));
            };
            let told = body.child(CALDAV, "timezone").map(Element::text);
            if told.is_some_and(|it| reports::zone_in(&it).is_none()) {
                let detail = "timezone holds a VCALENDAR with one VTIMEZONE";
                let answer = error(StatusCode::FORBIDDEN, "c:valid-calendar-data", "", detail);
                return Err(Refusal::Answer(Box::new(answer)));
            }
            asked.zone = reports::zone_of(Some(&body), &*asked.library.shelf().await, &target);
            let data = body.child(DAV, "prop").and_then(|it| it.child(CALDAV, "calendar-data"));
            asked.wanted = data.map(Wanted::read).transpose()?;
            report(door, &asked, target, body).await
        }
    }
}

/// Refuses what comes with an `If` that doesn't hold.
async fn check_if(asked: &Asked, target: &Target, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(header) = headers.get("if") else { return Ok(()) };
    let shelf = asked.library.shelf().await;
    let etag_of = |address: Option<&str>| match address.map(Target::of) {
        None => shelf.etag(target),
        Some(told) => shelf.etag(&told?),
    };
    match header.to_str().ok().and_then(|it| if_header::holds(it, etag_of)) {
        Some(true) => Ok(()),
        Some(false) => Err(CommandError::Precondition { now: shelf.etag(target) }.into()),
        None => Err(Refusal::malformed("If can't be read: see RFC 4918, section 10.4")),
    }
}

async fn report(
    door: &Door,
    asked: &Asked,
    target: Target,
    body: Element,
) -> Result<Response, Refusal> {
    let is_of_events = matches!(target, Target::Calendar(_) | Target::Object(..) | Target::Home);
    let Name { space, local } = body.name.clone();
    match (space.as_str(), local.as_str()) {
        (CALDAV, "calendar-query") if is_of_events => reports::query(asked, target, body).await,
        (CALDAV, "calendar-multiget") if is_of_events => {
            reports::multiget(asked, target, body).await
        }
        (CALDAV, "free-busy-query") if is_of_events => {
            reports::free_busy(asked, target, body).await
        }
        (DAV, "sync-collection") => match target {
            Target::Calendar(id) => sync::answer(door, asked, id, &body).await,
            _ => Err(unsupported()),
        },
        (DAV, "expand-property") => reports::expand_property(asked, target, body).await,
        (DAV, "principal-match") => reports::match_principals(asked, target, body).await,
        (DAV, "principal-property-search") => reports::search_principals(asked, body).await,
        (DAV, "principal-search-property-set") => Ok(reports::search_properties()),
        _ => Err(unsupported()),
    }
}

fn unsupported() -> Refusal {
    let detail = "this report is not given here; supported-report-set names those that are";
    Refusal::Answer(Box::new(error(StatusCode::FORBIDDEN, "d:supported-report", "", detail)))
}

async fn read(body: Body, max: usize) -> Result<axum::body::Bytes, Refusal> {
    Ok(body::read(body, max).await?)
}

/// Whether a client prefers this (RFC 7240).
pub(crate) fn prefers(headers: &HeaderMap, what: &str) -> bool {
    let mut lines = headers.get_all("prefer").iter().filter_map(|it| it.to_str().ok());
    lines.any(|line| line.split(',').any(|it| it.trim().eq_ignore_ascii_case(what)))
}
