//! The running node, as a call sees it: found through `node.json`, asked over HTTP.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use crate::NodeFile;

/// The node is on this machine: if it doesn't accept by then, it won't.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Commits take milliseconds; a disk or a queue may be slow.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer, in bytes: a page of events is at most some hundred MiB.
const ANSWER_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What the node says of a request that it doesn't do.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Refused {
    /// The status of HTTP.
    pub(crate) status: u16,
    detail: String,
}

/// The running node.
pub(crate) struct Client {
    agent: Agent,
    node: NodeFile,
    dir: PathBuf,
}

impl Client {
    /// Finds the node that runs in this folder.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        Self::find(dir)?.ok_or_else(|| not_running(dir))
    }

    /// The same; none if no node says that it runs there.
    pub(crate) fn find(dir: &Path) -> anyhow::Result<Option<Self>> {
        let node = match NodeFile::read(dir) {
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let file = dir.join("node.json");
                return Err(error).context(format!("{} can't be read", file.display()));
            }
        };
        // The node tells problems in the body of its answer. A proxy from the environment has no
        // business between this machine and itself.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT));
        Ok(Some(Self { agent: node.agent(config.build())?, node, dir: dir.into() }))
    }

    /// Where it is, such as `http://127.0.0.1:8377`.
    pub(crate) fn http(&self) -> &str {
        &self.node.http
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, None, None).map(|(answer, _)| answer)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask("POST", path, None, Some(body)).map(|(answer, _)| answer)
    }

    /// An answer that is no JSON.
    pub(crate) fn text(&self, path: &str) -> anyhow::Result<String> {
        match self.agent.run(self.request("GET", path).body(())?) {
            Ok(mut response) if response.status().is_success() => {
                Ok(response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?)
            }
            Ok(response) => match self.answer(response) {
                Ok(_) => Err(anyhow!("the node at {} answers something else", self.node.http)),
                Err(error) => Err(error),
            },
            Err(error) if nobody_is_there(&error) => Err(not_running(&self.dir)),
            Err(error) => Err(error).context(self.silence()),
        }
    }

    /// Opens an answer that is as long as it is, and takes as long as it takes; none if nobody is there.
    pub(crate) fn stream(&self, path: &str) -> anyhow::Result<Option<impl io::Read + use<>>> {
        let request = self.request("GET", path).body(())?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(None)
            .timeout_recv_response(Some(TIMEOUT))
            .build();
        match self.agent.run(request) {
            Ok(response) if response.status().is_success() => {
                Ok(Some(response.into_body().into_reader()))
            }
            Ok(response) => match self.answer(response) {
                Ok(_) => Err(anyhow!("the node at {} answers something else", self.node.http)),
                Err(error) => Err(error),
            },
            Err(error) if nobody_is_there(&error) => Ok(None),
            Err(error) => Err(error).context(self.silence()),
        }
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.node.http))
            .header("authorization", format!("Bearer {}", self.node.token))
    }

    fn silence(&self) -> String {
        format!("the node at {} (process {}) doesn't answer", self.node.http, self.node.pid)
    }

    /// Asks; the answer comes with the etag that it has, if any. Etags are without quotes here, but
    /// `if_match` may have them.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        if_match: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<(Value, String)> {
        let mut request = self.request(method, path);
        if let Some(etag) = if_match {
            request = request.header("if-match", format!("\"{}\"", etag.trim_matches('"')));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        match self.agent.run(request.body(text)?) {
            Ok(response) => self.answer(response),
            Err(error) if nobody_is_there(&error) => Err(not_running(&self.dir)),
            Err(error) => Err(error).context(self.silence()),
        }
    }

    fn answer(&self, mut response: Response<Body>) -> anyhow::Result<(Value, String)> {
        let status = response.status();
        let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
        let etag = etag.unwrap_or_default().trim_matches('"').to_owned();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        if status.is_success() && text.is_empty() {
            return Ok((Value::Null, etag));
        }
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match answer {
            Some(answer) if status.is_success() => Ok((answer, etag)),
            Some(problem) if problem["detail"].is_string() => {
                let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
                Err(Refused { status: status.as_u16(), detail }.into())
            }
            _ => Err(anyhow!(
                "what answers at {} ({status}) is no Fasti node; start yours: fasti run --dir {}",
                self.node.http,
                self.dir.display()
            )),
        }
    }
}

fn nobody_is_there(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

fn not_running(dir: &Path) -> anyhow::Error {
    anyhow!("no node is running in {0}\nstart it: fasti run --dir {0}", dir.display())
}
