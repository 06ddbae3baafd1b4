//! Tickets: the one line of text that makes a newcomer a member.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::codec::exactly;
use crate::entry::Signer;
use crate::ids::{NetworkId, OfficeId, TicketId};

const PREFIX: &str = "fasti1-";

/// What a newcomer needs: how to prove the invitation, which network to expect, and whom to ask.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The network; the founding entry must have this hash.
    pub network: NetworkId,
    /// The secret half of the ticket's key.
    secret: Zeroizing<[u8; 32]>,
    /// The name that the admin gave to the new office.
    pub name: String,
    /// When it expires, milliseconds since 1970.
    pub expires: i64,
    /// A member who can admit, and where it can be reached.
    pub sponsor: OfficeId,
    /// Multiaddresses of the sponsor.
    pub addresses: Vec<String>,
}

/// Why a text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It doesn't begin like one.
    #[error(
        "this is no ticket: tickets begin with {PREFIX:?}; copy the whole line that `fasti invite` printed"
    )]
    Prefix,
    /// Something is missing or changed.
    #[error("the ticket is damaged; copy the whole line that `fasti invite` printed")]
    Damaged,
}

impl Ticket {
    /// A new one; `secret` must be random.
    pub fn new(
        network: NetworkId,
        secret: [u8; 32],
        name: String,
        expires: i64,
        sponsor: OfficeId,
        addresses: Vec<String>,
    ) -> Self {
        let secret = Zeroizing::new(secret);
        Self { network, secret, name, expires, sponsor, addresses }
    }

    /// The ticket's key.
    pub fn signer(&self) -> Signer {
        Signer::from_seed(&self.secret)
    }

    /// The seed of the ticket's key, for the transport.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public half.
    pub fn id(&self) -> TicketId {
        TicketId(self.signer().office().0)
    }

    /// As people hand it on; whoever has it can join once.
    pub fn to_text(&self) -> String {
        let mut bytes = postcard::to_stdvec(self).unwrap_or_default();
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..4]);
        let text = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes));
        bytes.zeroize();
        text
    }

    /// From such a text.
    ///
    /// # Errors
    /// [`TicketError`]
    pub fn from_text(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TicketError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(TicketError::Damaged)?;
        if Sha256::digest(body)[..4] != check[..] {
            return Err(TicketError::Damaged);
        }
        exactly(body).map_err(|_| TicketError::Damaged)
    }
}

impl std::fmt::Debug for Ticket {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("id", &self.id())
            .field("network", &self.network)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
