//! RabbitMQ (AMQP 0-9-1): a CloudEvent to an exchange. It is confirmed once the broker has it in a queue, on disk where
//! the queue is durable: publisher confirms, and `mandatory`, so that what no queue takes comes back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fasti_core::outbox::{Attempt, Outcome, Target};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind,
    ExchangeKind,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::address::{Address, Template};
use crate::http::causes;
use crate::link::{self, CONTENT_TYPE, Link, Message, within};
use crate::reach::Reach;
use crate::{TargetError, tls};

pub(crate) const EXAMPLE: &str = "amqps://user:password@rabbit.example.org/vhost";

/// So often, in seconds, both sides show that they are there.
const HEARTBEAT_S: u16 = 10;
/// Delivery mode of messages that outlive the broker, in queues that do.
const PERSISTENT: u8 = 2;

/// How it is published, as whoever subscribes says it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// The exchange; the default exchange, if empty, which takes the name of a queue for the routing key.
    exchange: String,
    /// With `{uid}`, `{type}` and `{calendar}` to be filled in.
    routing_key: Option<String>,
    /// How long to wait for a confirmation.
    timeout_s: u64,
    /// Authorities to trust instead of the system's: certificates in PEM.
    ca: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let (exchange, timeout_s) = (String::new(), link::TIMEOUT_S);
        Self { exchange, routing_key: None, timeout_s, ca: None }
    }
}

pub(crate) struct RabbitMq {
    uri: AMQPUri,
    exchange: ShortString,
    routing_key: Template,
    ca: Option<String>,
    tls: RustlsConnector,
    timeout: Duration,
    reach: Reach,
    link: Link<Broker>,
}

struct Broker {
    connection: Connection,
    /// Those that nobody uses. Each has one message under way at most: a confirmation for several at once may hand
    /// the client a message that came back in another one's place.
    channels: Mutex<Vec<Channel>>,
}

