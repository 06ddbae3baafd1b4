//! A CalDAV server with whims: one calendar, in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;

pub(crate) const COLLECTION: &str = "/cal/office/";

/// How it differs from a good one.
#[derive(Clone, Default)]
pub(crate) struct Whims {
    pub(crate) knows_no_sync: bool,
    /// It takes no token twice.
    pub(crate) forgets_tokens: bool,
    /// It lists one change at a time.
    pub(crate) parts: bool,
    /// It adds lines to what it is given, and says no etag.
    pub(crate) rewrites: bool,
    /// Of each two answers to the same, the first is an error, and what was written is there.
    pub(crate) loses_answers: bool,
    /// It lists all but this, as a list that is older than it.
    pub(crate) omits: Option<String>,
    /// It gives this to nobody.
    pub(crate) forbids: Option<String>,
    /// It answers this to everything.
    pub(crate) refuses: Option<(u16, String)>,
}

#[derive(Default)]
struct Calendar {
    whims: Whims,
    /// By name: the number of the change, and the text, if it is there.
    resources: BTreeMap<String, (u64, Option<String>)>,
    changes: u64,
    puts: usize,
}

impl Calendar {
    fn change(&mut self, name: &str, text: Option<String>) {
        self.changes += 1;
        self.resources.insert(name.to_owned(), (self.changes, text));
    }

    fn etag(&self, name: &str) -> Option<String> {
        let (change, text) = self.resources.get(name)?;
        text.as_ref().map(|_| format!("\"{change}\""))
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    calendar: Arc<Mutex<Calendar>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(whims: Whims) -> Self {
        let calendar = Arc::new(Mutex::new(Calendar { whims, ..Calendar::default() }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&calendar));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, calendar, task }
    }

    fn calendar(&self) -> MutexGuard<'_, Calendar> {
        self.calendar.lock().unwrap()
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        self.calendar().change(name, Some(text.to_owned()));
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{text}");
        self.put(name, &text.replace(from, to));
    }

    pub(crate) fn delete(&self, name: &str) {
        self.calendar().change(name, None);
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.calendar().resources[name].1.clone().unwrap()
    }

    pub(crate) fn puts(&self) -> usize {
        self.calendar().puts
    }
}

fn response(status: u16, etag: Option<String>, body: String) -> Response {
    let mut response = Response::builder().status(status);
    if let Some(etag) = etag {
        response = response.header("etag", etag);
    }
    response.body(Body::from(body)).unwrap()
}

fn multistatus(inside: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\">{inside}</D:multistatus>"
    );
    response(207, None, body)
}

fn found(name: &str, props: &str) -> String {
    format!(
        "<D:response><D:href>{COLLECTION}{name}</D:href><D:propstat><D:prop>{props}</D:prop>\
         <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    )
}

fn missing(name: &str) -> String {
    format!(
        "<D:response><D:href>{COLLECTION}{name}</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>"
    )
}

async fn answer(State(calendar): State<Arc<Mutex<Calendar>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let mut it = calendar.lock().unwrap();
    if let Some((status, body)) = it.whims.refuses.clone() {
        return response(status, None, body);
    }
    let name = parts.uri.path().strip_prefix(COLLECTION).unwrap().to_owned();
    let header = |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok());
    let listed = |it: &Calendar, name: &str| match it.etag(name) {
        Some(etag) => found(name, &format!("<D:getetag>{etag}</D:getetag>")),
        None => missing(name),
    };
    match parts.method.as_str() {
        "PUT" => {
            it.puts += 1;
            let etag = it.etag(&name);
            let holds = header("if-match").is_none_or(|wanted| etag.as_deref() == Some(wanted))
                && (header("if-none-match").is_none() || etag.is_none());
            if !holds {
                return response(412, None, String::new());
            }
            let text = match it.whims.rewrites {
                true => body.replace("END:VEVENT", &format!("X-SERVER:{}\r\nEND:VEVENT", it.puts)),
                false => body,
            };
            it.change(&name, Some(text));
            match it.whims.loses_answers {
                true => response(500, None, String::new()),
                false => {
                    let etag = it.etag(&name).filter(|_| !it.whims.rewrites);
                    response(201, etag, String::new())
                }
            }
        }
        "REPORT" if body.contains("calendar-multiget") => {
            let mut inside = String::new();
            for part in body.split("<D:href>").skip(1) {
                let href = part.split('<').next().unwrap();
                let name = href.strip_prefix(COLLECTION).unwrap();
                if it.whims.forbids.as_deref() == Some(name) {
                    inside += &missing(name).replace("404 Not Found", "403 Forbidden");
                    continue;
                }
                inside += &match it.resources.get(name) {
                    Some((change, Some(text))) => found(
                        name,
                        &format!(
                            "<D:getetag>\"{change}\"</D:getetag><C:calendar-data>{text}</C:calendar-data>"
                        ),
                    ),
                    _ => missing(name),
                };
            }
            multistatus(&inside)
        }
        "REPORT" if it.whims.knows_no_sync => response(415, None, String::new()),
        "REPORT" => {
            let token = body.split_once("<D:sync-token>").map(|it| it.1.split('<').next().unwrap());
            // Those that go on with a list are good, those that begin a new one are not.
            let since: u64 = token.map_or(0, |it| it.trim_end_matches('+').parse().unwrap());
            if it.whims.forgets_tokens && token.is_some_and(|it| !it.ends_with('+')) {
                return response(
                    403,
                    None,
                    "<D:error xmlns:D='DAV:'><D:valid-sync-token/></D:error>".into(),
                );
            }
            let mut changed: Vec<(&String, &(u64, Option<String>))> = it
                .resources
                .iter()
                .filter(|(_, (at, text))| *at > since && (token.is_some() || text.is_some()))
                .collect();
            changed.sort_by_key(|it| it.1.0);
            let mut inside = String::new();
            let (mut end, mut mark) = (it.changes, "");
            if it.whims.parts && changed.len() > 1 {
                changed.truncate(1);
                (end, mark) = (changed[0].1.0, "+");
                write!(
                    inside,
                    "<D:response><D:href>{COLLECTION}</D:href><D:status>HTTP/1.1 507 Insufficient Storage</D:status></D:response>"
                )
                .unwrap();
            } else if !changed.is_empty() {
                mark = "+";
            }
            for (name, _) in changed {
                inside += &listed(&it, name);
            }
            write!(inside, "<D:sync-token>{end}{mark}</D:sync-token>").unwrap();
            multistatus(&inside)
        }
        "PROPFIND" => {
            let omits = |name: &str| it.whims.omits.as_deref() == Some(name);
            let there = it.resources.iter().filter(|it| it.1.1.is_some() && !omits(it.0));
            let inside: String = there.map(|(name, _)| listed(&it, name)).collect();
            multistatus(&inside)
        }
        other => panic!("{other}"),
    }
}
