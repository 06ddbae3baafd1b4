//! NATS JetStream: a CloudEvent to a subject. It is confirmed once a stream has stored it. The stream drops what it has
//! under the same id already, within its window for duplicates.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{
    ContextBuilder, GetStreamByNameErrorKind, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use fasti_core::outbox::{Attempt, Outcome, Target};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::address::{Address, Template};
use crate::http::causes;
use crate::link::{self, CONTENT_TYPE, Link, Message, within};
use crate::reach::Reach;
use crate::{TargetError, tls};

pub(crate) const EXAMPLE: &str = "nats://user:password@nats.example.org/fasti.{calendar}.{type}";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So often it is asked whether the server is there; after two that it didn't answer it is not.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How it is published, as whoever subscribes says it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How long to wait for the stream.
    timeout_s: u64,
    /// Authorities to trust instead of the system's: certificates in PEM.
    ca: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout_s: link::TIMEOUT_S, ca: None }
    }
}

pub(crate) struct Nats {
    address: Address,
    subject: Template,
    is_tls: bool,
    ca: Option<String>,
    tls: rustls::ClientConfig,
    timeout: Duration,
    reach: Reach,
    link: Link<Server>,
}

struct Server {
    streams: Context,
    /// Whether the connection broke, since when it is not used any more.
    broke: watch::Receiver<bool>,
}

impl Nats {
    pub(crate) fn new(target: &Target, reach: Reach) -> Result<Self, TargetError> {
        let options: Options = serde_json::from_str(&target.options)
            .map_err(|error| TargetError::new("options", error.to_string()))?;
        let address = Address::parse(&target.url, 4222, EXAMPLE)?;
        let subject = Template::new("callback_url", &address.path)?;
        if subject.text().contains(['*', '>']) || subject.text().split('.').any(str::is_empty) {
            let problem = format!("expected a subject after the host, as in {EXAMPLE}");
            return Err(TargetError::url(problem));
        }
        let is_tls = target.scheme() == "tls";
        let tls = tls::config(options.ca.as_deref())?;
        let timeout = link::timeout(options.timeout_s)?;
        let (ca, link) = (options.ca, Link::default());
        Ok(Self { address, subject, is_tls, ca, tls, timeout, reach, link })
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "subject": self.subject.text(),
            "timeout_s": self.timeout.as_secs(),
            "ca": self.ca,
        })
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt) -> Outcome {
        link::outcome(within(self.timeout, self.publish(attempt)).await)
    }

    /// Whether a stream takes the subject.
    pub(crate) async fn test(&self) -> Result<String, String> {
        within(self.timeout, async {
            let subject = self.subject.sample();
            let server = self.server().await?;
            match server.streams.stream_by_subject(&*subject).await {
                Ok(stream) => Ok(format!("stream {stream} takes {subject}")),
                Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
                    Err(no_stream(&subject))
                }
                Err(error) => Err(causes(&error)),
            }
        })
        .await
    }

    async fn publish(&self, attempt: &Attempt) -> Result<(), String> {
        let delivery = &attempt.delivery;
        let message = Message::new(delivery);
        let subject = self.subject.fill(delivery);
        let uid = utf8_percent_encode(&delivery.uid, CONTROLS).to_string();
        let publish = PublishMessage::build()
            .message_id(&message.id)
            .header("content-type", CONTENT_TYPE)
            .header("fasti-uid", &*uid)
            .header("fasti-version", &*delivery.version.to_string())
            .payload(message.body.into());
        let server = self.server().await?;
        let mut broke = server.broke.clone();
        let acknowledged =
            async { server.streams.send_publish(subject.clone(), publish).await?.await };
        tokio::select! {
            it = acknowledged => it.map(drop).map_err(|error| problem(&error, &subject)),
            // Nobody will answer. It may have arrived: it is sent again under the same id.
            _ = broke.wait_for(|it| *it) => {
                Err("the connection broke before the stream confirmed it".into())
            }
        }
    }

    async fn server(&self) -> Result<Arc<Server>, String> {
        self.link.get(|it| !*it.broke.borrow(), async || self.connect().await).await
    }

    async fn connect(&self) -> Result<Server, String> {
        tls::choose_cryptography();
        let servers = self.servers().await?;
        let (is_broken, broke) = watch::channel(false);
        let mut options = ConnectOptions::new()
            .name("fasti")
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            // A server could send us to any address.
            .ignore_discovered_servers()
            // Once broken it is given up: we check addresses and connect by ourselves.
            .max_reconnects(1)
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    is_broken.send_replace(true);
                }
                async {}
            })
            .require_tls(self.is_tls);
        if self.is_tls {
            options = options.tls_client_config(self.tls.clone());
        }
        if let Some((user, password)) = self.address.login.clone() {
            options = match password.is_empty() {
                true => options.token(user),
                false => options.user_and_password(user, password),
            };
        }
        let client = options.connect(servers).await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                "the server refuses the user or the password".to_owned()
            }
            _ => format!("{} can not be reached: {}", self.hosts(), causes(&error)),
        })?;
        let streams = ContextBuilder::new().timeout(self.timeout).build(client);
        Ok(Server { streams, broke })
    }

    /// Addresses that were checked are the ones that are dialled. Only with TLS the client needs the name; whoever
    /// answers then has to prove that it is his before anything is told him.
    async fn servers(&self) -> Result<Vec<ServerAddr>, String> {
        let mut servers = Vec::new();
        for (host, port) in &self.address.hosts {
            let found = self.reach.resolve(host, *port).await;
            let found = found.map_err(|error| format!("{host}: {error}"))?;
            let urls = match self.is_tls {
                true if host.contains(':') => vec![format!("tls://[{host}]:{port}")],
                true => vec![format!("tls://{host}:{port}")],
                false => found.iter().map(|it| format!("nats://{it}")).collect(),
            };
            for url in urls {
                servers.push(url.parse::<ServerAddr>().map_err(|error| error.to_string())?);
            }
        }
        Ok(servers)
    }

    fn hosts(&self) -> String {
        let hosts: Vec<String> =
            self.address.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        hosts.join(", ")
    }
}

fn problem(error: &PublishError, subject: &str) -> String {
    match error.kind() {
        PublishErrorKind::StreamNotFound => no_stream(subject),
        PublishErrorKind::MaxPayloadExceeded => {
            "the event is larger than the server's max_payload".to_owned()
        }
        _ => causes(error),
    }
}

fn no_stream(subject: &str) -> String {
    format!(
        "no stream takes {subject}: add one (nats stream add --subjects …), or enable JetStream"
    )
}
