//! Where a broker is: its URL in parts, and names that are filled in for each delivery.

use fasti_core::outbox::Delivery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::TargetError;

/// `scheme://user:password@host:port,host:port/path`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) login: Option<(String, String)>,
    /// One at least.
    pub(crate) hosts: Vec<(String, u16)>,
    /// Without the slash before it.
    pub(crate) path: String,
}

impl Address {
    /// `example` is shown to whoever gave something else.
    pub(crate) fn parse(url: &str, port: u16, example: &str) -> Result<Self, TargetError> {
        let wrong = |problem: &str| {
            TargetError::url(format!("{problem}; expected a URL such as {example}"))
        };
        let (_, rest) = url.split_once("://").ok_or_else(|| wrong("no URL"))?;
        if rest.contains(['?', '#']) {
            return Err(wrong(
                "nothing is read after ? or #, what else there is to say goes into the options",
            ));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(String::from).map_err(|_| wrong("a percent-encoded part is no UTF-8"))
        };
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((decoded(user)?, decoded(password)?)), hosts)
            }
            None => (None, authority),
        };
        let host = |text: &str| {
            let (name, given) = match text.rsplit_once(':') {
                // The colons within an address of IPv6 are in brackets.
                Some((name, given)) if !given.ends_with(']') => (name, Some(given)),
                _ => (text, None),
            };
            let port = given.map_or(Ok(port), |it| it.parse().map_err(|_| wrong("no port")))?;
            match name.trim_matches(['[', ']']) {
                "" => Err(wrong("a host is missing")),
                name => Ok((name.to_owned(), port)),
            }
        };
        let hosts = hosts.split(',').map(host).collect::<Result<_, _>>()?;
        Ok(Self { login, hosts, path: decoded(path)? })
    }

    /// The only host, of systems that have one address.
    pub(crate) fn host(&self) -> Result<(String, u16), TargetError> {
        match &self.hosts[..] {
            [host] => Ok(host.clone()),
            _ => Err(TargetError::url("expected one host")),
        }
    }
}

/// What stays as it is in a name that is filled in: `.`, `*`, `#` and `>` have a meaning in the names of brokers.
const FILLED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'@');

/// A name with parts that are other for each delivery: `{uid}`, `{type}` and `{calendar}`.
#[derive(Debug)]
pub(crate) struct Template(String);

impl Template {
    pub(crate) fn new(field: &str, text: &str) -> Result<Self, TargetError> {
        let known = ["{uid}", "{type}", "{calendar}"];
        let rest = known.iter().fold(text.to_owned(), |rest, name| rest.replace(name, ""));
        if rest.contains(['{', '}']) {
            let problem = format!("expected no other braces than {}", known.join(", "));
            return Err(TargetError::new(field, problem));
        }
        if rest.chars().any(|it| it.is_control() || it.is_whitespace()) {
            return Err(TargetError::new(field, "expected no spaces and no control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Itself, if it is the same for all deliveries.
    pub(crate) fn fixed(&self) -> Option<&str> {
        (!self.0.contains('{')).then_some(&self.0)
    }

    pub(crate) fn fill(&self, delivery: &Delivery) -> String {
        let calendar = delivery.event.get("fasti:calendar").and_then(|it| it.as_str());
        self.filled(&delivery.uid, &delivery.kind, calendar.unwrap_or("none"))
    }

    /// As it could be for a delivery: to ask whether anything would take it.
    pub(crate) fn sample(&self) -> String {
        self.filled("test", "event_update", "test")
    }

    fn filled(&self, uid: &str, kind: &str, calendar: &str) -> String {
        // In one pass: what is filled in may look like a placeholder itself.
        let mut filled = String::new();
        let mut rest = &*self.0;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let value = match name {
                "uid" => uid,
                "type" => kind,
                _ => calendar,
            };
            filled.push_str(before);
            filled.extend(utf8_percent_encode(value, FILLED));
            rest = after;
        }
        filled + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parse = |url: &str| Address::parse(url, 9092, "x://host/name");
        let all =
            parse("kafka://anna:p%40ss%3A@a.example,[2001:db8::1]:1234,10.0.0.1:7/on%2Fe").unwrap();
        assert_eq!(all.login, Some(("anna".into(), "p@ss:".into())));
        let hosts = [("a.example", 9092), ("2001:db8::1", 1234), ("10.0.0.1", 7)];
        assert_eq!(all.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!(all.path, "on/e");
        let short = parse("nats://[::1]").unwrap();
        assert_eq!((short.host().unwrap(), &*short.path), (("::1".to_owned(), 9092), ""));
        for wrong in ["nats:", "nats://", "nats://host:port/x", "nats://a,/x", "nats://a/x?y=z"] {
            let problem = parse(wrong).unwrap_err().to_string();
            assert!(problem.contains("such as x://host/name"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn names_are_filled_in_without_new_parts() {
        let template = Template::new("routing_key", "fasti.{calendar}.{type}.{uid}.x").unwrap();
        let filled = template.filled("a.b *{type}", "policy_start", "Ämter");
        assert_eq!(filled, "fasti.%C3%84mter.policy_start.a%2Eb%20%2A%7Btype%7D.x");
        assert_eq!(template.fixed(), None);
        for wrong in ["{id}", "a}b", "a b", "{", "a\nb"] {
            assert!(Template::new("routing_key", wrong).is_err(), "{wrong}");
        }
    }
}
