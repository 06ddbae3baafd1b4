//! Webhooks: a CloudEvent by POST, signed as Standard Webhooks has it. Any 2xx confirms it; 410 ends the subscription;
//! all else is tried again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fasti_core::outbox::{Attempt, Outcome, Secret, Subscription, Target};
use fasti_receiver::Secret as Key;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{self, Answer, Http};
use crate::reach::Reach;
use crate::{TargetError, envelope};

/// How much of an answer is read: what it says is one line.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 16;
const TIMEOUT_S_MAX: u64 = 60;

/// How a webhook is called, as whoever subscribes says it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How long to wait for an answer.
    timeout_s: u64,
    /// Authorities to trust instead of the system's: certificates in PEM.
    ca: Option<String>,
    /// To be sent as well; they may hold secrets.
    headers: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout_s: 15, ca: None, headers: BTreeMap::new() }
    }
}

pub(crate) struct Webhook {
    uri: Uri,
    options: Options,
    headers: HeaderMap,
    http: Http,
}

impl Webhook {
    pub(crate) fn new(target: &Target, reach: Reach) -> Result<Self, TargetError> {
        let options: Options = serde_json::from_str(&target.options)
            .map_err(|error| TargetError::new("options", error.to_string()))?;
        if !(1..=TIMEOUT_S_MAX).contains(&options.timeout_s) {
            let problem = format!("expected 1 to {TIMEOUT_S_MAX} seconds");
            return Err(TargetError::new("timeout_s", problem));
        }
        let (uri, login) = http::parse(&target.url)?;
        let mut headers = named(&options.headers)?;
        if let Some(login) = login {
            headers.insert(AUTHORIZATION, login);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(http::AGENT));
        let timeout = Duration::from_secs(options.timeout_s);
        let http = Http::new(reach, options.ca.as_deref(), timeout)?;
        Ok(Self { uri, options, headers, http })
    }

    pub(crate) fn shown(&self) -> Value {
        let names: Vec<&String> = self.options.headers.keys().collect();
        json!({ "timeout_s": self.options.timeout_s, "ca": self.options.ca, "headers": names })
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt) -> Outcome {
        let Attempt { subscription, delivery, .. } = attempt;
        let body = envelope::cloud_event(delivery).to_string();
        match self.post(subscription, &envelope::id(delivery), body).await {
            Ok(answer) => outcome(&answer),
            Err(reason) => Outcome::Failed { reason, retry_after: None },
        }
    }

    /// With an event that no calendar has.
    pub(crate) async fn test(&self, subscription: &Subscription) -> Result<String, String> {
        let now = now();
        let id = format!("test-{}-{now}", subscription.id);
        let body = json!({
            "specversion": "1.0",
            "id": id,
            "source": "/fasti/test",
            "type": "fasti_test",
            "time": jiff::Timestamp::from_second(now).unwrap_or_default().to_string(),
            "datacontenttype": "application/json",
            "data": { "message": "A test: this system would be told of changes like this." },
        });
        let answer = self.post(subscription, &id, body.to_string()).await?;
        match outcome(&answer) {
            Outcome::Confirmed { .. } => Ok(answer.said()),
            Outcome::Failed { reason, .. } | Outcome::Gone { reason } => Err(reason),
        }
    }

    async fn post(
        &self,
        subscription: &Subscription,
        id: &str,
        body: String,
    ) -> Result<Answer, String> {
        let now = now();
        let sign = |secret: &Secret| Key::new(secret.0.clone()).sign(id, now, body.as_bytes());
        let signatures: Vec<String> =
            subscription.secrets(now.saturating_mul(1000)).iter().map(sign).collect();
        let mut request = Request::post(self.uri.clone())
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signatures.join(" "))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        self.http.send(request, ANSWER_BYTES_MAX).await
    }
}

fn outcome(answer: &Answer) -> Outcome {
    let status = answer.status;
    if status.is_success() {
        return Outcome::Confirmed { applied: applied(&answer.body), receipt: Vec::new() };
    }
    if status == StatusCode::GONE {
        return Outcome::Gone { reason: answer.said() };
    }
    let mut reason = answer.said();
    if status.is_redirection() {
        let to =
            answer.headers.get(LOCATION).and_then(|it| it.to_str().ok()).unwrap_or("elsewhere");
        reason = format!(
            "{status}: it points to {to}, which is not followed; subscribe with that URL if it is right"
        );
    }
    Outcome::Failed { reason, retry_after: answer.retry_after() }
}

/// The version that a receiver says it applied: `{"status": "ok", "applied": "…"}`.
fn applied(body: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Value>(body).ok()?.get("applied")? {
        Value::String(version) => Some(version.clone()),
        Value::Number(version) => Some(version.to_string()),
        _ => None,
    }
}

fn named(headers: &BTreeMap<String, String>) -> Result<HeaderMap, TargetError> {
    let wrong = |problem: String| TargetError::new("headers", problem);
    if headers.len() > HEADERS_MAX {
        return Err(wrong(format!("at most {HEADERS_MAX}")));
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let header: HeaderName =
            name.parse().map_err(|_| wrong(format!("{name:?} is no header")))?;
        let ours = ["content-type", "content-length", "host", "transfer-encoding", "connection"];
        if ours.contains(&header.as_str()) || header.as_str().starts_with("webhook-") {
            return Err(wrong(format!("{name:?} is set by Fasti")));
        }
        let value = HeaderValue::from_str(value);
        map.insert(header, value.map_err(|_| wrong(format!("the value of {name:?} is none")))?);
    }
    Ok(map)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
