//! Which path leads where, and who may go there.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::dav::Library;
use crate::feeds::Feeds;
use crate::people::People;
use crate::problem::Problem;
use crate::sessions::Sessions;
use crate::{
    Guard, Handle, auth, backup, bookings, browser, calendars, conflicts, dav, events, faults,
    feeds, login, members, openapi, page, policies, probes, publish, report, stream, subscriptions,
    users,
};

/// What every route may use.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) handle: Handle,
    pub(crate) token: Arc<str>,
    pub(crate) people: Arc<People>,
    pub(crate) library: Arc<Library>,
    pub(crate) feeds: Feeds,
    pub(crate) sessions: Arc<Sessions>,
    /// Whether TLS ends here.
    pub(crate) https: bool,
    /// See [`crate::Guard::names`].
    pub(crate) names: Arc<[String]>,
    /// See [`crate::Guard::behind_proxy`].
    pub(crate) behind_proxy: bool,
    /// Becomes true when the server stops: answers without an end must end then.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Door {
    pub(crate) fn new(
        handle: Handle,
        guard: &Guard,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        Ok(Self {
            people: People::load(handle.clone())?,
            library: Arc::default(),
            feeds: Feeds::load(&handle)?,
            sessions: Arc::new(Sessions::new()),
            handle,
            token: Arc::clone(&guard.token),
            https: guard.tls.is_some(),
            names: guard.names.clone().into(),
            behind_proxy: guard.behind_proxy,
            stopping,
        })
    }
}

