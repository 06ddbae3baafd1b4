//! A calendar on a CalDAV server (RFC 4791), in both directions. A delivery is a PUT of what the event is now, on top of what
//! was agreed last (`If-Match`): so nothing that somebody wrote there is overwritten unread. What was written there is
//! read by [`reading`], and becomes an edit of this office.

mod reading;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use fasti_calendar::{Object, ical};
use fasti_core::entry::BODY_BYTES_MAX;
use fasti_core::outbox::{
    Agreed, Attempt, Delivery, DeliveryState, Outcome, SubscriptionId, Target,
};
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, ETAG, HeaderValue, USER_AGENT};
use hyper::{Response, StatusCode, Uri};
use libdav::caldav::{GetCalendarResources, GetSupportedComponents};
use libdav::dav::{PutResource, mime_types};
use libdav::encoding::normalise_percent_encoded;
use libdav::requests::DavRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

pub(crate) use self::reading::Reading;
use crate::http::{self, Answer, Http};
use crate::reach::Reach;
use crate::{Memory, TargetError, envelope, link};

pub(crate) const EXAMPLE: &str = "caldavs://name:password@cloud.example.org/calendars/office/";

/// How much of an answer is read: a list of 100,000 events, or some events with what is attached to them.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Of answers that say no more than whether it was written.
const SHORT_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest text of an event that is read: what no entry can hold need not be understood.
const TEXT_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Longest part of a name that is taken from the uid.
const NAME_BYTES_MAX: usize = 120;
const LOOK_EVERY_S_MAX: u64 = 3600;

/// How a calendar is kept in step, as whoever subscribes says it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How long to wait for an answer.
    timeout_s: u64,
    /// Authorities to trust instead of the system's: certificates in PEM.
    ca: Option<String>,
    /// How often to look what was changed there.
    look_every_s: u64,
    /// The calendar of the network that events belong to which were made there.
    calendar: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout_s: link::TIMEOUT_S, ca: None, look_every_s: 30, calendar: None }
    }
}

pub(crate) struct CalDav {
    /// The server.
    base: Uri,
    /// The calendar's path, with a slash at its end.
    collection: String,
    login: Option<HeaderValue>,
    options: Options,
    http: Http,
    memory: Arc<dyn Memory>,
    /// What is there, by its path, as far as it was written or read by us.
    there: Mutex<BTreeMap<String, There>>,
    /// Something there is not as it was thought to be.
    surprise: Notify,
    /// Why it can't be read, or what of it.
    problem: Mutex<Option<String>>,
}

#[derive(Clone, Debug)]
struct There {
    uid: String,
    /// None once it was deleted.
    etag: Option<String>,
}

/// What is kept of an event when both sides have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    /// On which server, and in which calendar.
    calendar: String,
    href: String,
    /// None if it was deleted there.
    etag: Option<String>,
    /// As it was written or read there; cancelled if it was deleted.
    text: String,
    /// Of what was sent, where the server made another text of it: whose changes nobody asked for, and that is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
}

impl Receipt {
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A resource as the server has it.
struct Found {
    etag: String,
    text: String,
}

impl CalDav {
    pub(crate) fn new(
        target: &Target,
        reach: Reach,
        memory: Arc<dyn Memory>,
    ) -> Result<Self, TargetError> {
        let options: Options = serde_json::from_str(&target.options)
            .map_err(|error| TargetError::new("options", error.to_string()))?;
        let timeout = link::timeout(options.timeout_s)?;
        if !(1..=LOOK_EVERY_S_MAX).contains(&options.look_every_s) {
            let problem = format!("expected 1 to {LOOK_EVERY_S_MAX} seconds");
            return Err(TargetError::new("look_every_s", problem));
        }
        let rest = target.url.strip_prefix("caldav").unwrap_or(&target.url);
        let (uri, login) = http::parse(&format!("http{rest}"))?;
        if uri.query().is_some() {
            return Err(TargetError::url(format!("expected a calendar's URL, as {EXAMPLE}")));
        }
        let path = normalise_percent_encoded(uri.path());
        let path = path.map_err(|error| TargetError::url(error.to_string()))?;
        let collection = format!("{}/", path.trim_end_matches('/'));
        let http = Http::new(reach, options.ca.as_deref(), timeout)?;
        Ok(Self {
            base: uri,
            collection,
            login,
            options,
            http,
            memory,
            there: Mutex::default(),
            surprise: Notify::new(),
            problem: Mutex::default(),
        })
    }

