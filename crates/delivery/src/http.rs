//! The HTTP client of webhooks and calendars: HTTP/1.1 and 2, TLS, no redirects, no proxies, no cookies; answers up to a
//! bound, within a time.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
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

/// A URL of HTTP with a host in it.
pub(crate) fn parse(url: &str) -> Result<Uri, TargetError> {
    let uri: Uri = url.parse().map_err(|error| TargetError::url(format!("no URL: {error}")))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(TargetError::url("a host is missing, as in https://crm.example.org/fasti"));
    }
    Ok(uri)
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
