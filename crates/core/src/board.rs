//! The board of notices: the latest of each office on each topic, ours among them, and what each
//! neighbour has not seen. Leaves to `gossip` when to send.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::entry::{Signer, Verifier};
use crate::ids::OfficeId;
use crate::notice::{SignedNotice, Topic};
use crate::step::Write;

type Key = (OfficeId, Topic);

#[derive(Default)]
pub(crate) struct Board {
    notices: BTreeMap<Key, (SignedNotice, u64)>,
    /// The same by version: a number that rises with every notice we learn.
    by_version: BTreeMap<u64, Key>,
    version: u64,
    /// Rises with every presence we learn.
    presences: u64,
    /// Until the next notice: half of a hash over all of them.
    digest: Option<[u8; 16]>,
    /// Not yet stored.
    unsaved: BTreeSet<Key>,
    /// One of them is ours: to be stored before anyone hears it.
    own_unsaved: bool,
}

impl Board {
    /// Takes a stored notice.
    pub(crate) fn reload(&mut self, notice: SignedNotice) {
        self.put(notice);
        self.unsaved.clear();
    }

    /// Takes a notice if it is newer than what is here and genuine.
    pub(crate) fn learn(&mut self, notice: SignedNotice, verifier: &dyn Verifier) -> bool {
        let key = (notice.office, notice.topic);
        let newer = self.notices.get(&key).is_none_or(|(held, _)| held.counter < notice.counter);
        if !newer || !notice.is_genuine(verifier) {
            return false;
        }
        self.put(notice);
        true
    }

    /// Says something about ourselves. The counter follows the wall clock, so that it rises even if
    /// the last one was lost with the disk. It rises over what was said before even if the clock was
    /// set back, because what we say is stored before it is sent.
    pub(crate) fn say(
        &mut self,
        signer: &Signer,
        topic: Topic,
        body: &impl serde::Serialize,
        wall: i64,
    ) {
        let last = self.notices.get(&(signer.office(), topic)).map_or(0, |(held, _)| held.counter);
        let counter = last.saturating_add(1).max(u64::try_from(wall).unwrap_or(0));
        self.put(SignedNotice::new(signer, topic, counter, body));
        self.own_unsaved = true;
    }

    fn put(&mut self, notice: SignedNotice) {
        let key = (notice.office, notice.topic);
        self.version += 1;
        self.digest = None;
        self.presences += u64::from(notice.topic == Topic::Presence);
        self.by_version.insert(self.version, key);
        if let Some((_, old)) = self.notices.insert(key, (notice, self.version)) {
            self.by_version.remove(&old);
        }
        self.unsaved.insert(key);
    }

    /// Forgets what an office said.
    pub(crate) fn forget(&mut self, office: &OfficeId) {
        for topic in Topic::ALL {
            if let Some((_, version)) = self.notices.remove(&(*office, topic)) {
                self.by_version.remove(&version);
                self.unsaved.remove(&(*office, topic));
                self.digest = None;
            }
        }
    }

    pub(crate) fn about(&self, office: &OfficeId, topic: Topic) -> Option<&SignedNotice> {
        self.notices.get(&(*office, topic)).map(|(notice, _)| notice)
    }

    pub(crate) fn len(&self) -> usize {
        self.notices.len()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn presences(&self) -> u64 {
        self.presences
    }

    /// What was learnt after a version.
    pub(crate) fn since(&self, version: u64) -> impl Iterator<Item = &SignedNotice> {
        self.by_version.range(version + 1..).filter_map(|(_, key)| Some(&self.notices.get(key)?.0))
    }

    /// Half a SHA-256 over office, topic and counter of all notices.
    pub(crate) fn digest(&mut self) -> [u8; 16] {
        if let Some(digest) = self.digest {
            return digest;
        }
        let mut sha = Sha256::new();
        sha.update(b"fasti/notices/1\0");
        for ((office, topic), (notice, _)) in &self.notices {
            sha.update(office.0);
            sha.update([*topic as u8]);
            sha.update(notice.counter.to_be_bytes());
        }
        let hash: [u8; 32] = sha.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        self.digest = Some(half);
        half
    }

    /// Whether we said something that is not yet stored.
    pub(crate) fn has_own_unsaved(&self) -> bool {
        self.own_unsaved
    }

    /// What is not yet stored.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Write> {
        self.own_unsaved = false;
        std::mem::take(&mut self.unsaved)
            .iter()
            .filter_map(|key| Some(Write::Notice(self.notices.get(key)?.0.clone())))
            .collect()
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }
}
