//! The part of the command line that is about external systems.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::{Assignment, Secret, assignment};

/// What a system wants to be told.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only these kinds of changes: policy_start, policy_update, policy_end, policy_cancel, event_update,
    /// event_cancel; with commas between them
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    pub types: Option<Vec<String>>,
    /// Only events of these calendars, with commas between them
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub calendars: Option<Vec<String>>,
    /// Only what these offices changed: names or beginnings of ids, with commas between them
    #[arg(long, value_delimiter = ',', value_name = "OFFICES")]
    pub offices: Option<Vec<String>>,
    /// How the system is reached, such as timeout_s=30 or headers/X-Key=abc: see docs/systems.md; may be repeated
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = assignment)]
    pub options: Vec<Assignment>,
    /// Trust the certificates in this file (PEM) and not the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// `fasti subscribe`
#[derive(Debug, Args)]
pub struct SubscribeArgs {
    /// What people call the system
    pub name: String,
    /// Where to: https://... (a webhook), amqps://... (RabbitMQ), tls://... (NATS JetStream), kafka+tls://...
    /// (Kafka), file:///... (a folder)
    pub url: String,
    /// What it wants, and how it is reached.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only policies, as they were approved
    #[arg(long)]
    pub approved: bool,
    /// Begin with what changes now, with all that there is (beginning), or with what was changed since a day or a
    /// moment, such as 2024-04-01
    #[arg(long, default_value = "now", value_name = "WHEN")]
    pub from: String,
    /// Sign with this secret (whsec_...) instead of a new one; - reads it from standard input
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<Secret>,
}

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub enum SubscriptionsCall {
    /// Show one of them
    Show {
        /// Its name or id
        name: String,
    },
    /// Change what a system is told, or how it is reached
    Edit {
        /// Its name or id
        name: String,
        /// Another name
        #[arg(long = "name", value_name = "NAME")]
        new_name: Option<String>,
        /// Another URL
        #[arg(long)]
        url: Option<String>,
        /// What it wants, and how it is reached.
        #[command(flatten)]
        filter: FilterArgs,
        /// Whether it wants only policies, as they were approved
        #[arg(long, value_name = "BOOL")]
        approved: Option<bool>,
    },
    /// Deliver nothing for now; what changes is owed
    Pause {
        /// Its name or id
        name: String,
    },
    /// Deliver again, what is owed first; also to a system that said that it is gone
    Resume {
        /// Its name or id
        name: String,
    },
    /// Deliver nothing more, and forget what was delivered
    Remove {
        /// Its name or id
        name: String,
    },
    /// Send a message that is no delivery, and show what the system answers
    Test {
        /// Its name or id
        name: String,
    },
    /// Make a new secret and print it; for a day deliveries are signed with the old one as well
    Rotate {
        /// Its name or id
        name: String,
    },
}

/// `fasti deliveries`
#[derive(Debug, Args)]
pub struct DeliveriesArgs {
    /// Only to this system
    #[arg(long, value_name = "NAME")]
    pub system: Option<String>,
    /// Only of this event; also those that were confirmed
    #[arg(long, value_name = "UID")]
    pub event: Option<String>,
    /// Only those that stand so
    #[arg(long, value_enum)]
    pub status: Option<Status>,
    /// What systems of another office have not confirmed, as its node says, by its name or key
    #[arg(long, value_name = "OFFICE", conflicts_with_all = ["system", "event", "status"])]
    pub office: Option<String>,
    /// What is sent of an event that is owed, as it would be sent now
    #[arg(long, requires_all = ["system", "event"], conflicts_with = "status")]
    pub body: bool,
    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub limit: usize,
}

/// Where deliveries stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Owed, and being tried.
    Pending,
    /// The system has them.
    Confirmed,
    /// Given up, and waiting to be replayed.
    Dead,
}

/// `fasti replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The system's name or id
    pub system: String,
    /// One event, confirmed or not
    #[arg(long, value_name = "UID", conflicts_with_all = ["since", "from", "to"])]
    pub event: Option<String>,
    /// All events that were changed since a day or a moment, or since the beginning, confirmed or not
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["from", "to"])]
    pub since: Option<String>,
    /// Of what was given up only what came about from here on
    #[arg(long, value_name = "WHEN")]
    pub from: Option<String>,
    /// Of what was given up only what came about before
    #[arg(long, value_name = "WHEN")]
    pub to: Option<String>,
}

impl FilterArgs {
    /// The options as one object.
    ///
    /// # Errors
    /// Two of them that don't fit into each other.
    pub fn options(&self) -> Result<Value, String> {
        let mut options = serde_json::json!({});
        for Assignment { path, value } in &self.options {
            let mut place = &mut options;
            for key in path {
                let Some(object) = place.as_object_mut() else {
                    return Err(format!("option {:?} is set twice", path.join("/")));
                };
                place = object.entry(key).or_insert_with(|| serde_json::json!({}));
            }
            *place = value.clone();
        }
        Ok(options)
    }
}
