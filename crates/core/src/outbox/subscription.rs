//! Subscriptions: which external system wants which changes, and how it is reached. Local to the node: what others
//! hear of it is in its status, and never the secret.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::command::CommandError;
use crate::ids::OfficeId;

/// Most subscriptions of a node: as many as its status has room to tell of.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most values of a filter.
const FILTER_VALUES_MAX: usize = 32;
const FILTER_BYTES_MAX: usize = 1024;

/// Names a subscription at its node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SubscriptionId(pub u64);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes that both sides know: deliveries are signed with them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where to, and how: opaque to the core.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// A URL, whose scheme says what kind of system it is. It may hold a password.
    pub url: String,
    /// What else whoever delivers needs to know: JSON text.
    pub options: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl Target {
    /// The kind of system: the URL's scheme.
    pub fn scheme(&self) -> &str {
        self.url.split_once(':').map_or("", |it| it.0)
    }

    /// The URL for people, without the password, and without a query, which may hold a key.
    pub fn shown(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}@{host}{path}")
            }
            None => url.to_owned(),
        }
    }
}

/// Which changes are wanted; what is empty doesn't restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Such as `policy_start`.
    pub types: BTreeSet<String>,
    /// By name.
    pub calendars: BTreeSet<String>,
    /// Whose changes.
    pub offices: BTreeSet<OfficeId>,
    /// Policies as they were approved, and nothing else.
    pub approved: bool,
}

/// What changes there are, as far as filters ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) kind: &'a str,
    pub(crate) calendar: &'a str,
    pub(crate) office: OfficeId,
    /// What is approved was approved, or no longer is.
    pub(crate) approved: bool,
    /// Nobody wrote it who counts.
    pub(crate) gone: bool,
}

impl Filter {
    pub(crate) fn matches(&self, facts: &Facts<'_>) -> bool {
        let Self { types, calendars, offices, approved } = self;
        // Who was told of what is gone must hear that, and nobody knows any more what it was.
        let is_wanted = (types.is_empty() || types.contains(facts.kind))
            && (calendars.is_empty() || calendars.contains(facts.calendar))
            && (offices.is_empty() || offices.contains(&facts.office))
            && (!approved || facts.approved);
        facts.gone || is_wanted
    }

    fn check(&self) -> Result<(), CommandError> {
        for (name, values) in [("types", &self.types), ("calendars", &self.calendars)] {
            let bytes: usize = values.iter().map(String::len).sum();
            if values.len() > FILTER_VALUES_MAX || bytes > FILTER_BYTES_MAX {
                let problem =
                    format!("at most {FILTER_VALUES_MAX} of {FILTER_BYTES_MAX} bytes together");
                return Err(CommandError::Invalid { path: name.into(), problem });
            }
        }
        if self.offices.len() > FILTER_VALUES_MAX {
            let problem = format!("at most {FILTER_VALUES_MAX}");
            return Err(CommandError::Invalid { path: "offices".into(), problem });
        }
        Ok(())
    }
}

/// From where on a system wants changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// What comes from now on.
    #[default]
    Now,
    /// All events that there are, as they stand.
    Beginning,
    /// Those among them that were changed since then (milliseconds since 1970, by the clocks of who changed them).
    Time(i64),
}

/// A part of the calendar that a system is still to be told of: events that were there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// All events until this uid are owed already.
    pub after: String,
    /// Only those that were changed since then.
    pub since: i64,
}

/// Why nothing is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pause {
    /// Somebody asked for it.
    Asked,
    /// The system says that it is gone for good.
    Gone(String),
}

/// An external system and what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its name here.
    pub id: SubscriptionId,
    /// Its name for people; one of a kind at this node.
    pub name: String,
    /// Where to.
    pub target: Target,
    /// What it wants.
    pub filter: Filter,
    /// Deliveries are signed with these: a new one, and while receivers get to know it also the one before.
    pub secrets: Vec<Secret>,
    /// Until when the one before is good (milliseconds since 1970).
    pub rotation_ends: i64,
    /// When it was made.
    pub created: i64,
    /// From which time on it concerns itself with changes, by the clocks of who made them.
    pub since: i64,
    /// What was there before and is not owed yet.
    pub backlog: Option<Backlog>,
    /// Set while nothing is delivered.
    pub pause: Option<Pause>,
}

impl Subscription {
    /// The secrets that are good now, the newest first.
    pub fn secrets(&self, wall: i64) -> &[Secret] {
        let good = if wall < self.rotation_ends { 2 } else { 1 };
        &self.secrets[..self.secrets.len().min(good)]
    }

    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Bytes that [`Subscription::encode`] didn't make.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        crate::codec::exactly(bytes)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// See [`Subscription::name`].
    pub name: String,
    /// See [`Subscription::target`]; whoever asks has seen to it that it can be delivered to.
    pub target: Target,
    /// See [`Filter`].
    pub filter: Filter,
    /// From where on.
    pub start: Start,
    /// The first secret.
    pub secret: Secret,
}

/// What is to be different.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionEdit {
    /// Another name.
    pub name: Option<String>,
    /// Another place or way.
    pub target: Option<Target>,
    /// Another filter.
    pub filter: Option<Filter>,
    /// Whether nothing is to be delivered.
    pub paused: Option<bool>,
    /// A new secret; the one before stays good until this moment (milliseconds since 1970).
    pub secret: Option<(Secret, i64)>,
}

pub(crate) fn check(name: &str, filter: &Filter) -> Result<(), CommandError> {
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if !is_name {
        let problem = format!(
            "a system's name is 1 to {NAME_BYTES_MAX} bytes without control characters, and no spaces around them"
        );
        return Err(CommandError::Invalid { path: "name".into(), problem });
    }
    filter.check()
}