    pub(crate) fn shown(&self) -> Value {
        let Options { timeout_s, ca, look_every_s, calendar } = &self.options;
        json!({ "timeout_s": timeout_s, "ca": ca, "look_every_s": look_every_s, "calendar": calendar })
    }

    /// Why it can't be read, or what of it.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn there(&self) -> MutexGuard<'_, BTreeMap<String, There>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self, href: &str, uid: &str, etag: Option<&str>) {
        let there = There { uid: uid.to_owned(), etag: etag.map(str::to_owned) };
        self.there().insert(href.to_owned(), there);
    }

    /// The calendar's name in receipts.
    fn name(&self) -> String {
        let authority = self.base.authority().map_or("", |it| it.as_str());
        format!("{authority}{}", self.collection)
    }

    /// What was agreed of an event, unless that was in another calendar, where the subscription led before.
    fn receipt(&self, agreed: &Agreed) -> Option<Receipt> {
        let receipt: Receipt = serde_json::from_slice(&agreed.receipt).ok()?;
        (receipt.calendar == self.name()).then_some(receipt)
    }

    /// Whether it is a calendar that we may read.
    pub(crate) async fn test(&self) -> Result<String, String> {
        let ask = GetSupportedComponents::new(&self.collection);
        let answer = self.ask(&ask, SHORT_ANSWER_BYTES_MAX).await?;
        let found = self.parsed(&ask, &answer)?;
        match &found.components[..] {
            [] => Err(format!("{} is no calendar", self.collection)),
            _ => Ok(format!("{} is a calendar", self.collection)),
        }
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt) -> Outcome {
        match self.put(attempt.subscription.id, &attempt.delivery).await {
            Ok(receipt) => {
                let receipt = receipt.map(|it| it.encode()).unwrap_or_default();
                Outcome::Confirmed { applied: None, receipt }
            }
            Err(Failure { reason, retry_after }) => Outcome::Failed { reason, retry_after },
        }
    }

    /// Gives nothing if there is nothing to be written, as it never was there.
    async fn put(
        &self,
        id: SubscriptionId,
        delivery: &Delivery,
    ) -> Result<Option<Receipt>, Failure> {
        let agreed = self.memory.agreed(id, &delivery.uid)?;
        let before = agreed.and_then(|it| self.receipt(&it));
        let is_cancelled = delivery.state == DeliveryState::Cancelled;
        let Some(mut before) = before else {
            if is_cancelled {
                return Ok(None);
            }
            let href = self.href(&delivery.uid);
            return self.write(delivery, &href, None, written(delivery)).await.map(Some);
        };
        match self.there().get(&before.href) {
            Some(there) if there.uid == delivery.uid => before.etag.clone_from(&there.etag),
            // Another event is there now.
            Some(_) => before.etag = None,
            None => {}
        }
        // Where those who wrote it don't count any more, nobody knows what it was.
        let is_gone = delivery.event.keys().all(|it| ["@type", "uid", "status"].contains(&&**it));
        let text = if is_gone { cancelled(&before.text) } else { written(delivery) };
        let nothing_to_do = match before.etag {
            Some(_) => before.sent == Some(hashed(&text)) || is_same(&before.text, &text),
            None => is_cancelled,
        };
        if nothing_to_do {
            if before.etag.is_none() {
                // Neither side has it: whatever became of it there, that is as it should be.
                self.there().remove(&before.href);
                before.text = cancelled(&before.text);
            }
            return Ok(Some(before));
        }
        self.write(delivery, &before.href, before.etag.as_deref(), text).await.map(Some)
    }

