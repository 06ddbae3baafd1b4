//! A node's HTTP API, as a program sees it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fasti_node::NodeFile;
use serde_json::{Value, json};
use ureq::Agent;

/// A client of one node.
#[derive(Clone, Debug)]
pub struct Api {
    agent: Agent,
    http: String,
    token: String,
}

/// An answer: status, etag and body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Without quotes; empty if there is none.
    pub etag: String,
    /// JSON, or null.
    pub body: Value,
}

impl Api {
    /// For the node that wrote this.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn new(file: &NodeFile) -> anyhow::Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(5)))
            .max_idle_connections_per_host(64);
        Ok(Self {
            agent: file.agent(config.build())?,
            http: file.http.clone(),
            token: file.token.clone(),
        })
    }

    /// Where the node is, and the token that it wants.
    pub fn address(&self) -> (&str, &str) {
        (&self.http, &self.token)
    }

    /// Any request.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.http))
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body.to_owned())?)?;
        let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
        let etag = etag.unwrap_or_default().trim_matches('"').to_owned();
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        Ok(Answer { status, etag, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    /// A read without the node's token, but perhaps with another `Authorization`.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn without_token(&self, path: &str, with: Option<&str>) -> anyhow::Result<Answer> {
        let mut request = self.agent.get(format!("{}{path}", self.http));
        if let Some(with) = with {
            request = request.header("authorization", with);
        }
        let mut response = request.call()?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string()?;
        Ok(Answer {
            status,
            etag: String::new(),
            body: serde_json::from_str(&body).unwrap_or(Value::Null),
        })
    }

    /// A read that must succeed.
    ///
    /// # Errors
    /// If it doesn't, with what the node said.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask("GET", path, &[], "")?;
        check(path, answer)
    }

    /// A read whose answer is text.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn text(&self, path: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.bytes(path)?)?)
    }

    /// A read whose answer is anything.
    ///
    /// # Errors
    /// If there is no answer, or it breaks off.
    pub fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let request = ureq::http::Request::builder()
            .uri(format!("{}{path}", self.http))
            .header("authorization", format!("Bearer {}", self.token))
            .body(())?;
        Ok(self.agent.run(request)?.body_mut().with_config().limit(1 << 30).read_to_vec()?)
    }

    /// A write that must succeed.
    ///
    /// # Errors
    /// If it doesn't, with what the node said.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer =
            self.ask(method, path, &[("content-type", "application/json")], &body.to_string())?;
        check(path, answer)
    }

    /// Publishes a policy's start.
    ///
    /// # Errors
    /// If the node refuses.
    pub fn publish(&self, policy: &str, start: &str, title: &str) -> anyhow::Result<Value> {
        let payload = json!({"policy_id": policy, "start_date": start, "title": title});
        self.send("POST", "/v1/publish", &json!({"type": "policy_start", "payload": payload}))
    }

    /// Publishes CloudEvents together; gives what became of each.
    ///
    /// # Errors
    /// If the node refuses.
    pub fn publish_batch(&self, batch: &[Value]) -> anyhow::Result<Value> {
        let path = "/v1/publish";
        let kind = [("content-type", "application/cloudevents-batch+json")];
        check(path, self.ask("POST", path, &kind, &json!(batch).to_string())?)
    }

    /// The frontier's digest.
    ///
    /// # Errors
    /// If the node doesn't answer.
    pub fn frontier(&self) -> anyhow::Result<String> {
        let status = self.get("/v1/status")?;
        Ok(status["frontier"].as_str().context("a status without frontier")?.to_owned())
    }

    /// The hashes of all entries that the node holds.
    ///
    /// # Errors
    /// If the node doesn't answer.
    pub fn entries(&self) -> anyhow::Result<BTreeSet<String>> {
        let count =
            self.get("/v1/status")?["entries"].as_u64().context("a status without entries")?;
        let mut stream = self.follow("?from=0&entries_only=true")?;
        let mut found = BTreeSet::new();
        while (found.len() as u64) < count {
            let entry = stream.next_entry()?;
            found.insert(entry["entry"].as_str().unwrap_or_default().to_owned());
        }
        Ok(found)
    }

    /// One event as it stands; none if there is no such event.
    ///
    /// # Errors
    /// If the node doesn't answer.
    pub fn event(&self, uid: &str) -> anyhow::Result<Option<Value>> {
        let path = format!("/v1/events/{uid}");
        let answer = self.ask("GET", &path, &[], "")?;
        if answer.status == 404 { Ok(None) } else { check(&path, answer).map(Some) }
    }

    /// Follows every change from now on.
    ///
    /// # Errors
    /// If the node doesn't answer.
    pub fn stream(&self) -> anyhow::Result<Stream> {
        self.follow("")
    }

    /// Follows with a query, such as `?from=0` or `?entries_only=true`.
    ///
    /// # Errors
    /// If the node doesn't answer.
    pub fn follow(&self, query: &str) -> anyhow::Result<Stream> {
        let request = ureq::http::Request::builder()
            .uri(format!("{}/v1/stream{query}", self.http))
            .header("authorization", format!("Bearer {}", self.token))
            .body(())?;
        let response = self.agent.run(request)?;
        let mut stream = Stream {
            lines: BufReader::with_capacity(
                64 * 1024,
                Box::new(response.into_body().into_reader()),
            ),
        };
        // The first message says where the stream begins: from here on nothing is missed.
        stream.next_message()?;
        Ok(stream)
    }
}

fn check(path: &str, answer: Answer) -> anyhow::Result<Value> {
    if !(200..300).contains(&answer.status) {
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        bail!("{path}: {} {detail}", answer.status);
    }
    Ok(answer.body)
}

/// The server-sent events of a node.
pub struct Stream {
    lines: BufReader<Box<dyn std::io::Read + Send>>,
}

/// One of them.
#[derive(Debug)]
pub struct StreamEvent {
    /// `entry` or `event`; empty for the first.
    pub kind: String,
    /// Its data.
    pub data: Value,
}

impl Stream {
    /// Waits for the next `entry` message.
    ///
    /// # Errors
    /// If the stream ends.
    pub fn next_entry(&mut self) -> anyhow::Result<Value> {
        loop {
            let message = self.next_message()?;
            if message.kind == "entry" {
                return Ok(message.data);
            }
        }
    }

    /// Waits for the next message of any kind.
    ///
    /// # Errors
    /// If the stream ends.
    pub fn next_message(&mut self) -> anyhow::Result<StreamEvent> {
        let mut message = StreamEvent { kind: String::new(), data: Value::Null };
        let mut any = false;
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                bail!("the stream has ended");
            }
            match line.trim_end() {
                "" if any => return Ok(message),
                "" => {}
                line => match line.split_once(": ").or_else(|| line.split_once(':')) {
                    Some(("event", kind)) => message.kind = kind.to_owned(),
                    Some(("data", data)) => message.data = serde_json::from_str(data)?,
                    Some(("", _)) | None => continue,
                    Some(_) => {}
                },
            }
            any |= !line.trim_end().is_empty();
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}
