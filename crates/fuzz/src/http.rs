//! Requests to the doors, with a real core behind them.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use fasti_core::OfficeId;
use fasti_core::command::ReportView;
use fasti_core::proof::Evidence;
use fasti_core::step::Appended;
use fasti_doors::{CoreEnd, Guard, Handle, Metric};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::network::{Network, office, signer};
use crate::node::{Node, assert_same};

const TOKEN: &str = "token";

/// What stands between two requests: ASCII's record separator.
const BETWEEN: u8 = 0x1e;

/// Requests at most: enough to write an event, to change it, to read it.
const REQUESTS_MAX: usize = 4;

/// Requests as they would be sent, but that lines end with a line feed: `PUT /v1/events/a`, headers, an empty
/// line, the body.
pub(crate) fn http(bytes: &[u8]) {
    let network = Network::get();
    let requests = bytes.split(|byte| *byte == BETWEEN).filter_map(request);
    let requests: Vec<_> = requests.take(REQUESTS_MAX).collect();
    if requests.is_empty() {
        return;
    }
    let mut founder = Node::open(network.id, signer(1).clone(), network.disk.clone(), None)
        .expect("opens as it was stored");
    for request in requests {
        answer(&mut founder, request);
    }
    let shown = founder.shown();
    assert_eq!(shown["void"], 0, "a caller's edit counts for nothing");
    founder.reopen();
    assert_same(&founder.shown(), &shown, "opened again, it is something else");
}

fn request(bytes: &[u8]) -> Option<Request<Body>> {
    let mut rest = bytes;
    let mut line = || {
        let (line, after) = rest.split_at(rest.iter().position(|byte| *byte == b'\n')?);
        rest = &after[1..];
        Some(line)
    };
    let mut first = line()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
    let headers = request.headers_mut();
    headers.insert("authorization", HeaderValue::from_static("Bearer token"));
    headers.insert("host", HeaderValue::from_static("localhost"));
    while let Some(header) = line().filter(|header| !header.is_empty()) {
        let (name, value) = header.split_at(header.iter().position(|byte| *byte == b':')?);
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?);
    }
    *request.body_mut() = Body::from(rest.to_vec());
    Some(request)
}

fn answer(node: &mut Node, request: Request<Body>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = format!("{request:?}");
    let (status, body) = runtime.expect("a runtime").block_on(async {
        let (handle, CoreEnd { mut requests, appended }) = Handle::new(Arc::new(Outside));
        let answer = async {
            let (token, names) = (TOKEN.into(), Vec::new());
            let guard = Guard { token, tls: None, names, behind_proxy: false };
            let answer = fasti_doors::respond(handle, guard, request).await;
            let response = answer.expect("users that can be read");
            let (head, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            (head, body)
        };
        let core = async {
            while let Some(request) = requests.recv().await {
                let _ = request.reply.send(node.ask(request.command));
            }
            std::future::pending().await
        };
        let _appended = appended;
        tokio::select! {
            biased;
            answer = answer => answer,
            never = core => never,
        }
    });
    assert!(!status.status.is_server_error(), "{status:?} {body:?} to {asked}");
    let content_type = status.headers.get("content-type").map(HeaderValue::as_bytes);
    if content_type.is_some_and(|it| it.ends_with(b"json")) {
        serde_json::from_slice::<Value>(&body).expect("JSON, as it says");
    }
}

/// What doors ask of a node besides its core.
struct Outside;

impl fasti_doors::Node for Outside {
    fn office(&self) -> OfficeId {
        office(1)
    }

    fn addresses(&self) -> Vec<String> {
        vec!["/ip4/127.0.0.1/udp/8378/quic-v1".into()]
    }

    fn unready(&self) -> Option<String> {
        None
    }

    fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }

    fn log_end(&self) -> u64 {
        0
    }

    fn cut(&self, _: BTreeSet<OfficeId>) -> bool {
        false
    }

    fn relayed(&self) -> BTreeSet<OfficeId> {
        BTreeSet::new()
    }

    fn panic_once(&self) -> bool {
        false
    }

    fn users(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn keep_users(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn back_up(&self) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
        let (_, empty) = mpsc::channel(1);
        Ok(empty)
    }

    fn report(&self, _: &Evidence) -> io::Result<ReportView> {
        Err(io::Error::other("there are no entries here"))
    }

    fn bundle(&self, _: Box<Evidence>) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
        Err("there are no entries here".into())
    }

    fn history(&self, _: u64, _: usize) -> io::Result<Vec<Appended>> {
        Ok(Vec::new())
    }
}