    /// Writes an event where this is there, or nothing.
    async fn write(
        &self,
        delivery: &Delivery,
        href: &str,
        etag: Option<&str>,
        text: String,
    ) -> Result<Receipt, Failure> {
        let uid = &delivery.uid;
        let put = PutResource::new(href);
        let answer = match etag {
            Some(etag) => {
                let put = put.update(&*text, mime_types::CALENDAR, etag);
                self.ask(&put, SHORT_ANSWER_BYTES_MAX).await?
            }
            None => {
                let put = put.create(&*text, mime_types::CALENDAR);
                self.ask(&put, SHORT_ANSWER_BYTES_MAX).await?
            }
        };
        let status = answer.status;
        if status.is_success() {
            let etag = answer.headers.get(ETAG).and_then(|it| it.to_str().ok());
            let (found, sent) = match etag {
                Some(etag) => (Found { etag: etag.to_owned(), text }, None),
                // It is another text there than what was sent (RFC 4791, 5.3.4).
                None => {
                    let found = self.fetch_one(href).await?;
                    (found.ok_or("it is not there after it was written")?, Some(hashed(&text)))
                }
            };
            self.is_there(href, uid, Some(&found.etag));
            return Ok(self.agreed_on(href, found, sent));
        }
        let other = matches!(
            status,
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT | StatusCode::NOT_FOUND
        ) || names(&answer, "no-uid-conflict");
        if other {
            // It may be ours, of an attempt whose answer was lost.
            if let Some(found) = self.fetch_one(href).await?
                && is_same(&found.text, &text)
            {
                self.is_there(href, uid, Some(&found.etag));
                return Ok(self.agreed_on(href, found, None));
            }
            self.surprise.notify_one();
            return Err(format!("{status}: it was changed there, which is read first").into());
        }
        Err(Failure { reason: explained(&answer), retry_after: answer.retry_after() })
    }

    fn agreed_on(&self, href: &str, found: Found, sent: Option<String>) -> Receipt {
        let Found { etag, text } = found;
        let (calendar, href) = (self.name(), href.to_owned());
        Receipt { calendar, href, etag: Some(etag), text, sent }
    }

    /// Where an event goes that is not there yet.
    fn href(&self, uid: &str) -> String {
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        let name = match uid.bytes().all(is_plain)
            && (1..=NAME_BYTES_MAX).contains(&uid.len())
            && !uid.starts_with('.')
        {
            true => uid.to_owned(),
            false => HEXLOWER.encode(&Sha256::digest(uid.as_bytes())[..16]),
        };
        format!("{}{name}.ics", self.collection)
    }

    async fn fetch_one(&self, href: &str) -> Result<Option<Found>, String> {
        let found = self.fetch([href]).await.map_err(|it| it.to_string())?;
        let found = found.into_iter().find(|it| it.0 == href);
        found.map_or(Ok(None), |it| it.1)
    }

    /// What the server has at these paths.
    async fn fetch(
        &self,
        hrefs: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<(String, Result<Option<Found>, String>)>, Trouble> {
        let ask = GetCalendarResources::new(&self.collection).with_hrefs(hrefs);
        let answer = self.ask(&ask, ANSWER_BYTES_MAX).await.map_err(Trouble::Away)?;
        let found = self.parsed(&ask, &answer)?.resources.into_iter().map(|it| {
            let found = match it.content {
                Ok(it) => Ok(Some(Found { etag: it.etag, text: it.data })),
                Err(StatusCode::NOT_FOUND | StatusCode::GONE) => Ok(None),
                Err(status) => Err(status.to_string()),
            };
            (it.href, found)
        });
        Ok(found.collect())
    }

    async fn ask<R: DavRequest>(&self, ask: &R, bytes_max: usize) -> Result<Answer, String> {
        let request = ask.prepare_request(self.base.clone()).map_err(|error| error.to_string())?;
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(http::AGENT));
        if let Some(login) = &self.login {
            request.headers_mut().insert(AUTHORIZATION, login.clone());
        }
        self.http.send(request, bytes_max).await
    }

