//! People with an app password: keeping them, and checking what they send.
//!
//! Passwords are drawn here and kept as argon2id, by which a list that leaks tells nothing. Checking
//! one costs some 20 ms and 19 MiB, on purpose; so checks run one at a time on a thread of their own,
//! and what was right a moment ago is remembered (as a keyed hash) for clients that send the password
//! with every request, as CalDAV clients do.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use crate::Handle;
use crate::attempts::{Attempts, Source};

/// Argon2id as OWASP's Password Storage Cheat Sheet recommends: 19 MiB, 2 passes, 1 lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Letters and digits that aren't taken for each other (Crockford's base 32), 5 bits each.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 7 groups of 4: 140 bits, which nobody guesses.
const GROUPS: usize = 7;
const GROUP: usize = 4;

/// Far above any office's size; all of them are written at once.
const USERS_MAX: usize = 1000;

const NAME_BYTES_MAX: usize = 64;

/// How long a password that was right needs no check. One that is taken back is forgotten at once.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// Passwords that are remembered as right.
const REMEMBERED_MAX: usize = 1024;

/// Checks at a time: guesses must never take a node's processors.
const CHECKS: usize = 1;

/// Checks that wait for their turn, less than a second.
const WAITING_MAX: usize = 32;

/// Someone who may use the doors.
#[derive(Clone, Serialize, Deserialize)]
struct Person {
    /// Argon2id in the PHC string format.
    phc: String,
    /// Milliseconds since 1970.
    added: i64,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// Wrong too often: come back after that time. Nothing was checked.
    Wait(Duration),
    /// Too many checks wait already.
    Busy,
}

/// Why people can't be changed.
#[derive(Debug)]
pub(crate) enum PeopleError {
    Name,
    Exists,
    Unknown,
    Full,
    Storage(io::Error),
}

pub(crate) struct People {
    handle: Handle,
    people: Mutex<BTreeMap<String, Person>>,
    right: Mutex<Remembered>,
    /// Changes with every password that is taken back.
    removed: watch::Sender<()>,
    attempts: Mutex<Attempts>,
    waiting: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    /// Nobody's password, checked for names that don't exist: that takes as long.
    nobodys: String,
}

impl People {
    /// Those whom the node keeps.
    pub(crate) fn load(handle: Handle) -> io::Result<Arc<Self>> {
        let people = match handle.node().users()? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        Ok(Arc::new(Self {
            handle,
            people: Mutex::new(people),
            right: Mutex::new(Remembered::new()?),
            removed: watch::Sender::new(()),
            attempts: Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            checks: Arc::new(Semaphore::new(CHECKS)),
            nobodys: nobodys()?,
        }))
    }

    /// Names, and when they were added.
    pub(crate) fn list(&self) -> Vec<(String, i64)> {
        let people = lock(&self.people);
        people.iter().map(|(name, person)| (name.clone(), person.added)).collect()
    }

