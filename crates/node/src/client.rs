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

/// The running node.
pub(crate) struct Client {
    agent: Agent,
    node: NodeFile,
    dir: PathBuf,
}

impl Client {
    /// Finds the node that runs in this folder.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let node = match NodeFile::read(dir) {
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running(dir)),
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
        Ok(Self { agent: node.agent(config.build())?, node, dir: dir.into() })
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, None, None).map(|(answer, _)| answer)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask("POST", path, None, Some(body)).map(|(answer, _)| answer)
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
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.node.http))
            .header("authorization", format!("Bearer {}", self.node.token));
        if let Some(etag) = if_match {
            request = request.header("if-match", format!("\"{}\"", etag.trim_matches('"')));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        match self.agent.run(request.body(text)?) {
            Ok(response) => self.answer(response),
            Err(ureq::Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(not_running(&self.dir))
            }
            Err(ureq::Error::ConnectionFailed) => Err(not_running(&self.dir)),
            Err(error) => Err(error).context(format!(
                "the node at {} (process {}) doesn't answer",
                self.node.http, self.node.pid
            )),
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
                Err(anyhow!("{}", problem["detail"].as_str().unwrap_or_default()))
            }
            _ => Err(anyhow!(
                "what answers at {} ({status}) is no Fasti node; start yours: fasti run --dir {}",
                self.node.http,
                self.dir.display()
            )),
        }
    }
}

fn not_running(dir: &Path) -> anyhow::Error {
    anyhow!("no node is running in {0}\nstart it: fasti run --dir {0}", dir.display())
}
