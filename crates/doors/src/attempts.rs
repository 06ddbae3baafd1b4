//! Wrong tokens and passwords, counted: who was wrong too often waits, longer each time. Time is an
//! argument, so that tests have no need to wait.
//!
//! Tokens and app passwords have more than 128 random bits, so nobody finds one by guessing. What is
//! guarded is the processor, and whoever keeps a password of their own making in our list one day.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong attempts that cost no delay: a client with an old password tries once or twice, and people
/// mistype.
const FREE: u32 = 5;

/// The first delay; it doubles with every further wrong attempt.
const DELAY_MIN: Duration = Duration::from_secs(1);

/// Longer ones would help those who want to lock somebody out more than they would hinder guessing.
const DELAY_MAX: Duration = Duration::from_secs(5 * 60);

/// After so long without a wrong attempt all is forgotten.
const FORGET: Duration = Duration::from_secs(60 * 60);

/// Sources, and names, that are remembered: some 500 kB. Beyond that the one that was quiet for longest
/// is forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Where an attempt comes from: an address, or for IPv6 the network of 2^64 that one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()
            }
            address => address,
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who was wrong, and how often.
#[derive(Default)]
pub(crate) struct Attempts {
    sources: Table<Source>,
    names: Table<String>,
    /// From where whom was let in: others' guesses at that name don't count there.
    known: Table<(String, Source)>,
}

impl Attempts {
    /// How long there is to wait before the next attempt, if at all; `name` is whose password is tried.
    pub(crate) fn wait(
        &self,
        source: Source,
        name: Option<&str>,
        now: Instant,
    ) -> Option<Duration> {
        let name = name
            .filter(|name| !self.known.holds(&((*name).to_owned(), source), now))
            .and_then(|name| self.names.wait(name, now));
        self.sources.wait(&source, now).max(name)
    }

    /// An attempt was wrong.
    pub(crate) fn wrong(&mut self, source: Source, name: Option<&str>, now: Instant) {
        self.sources.count(source, now);
        if let Some(name) = name {
            self.names.count(name.to_owned(), now);
        }
    }

    /// An attempt was right.
    pub(crate) fn right(&mut self, source: Source, name: &str, now: Instant) {
        self.sources.0.remove(&source);
        self.names.0.remove(name);
        self.known.count((name.to_owned(), source), now);
    }
}

/// How often, and when last.
struct Counted {
    times: u32,
    last: Instant,
}

impl Counted {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGET
    }
}

struct Table<K>(BTreeMap<K, Counted>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Table<K> {
    fn holds(&self, key: &K, now: Instant) -> bool {
        self.0.get(key).is_some_and(|counted| !counted.is_forgotten(now))
    }

    fn wait<Q: Ord + ?Sized>(&self, key: &Q, now: Instant) -> Option<Duration>
    where
        K: std::borrow::Borrow<Q>,
    {
        let counted = self.0.get(key).filter(|counted| !counted.is_forgotten(now))?;
        let doublings = counted.times.checked_sub(FREE)?;
        let delay = DELAY_MIN.saturating_mul(1 << doublings.min(16)).min(DELAY_MAX);
        let left = delay.saturating_sub(now.saturating_duration_since(counted.last));
        (!left.is_zero()).then_some(left)
    }

    fn count(&mut self, key: K, now: Instant) {
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let counted = self.0.entry(key).or_insert(Counted { times: 0, last: now });
        if counted.is_forgotten(now) {
            counted.times = 0;
        }
        counted.times = counted.times.saturating_add(1);
        counted.last = now;
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, counted| !counted.is_forgotten(now));
        if self.0.len() >= REMEMBERED_MAX {
            let quietest = self.0.iter().min_by_key(|(_, counted)| counted.last);
            if let Some(key) = quietest.map(|(key, _)| key.clone()) {
                self.0.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn whoever_is_wrong_again_waits_twice_as_long() {
        let (mut attempts, mut now, here) =
            (Attempts::default(), Instant::now(), source("192.0.2.1"));
        for _ in 0..FREE {
            assert_eq!(attempts.wait(here, Some("ann"), now), None);
            attempts.wrong(here, Some("ann"), now);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(
                attempts.wait(here, Some("ann"), now),
                Some(Duration::from_secs(seconds)),
                "the address"
            );
            assert_eq!(
                attempts.wait(source("192.0.2.2"), Some("ann"), now),
                Some(Duration::from_secs(seconds)),
                "the name, from elsewhere"
            );
            assert_eq!(attempts.wait(source("192.0.2.2"), Some("bob"), now), None);
            assert!(
                attempts
                    .wait(here, None, now + Duration::from_secs(seconds) - Duration::from_nanos(1))
                    .is_some()
            );
            now = after(seconds, now);
            assert_eq!(attempts.wait(here, Some("ann"), now), None);
            attempts.wrong(here, Some("ann"), now);
        }
        assert_eq!(attempts.wait(here, Some("ann"), now + FORGET), None);
        attempts.wrong(here, Some("ann"), now + FORGET);
        assert_eq!(attempts.wait(here, Some("ann"), now + FORGET), None, "it begins anew");
    }

    #[test]
    fn a_success_resets_and_guesses_from_elsewhere_do_not_lock_out_whoever_was_here() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let (home, away) = (source("192.0.2.1"), source("203.0.113.9"));
        for _ in 0..=FREE {
            attempts.wrong(home, Some("ann"), now);
        }
        assert!(attempts.wait(home, Some("ann"), now).is_some());
        attempts.right(home, "ann", now);
        assert_eq!(attempts.wait(home, Some("ann"), now), None);
        for _ in 0..100 {
            attempts.wrong(away, Some("ann"), now);
        }
        assert!(attempts.wait(away, Some("ann"), now).is_some());
        assert!(attempts.wait(source("192.0.2.7"), Some("ann"), now).is_some());
        assert_eq!(attempts.wait(home, Some("ann"), now), None);
        assert_eq!(attempts.wait(home, None, now), None);
    }

    #[test]
    fn one_subscriber_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::1"), source("::2"));
    }

    #[test]
    fn a_flood_of_sources_and_names_takes_no_more_memory() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for n in 0..2 * REMEMBERED_MAX as u32 {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            let now = start + Duration::from_millis(n.into());
            attempts.wrong(address.into(), Some(&format!("name {n}")), now);
            attempts.right(source("::1"), &format!("name {n}"), now);
        }
        assert_eq!(attempts.sources.0.len(), REMEMBERED_MAX);
        assert!(attempts.names.0.len() <= REMEMBERED_MAX);
        assert_eq!(attempts.known.0.len(), REMEMBERED_MAX);
        let newest = Source::from(IpAddr::from(std::net::Ipv4Addr::from_bits(
            2 * REMEMBERED_MAX as u32 - 1,
        )));
        assert!(attempts.sources.0.contains_key(&newest), "the quietest goes first");
    }
}
