//! Sessions of the web page: who logged in once, and is known by a cookie from then on.
//!
//! They are kept in memory, as hashes of what the cookies hold: a node that starts anew knows none, and what
//! leaks out of memory opens nothing. A person's session is worth as much as the password that began it, and
//! ends with that at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// Random bytes in a cookie: 256 bits.
const COOKIE_BYTES: usize = 32;

/// Random bytes in a link: 160 bits, 32 letters.
const CODE_BYTES: usize = 20;

/// How long a link into the page is good: enough to change to the browser.
pub const LINK_TTL: Duration = Duration::from_secs(10 * 60);

/// Links that are good at a time; the oldest ends when there is one more.
const LINKS_MAX: usize = 16;

/// Sessions of one person, and of the operator: browsers and devices. The oldest ends when there is one
/// more, so that nobody can use up the memory, or end what others have.
const SESSIONS_EACH_MAX: usize = 16;

/// How often an open page says that it still is there.
const USE_EVERY: Duration = Duration::from_secs(60);

/// How long a session goes on without a request or an open page, and how long at the most.
struct Limits {
    idle: Duration,
    whole: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);

/// A working day: whoever has it can invite and send data elsewhere.
const OPERATOR: Limits = Limits { idle: HOUR, whole: Duration::from_secs(12 * 3600) };

/// A week, so that Monday begins with a log-in.
const PERSON: Limits =
    Limits { idle: Duration::from_secs(24 * 3600), whole: Duration::from_secs(7 * 24 * 3600) };

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Operator,
    /// A person, and what names the password that began it: another one begins nothing of the old one's.
    Person {
        name: String,
        password: [u8; 32],
    },
}

impl Whose {
    fn limits(&self) -> &'static Limits {
        match self {
            Self::Operator => &OPERATOR,
            Self::Person { .. } => &PERSON,
        }
    }
}

/// Names a session within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId([u8; 32]);

struct Session {
    whose: Whose,
    begun: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        let Limits { idle, whole } = self.whose.limits();
        now.duration_since(self.used) >= *idle || now.duration_since(self.begun) >= *whole
    }
}

#[derive(Default)]
struct Kept {
    sessions: BTreeMap<SessionId, Session>,
    /// Hashes of codes, and when they were made.
    links: BTreeMap<[u8; 32], Instant>,
}

