//! Errors as people and programs see them: RFC 9457 problem documents whose `detail` says what to do.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fasti_core::CommandError;
use serde_json::{Value, json};

/// Seconds after which a caller should try again what the node could not do yet.
const RETRY_AFTER_S: u64 = 1;

/// What went wrong, and what would help.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of `type`: a stable name for programs.
    name: &'static str,
    detail: String,
    /// A member beyond RFC 9457's own.
    more: Option<(&'static str, String)>,
    /// Seconds.
    retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S);
        Self { status, name, detail: detail.into(), more: None, retry_after }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The request can't be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// The core answered something else than it was asked: a bug, but not the caller's.
    pub(crate) fn unexpected() -> Self {
        let detail = "the node answered what was not asked; please report this";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Whether it says that nobody knows who asks.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// The document; also an item of a batch's answer.
    pub(crate) fn to_json(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:fasti:problem:{}", self.name),
            "title": title(self.name),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some((member, value)) = &self.more {
            document[*member] = json!(value);
        }
        document
    }
}

/// `unknown-event` as people read it.
fn title(name: &str) -> String {
    let mut text = name.replace('-', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let mut add = |name, value| headers.append(name, HeaderValue::from_static(value));
        add(header::CONTENT_TYPE, "application/problem+json");
        if self.status == StatusCode::UNAUTHORIZED {
            add(header::WWW_AUTHENTICATE, "Bearer realm=\"fasti\"");
            add(header::WWW_AUTHENTICATE, "Basic realm=\"fasti\", charset=\"UTF-8\"");
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        (self.status, headers, self.to_json().to_string()).into_response()
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let (status, name) = match &error {
            CommandError::UnknownEvent(_) => (StatusCode::NOT_FOUND, "unknown-event"),
            CommandError::UnknownPolicy(_) => (StatusCode::NOT_FOUND, "unknown-policy"),
            CommandError::UnknownConflict(_) => (StatusCode::NOT_FOUND, "unknown-conflict"),
            CommandError::UnknownResource(_) => (StatusCode::NOT_FOUND, "unknown-resource"),
            CommandError::UnknownSystem(_) => (StatusCode::NOT_FOUND, "unknown-system"),
            CommandError::NotOwed { .. } => (StatusCode::NOT_FOUND, "not-owed"),
            CommandError::UnknownMember(_) => (StatusCode::NOT_FOUND, "unknown-member"),
            CommandError::Precondition { .. } => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed")
            }
            CommandError::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            CommandError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            CommandError::NotAllowed(_) => (StatusCode::FORBIDDEN, "not-allowed"),
            CommandError::Ticket(_) => (StatusCode::FORBIDDEN, "ticket-not-valid"),
            CommandError::Storage(_) => (StatusCode::INSUFFICIENT_STORAGE, "storage"),
            CommandError::NotYetMember(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-yet-member"),
            CommandError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let problem = Self::new(status, name, error.to_string());
        match error {
            CommandError::Precondition { now: Some(etag) } => {
                Self { more: Some(("etag", etag)), ..problem }
            }
            CommandError::Invalid { path, .. } => Self { more: Some(("path", path)), ..problem },
            _ => problem,
        }
    }
}
