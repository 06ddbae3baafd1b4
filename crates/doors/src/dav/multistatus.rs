//! Answers about several resources (RFC 4918, section 13).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::path::Target;
use super::xml::{Name, Xml};

/// A multistatus that is being written.
pub(crate) struct Multistatus {
    xml: Xml,
    /// Properties that are not there are not named (RFC 8144, section 2.1).
    is_minimal: bool,
}

/// A property and what is in it, which is XML.
pub(crate) type Found = (Name, String);

impl Multistatus {
    pub(crate) fn new(is_minimal: bool) -> Self {
        Self { xml: Xml::document("d:multistatus"), is_minimal }
    }

    /// Responses to be put into another one.
    pub(crate) fn part() -> Self {
        Self { xml: Xml::fragment(), is_minimal: false }
    }

    pub(crate) fn responses(self) -> String {
        self.xml.text
    }

    /// What was asked of a resource.
    pub(crate) fn properties(&mut self, target: &Target, found: &[Found], missing: &[Name]) {
        self.xml.open("d:response");
        self.xml.leaf("d:href", &target.href());
        let is_told = !missing.is_empty() && !self.is_minimal;
        if !found.is_empty() || !is_told {
            self.propstat(StatusCode::OK, found);
        }
        if is_told {
            let missing: Vec<Found> =
                missing.iter().map(|name| (name.clone(), String::new())).collect();
            self.propstat(StatusCode::NOT_FOUND, &missing);
        }
        self.xml.close("d:response");
    }

    /// The same, by status.
    pub(crate) fn statuses(&mut self, target: &Target, all: &[(StatusCode, Vec<Found>)]) {
        self.xml.open("d:response");
        self.xml.leaf("d:href", &target.href());
        for (status, properties) in all.iter().filter(|it| !it.1.is_empty()) {
            self.propstat(*status, properties);
        }
        self.xml.close("d:response");
    }

    fn propstat(&mut self, status: StatusCode, properties: &[Found]) {
        self.xml.open("d:propstat");
        self.xml.open("d:prop");
        for (name, inner) in properties {
            self.xml.with(name, inner);
        }
        self.xml.close("d:prop");
        self.status_line(status);
        self.xml.close("d:propstat");
    }

    /// What became of a resource as a whole; an error is one of WebDAV's own.
    pub(crate) fn status(&mut self, href: &str, status: StatusCode, error: Option<&str>) {
        self.xml.open("d:response");
        self.xml.leaf("d:href", href);
        self.status_line(status);
        if let Some(error) = error {
            self.xml.open("d:error");
            self.xml.empty(error);
            self.xml.close("d:error");
        }
        self.xml.close("d:response");
    }

    fn status_line(&mut self, status: StatusCode) {
        let reason = status.canonical_reason().unwrap_or_default();
        self.xml.leaf("d:status", &format!("HTTP/1.1 {} {reason}", status.as_u16()));
    }

    pub(crate) fn sync_token(&mut self, token: &str) {
        self.xml.leaf("d:sync-token", token);
    }

    pub(crate) fn finish(mut self) -> Response {
        self.xml.close("d:multistatus");
        let mut response = xml(StatusCode::MULTI_STATUS, self.xml);
        if self.is_minimal {
            let applied = HeaderValue::from_static("return=minimal");
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        response
    }
}

pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(crate) fn xml(status: StatusCode, xml: Xml) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/xml; charset=utf-8")];
    (status, content_type, xml.text).into_response()
}

/// A precondition that failed: its name, and what is in it, which is XML.
pub(crate) fn error(status: StatusCode, name: &str, inner: &str, detail: &str) -> Response {
    let mut document = Xml::document("d:error");
    if inner.is_empty() {
        document.empty(name);
    } else {
        document.open(name);
        document.text.push_str(inner);
        document.close(name);
    }
    // For people who look into what their app shows.
    document.text.push_str("<responsedescription xmlns=\"DAV:\">");
    document.say(detail);
    document.text.push_str("</responsedescription>");
    document.close("d:error");
    xml(status, document)
}