pub(crate) struct Sessions {
    kept: Mutex<Kept>,
    /// Changes whenever a session is ended.
    ended: watch::Sender<()>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), ended: watch::Sender::new(()) }
    }

    /// Begins a session; gives what its cookie holds, which is kept nowhere, and how long it lasts at the most.
    pub(crate) fn begin(
        &self,
        whose: Whose,
        now: Instant,
    ) -> io::Result<(Zeroizing<String>, Duration)> {
        let mut secret = Zeroizing::new([0; COOKIE_BYTES]);
        getrandom::fill(&mut *secret)?;
        let cookie = Zeroizing::new(BASE64URL_NOPAD.encode(&*secret));
        let whole = whose.limits().whole;
        let mut kept = self.lock();
        kept.sessions.retain(|_, session| !session.is_over(now));
        let theirs = kept.sessions.iter().filter(|(_, session)| session.whose == whose);
        if theirs.clone().count() >= SESSIONS_EACH_MAX {
            let oldest = theirs.min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| kept.sessions.remove(&id));
            self.ended.send_replace(());
        }
        kept.sessions.insert(id_of(&cookie), Session { whose, begun: now, used: now });
        Ok((cookie, whole))
    }

    /// The session that this cookie is of, which is used by that.
    pub(crate) fn find(&self, cookie: &str, now: Instant) -> Option<(SessionId, Whose)> {
        let id = id_of(cookie);
        self.touch(id, now).map(|whose| (id, whose))
    }

    fn touch(&self, id: SessionId, now: Instant) -> Option<Whose> {
        let mut kept = self.lock();
        let session = kept.sessions.get_mut(&id).filter(|session| !session.is_over(now))?;
        session.used = now;
        Some(session.whose.clone())
    }

    /// Ends a session, and whatever is open for it.
    pub(crate) fn end(&self, id: SessionId) {
        self.lock().sessions.remove(&id);
        self.ended.send_replace(());
    }

    /// Completes when a session has ended. Until then it counts as used: the page is open.
    pub(crate) async fn over(&self, id: SessionId) {
        let mut ended = self.ended.subscribe();
        while self.touch(id, Instant::now()).is_some() {
            tokio::select! {
                _ = ended.changed() => {}
                () = tokio::time::sleep(USE_EVERY) => {}
            }
        }
    }

    /// A code that begins an operator's session, once.
    pub(crate) fn link(&self, now: Instant) -> io::Result<Zeroizing<String>> {
        let mut secret = Zeroizing::new([0; CODE_BYTES]);
        getrandom::fill(&mut *secret)?;
        let code = Zeroizing::new(BASE32_NOPAD.encode(&*secret).to_ascii_lowercase());
        let mut kept = self.lock();
        kept.links.retain(|_, made| now.duration_since(*made) < LINK_TTL);
        if kept.links.len() >= LINKS_MAX {
            let oldest = kept.links.iter().min_by_key(|(_, made)| **made).map(|(tag, _)| *tag);
            oldest.and_then(|tag| kept.links.remove(&tag));
        }
        kept.links.insert(hash(&code), now);
        Ok(code)
    }

    /// Uses a code up. Whether it was good.
    pub(crate) fn follow(&self, code: &str, now: Instant) -> bool {
        let made = self.lock().links.remove(&hash(code));
        made.is_some_and(|made| now.duration_since(made) < LINK_TTL)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_of(cookie: &str) -> SessionId {
    SessionId(hash(cookie))
}

/// What is looked up is a hash, so that how long that takes says nothing of the secret.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str) -> Whose {
        Whose::Person { name: name.into(), password: [0; 32] }
    }

    #[test]
    fn a_session_ends_when_it_is_left_alone_and_when_it_is_old() {
        for whose in [Whose::Operator, person("ann")] {
            let (sessions, begun) = (Sessions::new(), Instant::now());
            let Limits { idle, whole } = whose.limits();
            let (left, _) = sessions.begin(whose.clone(), begun).unwrap();
            let (used, _) = sessions.begin(whose.clone(), begun).unwrap();
            assert_ne!(left, used);
            let mut now = begun;
            while now + *idle / 2 < begun + *whole {
                now += *idle / 2;
                let found = sessions.find(&used, now).map(|(_, whose)| whose);
                assert_eq!(found.as_ref(), Some(&whose));
            }
            assert!(sessions.find(&left, begun + *idle).is_none(), "nobody used it");
            assert!(sessions.find(&used, begun + *whole).is_none(), "it is old");
        }
    }

    #[test]
    fn nobody_fills_the_memory_or_ends_what_others_have() {
        let (sessions, now) = (Sessions::new(), Instant::now());
        let (anns, _) = sessions.begin(person("ann"), now).unwrap();
        let bobs: Vec<_> = (0..=SESSIONS_EACH_MAX as u64)
            .map(|n| sessions.begin(person("bob"), now + Duration::from_millis(n)).unwrap().0)
            .collect();
        let lives = |cookie: &str| sessions.find(cookie, now + HOUR / 2).is_some();
        assert!(lives(&anns));
        assert!(!lives(&bobs[0]), "the oldest makes room");
        assert!(bobs[1..].iter().all(|cookie| lives(cookie)));
        assert!(!lives("") && !lives("made-up"));
    }

    #[test]
    fn a_link_is_good_once_and_for_some_minutes() {
        let (sessions, now) = (Sessions::new(), Instant::now());
        let (one, two) = (sessions.link(now).unwrap(), sessions.link(now).unwrap());
        assert!(sessions.follow(&one, now));
        assert!(!sessions.follow(&one, now), "it was used");
        assert!(!sessions.follow(&two, now + LINK_TTL), "it is old");
        assert!(!sessions.follow("", now));
        for n in 0..2 * LINKS_MAX as u64 {
            sessions.link(now + Duration::from_millis(n)).unwrap();
        }
        assert_eq!(sessions.lock().links.len(), LINKS_MAX);
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_hears_of_it() {
        let sessions = Sessions::new();
        let (cookie, _) = sessions.begin(Whose::Operator, Instant::now()).unwrap();
        let (id, _) = sessions.find(&cookie, Instant::now()).unwrap();
        let end = async {
            tokio::task::yield_now().await;
            sessions.end(id);
        };
        tokio::join!(sessions.over(id), end);
    }
}
