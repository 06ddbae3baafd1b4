//! What is said while an office joins: what the newcomer sends with its ticket, and what the sponsor answers.
//! Leaves the stream to `net`, and whether to admit to `machine`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::exactly;
use crate::ids::OfficeId;
use crate::statement::Admit;

/// What a newcomer sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// To be written by the sponsor.
    pub admit: Admit,
}

/// The answer: all members and where each says it can be reached, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer(pub Result<BTreeMap<OfficeId, Vec<String>>, String>);

impl JoinRequest {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the wire.
    ///
    /// # Errors
    /// Bytes that are no request.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        exactly(bytes)
    }
}

impl JoinAnswer {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the wire.
    ///
    /// # Errors
    /// Bytes that are no answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        exactly(bytes)
    }
}
