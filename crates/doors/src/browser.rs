//! What a browser can be made to do by pages of others: whom it may bring here, and what its answers
//! carry. A browser sends what it was told once (an app password) with every later request, whichever
//! page asks; so requests that change something must come from a page of ours, or from no page at all.
//! There are no CORS headers: pages of others may read nothing.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv6Addr};

use crate::problem::Problem;
use crate::routes::Door;

/// What a page of ours may do, and no answer needs more: scripts, styles and connections of our own,
/// nothing inline, and no frame around it.
const POLICY: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'";

/// Whether a page's script asks, rather than a person who follows a link or a program that is no browser.
fn is_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
        || headers.contains_key("x-requested-with")
}

/// Whether TLS lies before the door: our own, or a proxy's, which the page's own origin tells.
pub(crate) fn is_https(door: &Door, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    door.https || origin.is_some_and(|origin| origin.starts_with("https://"))
}

/// Whether a request with a cookie comes from a page of ours. [`guard`] lets pass what says nothing of where
/// it comes from, as programs do; but with a cookie, what changes something has to say it. All browsers send
/// `Origin` with such requests. A reading one may come from the address bar (`none`), but from no other
/// origin of this site, such as another port of this machine.
pub(crate) fn is_from_own_page(door: &Door, method: &Method, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let origin = headers.get(header::ORIGIN).map(|origin| is_own_origin(door, origin, headers));
    if method.is_safe() {
        return matches!(site, None | Some(b"same-origin" | b"none")) && origin != Some(false);
    }
    match (site, origin) {
        (_, Some(false)) | (None, None) => false,
        (None, Some(true)) => true,
        (Some(site), _) => site == b"same-origin",
    }
}

/// No page of another origin may take an answer as its picture or script, not even to learn that there is one.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Refuses what a foreign page sent, and marks all answers.
pub(crate) async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    let refusal = misdirected(&door, request.headers())
        .or_else(|| forged(&door, request.method(), request.headers()));
    let is_page = is_page(request.headers());
    let mut response = match refusal {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    if is_page && response.status() == StatusCode::UNAUTHORIZED {
        // Asked for Basic, browsers put a dialog of their own before the page, which knows better.
        let bearer = HeaderValue::from_static("Bearer realm=\"fasti\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    let mut set = |name, value| {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// DNS rebinding: a foreign page's name that was made to lead here. Addresses can't be rebound, and with
/// TLS no browser comes under a name that isn't in the certificate. Whatever is no browser may leave
/// `Host` out.
fn misdirected(door: &Door, headers: &HeaderMap) -> Option<Problem> {
    let host = headers.get(header::HOST).filter(|_| !door.https)?;
    let is_ours = host.to_str().is_ok_and(|authority| {
        let host = without_port(authority);
        host.eq_ignore_ascii_case("localhost")
            || is_address(host)
            || is_told(door, authority)
            || is_told(door, host)
    });
    (!is_ours).then(|| {
        let detail = "this node doesn't know the name in the Host header: ask for it by its address, or tell it the name with fasti run --http-name NAME";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", detail)
    })
}

/// Cross-site request forgery. Browsers say where a request comes from: `Sec-Fetch-Site` (another port
/// of this machine is the same site, but not the same origin), and older ones `Origin`.
fn forged(door: &Door, method: &Method, headers: &HeaderMap) -> Option<Problem> {
    if method.is_safe() {
        return None;
    }
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let is_foreign_site = !matches!(site, None | Some(b"same-origin" | b"none"));
    let is_foreign_origin =
        headers.get(header::ORIGIN).is_some_and(|origin| !is_own_origin(door, origin, headers));
    (is_foreign_site || is_foreign_origin).then(|| {
        let detail = "a page of another origin may not change anything here; if it is this node's own page behind a proxy, tell the node that name with fasti run --http-name NAME";
        Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail)
    })
}

fn is_own_origin(door: &Door, origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|text| text.split_once("://"))
    else {
        return false;
    };
    // Before a plain port may stand a proxy with TLS.
    let fits = scheme == "https" || scheme == "http" && !door.https;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_here = host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
    fits && (is_here || is_told(door, authority))
}

fn is_told(door: &Door, name: &str) -> bool {
    door.names.iter().any(|told| told.eq_ignore_ascii_case(name))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn is_address(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        for (authority, expected) in [
            ("127.0.0.1:8377", true),
            ("127.0.0.1", true),
            ("[::1]:8377", true),
            ("[::1]", true),
            ("::1", false),
            ("127.0.0.1.example.org:8377", false),
            ("example.org", false),
            ("[example.org]", false),
            ("", false),
        ] {
            assert_eq!(is_address(without_port(authority)), expected, "{authority}");
        }
    }
}
