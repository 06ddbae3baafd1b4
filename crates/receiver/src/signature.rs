//! Signatures as Standard Webhooks has them: HMAC-SHA256 over the message's id, the time, and the body.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How many seconds a message's time may differ from ours: older ones may be somebody's who repeats what he heard.
pub const TOLERANCE_S: i64 = 5 * 60;

const PREFIX: &str = "whsec_";
/// Shortest and longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What both sides know.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is `whsec_` and 24 to 64 bytes in base64, as it was shown when the subscription was made"
)]
pub struct NoSecret;

impl Secret {
    /// From its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// From `whsec_…`.
    ///
    /// # Errors
    /// [`NoSecret`]
    pub fn from_text(text: &str) -> Result<Self, NoSecret> {
        let base64 = text.trim().strip_prefix(PREFIX).ok_or(NoSecret)?;
        let bytes = BASE64.decode(base64.as_bytes()).map_err(|_| NoSecret)?;
        if SECRET_BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(NoSecret) }
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// As `whsec_…`.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }

    fn mac(&self, id: &str, time: i64, body: &[u8]) -> Hmac<Sha256> {
        // Any length will do for a key.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!() };
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(body);
        mac
    }

    /// A signature, for the header `webhook-signature`, in which several stand apart by spaces.
    pub fn sign(&self, id: &str, time: i64, body: &[u8]) -> String {
        format!("v1,{}", BASE64.encode(&self.mac(id, time, body).finalize().into_bytes()))
    }

    /// Whether one of the signatures in a header is by this secret.
    pub fn is_signed(&self, id: &str, time: i64, body: &[u8], header: &str) -> bool {
        let ours = |signature: &str| {
            let base64 = signature.strip_prefix("v1,")?;
            let bytes = BASE64.decode(base64.as_bytes()).ok()?;
            self.mac(id, time, body).verify_slice(&bytes).ok()
        };
        header.split(' ').any(|signature| ours(signature).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found with another implementation: the example of the specification's authors.
    #[test]
    fn an_example_of_others_verifies() {
        let Ok(secret) = Secret::from_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") else {
            panic!()
        };
        let (id, time) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let body = br#"{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(secret.sign(id, time, body), signature);
        assert!(secret.is_signed(id, time, body, &format!("v1,AAAA v2,x {signature}")));
        assert!(!secret.is_signed(id, time + 1, body, signature));
        assert_eq!(secret.to_text(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(Secret::from_text("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Err(NoSecret));
    }
}
