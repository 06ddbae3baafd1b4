//! From a request to what it says: nothing is believed, or even parsed, before its signature is found to be right.

use serde::Deserialize;

use crate::{Delivery, Secret, TOLERANCE_S};

/// The type of a message that tries whether deliveries would arrive.
const TEST: &str = "fasti_test";

/// Reads what is delivered. Holds the secrets of a subscription: two of them while a new one takes over.
#[derive(Clone, Debug)]
pub struct Receiver {
    secrets: Vec<Secret>,
}

/// What was delivered.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// An event as it stands.
    State(Box<Delivery>),
    /// Nothing but a question whether deliveries would arrive, which any 2xx answers.
    Test,
}

/// Why a request was refused. The text is for the answer's body, which the sender's operator is shown.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A header that every delivery has.
    #[error(
        "the header {0} is missing: only signed deliveries are taken here; if this is one, let the proxy before this \
         receiver pass that header on"
    )]
    Missing(&'static str),
    /// A header that says something else than it should.
    #[error("the header {name} says {found:?}: expected {expected}")]
    Header {
        /// Which.
        name: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// It is too old, or of the future.
    #[error(
        "the delivery was signed {seconds} s from the receiver's time, and {TOLERANCE_S} s are taken: set the clocks of \
         both machines"
    )]
    Time {
        /// How far its time is from ours.
        seconds: u64,
    },
    /// No signature is by one of our secrets.
    #[error(
        "no signature is right: give the receiver the secret of this subscription (`whsec_…`), and let it verify the \
         body's bytes as they came"
    )]
    Signature,
    /// It is signed, and no delivery.
    #[error("the body is no delivery as this receiver knows them: {0}; upgrade the receiver")]
    Body(#[from] serde_json::Error),
}

impl Refused {
    /// The status to answer with. Whichever of them it is, the delivery is tried again, for days: time to mend what is wrong.
    pub fn status(&self) -> u16 {
        match self {
            Self::Missing(_) | Self::Header { .. } | Self::Time { .. } => 400,
            Self::Signature => 401,
            Self::Body(_) => 422,
        }
    }
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

impl Receiver {
    /// With the secret of the subscription; while it is rotated, with both, in any order.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self { secrets: secrets.into_iter().collect() }
    }

