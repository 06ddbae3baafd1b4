//! A client over real HTTP.

use fasti_doors::fake::Fake;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

/// An answer.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem document that says these words.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, name: &str, words: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:fasti:problem:{name}"));
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string());
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
}

pub(crate) fn agent() -> Agent {
    ureq::config::Config::builder().http_status_as_error(false).proxy(None).build().into()
}

/// `request` is a method and a path; the token is sent unless `headers` have an `authorization`.
pub(crate) fn send(fake: &Fake, request: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let (method, path) = request.split_once(' ').unwrap();
    let mut request =
        Request::builder().method(method).uri(format!("http://{}{path}", fake.address));
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        request = request.header("authorization", format!("Bearer {}", Fake::TOKEN));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent().run(request.body(body.to_owned()).unwrap()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    Got { status: response.status().as_u16(), headers: response.headers().clone(), text }
}

pub(crate) fn json(fake: &Fake, request: &str, body: &str) -> Got {
    send(fake, request, &[("content-type", "application/json")], body)
}