    /// Adds a person; gives the password, which is kept nowhere. Blocks on the disk.
    pub(crate) fn add(&self, name: &str) -> Result<Zeroizing<String>, PeopleError> {
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.trim() == name
            // RFC 7617, section 2: a colon ends the name.
            && !name.contains(|c: char| c.is_control() || c == ':');
        if !is_name {
            return Err(PeopleError::Name);
        }
        let password = draw().map_err(PeopleError::Storage)?;
        let phc = hash(&normal(&password)).map_err(PeopleError::Storage)?;
        let mut people = lock(&self.people);
        if people.contains_key(name) {
            return Err(PeopleError::Exists);
        }
        if people.len() >= USERS_MAX {
            return Err(PeopleError::Full);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let added = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let mut changed = people.clone();
        changed.insert(name.to_owned(), Person { phc, added });
        self.keep(&mut people, changed)?;
        Ok(password)
    }

    /// Takes a person's password back, at once. Blocks on the disk.
    pub(crate) fn remove(&self, name: &str) -> Result<(), PeopleError> {
        let mut people = lock(&self.people);
        let mut changed = people.clone();
        changed.remove(name).ok_or(PeopleError::Unknown)?;
        self.keep(&mut people, changed)?;
        lock(&self.right).forget(name);
        self.removed.send_replace(());
        Ok(())
    }

    /// Names the password that a person has now, and nobody else ever had: its hash is salted.
    pub(crate) fn password_of(&self, name: &str) -> Option<[u8; 32]> {
        lock(&self.people).get(name).map(|person| Sha256::digest(&person.phc).into())
    }

    /// For those who have to end what a password began.
    pub(crate) fn removals(&self) -> watch::Receiver<()> {
        self.removed.subscribe()
    }

    fn keep(
        &self,
        people: &mut BTreeMap<String, Person>,
        changed: BTreeMap<String, Person>,
    ) -> Result<(), PeopleError> {
        let bytes = serde_json::to_vec(&changed).map_err(io::Error::from);
        bytes
            .and_then(|bytes| self.handle.node().keep_users(&bytes))
            .map_err(PeopleError::Storage)?;
        *people = changed;
        Ok(())
    }

    /// A token was wrong; how long whoever sent it has to wait, if so.
    pub(crate) fn wrong_token(&self, source: Source) -> Option<Duration> {
        let wait = lock(&self.attempts).wait(source, None, Instant::now());
        if wait.is_none() {
            self.wrong(source, None);
        }
        wait
    }

    /// The log says that somebody guesses, and from where; but no name, as people type passwords there.
    fn wrong(&self, source: Source, name: Option<&str>) {
        let (mut attempts, now) = (lock(&self.attempts), Instant::now());
        attempts.wrong(source, name, now);
        if let Some(wait) = attempts.wait(source, name, now) {
            tracing::warn!(%source, wait_s = wait.as_secs(), "wrong tokens or passwords, again and again");
        }
    }

    /// Whether this is that person's password.
    pub(crate) async fn check(
        self: &Arc<Self>,
        name: String,
        password: &str,
        source: Source,
    ) -> Verdict {
        let password = normal(password);
        // Nobody has such a name, and nobody may fill our tables with it.
        let name = if name.len() > NAME_BYTES_MAX { String::new() } else { name };
        if lock(&self.right).holds(&name, &password, Instant::now()) {
            return Verdict::Right;
        }
        if let Some(wait) = lock(&self.attempts).wait(source, Some(&name), Instant::now()) {
            return Verdict::Wait(wait);
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Verdict::Busy;
        };
        let Ok(turn) = Arc::clone(&self.checks).acquire_owned().await else {
            return Verdict::Busy;
        };
        let people = Arc::clone(self);
        // All of it on the other thread: it must count as well if whoever asked is gone by then.
        let checked = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            people.check_now(&name, &password, source)
        });
        checked.await.unwrap_or(Verdict::Busy)
    }

    /// What was decided while this waited counts.
    fn check_now(&self, name: &str, password: &str, source: Source) -> Verdict {
        if lock(&self.right).holds(name, password, Instant::now()) {
            return Verdict::Right;
        }
        if let Some(wait) = lock(&self.attempts).wait(source, Some(name), Instant::now()) {
            return Verdict::Wait(wait);
        }
        let phc = lock(&self.people).get(name).map(|person| person.phc.clone());
        let matches = is_of(password, phc.as_ref().unwrap_or(&self.nobodys));
        let people = lock(&self.people);
        // It may have been taken back meanwhile.
        let right =
            matches && phc.is_some() && people.get(name).map(|person| &person.phc) == phc.as_ref();
        let now = Instant::now();
        if right {
            lock(&self.right).keep(name, password, now);
            lock(&self.attempts).right(source, name, now);
            Verdict::Right
        } else {
            self.wrong(source, Some(name));
            Verdict::Wrong
        }
    }
}

/// What was right, as hashes under a key that only this process has ever had: what lies in memory is
/// no help to guess a password, and how long a look takes depends on nothing that others know.
struct Remembered {
    key: Zeroizing<[u8; 32]>,
    until: BTreeMap<[u8; 32], (String, Instant)>,
}