    /// Reads a request: `header` gives a header's value by its name in lower case; the body's bytes are as they came, and
    /// `now` is in seconds since 1970. How large a body may be is for the server to say: a megabyte is plenty.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn read<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        now: i64,
    ) -> Result<Message, Refused> {
        let value = |name: &'static str| header(name).ok_or(Refused::Missing(name));
        let id = value("webhook-id")?;
        let text = value("webhook-timestamp")?;
        let signatures = value("webhook-signature")?;
        let wrong = |name, found: &str, expected| Refused::Header {
            name,
            found: found.chars().take(80).collect(),
            expected,
        };
        // Id, time and body are signed with dots between them: an id with a dot could be another message's, with the
        // beginning of its body.
        if id.is_empty() || id.contains('.') {
            return Err(wrong("webhook-id", id, "an id without dots"));
        }
        let time: i64 =
            text.parse().map_err(|_| wrong("webhook-timestamp", text, "the seconds since 1970"))?;
        let is_signed = |it: &Secret| it.is_signed(id, time, body, signatures);
        if !self.secrets.iter().any(is_signed) {
            return Err(Refused::Signature);
        }
        // After the signature, so that clocks are blamed only by whoever is known.
        let seconds = now.abs_diff(time);
        if seconds > TOLERANCE_S.unsigned_abs() {
            return Err(Refused::Time { seconds });
        }
        if serde_json::from_slice::<Kind<'_>>(body)?.kind == TEST {
            return Ok(Message::Test);
        }
        Ok(Message::State(serde_json::from_slice(body)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: i64 = 1_764_304_000;
    const BODY: &str = r#"{"id": "a-7", "source": "/fasti/n/o", "type": "event_update",
        "data": {"uid": "u", "version": 7, "state": "tentative", "event": {}}}"#;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 32])
    }

    fn signed(by: &[u8], body: &str) -> BTreeMap<&'static str, String> {
        let sign = |byte: &u8| secret(*byte).sign("a-7", NOW, body.as_bytes());
        let signatures: Vec<String> = by.iter().map(sign).collect();
        BTreeMap::from([
            ("webhook-id", "a-7".to_owned()),
            ("webhook-timestamp", NOW.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ])
    }

    fn read(
        knows: &[u8],
        headers: &BTreeMap<&'static str, String>,
        body: &str,
        now: i64,
    ) -> Result<Message, Refused> {
        let header = |name: &str| headers.get(name).map(String::as_str);
        Receiver::new(knows.iter().map(|it| secret(*it))).read(header, body.as_bytes(), now)
    }

    #[test]
    fn a_delivery_is_read() {
        let Ok(Message::State(delivery)) = read(&[1], &signed(&[1], BODY), BODY, NOW) else {
            panic!()
        };
        assert_eq!((delivery.data.uid.as_str(), delivery.data.version), ("u", 7));
    }

    #[test]
    fn while_a_secret_is_rotated_each_side_may_be_the_first() {
        for (sender, receiver) in
            [(&[1][..], &[1, 2][..]), (&[2, 1], &[1]), (&[2, 1], &[2, 3]), (&[2], &[1, 2])]
        {
            assert!(
                read(receiver, &signed(sender, BODY), BODY, NOW).is_ok(),
                "{sender:?} {receiver:?}"
            );
        }
        for (sender, receiver) in [(&[2][..], &[1][..]), (&[], &[1]), (&[1], &[])] {
            let refused = read(receiver, &signed(sender, BODY), BODY, NOW).unwrap_err();
            assert!(matches!(refused, Refused::Signature), "{sender:?} {receiver:?}");
            assert_eq!(refused.status(), 401);
        }
    }

    #[test]
    fn whatever_is_signed_can_not_be_changed() {
        let good = signed(&[1], BODY);
        let refused = read(&[1], &good, &BODY.replace('7', "8"), NOW);
        assert!(matches!(refused, Err(Refused::Signature)));
        for (name, value) in [
            ("webhook-id", "a-8"),
            ("webhook-timestamp", "1764304001"),
            ("webhook-signature", "v1,"),
            ("webhook-signature", "v1,====, v1 x"),
        ] {
            let mut headers = good.clone();
            headers.insert(name, value.to_owned());
            assert!(matches!(read(&[1], &headers, BODY, NOW), Err(Refused::Signature)), "{value}");
        }
    }

    #[test]
    fn what_is_old_or_of_the_future_is_refused() {
        let headers = signed(&[1], BODY);
        for now in [NOW - TOLERANCE_S, NOW + TOLERANCE_S] {
            assert!(read(&[1], &headers, BODY, now).is_ok());
        }
        for now in [NOW - TOLERANCE_S - 1, NOW + TOLERANCE_S + 1, i64::MIN, i64::MAX] {
            assert!(matches!(read(&[1], &headers, BODY, now), Err(Refused::Time { .. })), "{now}");
        }
    }

    #[test]
    fn headers_that_are_missing_or_wrong_are_named() {
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut headers = signed(&[1], BODY);
            headers.remove(name);
            let refused = read(&[1], &headers, BODY, NOW).unwrap_err();
            assert!(refused.to_string().contains(name) && refused.status() == 400, "{refused}");
        }
        for (name, value) in
            [("webhook-timestamp", "today"), ("webhook-id", ""), ("webhook-id", "a.1")]
        {
            let mut headers = signed(&[1], BODY);
            headers.insert(name, value.to_owned());
            let refused = read(&[1], &headers, BODY, NOW).unwrap_err();
            assert!(
                matches!(&refused, Refused::Header { name: it, .. } if *it == name),
                "{refused}"
            );
        }
    }

    /// What a publisher writes is in the body, and he may try to have a part of it taken for a whole message.
    #[test]
    fn a_part_of_a_body_can_not_be_taken_for_a_message() {
        let body = format!(r#"{{"type": ".{NOW}.{BODY}"#);
        let mut headers = signed(&[1], &body);
        headers.insert("webhook-id", format!(r#"a-7.{NOW}.{{"type": ""#));
        let refused = read(&[1], &headers, BODY, NOW).unwrap_err();
        assert!(matches!(refused, Refused::Header { name: "webhook-id", .. }), "{refused}");
    }

    #[test]
    fn what_is_no_delivery_is_said_to_be_none() {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"type": "event_update"}"#,
            &BODY.replace(r#""version": 7"#, r#""version": "7""#),
            &BODY.replace(r#""uid": "u", "#, ""),
            &format!("{BODY}{BODY}"),
        ] {
            let refused = read(&[1], &signed(&[1], body), body, NOW).unwrap_err();
            assert!(matches!(refused, Refused::Body(_)) && refused.status() == 422, "{body}");
        }
    }

    #[test]
    fn a_test_is_told_apart() {
        let body = r#"{"id": "a-7", "type": "fasti_test", "data": {"message": "A test"}}"#;
        assert_eq!(read(&[1], &signed(&[1], body), body, NOW).unwrap(), Message::Test);
    }
}
