//! The state machine: takes inputs, gives steps. Routes each input to whom it concerns (`ledger` for
//! what is held, `gossip` for what goes around, `calendar` and `views` for what people ask) and gathers
//! what they leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::calendar::{self, Context};
use crate::command::{Answer, BookingsQuery, Command, CommandError, Condition, Reply};
use crate::document::Document;
use crate::entry::{
    Ed25519, Entry, Link, PERSON_BYTES_MAX, RULES, Signer, Verifier, first_prev, is_person,
};
use crate::gossip::Gossip;
use crate::graph::Index;
use crate::ids::{Digest, Incarnation, LogId, NetworkId, OfficeId, ResourceId, TicketId};
use crate::ledger::{Ledger, TooLarge};
use crate::message::Message;
use crate::notice::{SignedNotice, Topic};
use crate::opening::{OpenError, Stored, judge_again, reload};
use crate::outbox::{Outbox, Tried};
use crate::overlay::Overlay;
use crate::report;
use crate::roster::{TicketFault, is_name};
use crate::row::{Row, Standing};
use crate::statement::{Found, Remove, Role, Statement, Succeed};
use crate::step::{Effect, Kept, RequestId, Step};
use crate::time::{Dice, Instant, Now, SECOND};
use crate::views;

/// Who a node is. Everything random that it will ever need comes from `seed`.
#[derive(Clone)]
pub struct Config {
    /// The network that it belongs to.
    pub network: NetworkId,
    /// The office's key.
    pub signer: Signer,
    /// Fresh random bytes at each start.
    pub seed: [u8; 32],
    /// The program's version, told to other members.
    pub version: String,
    /// Whether it relays between members that can't reach each other; told to other members.
    pub relay: bool,
    /// Members to start with, from the ticket, and where they can be reached: until the roster has come.
    pub bootstrap: BTreeMap<OfficeId, Vec<String>>,
    /// How signatures are checked: [`Ed25519`].
    pub verifier: Arc<dyn Verifier>,
}

impl Config {
    /// For this office in this network, with the real verifier and no bootstrap.
    pub fn new(network: NetworkId, signer: Signer, seed: [u8; 32]) -> Self {
        Self {
            network,
            signer,
            seed,
            version: env!("CARGO_PKG_VERSION").into(),
            relay: false,
            bootstrap: BTreeMap::new(),
            verifier: Arc::new(Ed25519),
        }
    }
}

/// What can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody asks; the answer is an [`Effect::Reply`] with the same number.
    Command(RequestId, Command),
    /// A link is up.
    Connected(OfficeId),
    /// A link is gone.
    Disconnected(OfficeId),
    /// A frame came over a link.
    Received(OfficeId, Vec<u8>),
    /// Pushed frames for this peer were dropped.
    Congested(OfficeId),
    /// Where we can be reached now; all of it.
    Listening(Vec<String>),
    /// What came of an attempt to deliver.
    Tried(Tried),
    /// A deadline may have passed; see [`Core::next_due`].
    Tick,
}

/// How long a node that was started waits with its first write for somebody who knows its log. A linked peer
/// answers within a round trip; to whoever is cut off it is a second, once.
const OWN_LOG_PATIENCE: u64 = SECOND;

/// After a node had to judge all it holds again, it takes no fork for so many times as long as that took, nor minds
/// what may change the standing of a removed member's entries: a liar can make as many as it likes, and each
/// costs as much as opening the folder without a snapshot, and comparing with all peers.
const JUDGE_PAUSE: u64 = 10;
const JUDGE_PAUSE_MIN: u64 = 3 * SECOND;
const JUDGE_PAUSE_MAX: u64 = 600 * SECOND;

/// How soon others are told again of how external systems fare.
const SYSTEMS_PAUSE: u64 = SECOND;

/// How often a node looks whether what it has booked reaches as far ahead as it should, and how many events it looks at
/// before it does anything else.
const FOLLOW_EVERY: u64 = 86_400 * SECOND;
const FOLLOW_AT_ONCE: usize = 32;

/// Changes that are applied to the document together when there is time: few enough that whoever reads
/// before doesn't notice, and enough to share most of what a batch costs. Drawn anew each time, so that nodes
/// on one machine don't all do it at the same moment.
fn batch(dice: &mut Dice) -> usize {
    8 + dice.below(16) as usize
}

/// What a node keeps because of what peers said, apart from entries. See [`Core::load`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bundles that wait for what they build upon.
    pub waiting: usize,
    /// Their size in bytes.
    pub waiting_bytes: usize,
    /// Lines that linked peers said they hold and we don't.
    pub offered: usize,
    /// Notices.
    pub notices: usize,
    /// Something is held that changes what earlier entries count for, and they have not been judged again yet.
    pub judging_due: bool,
}

