//! The HTTP client of webhooks and calendars: HTTP/1.1 and 2, TLS, no redirects, no proxies, no cookies; answers up to a
//! bound, within a time.

use std::error::Error;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};

use crate::reach::Reach;
use crate::{TargetError, tls};

/// Before a connection is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that nobody uses are closed before the usual server closes them, so that no request meets one that is
/// about to be.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that are kept for the next deliveries.
const IDLE_MAX: usize = 32;
/// So often it is asked whether the other side of an HTTP/2 connection is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How much of an answer people are shown.
const SHOWN_CHARS_MAX: usize = 120;
/// What clients say that they are.
pub(crate) const AGENT: &str = concat!("fasti/", env!("CARGO_PKG_VERSION"));

/// A client for one target.
pub(crate) struct Http {
    reach: Reach,
    timeout: Duration,
    client: Client<HttpsConnector<HttpConnector<Reach>>, Full<Bytes>>,
}

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The status, and the beginning of what was said with it.
    pub(crate) fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|it| !it.is_control())
            .take(SHOWN_CHARS_MAX)
            .collect();
        match line.as_str() {
            "" => self.status.to_string(),
            line => format!("{}: {line}", self.status),
        }
    }

    /// For how long it wants to be left alone, if it says so, in microseconds: in seconds or as a date (RFC 9110, 10.2.3).
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let asks = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        let value = self.headers.get(RETRY_AFTER).filter(|_| asks.contains(&self.status))?;
        let text = value.to_str().ok()?.trim();
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let at = httpdate::parse_http_date(text).ok()?;
                at.duration_since(SystemTime::now()).unwrap_or_default().as_secs()
            }
        };
        Some(seconds.saturating_mul(1_000_000))
    }
}

impl Http {
    /// With authorities of the target's own (PEM), or those of the system.
    pub(crate) fn new(
        reach: Reach,
        ca: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, TargetError> {
        let tls = tls::config(ca)?;
        let mut tcp = HttpConnector::new_with_resolver(reach);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = https.enable_all_versions().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build(https);
        Ok(Self { reach, timeout, client })
    }

    /// Sends a request, and reads so much of the answer at most; what is longer, or comes too late, is cut off.
    ///
    /// # Errors
    /// Why there was no answer, for people.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<Answer, String> {
        // An address that is written out is not resolved.
        let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        if let Some(problem) = host.parse().ok().and_then(|ip| self.reach.refuses(ip)) {
            return Err(problem);
        }
        let seconds = self.timeout.as_secs();
        let until = Instant::now() + self.timeout;
        let response = timeout_at(until, self.client.request(request)).await;
        let response = response.map_err(|_| format!("no answer within {seconds} s"))?;
        let (parts, body) =
            response.map_err(|error| causes(error.source().unwrap_or(&error)))?.into_parts();
        // Whatever becomes of the body, the status was said: a receiver that confirmed has the delivery.
        let mut read = Vec::new();
        let _ = timeout_at(until, read_up_to(body_max, body, &mut read)).await;
        Ok(Answer { status: parts.status, headers: parts.headers, body: read.into() })
    }
}

async fn read_up_to(max: usize, mut body: Incoming, read: &mut Vec<u8>) {
    while read.len() < max
        && let Some(Ok(frame)) = body.frame().await
    {
        let Ok(data) = frame.into_data() else { continue };
        read.extend(&data[..data.len().min(max - read.len())]);
    }
}

/// A URL of HTTP with a host in it, and the name and the password that it was given with, as a header.
pub(crate) fn parse(url: &str) -> Result<(Uri, Option<HeaderValue>), TargetError> {
    let (url, login) = split_login(url);
    let uri: Uri = url.parse().map_err(|error| TargetError::url(format!("no URL: {error}")))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(TargetError::url("a host is missing, as in https://crm.example.org/fasti"));
    }
    let basic = |login: String| {
        let basic = format!("Basic {}", BASE64.encode(login.as_bytes()));
        HeaderValue::from_str(&basic).map_err(|error| TargetError::url(error.to_string()))
    };
    Ok((uri, login.map(basic).transpose()?))
}

/// A URL without the name and the password in it, and these.
fn split_login(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((login, host)) => {
            let login = percent_decode_str(login).decode_utf8_lossy().into_owned();
            (format!("{scheme}://{host}{}", &rest[end..]), Some(login))
        }
        None => (url.to_owned(), None),
    }
}

/// An error and what led to it: the client's own words say little.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut all = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Many say again what their cause says.
        if !all.last().is_some_and(|last| last.contains(&text)) {
            all.push(text);
        }
        next = cause.source();
    }
    all.join(": ")
}
