//! Who may use the doors: the operator, who has the node's token, and people with an app password.
//! People may do what an office may; members, users and faults are the operator's alone. The web page's
//! sessions stand for either.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::attempts::Source;
use crate::people::Verdict;
use crate::problem::Problem;
use crate::routes::Door;
use crate::sessions::{SessionId, Whose};
use crate::{browser, login};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Operator,
    /// By name.
    Person(Arc<str>),
}

tokio::task_local! {
    /// Whose request is being answered: so that no route can forget to say on whose behalf it writes.
    static PERSON: Arc<str>;
}

/// The person whose request is being answered, if it is one's.
pub(crate) fn person() -> Option<Arc<str>> {
    PERSON.try_with(Arc::clone).ok()
}

/// Lets the operator through, and people.
pub(crate) async fn require_anyone(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Response {
    pass(&door, request, next, |_| true).await
}

/// Lets the operator through.
pub(crate) async fn require_operator(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Response {
    pass(&door, request, next, |caller| *caller == Caller::Operator).await
}

async fn pass(
    door: &Door,
    mut request: Request,
    next: Next,
    may: impl FnOnce(&Caller) -> bool,
) -> Response {
    let source = source(door, &request);
    let caller = identify(door, request.method(), request.headers(), source).await;
    // Nothing behind this has a use for them, and what isn't there is never logged.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(header::COOKIE);
    let mut response = match caller {
        Ok((caller, session)) if may(&caller) => {
            request.extensions_mut().insert(caller.clone());
            request.extensions_mut().insert(session.map(|(id, _)| id));
            match caller {
                Caller::Operator => next.run(request).await,
                Caller::Person(name) => PERSON.scope(name, next.run(request)).await,
            }
        }
        Ok(_) => {
            let detail = "this is for whoever runs the node: use the token in node.json in its folder, or the command line there";
            Problem::new(StatusCode::FORBIDDEN, "operator-only", detail).into_response()
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Who asks, and by which session, if by one.
pub(crate) async fn identify(
    door: &Door,
    method: &Method,
    headers: &HeaderMap,
    source: Source,
) -> Result<(Caller, Option<(SessionId, Whose)>), Problem> {
    let Some((scheme, secret)) = credentials(headers) else {
        return by_cookie(door, method, headers);
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return check_token(door, secret, source).map(|()| (Caller::Operator, None));
    }
    let basic = scheme.eq_ignore_ascii_case("basic").then(|| name_and_password(secret)).flatten();
    let Some((name, password)) = basic else {
        return Err(refused("neither a token nor a name with a password can be read from it"));
    };
    check_password(door, &name, &password, source).await?;
    Ok((Caller::Person(name.into()), None))
}

/// Browsers send cookies along whichever page asks. So a cookie counts only for what comes from our page:
/// whoever would change something has to prove that, and nobody may say otherwise.
fn by_cookie(
    door: &Door,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(Caller, Option<(SessionId, Whose)>), Problem> {
    let nobody = || refused("no token or password was sent");
    let (id, whose) = login::session(door, headers).ok_or_else(nobody)?;
    if !browser::is_from_own_page(door, method, headers) {
        let detail = "a session is good for this node's own page only: programs send the token or an app password";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
    }
    let caller = match &whose {
        Whose::Operator => Caller::Operator,
        Whose::Person { name, password } if door.people.password_of(name) == Some(*password) => {
            Caller::Person(name.as_str().into())
        }
        Whose::Person { .. } => {
            door.sessions.end(id);
            return Err(refused("the password that began this session was taken back"));
        }
    };
    Ok((caller, Some((id, whose))))
}

/// The right token is never told to wait, whatever others tried: it can't be guessed, and looking costs
/// nothing.
pub(crate) fn check_token(door: &Door, token: &str, source: Source) -> Result<(), Problem> {
    if token.as_bytes().ct_eq(door.token.as_bytes()).into() {
        return Ok(());
    }
    Err(match door.people.wrong_token(source) {
        Some(wait) => too_often(wait),
        None => refused("the token is not this node's"),
    })
}

pub(crate) async fn check_password(
    door: &Door,
    name: &str,
    password: &str,
    source: Source,
) -> Result<(), Problem> {
    match door.people.check(name.to_owned(), password, source).await {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(unknown_password()),
        Verdict::Wait(wait) => Err(too_often(wait)),
        Verdict::Busy => {
            let detail = "too many passwords are being checked; try again in a second";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail))
        }
    }
}

pub(crate) fn unknown_password() -> Problem {
    refused("there is no user with this name and password")
}

fn credentials(headers: &HeaderMap) -> Option<(&str, &str)> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some((scheme, secret.trim()))
}

/// RFC 7617, in UTF-8.
fn name_and_password(encoded: &str) -> Option<(String, Zeroizing<String>)> {
    let bytes = Zeroizing::new(BASE64.decode(encoded.as_bytes()).ok()?);
    let (name, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some((name.to_owned(), Zeroizing::new(password.to_owned())))
}

/// The other end of the connection; or, if that is the proxy, whom the proxy says that it speaks for.
/// What stands before the proxy's own words in the header was made up by anyone.
pub(crate) fn source(door: &Door, request: &Request) -> Source {
    let peer = request.extensions().get().map_or(IpAddr::from([0; 4]), |Peer(address)| *address);
    let forwarded = || {
        let lines = request.headers().get_all("x-forwarded-for");
        lines.iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    Source::from(if door.behind_proxy { forwarded().unwrap_or(peer) } else { peer })
}

fn refused(why: &str) -> Problem {
    let detail = format!(
        "{why}: send the header \"Authorization: Bearer TOKEN\" (the token is in node.json in the node's folder, fasti run --dir), or a name and an app password (fasti user add NAME) as Basic"
    );
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

pub(crate) fn too_often(wait: Duration) -> Problem {
    let seconds = wait.as_secs_f64().ceil() as u64;
    let detail = format!(
        "wrong too often, from this address or for this name: nothing was checked; try again in {seconds} s"
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", detail).retry_after(seconds)
}
