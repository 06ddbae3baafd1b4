//! Office and ticket keys as libp2p identities: a PeerId of an Ed25519 key holds the key itself, so
//! both directions are pure.

use fasti_core::OfficeId;
use libp2p::PeerId;
use libp2p::identity::{DecodingError, Keypair, PublicKey, ed25519};

/// These 32 bytes are not an Ed25519 key.
#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 key")]
pub struct BadKey(#[from] DecodingError);

/// The libp2p name of an office.
///
/// # Errors
/// [`BadKey`] if the id is not a point on the curve; nobody can hold its secret.
pub fn peer_id(office: &OfficeId) -> Result<PeerId, BadKey> {
    peer_of(&office.0)
}

/// The office behind a libp2p name; `None` for keys of other kinds.
pub fn office_id(peer: &PeerId) -> Option<OfficeId> {
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(OfficeId(key.try_into_ed25519().ok()?.to_bytes()))
}

pub(crate) fn peer_of(key: &[u8; 32]) -> Result<PeerId, BadKey> {
    let key = ed25519::PublicKey::try_from_bytes(key)?;
    Ok(PublicKey::from(key).to_peer_id())
}

pub(crate) fn keypair(seed: [u8; 32]) -> Result<Keypair, BadKey> {
    Ok(Keypair::ed25519_from_bytes(seed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_office_and_its_peer_id_are_the_same_key() {
        let keys = keypair([7; 32]).unwrap();
        let office = office_id(&keys.public().to_peer_id()).unwrap();
        assert_eq!(peer_id(&office).unwrap(), keys.public().to_peer_id());
    }
}
