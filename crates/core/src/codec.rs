//! Structures in postcard, as the protocol has them: one fills what holds it.

use serde::de::DeserializeOwned;

/// Reads a structure; bytes that are left over after it make it malformed.
pub(crate) fn exactly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}
