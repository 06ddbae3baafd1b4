//! Signature checks, remembered. Checking is a pure function and by far the dearest part of accepting an
//! entry; a thousand offices that receive the same entry ask the same question.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fasti_core::OfficeId;
use fasti_core::entry::{Ed25519, Signature, Verifier};

type Question = ([u8; 32], [u8; 32], [u8; 64]);

/// The real verifier with a memory that all offices of one world share.
#[derive(Default)]
pub(crate) struct Memo(Mutex<BTreeMap<Question, bool>>);

impl Verifier for Memo {
    fn verify(&self, office: &OfficeId, hash: &[u8; 32], signature: &Signature) -> bool {
        // By hash first: it differs early, the few offices' keys don't.
        let question = (*hash, office.0, signature.to_bytes());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(question).or_insert_with(|| Ed25519.verify(office, hash, signature))
    }
}