    fn parsed<R: DavRequest<ParseError: std::fmt::Display>>(
        &self,
        ask: &R,
        answer: &Answer,
    ) -> Result<R::Response, Trouble> {
        if answer.status == StatusCode::NOT_FOUND {
            let reason = format!("{}: there is no calendar at {}", answer.status, self.collection);
            return Err(Trouble::Away(reason));
        }
        if !answer.status.is_success() {
            return Err(Trouble::Away(explained(answer)));
        }
        let parsed = ask.parse_response(&answer.parts(), &answer.body);
        parsed.map_err(|error| Trouble::Odd(error.to_string()))
    }

    fn look_every(&self) -> Duration {
        Duration::from_secs(self.options.look_every_s)
    }
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The server, or the calendar as a whole, is not there for us.
    #[error("{0}")]
    Away(String),
    /// It answered, and nobody understands what.
    #[error("{0}")]
    Odd(String),
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        trouble.to_string()
    }
}

/// Why an attempt failed.
struct Failure {
    reason: String,
    retry_after: Option<u64>,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { reason, retry_after: None }
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

impl Answer {
    fn parts(&self) -> hyper::http::response::Parts {
        let mut parts = Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (self.status, self.headers.clone());
        parts
    }
}

/// Whether an answer names a precondition that failed (RFC 4918, 16).
fn names(answer: &Answer, precondition: &str) -> bool {
    String::from_utf8_lossy(&answer.body).contains(precondition)
}

/// What a server refuses, in words.
fn explained(answer: &Answer) -> String {
    let known = [
        ("supported-calendar-component", "this calendar takes no such component"),
        ("valid-calendar-data", "the server takes what it was sent for no valid iCalendar"),
        ("max-resource-size", "it is larger than the server takes"),
        ("quota-not-exceeded", "there is no room left on the server"),
        ("need-privileges", "the name that was given may not do this"),
    ];
    if let Some((_, words)) = known.iter().find(|it| names(answer, it.0)) {
        return format!("{}: {words}", answer.status);
    }
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            format!("{}: name or password are wrong; give both in the URL", answer.status)
        }
        _ => answer.said(),
    }
}

/// An event for calendar programs: without what they have no place for, and could lose.
pub(crate) fn written(delivery: &Delivery) -> String {
    let mut event = envelope::as_told(delivery);
    event.retain(|name, _| !name.starts_with("fasti:") || name == ical::KEPT);
    ical::write(&[event])
}

/// The only event in a text.
fn event_in(text: &str) -> Result<Object, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("it has {} bytes, and at most {TEXT_BYTES_MAX} are read", text.len()));
    }
    let mut file = ical::read(text.as_bytes());
    match (file.events.len(), file.problems.first()) {
        (1, _) => Ok(file.events.remove(0).1),
        (0, Some(problem)) => Err(problem.to_string()),
        (count, _) => {
            Err(format!("expected one event or task with its occurrences, found {count}"))
        }
    }
}

/// Whether two texts say the same.
fn is_same(one: &str, other: &str) -> bool {
    match (event_in(one), event_in(other)) {
        (Ok(one), Ok(other)) => {
            ical::changed(&one, &other).is_empty() && ical::changed(&other, &one).is_empty()
        }
        _ => one == other,
    }
}

fn hashed(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text)[..16])
}

/// The same event, cancelled.
fn cancelled(text: &str) -> String {
    match event_in(text) {
        Ok(mut event) => {
            envelope::cancel(&mut event);
            ical::write(&[event])
        }
        Err(_) => text.to_owned(),
    }
}