impl RabbitMq {
    pub(crate) fn new(target: &Target, reach: Reach) -> Result<Self, TargetError> {
        let options: Options = serde_json::from_str(&target.options)
            .map_err(|error| TargetError::new("options", error.to_string()))?;
        let (scheme, port) = match target.scheme() {
            "amqps" => (AMQPScheme::AMQPS, 5671),
            _ => (AMQPScheme::AMQP, 5672),
        };
        let address = Address::parse(&target.url, port, EXAMPLE)?;
        let (host, port) = address.host()?;
        let (username, password) = address.login.unwrap_or(("guest".into(), "guest".into()));
        let userinfo = AMQPUserInfo { username, password };
        let vhost = match &*address.path {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let query = AMQPQueryString { heartbeat: Some(HEARTBEAT_S), ..Default::default() };
        let authority = AMQPAuthority { userinfo, host, port };
        let uri = AMQPUri { scheme, authority, vhost, query };
        let exchange = ShortString::try_new(options.exchange)
            .map_err(|error| TargetError::new("exchange", error.to_string()))?;
        let routing_key = match (&options.routing_key, exchange.as_str()) {
            (Some(key), _) => Template::new("routing_key", key)?,
            (None, "") => {
                let problem = "expected an exchange, or the name of a queue as the routing_key";
                return Err(TargetError::new("exchange", problem));
            }
            (None, _) => Template::new("routing_key", "{type}")?,
        };
        let tls = RustlsConnector::from(tls::config(options.ca.as_deref())?);
        let timeout = link::timeout(options.timeout_s)?;
        let (ca, link) = (options.ca, Link::default());
        Ok(Self { uri, exchange, routing_key, ca, tls, timeout, reach, link })
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "exchange": self.exchange.as_str(),
            "routing_key": self.routing_key.text(),
            "timeout_s": self.timeout.as_secs(),
            "ca": self.ca,
        })
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt) -> Outcome {
        link::outcome(within(self.timeout, self.publish(attempt)).await)
    }

    /// Whether the exchange, or the queue, is there.
    pub(crate) async fn test(&self) -> Result<String, String> {
        within(self.timeout, async {
            let broker = self.broker().await?;
            let channel = broker.connection.create_channel().await;
            let channel = channel.map_err(|error| self.problem(&error))?;
            let exchange = self.exchange.as_str();
            let key = self.routing_key.fixed();
            let (asked, said) = match (exchange, key) {
                ("", None) => return Ok("connected; queues are not known beforehand".into()),
                ("", Some(queue)) => {
                    let queue = ShortString::try_new(queue).map_err(|it| it.to_string())?;
                    let options = QueueDeclareOptions { passive: true, ..Default::default() };
                    let said = format!("queue {queue} is there");
                    let asked = channel.queue_declare(queue, options, FieldTable::default()).await;
                    (asked.map(drop), said)
                }
                _ => {
                    let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
                    let (name, table) = (self.exchange.clone(), FieldTable::default());
                    // Asked so, the broker doesn't look at the kind.
                    let asked = channel.exchange_declare(name, ExchangeKind::Topic, options, table);
                    (asked.await, format!("exchange {exchange} is there"))
                }
            };
            asked.map_err(|error| self.problem(&error))?;
            Ok(said)
        })
        .await
    }

    async fn publish(&self, attempt: &Attempt) -> Result<(), String> {
        let delivery = &attempt.delivery;
        let message = Message::new(delivery);
        let filled = self.routing_key.fill(delivery);
        let key = ShortString::try_new(&*filled).map_err(|_| {
            format!("the routing key {filled} is longer than AMQP allows: leave {{uid}} out of it")
        })?;
        let mut headers = FieldTable::default();
        headers.insert("fasti-uid".into(), AMQPValue::LongString(delivery.uid.as_str().into()));
        let version = i64::try_from(delivery.version).unwrap_or(i64::MAX);
        headers.insert("fasti-version".into(), AMQPValue::LongLongInt(version));
        let properties = BasicProperties::default()
            .with_app_id("fasti".into())
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers)
            .with_message_id(ShortString::try_new(message.id).map_err(|it| it.to_string())?);
        let broker = self.broker().await?;
        let channel = broker.channel().await.map_err(|error| self.problem(&error))?;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirmed = async {
            let exchange = self.exchange.clone();
            channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
        };
        // Whoever stops waiting leaves no channel behind whose confirmation is still to come.
        let confirmation = confirmed.await.map_err(|error| self.problem(&error))?;
        broker.put_back(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(self.unroutable(&filled))
            }
            Confirmation::Nack(None) => {
                Err("the broker refuses it: a queue may be full, or have lost its leader".into())
            }
            Confirmation::NotRequested => Err("the broker doesn't confirm".into()),
        }
    }

    fn unroutable(&self, key: &str) -> String {
        match self.exchange.as_str() {
            "" => format!(
                "there is no queue {key}: declare it, or subscribe with another routing_key"
            ),
            exchange => format!(
                "no queue takes it: bind one to the exchange {exchange} for the routing key {key}"
            ),
        }
    }

    async fn broker(&self) -> Result<Arc<Broker>, String> {
        self.link.get(|it| it.connection.status().connected(), async || self.connect().await).await
    }

    async fn connect(&self) -> Result<Broker, String> {
        let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
        let (reach, tls) = (self.reach, self.tls.clone());
        let dial = async move |uri: AMQPUri, runtime: async_rs::TokioRuntime| {
            let AMQPAuthority { host, port, .. } = &uri.authority;
            let stream = dial(reach, &runtime, host, *port).await?;
            Ok(match uri.scheme {
                AMQPScheme::AMQPS => stream.into_rustls(&tls, host).await?,
                AMQPScheme::AMQP => stream,
            })
        };
        let properties = ConnectionProperties::default().with_connection_name("fasti".into());
        let connection = Connection::connector(self.uri.clone(), runtime, dial, properties).await;
        let connection = connection.map_err(|error| self.problem(&error))?;
        Ok(Broker { connection, channels: Mutex::default() })
    }

    /// What went wrong, and what to do about it.
    fn problem(&self, error: &lapin::Error) -> String {
        let ErrorKind::ProtocolError(refused) = error.kind() else { return causes(error) };
        let said = refused.get_message();
        let user = &self.uri.authority.userinfo.username;
        match refused.get_id() {
            403 => format!("{said}: check the password of {user}, and what the broker permits it"),
            404 => format!("{said}: declare it, or subscribe with another name"),
            530 => {
                format!("{said}: check the vhost, the last part of the URL, and what {user} may")
            }
            _ => said.to_string(),
        }
    }
}

impl Broker {
    async fn channel(&self) -> lapin::Result<Channel> {
        let known = || self.channels.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // The broker closes those that asked for what it hasn't.
        while let Some(channel) = known() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    fn put_back(&self, channel: Channel) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }
}

/// As [`Reach::dial`], for the client's own kind of stream.
async fn dial(
    reach: Reach,
    runtime: &async_rs::TokioRuntime,
    host: &str,
    port: u16,
) -> std::io::Result<AsyncTcpStream<<async_rs::Tokio as async_rs::traits::Reactor>::TcpStream>> {
    let mut problem = std::io::Error::other("it has no address");
    for address in reach.resolve(host, port).await? {
        match AsyncTcpStream::connect(runtime, address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(std::io::Error::new(problem.kind(), format!("{host}:{port} can not be reached: {problem}")))
}