/// One node's state. See the crate's documentation for how to drive it.
pub struct Core {
    ledger: Ledger,
    gossip: Gossip,
    outbox: Outbox,
    /// The board when it was last looked what others hold.
    board_seen: u64,
    /// When others may be told of external systems again, if there is something to tell.
    systems_due: Instant,
    systems_news: bool,
    fresh: Incarnation,
    bootstrap: BTreeMap<OfficeId, Vec<String>>,
    replies: Vec<(RequestId, Reply)>,
    /// What waits to be answered: writes, until it is known which log to write them to.
    parked: Vec<(RequestId, Command)>,
    /// Nobody can hold more of our log than we do: we may go on with it.
    settled: bool,
    /// How many entries were held when nobody waited for our word.
    granted: Index,
    /// When all our bookings were last looked at.
    followed: Option<Instant>,
    /// The moment of the first input.
    started: Option<Instant>,
    /// All was judged again when it was opened, from this moment on.
    judged_again: Option<Instant>,
    admitted: Option<(BTreeSet<OfficeId>, BTreeSet<TicketId>)>,
    neighbours: Option<BTreeMap<OfficeId, Vec<String>>>,
    relays: Option<BTreeMap<OfficeId, Vec<String>>>,
    presences: u64,
    /// Members that have no place in the network.
    surplus: BTreeSet<OfficeId>,
    dice: Dice,
    /// How many changes [`Core::idle`] waits for.
    batch: usize,
}

/// Founds a network: gives its id, and the first row for the founder's store.
///
/// # Errors
/// [`CommandError::Invalid`] if the name can't name an office.
pub fn found(
    signer: &Signer,
    name: &str,
    nonce: [u8; 16],
    wall: i64,
) -> Result<(NetworkId, LogId, Row), CommandError> {
    check_name(name)?;
    let found = Found { name: name.into(), nonce };
    let mut first = [0; 8];
    first.copy_from_slice(&nonce[..8]);
    let log =
        LogId { author: signer.office(), incarnation: Incarnation(u64::from_be_bytes(first)) };
    let (kind, body) = Statement::Found(found).encode();
    let link =
        Link { rules: RULES, parents: Vec::new(), time: wall, person: "".into(), kind, body };
    let entry = Entry { log, seq: 1, prev: first_prev(None), link };
    let hash = entry.hash();
    let signature = Some(signer.sign(&hash.0));
    Ok((
        NetworkId(hash.0),
        log,
        Row { hash, signature, standing: Standing::Applied, applied: None, entry },
    ))
}

/// Checks a name for an office.
///
/// # Errors
/// [`CommandError::Invalid`]
pub fn check_name(name: &str) -> Result<(), CommandError> {
    if is_name(name) {
        Ok(())
    } else {
        let problem = format!(
            "an office's name is 1 to {} bytes without control characters",
            crate::roster::NAME_BYTES_MAX
        );
        Err(CommandError::Invalid { path: "name".into(), problem })
    }
}