pub(crate) fn router(door: Door) -> Router {
    let of = |routes: &[(&str, MethodRouter<Door>)]| {
        let add = |router: Router<Door>, (path, methods): &(&str, MethodRouter<Door>)| {
            router.route(path, methods.clone())
        };
        routes.iter().fold(Router::new(), add)
    };
    let operators = from_fn_with_state(door.clone(), auth::require_operator);
    let anyones = from_fn_with_state(door.clone(), auth::require_anyone);
    of(&open_routes())
        .merge(of(&well_known_routes()))
        .merge(of(&dav_routes()).route_layer(anyones.clone()).route_layer(from_fn(dav::introduce)))
        .merge(of(&page_routes()))
        // Browsers get the page, and calendar apps that look there what they look for.
        .route(
            "/",
            get(page::index).fallback_service(
                any(dav::elsewhere)
                    .layer(anyones.clone())
                    .layer(from_fn(dav::introduce))
                    .with_state(door.clone()),
            ),
        )
        .merge(of(&shared_routes()).route_layer(anyones))
        .merge(of(&operator_routes()).route_layer(operators))
        .fallback(async |uri: Uri| {
            let detail = format!("there is nothing at {}; see /v1/openapi.json", uri.path());
            Problem::new(StatusCode::NOT_FOUND, "unknown-path", detail)
        })
        .method_not_allowed_fallback(async || {
            let detail = "this path has other methods; the Allow header names them";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .layer(from_fn_with_state(door.clone(), browser::guard))
        .with_state(door)
}

/// Routes for the operator and for people with an app password.
pub(crate) fn shared_routes() -> [(&'static str, MethodRouter<Door>); 30] {
    [
        ("/v1/publish", post(publish::publish)),
        ("/v1/events", get(events::list).post(events::create)),
        (
            "/v1/events/{uid}",
            get(events::read).put(events::put).patch(events::patch).delete(events::cancel),
        ),
        ("/v1/events/{uid}/history", get(events::history)),
        ("/v1/calendars", get(calendars::list)),
        ("/v1/calendars/{id}", patch(calendars::edit)),
        ("/v1/stream", get(stream::stream)),
        ("/v1/members", get(members::list)),
        ("/v1/members/former", get(members::former)),
        ("/v1/status", get(members::status)),
        ("/v1/resources", get(bookings::resources).post(bookings::add)),
        ("/v1/resources/{id}", patch(bookings::edit)),
        ("/v1/resources/{id}/accept", post(bookings::accept)),
        ("/v1/resources/{id}/free", get(bookings::free)),
        ("/v1/bookings", get(bookings::list).post(bookings::book)),
        ("/v1/bookings/{uid}", delete(bookings::cancel)),
        ("/v1/subscriptions", get(subscriptions::list)),
        ("/v1/subscriptions/{name}", get(subscriptions::read)),
        ("/v1/deliveries", get(subscriptions::deliveries)),
        ("/v1/deliveries/{system}/{uid}", get(subscriptions::delivery_of)),
        ("/v1/report", get(report::report)),
        ("/v1/policies", get(policies::list)),
        ("/v1/policies/{id}", get(policies::read)),
        ("/v1/policies/{id}/propose", post(policies::propose)),
        ("/v1/policies/{id}/approve", post(policies::approve)),
        ("/v1/policies/{id}/withdraw", post(policies::withdraw)),
        ("/v1/conflicts", get(conflicts::list)),
        ("/v1/conflicts/{id}/resolve", post(conflicts::resolve)),
        ("/v1/openapi.json", get(openapi::document)),
        ("/metrics", get(probes::metrics)),
    ]
}

/// Where calendar apps that know nothing but the host begin (RFC 6764, section 5). They don't log in for this.
fn well_known_routes() -> [(&'static str, MethodRouter<Door>); 2] {
    ["/.well-known/caldav", "/.well-known/caldav/"].map(|path| (path, any(dav::well_known)))
}

/// Routes for calendar apps, where methods are not told apart by the path.
fn dav_routes() -> [(&'static str, MethodRouter<Door>); 5] {
    [
        ("/dav", any(dav::serve)),
        ("/dav/", any(dav::serve)),
        ("/dav/{*path}", any(dav::serve)),
        ("/principals", any(dav::elsewhere)),
        ("/principals/", any(dav::elsewhere)),
    ]
}

/// Routes for the operator alone: who else gets in, here or to the network, is not for those to say who
/// were let in; nor where this node sends what it knows.
pub(crate) fn operator_routes() -> [(&'static str, MethodRouter<Door>); 15] {
    [
        ("/v1/session/link", post(login::link)),
        ("/v1/backup", get(backup::stream)),
        ("/v1/members/{office}", delete(members::remove)),
        ("/v1/successor", post(members::succeed)),
        ("/v1/invite", post(members::invite)),
        ("/v1/users", get(users::list).post(users::add)),
        ("/v1/users/{name}", delete(users::remove)),
        ("/v1/feeds", get(feeds::list).post(feeds::add)),
        ("/v1/feeds/{id}", delete(feeds::remove)),
        ("/v1/subscriptions", post(subscriptions::add)),
        ("/v1/subscriptions/{name}", patch(subscriptions::edit).delete(subscriptions::remove)),
        ("/v1/subscriptions/{name}/rotate", post(subscriptions::rotate)),
        ("/v1/subscriptions/{name}/test", post(subscriptions::test)),
        ("/v1/subscriptions/{name}/replay", post(subscriptions::replay)),
        ("/v1/faults", put(faults::set)),
    ]
}

/// Routes for whoever has no token of the node: probes, readers of feeds, and who has yet to log in.
pub(crate) fn open_routes() -> [(&'static str, MethodRouter<Door>); 4] {
    [
        ("/v1/session", get(login::who).post(login::begin).delete(login::end)),
        ("/healthz", get(probes::healthy)),
        ("/readyz", get(probes::ready)),
        ("/feeds/{file}", get(feeds::read)),
    ]
}

/// The rest of the web page, which holds nothing of the calendar: it asks the other routes.
fn page_routes() -> [(&'static str, MethodRouter<Door>); 1] {
    [("/assets/{name}", get(page::asset))]
}

/// The one parameter of a path.
pub(crate) struct Id<T = String>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Door> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, door).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(error) => Err(Problem::malformed(format!("the path can't be read: {error}"))),
        }
    }
}

/// The query's parameters.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    match Query::try_from_uri(uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(error) => Err(Problem::malformed(error.to_string())),
    }
}

/// A text, such as a uid, as one segment of a path or one value of a query: whatever RFC 3986 gives a
/// meaning is percent-encoded.
pub fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(byte.into());
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_become_one_segment_of_a_path() {
        assert_eq!(path_segment("policy-A.1/ü"), "policy-A.1%2F%C3%BC");
    }
}
