//! Kafka: a CloudEvent to a topic, with the event's uid as its key, so that all states of an event are in one partition
//! in their order. It is confirmed once all replicas that are in sync have it (`acks=all`).
//!
//! The producer is idempotent: what it sends again by itself is written once. After a restart a delivery may be
//! written twice; its id and its version, in the headers, say so.
//!
//! The client is krafka: pure Rust, where librdkafka wants make, a C++ compiler and a TLS library of its own. It is
//! young, and so is pinned, and named in this file alone.

use std::sync::Arc;
use std::time::Duration;

use fasti_core::outbox::{Attempt, Outcome, Target};
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::error::ErrorCode;
use krafka::producer::{Acks, Producer};
use krafka::{Kafka as Client, KrafkaError, ProxyConfig, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::address::Address;
use crate::http::causes;
use crate::link::{self, CONTENT_TYPE, Link, Message, within};
use crate::reach::Reach;
use crate::tunnel::Tunnel;
use crate::{TargetError, tls};

pub(crate) const EXAMPLE: &str = "kafka+tls://user:password@kafka.example.org:9093/topic";

/// Longest name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// How it is produced, as whoever subscribes says it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How user and password are shown to the brokers.
    sasl: Sasl,
    /// How long to wait for a confirmation.
    timeout_s: u64,
    /// Authorities to trust instead of the system's: certificates in PEM.
    ca: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Sasl {
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Default for Options {
    fn default() -> Self {
        Self { sasl: Sasl::ScramSha512, timeout_s: link::TIMEOUT_S, ca: None }
    }
}

pub(crate) struct Kafka {
    servers: String,
    topic: String,
    auth: AuthConfig,
    sasl: Option<Sasl>,
    ca: Option<String>,
    timeout: Duration,
    reach: Reach,
    link: Link<Cluster>,
}

struct Cluster {
    producer: Producer,
    /// Brokers tell the client where others are, which may be anywhere.
    tunnel: Tunnel,
}

impl Kafka {
    pub(crate) fn new(target: &Target, reach: Reach) -> Result<Self, TargetError> {
        let options: Options = serde_json::from_str(&target.options)
            .map_err(|error| TargetError::new("options", error.to_string()))?;
        let Address { login, hosts, path: topic } = Address::parse(&target.url, 9092, EXAMPLE)?;
        let is_name = |it: char| it.is_ascii_alphanumeric() || ".-_".contains(it);
        if !(1..=TOPIC_BYTES_MAX).contains(&topic.len()) || !topic.chars().all(is_name) {
            let problem = format!("expected the name of a topic after the host, as in {EXAMPLE}");
            return Err(TargetError::url(problem));
        }
        // Said here, where it is asked for, and not when it is first delivered.
        tls::config(options.ca.as_deref())?;
        let secured = (target.scheme() == "kafka+tls").then(|| match &options.ca {
            Some(pem) => TlsConfig::new().with_ca_cert_pem(pem.as_bytes()),
            None => TlsConfig::new().with_native_roots(),
        });
        let sasl = login.is_some().then_some(options.sasl);
        let auth = login.map(|(user, password)| match options.sasl {
            Sasl::Plain => AuthConfig::sasl_plain(user, password),
            Sasl::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
            Sasl::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
        });
        let auth = match (auth, secured) {
            (Some(auth), Some(secured)) => auth.with_tls(secured),
            (Some(auth), None) => auth,
            (None, Some(secured)) => AuthConfig::ssl(secured),
            (None, None) => AuthConfig::plaintext(),
        };
        let servers = hosts.iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        let servers = servers.collect::<Vec<_>>().join(",");
        let timeout = link::timeout(options.timeout_s)?;
        let (ca, link) = (options.ca, Link::default());
        Ok(Self { servers, topic, auth, sasl, ca, timeout, reach, link })
    }

    pub(crate) fn shown(&self) -> Value {
        json!({ "sasl": self.sasl, "timeout_s": self.timeout.as_secs(), "ca": self.ca })
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt) -> Outcome {
        link::outcome(self.produce(attempt).await)
    }

    /// Whether the topic is there.
    pub(crate) async fn test(&self) -> Result<String, String> {
        within(self.timeout, async {
            let cluster = self.cluster().await?;
            match cluster.producer.partitions_for(&self.topic).await {
                Ok(partitions) if partitions.is_empty() => Err(self.no_topic()),
                Ok(partitions) => {
                    Ok(format!("topic {} has {} partitions", self.topic, partitions.len()))
                }
                Err(error) => Err(self.problem(&error, &cluster.tunnel)),
            }
        })
        .await
    }

    /// It is not cut off from outside: the producer would write it all the same, it may be after a newer state.
    async fn produce(&self, attempt: &Attempt) -> Result<(), String> {
        let delivery = &attempt.delivery;
        let message = Message::new(delivery);
        let record = Record::new(self.topic.clone(), message.body)
            .key(delivery.uid.clone())
            .header("content-type", CONTENT_TYPE)
            .header("fasti-id", message.id)
            .header("fasti-version", delivery.version.to_string());
        let cluster = within(self.timeout, self.cluster()).await?;
        match cluster.producer.send(record).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // A broker that forgot a producer, as it lost its disk, never takes from it again.
                let is_unknown = matches!(error, KrafkaError::OutOfOrderSequence { .. });
                if error.is_fatal() || is_unknown {
                    self.link.forget(&cluster).await;
                }
                Err(self.problem(&error, &cluster.tunnel))
            }
        }
    }

    async fn cluster(&self) -> Result<Arc<Cluster>, String> {
        self.link.get(|it| !it.producer.is_closed(), async || self.connect().await).await
    }

    async fn connect(&self) -> Result<Cluster, String> {
        tls::choose_cryptography();
        let tunnel = Tunnel::open(self.reach).await.map_err(|error| error.to_string())?;
        let key = &*tunnel.key;
        let producer = async {
            Client::builder(&*self.servers)
                .client_id("fasti")
                .security(self.auth.clone())
                .proxy(ProxyConfig::with_credentials(&*tunnel.address, key, key))
                .connect_timeout(self.timeout / 3)
                .request_timeout(self.timeout / 2)
                // A name that was mistyped is to be seen.
                .allow_auto_create_topics(false)
                .connect()
                .await?
                .producer()
                .acks(Acks::All)
                .idempotent(true)
                .linger(Duration::ZERO)
                // So long it looks for the topic, before it says that there is none.
                .max_block(self.timeout / 2)
                .delivery_timeout(self.timeout)
                .build()
                .await
        };
        let producer = producer.await.map_err(|error| self.problem(&error, &tunnel))?;
        Ok(Cluster { producer, tunnel })
    }

    /// What went wrong, and what to do about it.
    fn problem(&self, error: &KrafkaError, tunnel: &Tunnel) -> String {
        match error {
            KrafkaError::UnknownTopic { .. }
            | KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. } => {
                self.no_topic()
            }
            KrafkaError::Auth { .. } => format!(
                "the brokers refuse the log-in, that is user, password, or sasl, which is one of plain, \
                 scram-sha-256 and scram-sha-512: {}",
                causes(error)
            ),
            KrafkaError::Broker { code: ErrorCode::TopicAuthorizationFailed, .. } => {
                format!("the user may not write to the topic {}: permit it", self.topic)
            }
            _ => match tunnel.problem() {
                Some(problem) => problem,
                None => causes(error),
            },
        }
    }

    fn no_topic(&self) -> String {
        let topic = &self.topic;
        format!("there is no topic {topic}: create it (kafka-topics.sh --create --topic {topic} …)")
    }
}