impl Core {
    /// Opens a node from its rows, in local order (they may be asked for more than once), and the rest of what
    /// is stored. The first step says whom to admit and to connect.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open<E, I>(
        config: Config,
        stored: Stored,
        rows: impl Fn() -> Result<I, E>,
        now: Now,
    ) -> Result<Self, OpenError<E>>
    where
        E: std::error::Error + 'static,
        I: Iterator<Item = Result<Row, E>>,
    {
        let Config { network, signer, seed, version, relay, bootstrap, verifier } = config;
        let mut dice =
            Dice(seed.chunks_exact(8).fold(0, |sum, part| {
                sum ^ u64::from_le_bytes(part.try_into().unwrap_or_default())
            }));
        // Of its own, so that what happens to deliveries doesn't change how a run with the same seed goes on.
        let outbox_seed = !dice.0;
        let new_ledger = || {
            let mut ledger = Ledger::new(network, signer.clone(), Arc::clone(&verifier));
            ledger.opened = now.wall;
            ledger.graph.know_forks(stored.forks.iter().copied());
            ledger
        };
        let mut ledger = new_ledger();
        let reloaded = !stored.judge_again
            && reload(&mut ledger, &stored.snapshot, rows().map_err(OpenError::Store)?)?;
        if reloaded {
            ledger.conflicts = stored.conflicts.iter().cloned().collect();
        } else {
            ledger = judge_again(new_ledger, &stored, &rows)?;
        }
        // What was judged anew changed without an entry.
        let numbering = stored.numbering.filter(|_| reloaded);
        match numbering {
            Some(numbering) => ledger.numbering = numbering,
            None => ledger.number_anew(Dice(dice.0.rotate_left(32)).next()),
        }
        ledger.own =
            stored.incarnation.map(|incarnation| LogId { author: ledger.office(), incarnation });
        let mut gossip = Gossip::new(dice.next(), version, relay, stored.kept.taken, now);
        for notice in stored.notices {
            if !ledger.roster.removed().contains_key(&notice.office) {
                gossip.board.reload(notice);
            }
        }
        Ok(Self {
            ledger,
            outbox: Outbox::new(stored.outbox, outbox_seed, now),
            board_seen: gossip.board.version(),
            systems_due: now.monotonic,
            systems_news: true,
            gossip,
            fresh: Incarnation(dice.next()),
            bootstrap,
            replies: Vec::new(),
            parked: Vec::new(),
            settled: stored.kept.settled,
            granted: 0,
            followed: None,
            started: None,
            judged_again: (!reloaded).then_some(now.monotonic),
            admitted: None,
            neighbours: None,
            relays: None,
            presences: u64::MAX,
            surplus: BTreeSet::new(),
            batch: batch(&mut dice),
            dice,
        })
    }

    /// Takes an input. What follows from it is in the next step; several inputs may share one.
    pub fn handle(&mut self, now: Now, input: Input) {
        let started = *self.started.get_or_insert(now.monotonic);
        let judging_pause = self.judging_pause();
        let Self { ledger, gossip, .. } = self;
        ledger.takes_forks = started.after(judging_pause) <= now.monotonic;
        ledger.stale |= ledger.judging_due && ledger.takes_forks;
        if ledger.stale {
            if let Input::Command(request, command) = input {
                self.parked.push((request, command));
            }
            return;
        }
        match input {
            Input::Command(request, command) if calendar::writes(&command) => {
                self.parked.push((request, command));
            }
            Input::Command(request, command) => {
                let reply = self.answer(now, command);
                self.replies.push((request, reply));
            }
            Input::Connected(peer) => gossip.connected(ledger, now, peer),
            Input::Disconnected(peer) => gossip.disconnected(ledger, now, peer),
            Input::Received(peer, frame) => match Message::decode(&frame) {
                Ok(message) => gossip.received(ledger, now, peer, message),
                Err(error) => {
                    let what = format!("a frame from {peer} was ignored: {error}");
                    gossip.complain(ledger, peer, &what);
                }
            },
            Input::Congested(peer) => gossip.congested(ledger, peer),
            Input::Listening(addresses) => gossip.listening(ledger, now, addresses),
            Input::Tried(tried) => self.outbox.tried(now, tried),
            Input::Tick => {}
        }
        self.gossip.tick(&mut self.ledger, now);
        if !self.parked.is_empty() && !self.ledger.stale && self.may_write(now) {
            let mut parked = std::mem::take(&mut self.parked).into_iter();
            // One of them may change what earlier entries count for: the rest is asked again afterwards.
            while !self.ledger.stale
                && let Some((request, command)) = parked.next()
            {
                let reply = self.answer(now, command);
                self.replies.push((request, reply));
            }
            self.parked = parked.collect();
        }
        self.grant(now);
        self.follow(now);
    }

    /// Makes our bookings follow events that others moved, and go on as time does.
    fn follow(&mut self, now: Now) {
        if self.followed.is_none_or(|last| last.after(FOLLOW_EVERY) <= now.monotonic) {
            self.followed = Some(now.monotonic);
            self.ledger.follow_all();
        }
        if !self.owes_following() || self.ledger.stale || !self.may_write(now) {
            return;
        }
        let context = Context { fresh: self.fresh, time: now.wall };
        for _ in 0..FOLLOW_AT_ONCE {
            let Some(uid) = self.ledger.unfollowed.pop_first() else { return };
            if let Err(error) = self.ledger.follow(context, &uid) {
                let alarm = format!("the bookings of event {uid:?} don't follow it: {error}");
                self.ledger.alarms.push(alarm);
            }
        }
    }

    fn owes_following(&mut self) -> bool {
        if !self.ledger.may_write() {
            self.ledger.unfollowed.clear();
        }
        !self.ledger.unfollowed.is_empty()
    }

    /// Grants what others asked for.
    fn grant(&mut self, now: Now) {
        if !self.owes_grants() {
            self.granted = self.ledger.graph.len();
        } else if !self.ledger.stale && self.may_write(now) {
            self.ledger.grant_requests(self.fresh, now.wall);
            self.granted = self.ledger.graph.len();
        }
    }

    fn owes_grants(&self) -> bool {
        self.granted != self.ledger.graph.len() && self.ledger.owes_grants()
    }

    /// Whether it is known which log to write to. A disk may be a copy, or have been restored from a backup:
    /// then others hold entries of our log that it lacks, and to go on with it would make a fork. So a
    /// node that was started asks first. Who can't ask anybody begins a new incarnation.
    fn may_write(&mut self, now: Now) -> bool {
        let alone = self.ledger.roster.members().len() <= 1;
        let heard = self.gossip.heard_of_ourselves(&self.ledger);
        if self.settled || self.ledger.own.is_none() || alone || heard {
            self.settled = true;
        } else if self.patience_ends() <= now.monotonic {
            self.ledger.own = None;
            self.settled = true;
        }
        self.settled
    }

    /// What has come together since the last step.
    pub fn step(&mut self, now: Now) -> Step {
        let finished = self.ledger.finish();
        self.gossip.publish(finished.fresh);
        let mut effects: Vec<Effect> = Vec::new();
        if !finished.appended.is_empty() {
            self.gossip.note_progress(&self.ledger, now);
        }
        effects.extend(self.gossip.take_effects());
        effects
            .extend(self.replies.drain(..).map(|(request, reply)| Effect::Reply(request, reply)));
        let board = self.gossip.board.version();
        if std::mem::replace(&mut self.board_seen, board) != board {
            self.outbox.acknowledged(now);
        }
        let Self { outbox, ledger, gossip, .. } = self;
        let attempts = outbox.advance(ledger, gossip, now, &finished.appended);
        let mut writes = finished.writes;
        writes.extend(outbox.take_writes());
        effects.extend(outbox.take_subscriptions().map(Effect::Subscriptions));
        if !attempts.is_empty() {
            effects.push(Effect::Deliver(attempts));
        }
        self.say_systems(now);
        if !finished.appended.is_empty() {
            effects.push(Effect::Appended(finished.appended));
        }
        self.connections(now, &mut effects);
        effects.extend(std::mem::take(&mut self.ledger.alarms).into_iter().map(Effect::Alarm));
        if self.ledger.stale {
            let unanswered = std::mem::take(&mut self.parked);
            let kept = Kept { settled: self.settled, taken: self.gossip.taken.clone() };
            effects.push(Effect::Reopen { unanswered, kept });
        }
        writes.extend(self.gossip.take_unsaved(now, !writes.is_empty()));
        Step { writes, effects }
    }

    /// Tells others how the external systems fare, not too often: each time costs a sync and a signature.
    fn say_systems(&mut self, now: Now) {
        self.systems_news |= self.outbox.take_news() | std::mem::take(&mut self.gossip.heard_own);
        if self.systems_news && self.systems_due <= now.monotonic && !self.ledger.stale {
            self.systems_news = false;
            self.systems_due = now.monotonic.after(SYSTEMS_PAUSE);
            let systems = self.outbox.systems(&self.ledger);
            self.gossip.say_systems(&self.ledger, now, &systems);
        }
    }

    /// Whether the core can be given nothing more before it is opened again from what its next step stores:
    /// see [`Effect::Reopen`].
    pub fn is_stale(&self) -> bool {
        self.ledger.stale
    }

    /// When to give [`Input::Tick`] at the latest, and for what.
    pub fn next_due(&self) -> (Instant, &'static str) {
        let mut due = self.gossip.next_due();
        if !self.parked.is_empty() || !self.settled && self.owes_grants() {
            due = due.min((self.patience_ends(), "nobody knows of our log"));
        }
        due = due.min(self.outbox.next_due().unwrap_or(due));
        if self.systems_news {
            due = due.min((self.systems_due, "tell of external systems"));
        }
        if let Some(followed) = self.followed {
            due = due.min((followed.after(FOLLOW_EVERY), "follow events"));
        }
        if self.settled && !self.ledger.unfollowed.is_empty() {
            due = due.min((Instant::default(), "follow events"));
        }
        if self.ledger.judging_due {
            let pause_ends = self.started.unwrap_or_default().after(self.judging_pause());
            due = due.min((pause_ends, "judge again"));
        }
        due
    }

    fn patience_ends(&self) -> Instant {
        self.started.unwrap_or_default().after(OWN_LOG_PATIENCE)
    }

    /// How long after its start it has to wait before it judges all again.
    fn judging_pause(&self) -> u64 {
        let Some((from, to)) = self.judged_again.zip(self.started) else { return 0 };
        let took = to.0.saturating_sub(from.0);
        took.saturating_mul(JUDGE_PAUSE).clamp(JUDGE_PAUSE_MIN, JUDGE_PAUSE_MAX)
    }

    /// This office.
    pub fn office(&self) -> OfficeId {
        self.ledger.office()
    }

    /// How many entries it holds.
    pub fn entries(&self) -> u64 {
        u64::from(self.ledger.graph.len())
    }

    /// The digest of its frontier.
    pub fn frontier(&mut self) -> Digest {
        self.ledger.graph.digest()
    }

    /// How many writes wait for the next step: what bounds a step is for the caller to say.
    pub fn unstored(&self) -> usize {
        self.ledger.unstored()
    }

    /// What it keeps for its peers' sake: liars can't make it more than the limits say.
    pub fn load(&self) -> Load {
        Load { judging_due: self.ledger.judging_due, ..self.gossip.load() }
    }

    /// For when there is nothing else to do: applies changes to the document, if enough are there.
    pub fn idle(&mut self) {
        if self.ledger.document.staged() >= self.batch {
            self.ledger.settle_all();
            self.batch = batch(&mut self.dice);
        }
    }

    /// The document, for a snapshot of all entries so far; none if it is to be built anew. Only between a persisted
    /// step and the next input.
    pub fn document(&mut self) -> Option<&Document> {
        self.ledger.settle_all();
        (!self.ledger.stale).then_some(&self.ledger.document)
    }

    /// Says whom to admit and to connect, if that changed.
    fn connections(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let presences = self.gossip.board.presences();
        let changed = std::mem::take(&mut self.ledger.roster_changed);
        if !changed && self.presences == presences {
            return;
        }
        self.presences = presences;
        let own = self.ledger.office();
        let removed = self.ledger.roster.removed();
        self.gossip.forget(removed.keys());
        // Who has not received its admission yet goes on asking those whom the ticket named, unless they were removed
        // and its admission with them.
        let is_newcomer = !self.ledger.is_member() && !removed.contains_key(&own);
        let sponsors: BTreeSet<OfficeId> = match is_newcomer {
            true => self.bootstrap.keys().filter(|it| !removed.contains_key(it)).copied().collect(),
            false => BTreeSet::new(),
        };
        if changed {
            let mut members = self.ledger.roster.places();
            self.gossip.overlay = Overlay::new(members.iter(), &own);
            let mut tickets = self.ledger.roster.open_tickets(now.wall);
            if is_newcomer {
                members.extend(&sponsors);
            } else if !members.contains(&own) {
                // Removed: there is nobody to talk to any more.
                members.clear();
                tickets.clear();
            }
            members.remove(&own);
            if self.admitted.as_ref() != Some(&(members.clone(), tickets.clone())) {
                self.admitted = Some((members.clone(), tickets.clone()));
                effects.push(Effect::Admit { members, tickets });
            }
            self.note_surplus();
        }
        let mut wanted = self.gossip.overlay.neighbours.clone();
        wanted.extend(sponsors);
        let neighbours: BTreeMap<OfficeId, Vec<String>> =
            wanted.into_iter().map(|office| (office, self.addresses_of(&office))).collect();
        if self.neighbours.as_ref() != Some(&neighbours) {
            self.neighbours = Some(neighbours.clone());
            effects.push(Effect::Neighbours(neighbours));
        }
        let relays = self.relays_of_roster();
        if self.relays.as_ref() != Some(&relays) {
            self.relays = Some(relays.clone());
            effects.push(Effect::Relays(relays));
        }
    }

    /// Tells operators of members that have no place in the network.
    fn note_surplus(&mut self) {
        let places = self.ledger.roster.places();
        let all = self.ledger.roster.members().keys().filter(|it| !places.contains(it));
        let surplus: BTreeSet<OfficeId> = all.copied().collect();
        for office in surplus.difference(&self.surplus) {
            self.ledger.alarms.push(format!(
                "office {office} is one of several new keys of one office, and is not connected with: copies of \
                 its folder rotated the key, or it is in other hands; an admin should remove what is too many"
            ));
        }
        self.surplus = surplus;
    }

    /// The members that say that they are relays.
    fn relays_of_roster(&self) -> BTreeMap<OfficeId, Vec<String>> {
        let own = self.ledger.office();
        let members = self.ledger.roster.members().keys().filter(|office| **office != own);
        let presence =
            |office: &OfficeId| self.gossip.board.about(office, Topic::Presence)?.presence();
        let is_relay = |office: &&OfficeId| presence(office).is_some_and(|it| it.relay);
        members.filter(is_relay).map(|office| (*office, self.addresses_of(office))).collect()
    }

    /// Where a member says it can be reached, and where the ticket said.
    fn addresses_of(&self, office: &OfficeId) -> Vec<String> {
        let said =
            self.gossip.board.about(office, Topic::Presence).and_then(SignedNotice::presence);
        let mut addresses = said.map(|presence| presence.addresses).unwrap_or_default();
        for address in self.bootstrap.get(office).into_iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    fn answer(&mut self, now: Now, command: Command) -> Reply {
        let Self { ledger, gossip, .. } = self;
        if calendar::writes(&command) {
            let own = ledger.office();
            if let Some(removed) = ledger.roster.removed().get(&own) {
                return Err(CommandError::NotAllowed(views::was_removed(ledger, removed)));
            }
            let Some(member) = ledger.roster.member(&own) else {
                let sponsor = self.bootstrap.keys().next().map(OfficeId::to_string);
                return Err(CommandError::NotYetMember(
                    sponsor.unwrap_or_else(|| "its sponsor".into()),
                ));
            };
            if member.roles == [Role::Auditor] {
                return Err(CommandError::NotAllowed(
                    "this office is an auditor: it reads, and writes nothing".into(),
                ));
            }
        }
        let context = Context { fresh: self.fresh, time: now.wall };
        match command {
            Command::By { person, command } => {
                if !is_person(&person) {
                    let problem = format!(
                        "a person's name is at most {PERSON_BYTES_MAX} bytes without control characters"
                    );
                    return Err(CommandError::Invalid { path: "person".into(), problem });
                }
                ledger.person = person;
                let answer = self.answer(now, *command);
                self.ledger.person.clear();
                answer
            }
            Command::Publish(policies) => {
                let publish = |policy| ledger.publish(context, policy);
                Ok(Answer::Published(policies.iter().map(publish).collect()))
            }
            Command::Put { uid, event, condition } => {
                ledger.put(context, &uid, event, &condition).map(Answer::Written)
            }
            Command::Patch { uid, patch, condition } => {
                ledger.patch(context, &uid, patch, &condition).map(Answer::Written)
            }
            Command::Cancel { uid, condition } => {
                ledger.cancel(context, &uid, &condition).map(Answer::Written)
            }
            Command::Save(said) => ledger.save(context, said).map(Answer::Written),
            Command::Discard { uid, condition } => {
                ledger.discard(context, &uid, &condition).map(Answer::Written)
            }
            Command::EditCalendar { calendar, patch } => {
                ledger.edit_calendar(context, &calendar, patch).map(Answer::Written)
            }
            Command::Changes { since, limit } => {
                let (changes, more) = ledger.changes(since, limit);
                let (end, numbering) = (u64::from(ledger.graph.len()), ledger.numbering);
                let may_write = ledger.may_write();
                Ok(Answer::Changes { changes, more, end, may_write, numbering })
            }
            Command::Departed { calendar, since, from } => {
                Ok(Answer::Departed(ledger.departed(&calendar, since, from)))
            }
            Command::TakeOver(it) => {
                let may = self.outbox.may_take_over(it.subscription, &it.uid)?;
                if may {
                    let aside = Incarnation(self.dice.next());
                    let heads = ledger.take_over(context, aside, &it)?;
                    self.outbox.took_over(it, heads);
                }
                Ok(Answer::TakenOver(may))
            }
            Command::Resolve { conflict, keep } => {
                ledger.resolve(context, &conflict, &keep).map(Answer::Written)
            }
            Command::Invite(invite) => self.invite(context, invite),
            Command::Admit(admit) => self.admit(context, admit),
            Command::Propose { policy, condition } => ledger.propose(context, &policy, &condition),
            Command::Approve { policy, supersedes, condition } => {
                ledger.approve(context, &policy, &supersedes, &condition)
            }
            Command::Withdraw { policy } => ledger.withdraw(context, &policy),
            Command::Policy { policy } => ledger.policy(&policy),
            Command::Report(query) => report::report(ledger, &gossip.board, query, now.wall),
            Command::Evidence(query) => report::evidence(ledger, &gossip.board, query, now.wall),
            Command::Policies => Ok(Answer::Policies(ledger.policies())),
            Command::AddResource(new) => {
                let id = ledger.add_resource(context, new)?;
                self.resource(&id)
            }
            Command::EditResource { resource, edit } => {
                let id = ledger.edit_resource(context, &resource, edit)?;
                self.resource(&id)
            }
            Command::AcceptStakeholders { resource, proposal } => {
                let id = ledger.accept_stakeholders(context, &resource, proposal)?;
                self.resource(&id)
            }
            Command::Book(request) => {
                let uid = ledger.book(context, request)?;
                Ok(self.booked(uid))
            }
            Command::CancelBooking { uid } => {
                ledger.cancel_booking(context, &uid)?;
                Ok(self.booked(uid))
            }
            Command::Resources => {
                ledger.bookings.refresh();
                Ok(Answer::Resources(views::bookings::resources(ledger)))
            }
            Command::Bookings(query) => {
                let only = query.resource.as_ref().map(|it| ledger.resource(it)).transpose()?;
                ledger.settle_all();
                ledger.bookings.refresh();
                let (bookings, more) = views::bookings::bookings(ledger, gossip, only, &query);
                Ok(Answer::Bookings { bookings, more })
            }
            Command::Free { resource, from, to } => {
                let (resource, free) = ledger.free(&resource, from, to)?;
                let free = free.iter().map(views::bookings::free_view).collect();
                Ok(Answer::Free { resource, free })
            }
            Command::Event { uid } => {
                ledger.settle(&uid);
                views::event(ledger, &uid).map(Answer::Event).ok_or(CommandError::UnknownEvent(uid))
            }
            Command::History { uid, limit } => {
                ledger.settle(&uid);
                let found = views::history(ledger, &uid, limit);
                let found = found.map(|(edits, more)| Answer::History { edits, more });
                found.ok_or(CommandError::UnknownEvent(uid))
            }
            Command::Events(query) => {
                ledger.settle_all();
                let (events, more) = views::events(ledger, &query);
                Ok(Answer::Events { events, more })
            }
            Command::Agenda(query) => {
                let (occurrences, more) = ledger.agenda(&query)?;
                Ok(Answer::Agenda { occurrences, more })
            }
            Command::Conflicts => {
                ledger.settle_all();
                ledger.bookings.refresh();
                Ok(Answer::Conflicts(ledger.conflicts()))
            }
            Command::Subscribe(new) => {
                self.outbox.subscribe(now, new).map(|it| Answer::Subscription(Box::new(it)))
            }
            Command::Subscriptions => Ok(Answer::Subscriptions(self.outbox.subscriptions())),
            Command::EditSubscription { system, edit } => {
                self.outbox.edit(now, &system, edit).map(|it| Answer::Subscription(Box::new(it)))
            }
            Command::Unsubscribe { system } => {
                self.outbox.unsubscribe(&system).map(|()| Answer::Unsubscribed)
            }
            Command::Target { system } => self.outbox.subscription(&system).map(Answer::Target),
            Command::Reach { policy } => {
                let event = ledger.policy_event(&policy, &Condition::Always)?;
                ledger.settle_all();
                let reach = views::reach::reach(ledger, gossip, &event.uid);
                reach.map(Answer::Reach).ok_or(CommandError::UnknownPolicy(policy))
            }
            Command::Replay(replay) => {
                self.outbox.replay(ledger, gossip, now, replay).map(Answer::Replayed)
            }
            Command::Deliveries(query) => {
                let (deliveries, more) = self.outbox.deliveries(&query)?;
                Ok(Answer::Deliveries { deliveries, more })
            }
            Command::Delivery { system, uid } => self.outbox.as_tried(ledger, &system, &uid),
            Command::Unconfirmed { office } => {
                let (deliveries, more) = views::reach::unconfirmed(ledger, gossip, &office)?;
                Ok(Answer::Unconfirmed { deliveries, more })
            }
            Command::Remove { office } => self.remove(context, office),
            Command::Succeed(succeed) => self.succeed(context, succeed),
            Command::Members => Ok(Answer::Members(views::members(ledger, gossip, now.wall))),
            Command::FormerMembers => Ok(Answer::FormerMembers(views::former_members(ledger))),
            Command::Status => {
                ledger.settle_all();
                ledger.bookings.refresh();
                let deliveries = self.outbox.count();
                let status = views::status(ledger, gossip, now.wall, deliveries);
                Ok(Answer::Status(Box::new(status)))
            }
        }
    }

    fn resource(&self, id: &ResourceId) -> Reply {
        let view = views::bookings::resource(&self.ledger, id);
        view.map(Answer::Resource).ok_or_else(|| CommandError::UnknownResource(id.to_string()))
    }

    /// What became of an event's bookings.
    fn booked(&mut self, uid: String) -> Answer {
        let Self { ledger, gossip, .. } = self;
        ledger.settle(&uid);
        let limit = views::bookings::BOOKINGS_MAX;
        let query = BookingsQuery { uid: Some(uid), limit, ..BookingsQuery::default() };
        Answer::Booked(views::bookings::bookings(ledger, gossip, None, &query).0)
    }

    fn invite(&mut self, context: Context, invite: crate::statement::Invite) -> Reply {
        check_name(&invite.name)?;
        let ledger = &mut self.ledger;
        let own = ledger.office();
        let member = ledger.roster.member(&own);
        if !member.is_some_and(|member| member.roles.contains(&Role::Admin)) {
            return Err(CommandError::NotAllowed(
                "only admins invite; `fasti members` shows who is one".into(),
            ));
        }
        if !crate::roster::is_sound(&invite) {
            let problem = "roles are some of admin, approver, office, auditor; each once".into();
            return Err(CommandError::Invalid { path: "roles".into(), problem });
        }
        ledger.write(&Statement::Invite(invite), context.fresh, context.time).map_err(too_large)?;
        Ok(Answer::Invited { network: ledger.network })
    }

    fn admit(&mut self, context: Context, admit: crate::statement::Admit) -> Reply {
        let ledger = &mut self.ledger;
        if ledger.roster.is_used_by(&admit.ticket, &admit.office)
            && ledger.roster.member(&admit.office).is_some()
            && admit.is_proved(&ledger.network, &*ledger.verifier)
        {
            return Ok(Answer::Admitted);
        }
        let tips: Vec<_> = ledger.graph.tips().collect();
        let ground = ledger.ground();
        match ledger.roster.check_admit(&ground, &admit, &tips, context.time) {
            Ok(()) => {}
            // A member that lost its disk and kept its key: it is let in again, and nothing changes.
            Err(TicketFault::Member) => return Ok(Answer::Admitted),
            Err(fault) => return Err(CommandError::Ticket(fault.as_str())),
        }
        ledger.write(&Statement::Admit(admit), context.fresh, context.time).map_err(too_large)?;
        Ok(Answer::Admitted)
    }

    fn remove(&mut self, context: Context, office: OfficeId) -> Reply {
        let ledger = &mut self.ledger;
        let members = ledger.roster.members();
        let is_admin = |office: &OfficeId| {
            members.get(office).is_some_and(|member| member.roles.contains(&Role::Admin))
        };
        let own = ledger.office();
        if let Some(removed) = ledger.roster.removed().get(&office) {
            let how = views::was_removed(ledger, removed);
            return Err(CommandError::NotAllowed(format!("there is nothing to do: {how}")));
        }
        if !members.contains_key(&office) {
            return Err(CommandError::UnknownMember(office.to_string()));
        }
        if office != own && !is_admin(&own) && !ledger.roster.succeeds(&own, &office) {
            return Err(CommandError::NotAllowed(
                "only admins remove others; `fasti members` shows who is one".into(),
            ));
        }
        if office == own && is_admin(&own) {
            return Err(CommandError::NotAllowed(
                "an admin can't leave by itself, as nobody might be left who invites and removes; ask \
                 another admin, or invite one with `fasti invite --role admin`"
                    .into(),
            ));
        }
        let remove = Statement::Remove(Remove { office });
        ledger.write(&remove, context.fresh, context.time).map_err(too_large)?;
        Ok(Answer::Removed)
    }

    fn succeed(&mut self, context: Context, succeed: Succeed) -> Reply {
        let ledger = &mut self.ledger;
        let own = ledger.office();
        let tips: Vec<_> = ledger.graph.tips().collect();
        if ledger.roster.has_successor(&ledger.graph, &own, &tips) {
            return Err(CommandError::Ticket(
                "this office has a new key already, which its node uses when it is started again",
            ));
        }
        let good = ledger.roster.known(&succeed.office).is_none()
            && succeed.is_proved(&ledger.network, &own, &*ledger.verifier);
        if !good {
            let problem = "the new key is known already, or did not sign".into();
            return Err(CommandError::Invalid { path: "office".into(), problem });
        }
        // A key that was left before is removed first: while it stands beside this one, no third has a place.
        for office in ledger.roster.old_keys(&own) {
            let remove = Statement::Remove(Remove { office });
            ledger.write(&remove, context.fresh, context.time).map_err(too_large)?;
        }
        ledger
            .write(&Statement::Succeed(succeed), context.fresh, context.time)
            .map_err(too_large)?;
        Ok(Answer::Admitted)
    }
}

fn too_large(TooLarge(size): TooLarge) -> CommandError {
    CommandError::TooLarge { size, max: crate::entry::BODY_BYTES_MAX }
}