impl Remembered {
    fn new() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self { key, until: BTreeMap::new() })
    }

    fn tag(&self, name: &str, password: &str) -> [u8; 32] {
        let hash =
            Sha256::new().chain_update(*self.key).chain_update((name.len() as u64).to_be_bytes());
        hash.chain_update(name).chain_update(password).finalize().into()
    }

    fn holds(&self, name: &str, password: &str, now: Instant) -> bool {
        self.until.get(&self.tag(name, password)).is_some_and(|(_, until)| *until > now)
    }

    fn keep(&mut self, name: &str, password: &str, now: Instant) {
        self.until.retain(|_, (_, until)| *until > now);
        if self.until.len() >= REMEMBERED_MAX {
            let oldest = self.until.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(tag) = oldest.map(|(tag, _)| *tag) {
                self.until.remove(&tag);
            }
        }
        self.until.insert(self.tag(name, password), (name.to_owned(), now + REMEMBERED));
    }

    fn forget(&mut self, name: &str) {
        self.until.retain(|_, (whose, _)| whose != name);
    }
}

/// A new password, such as `k3nd-07qy-…`.
fn draw() -> io::Result<Zeroizing<String>> {
    let mut random = Zeroizing::new([0; GROUPS * GROUP]);
    getrandom::fill(&mut *random)?;
    // With its final capacity: growing would leave parts of it behind in memory.
    let mut password = Zeroizing::new(String::with_capacity(GROUPS * (GROUP + 1)));
    for (place, byte) in random.iter().enumerate() {
        if place > 0 && place % GROUP == 0 {
            password.push('-');
        }
        password.push(LETTERS[usize::from(byte % 32)].into());
    }
    Ok(password)
}

/// A password as it is hashed: however people type the groups and the letters.
fn normal(password: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(password.len()));
    let typed = password.chars().filter(|c| *c != '-' && !c.is_whitespace());
    text.extend(typed.map(|c| c.to_ascii_lowercase()));
    text
}

fn hash(password: &str) -> io::Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(io::Error::other)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let phc: PasswordHash = argon2
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(phc.to_string())
}

/// A hash of no password: made of random bytes, so that it costs nothing.
fn nobodys() -> io::Result<String> {
    let (mut salt, mut output) = ([0; 16], [0; 32]);
    getrandom::fill(&mut salt)?;
    getrandom::fill(&mut output)?;
    let [salt, output] = [&salt[..], &output].map(|bytes| BASE64_NOPAD.encode(bytes));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"))
}

/// With the parameters that the hash was made with.
fn is_of(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc)
        .is_ok_and(|phc| Argon2::default().verify_password(password.as_bytes(), &phc).is_ok())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_140_bits_and_are_kept_as_owasp_says() {
        let (one, two) = (draw().unwrap(), draw().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [GROUP; GROUPS]);
        assert!(one.bytes().all(|byte| byte == b'-' || LETTERS.contains(&byte)), "{one:?}");
        let phc = hash(&normal(&one)).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash(&normal(&one)).unwrap(), "salted");
        assert!(is_of(&normal(&one), &phc));
        assert!(is_of(&normal(&one.to_uppercase().replace('-', " ")), &phc));
        assert!(!is_of(&normal(&two), &phc));
        assert!(!is_of("", "damaged"));
        // What is checked for nobody must cost the same.
        let nobodys = nobodys().unwrap();
        let nobodys = PasswordHash::new(&nobodys).unwrap();
        let somebodys = PasswordHash::new(&phc).unwrap();
        assert_eq!((nobodys.algorithm, &nobodys.params), (somebodys.algorithm, &somebodys.params));
        let lengths = |phc: &PasswordHash| {
            (phc.salt.as_ref().map(|salt| salt.len()), phc.hash.as_ref().map(|hash| hash.len()))
        };
        assert_eq!(lengths(&nobodys), lengths(&somebodys));
    }

    #[test]
    fn what_is_remembered_ends_with_time_and_with_the_person() {
        let (mut right, now) = (Remembered::new().unwrap(), Instant::now());
        right.keep("ann", "one", now);
        right.keep("bob", "two", now);
        assert!(right.holds("ann", "one", now) && right.holds("bob", "two", now));
        for (name, password) in [("ann", "two"), ("bob", "one"), ("an", "none"), ("", "annone")] {
            assert!(!right.holds(name, password, now), "{name} {password}");
        }
        assert!(!right.holds("ann", "one", now + REMEMBERED));
        right.forget("ann");
        assert!(!right.holds("ann", "one", now) && right.holds("bob", "two", now));
        for n in 0..2 * REMEMBERED_MAX {
            right.keep("ann", &n.to_string(), now + Duration::from_nanos(n as u64));
        }
        assert_eq!(right.until.len(), REMEMBERED_MAX);
    }
}
