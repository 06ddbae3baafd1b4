//! A stand-in for a node, for tests of the doors and of their clients: a map of events behind the real
//! [`Handle`](crate::Handle), served over real HTTP on a port of its own. It merges nothing, checks
//! nothing, and forgets everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use fasti_core::command::{
    BookRequest, Condition, ConflictView, Deliveries, EventView, EventsQuery, MemberView, Object,
    PolicyState, PolicyView, ReportView, StatusView, Written,
};
use fasti_core::outbox::Target;
use fasti_core::policy::PolicyEvent;
use fasti_core::proof::Evidence;
use fasti_core::statement::Role;
use fasti_core::step::Appended;
use fasti_core::{Answer, Command, CommandError, Digest, EntryHash, NetworkId, OfficeId, Reply};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{Guard, Handle, Metric, MetricKind, Node, Request};

/// The office that the fake is.
pub const OFFICE: OfficeId = OfficeId([0xaa; 32]);

/// Austin, which is linked through a relay.
const RELAYED: OfficeId = OfficeId([0xcc; 32]);

/// A running fake; dropping it stops it.
pub struct Fake {
    /// Where it serves HTTP.
    pub address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    calendar: Mutex<Calendar>,
    users: Mutex<Option<Vec<u8>>>,
    unready: AtomicBool,
    /// What a backup is, piece by piece.
    backup: Mutex<Vec<io::Result<Vec<u8>>>>,
}

#[derive(Default)]
struct Calendar {
    events: BTreeMap<String, Object>,
    log: Vec<Appended>,
    conflicts: Vec<ConflictView>,
    policies: BTreeMap<String, PolicyView>,
    /// What becomes of the next commands: none is a success.
    failures: VecDeque<Option<CommandError>>,
    /// Whose command is being answered.
    person: String,
    followers: Option<broadcast::Sender<Arc<[Appended]>>>,
}

impl Fake {
    /// What callers have to show.
    pub const TOKEN: &'static str = "fake-token";

    /// Starts one with an empty calendar.
    ///
    /// # Panics
    /// If this machine has no free port or no memory.
    pub fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// Starts one whose guard is changed before.
    ///
    /// # Panics
    /// If this machine has no free port or no memory.
    #[expect(clippy::unwrap_used, reason = "a test that can't begin has failed")]
    pub fn start_with(change: impl FnOnce(&mut Guard)) -> Self {
        let mut guard =
            Guard { token: Self::TOKEN.into(), tls: None, names: Vec::new(), behind_proxy: false };
        change(&mut guard);
        let state = Arc::new(State::default());
        let (handle, mut core) = Handle::new(Arc::clone(&state) as Arc<dyn Node>);
        state.calendar().followers = Some(core.appended);
        let answering = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Some(Request { command, reply }) = core.requests.blocking_recv() {
                let _ = reply.send(answering.calendar().answer(command));
            }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let shutdown = async move { drop(stopped.await) };
            runtime.unwrap().block_on(crate::serve(listener, handle, guard, shutdown)).unwrap();
        });
        Self { address, state, stop: Some(stop), server: Some(server) }
    }

    /// The next command fails like this.
    pub fn fail_next(&self, error: CommandError) {
        self.fail_after(0, error);
    }

    /// After so many commands one fails like this.
    pub fn fail_after(&self, commands: usize, error: CommandError) {
        let successes = std::iter::repeat_n(None, commands);
        self.state.calendar().failures.extend(successes.chain([Some(error)]));
    }

    /// Appends an entry that touched these events, without changing them.
    pub fn append(&self, uids: &[&str]) {
        self.state.calendar().append(uids.iter().map(|&uid| uid.to_owned()).collect());
    }

    /// Opens a conflict.
    pub fn open_conflict(&self, conflict: ConflictView) {
        self.state.calendar().conflicts.push(conflict);
    }

    /// What the next backup is, piece by piece; without any the fake has none to give.
    pub fn set_backup(&self, pieces: Vec<io::Result<Vec<u8>>>) {
        *self.state.backup.lock().unwrap_or_else(PoisonError::into_inner) = pieces;
    }

    /// Whether `/readyz` says so.
    pub fn set_ready(&self, ready: bool) {
        self.state.unready.store(!ready, Ordering::Relaxed);
    }

    /// Stops the server as `SIGTERM` stops a node, and waits for it.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn calendar(&self) -> MutexGuard<'_, Calendar> {
        self.calendar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node for State {
    fn office(&self) -> OfficeId {
        OFFICE
    }

    fn addresses(&self) -> Vec<String> {
        vec!["/ip4/127.0.0.1/udp/4001/quic-v1".into()]
    }

    fn relayed(&self) -> BTreeSet<OfficeId> {
        BTreeSet::from([RELAYED])
    }

    fn unready(&self) -> Option<String> {
        self.unready.load(Ordering::Relaxed).then(|| "the log is being read; wait a moment".into())
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric {
            name: "fasti_entries",
            help: "Entries in the log.",
            kind: MetricKind::Gauge,
            labels: Vec::new(),
            value: self.calendar().events.len() as f64,
        }]
    }

    fn panic_once(&self) -> bool {
        false
    }

    fn cut(&self, _offices: std::collections::BTreeSet<OfficeId>) -> bool {
        false
    }

    fn log_end(&self) -> u64 {
        self.calendar().log.len() as u64
    }

    fn users(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.users.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn keep_users(&self, users: &[u8]) -> io::Result<()> {
        *self.users.lock().unwrap_or_else(PoisonError::into_inner) = Some(users.to_vec());
        Ok(())
    }

    fn history(&self, from: u64, limit: usize) -> io::Result<Vec<Appended>> {
        Ok(self.calendar().log.iter().skip(from as usize).take(limit).cloned().collect())
    }

    fn back_up(&self) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
        let pieces =
            std::mem::take(&mut *self.backup.lock().unwrap_or_else(PoisonError::into_inner));
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        pieces.into_iter().try_for_each(|piece| sender.try_send(piece)).map_err(|_| "full")?;
        Ok(receiver)
    }

    fn report(&self, _: &Evidence) -> io::Result<ReportView> {
        Err(io::Error::other("there are no entries here"))
    }

    fn target_fault(&self, target: &Target) -> Option<(String, String)> {
        let good = target.url.starts_with("https://");
        (!good).then(|| ("callback_url".into(), "expected https://".into()))
    }

    fn bundle(&self, _: Box<Evidence>) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
        Err("there are no entries here".into())
    }
}

impl Calendar {
    fn answer(&mut self, command: Command) -> Reply {
        if let Some(Some(error)) = self.failures.pop_front() {
            return Err(error);
        }
        match command {
            Command::By { person, command } => {
                self.person = person;
                let reply = self.answer(*command);
                self.person.clear();
                reply
            }
            Command::Save(_) | Command::Discard { .. } | Command::EditCalendar { .. } => {
                Err(CommandError::NotAllowed("there are no calendars here".into()))
            }
            Command::History { uid, .. } => Err(CommandError::UnknownEvent(uid)),
            Command::Changes { .. } => {
                let end = self.log.len() as u64;
                let changes = Vec::new();
                Ok(Answer::Changes { changes, more: false, end, may_write: true, numbering: 0 })
            }
            Command::Departed { .. } => Ok(Answer::Departed(Vec::new())),
            Command::Publish(events) => {
                Ok(Answer::Published(events.iter().map(|event| self.publish(event)).collect()))
            }
            Command::Put { uid, mut event, condition } => {
                event.insert("uid".into(), json!(uid));
                self.check(&uid, &condition)?;
                Ok(Answer::Written(self.write(uid, event)))
            }
            Command::Patch { uid, patch, condition } => self.patch(uid, patch, &condition),
            Command::Cancel { uid, condition } => {
                let patch = Object::from_iter([("status".to_owned(), json!("cancelled"))]);
                self.patch(uid, patch, &condition)
            }
            Command::Resolve { conflict, keep } => self.resolve(conflict, keep),
            Command::Invite(_) => Ok(Answer::Invited { network: NetworkId([0xee; 32]) }),
            Command::Admit(_) | Command::Succeed(_) => Ok(Answer::Admitted),
            Command::Remove { office } if members().iter().any(|it| it.office == office) => {
                Ok(Answer::Removed)
            }
            Command::Remove { office } => Err(CommandError::UnknownMember(office.to_string())),
            Command::FormerMembers => Ok(Answer::FormerMembers(Vec::new())),
            Command::Event { uid } => Ok(Answer::Event(self.view(&uid)?)),
            Command::Events(query) => Ok(self.page(&query)),
            Command::Agenda(_) => Ok(Answer::Agenda { occurrences: Vec::new(), more: false }),
            Command::Propose { policy, condition } => {
                self.decide(&policy, PolicyState::Proposed, &condition)
            }
            Command::Approve { policy, condition, .. } => {
                self.decide(&policy, PolicyState::Approved, &condition)
            }
            Command::Withdraw { policy } => {
                self.decide(&policy, PolicyState::Withdrawn, &Condition::Always)
            }
            Command::Policy { policy } => Ok(Answer::Policy(Box::new(self.policy(&policy)?))),
            Command::Report(query) => Ok(Answer::Report(ReportView {
                network: NetworkId([0xee; 32]),
                office: OFFICE,
                name: "Core".into(),
                made: 1_711_929_600_000,
                as_of: query.as_of,
                heads: Vec::new(),
                policies: Vec::new(),
            })),
            Command::Evidence(_) => {
                Err(CommandError::Unavailable("there are no entries here".into()))
            }
            Command::Policies => Ok(Answer::Policies(self.policies.values().cloned().collect())),
            Command::Conflicts => Ok(Answer::Conflicts(self.conflicts.clone())),
            Command::Members => Ok(Answer::Members(members())),
            Command::Reach { policy } => Err(CommandError::UnknownPolicy(policy)),
            Command::Subscriptions => Ok(Answer::Subscriptions(Vec::new())),
            Command::Subscribe(new) => Err(CommandError::UnknownSystem(new.name)),
            Command::EditSubscription { system, .. }
            | Command::Unsubscribe { system }
            | Command::Target { system } => Err(CommandError::UnknownSystem(system)),
            Command::Replay(it) => Err(CommandError::UnknownSystem(it.system)),
            Command::Delivery { system, uid } => Err(CommandError::NotOwed { system, uid }),
            Command::Unconfirmed { office } => Err(CommandError::UnknownMember(office)),
            Command::TakeOver(it) => Err(CommandError::UnknownEvent(it.uid)),
            Command::Deliveries(_) => {
                Ok(Answer::Deliveries { deliveries: Vec::new(), more: false })
            }
            Command::Status => Ok(Answer::Status(Box::new(self.status()))),
            Command::Resources => Ok(Answer::Resources(Vec::new())),
            Command::Bookings(_) => Ok(Answer::Bookings { bookings: Vec::new(), more: false }),
            Command::AddResource(_) => {
                Err(CommandError::NotAllowed("nothing is booked here".into()))
            }
            Command::EditResource { resource, .. }
            | Command::AcceptStakeholders { resource, .. }
            | Command::Book(BookRequest { resource, .. })
            | Command::Free { resource, .. } => {
                Err(CommandError::UnknownResource(format!("there is no resource {resource:?}")))
            }
            Command::CancelBooking { uid } => Err(CommandError::UnknownEvent(uid)),
        }
    }

    fn policy(&self, id: &str) -> Result<PolicyView, CommandError> {
        let uid = format!("policy-{id}");
        let view = self.view(&uid).map_err(|_| CommandError::UnknownPolicy(id.into()))?;
        Ok(self.policies.get(id).cloned().unwrap_or_else(|| PolicyView {
            policy: id.into(),
            uid,
            title: id.into(),
            version: view.etag.clone(),
            content: view.event,
            etag: view.etag,
            state: PolicyState::Draft,
            changed: false,
            disputed: false,
            approved: Vec::new(),
            proposed: Vec::new(),
            superseded_by: None,
        }))
    }

    fn decide(&mut self, id: &str, state: PolicyState, condition: &Condition) -> Reply {
        let view = PolicyView { state, ..self.policy(id)? };
        self.check(&view.uid, condition)?;
        self.policies.insert(id.into(), view.clone());
        Ok(Answer::Policy(Box::new(view)))
    }

    fn publish(&mut self, event: &PolicyEvent) -> Result<Written, CommandError> {
        let patch = event.patch(self.events.get(&event.uid()))?;
        let mut whole = self.events.get(&event.uid()).cloned().unwrap_or_default();
        merge(&mut whole, patch);
        Ok(self.write(event.uid(), whole))
    }

    fn patch(&mut self, uid: String, patch: Object, condition: &Condition) -> Reply {
        self.check(&uid, condition)?;
        let mut event = self.view(&uid)?.event;
        merge(&mut event, patch);
        Ok(Answer::Written(self.write(uid, event)))
    }

    fn resolve(&mut self, id: String, keep: Value) -> Reply {
        let Some(place) = self.conflicts.iter().position(|conflict| conflict.id == id) else {
            return Err(CommandError::UnknownConflict(id));
        };
        let conflict = self.conflicts.remove(place);
        let patch = Object::from_iter([(conflict.path, keep)]);
        self.patch(conflict.uid, patch, &Condition::Always)
    }

    fn check(&self, uid: &str, condition: &Condition) -> Result<(), CommandError> {
        let now = self.view(uid).ok().map(|view| view.etag);
        let holds = match (condition, &now) {
            (Condition::Always, _) | (Condition::Exists, Some(_)) | (Condition::Absent, None) => {
                true
            }
            (Condition::Matches(etags), Some(now)) => etags.contains(now),
            (Condition::Exists | Condition::Matches(_), None) | (Condition::Absent, Some(_)) => {
                false
            }
        };
        if holds { Ok(()) } else { Err(CommandError::Precondition { now }) }
    }

    fn write(&mut self, uid: String, event: Object) -> Written {
        let created = self.events.insert(uid.clone(), event).is_none();
        let entry = self.append(vec![uid.clone()]);
        let etag = self.view(&uid).map(|view| view.etag).unwrap_or_default();
        Written { uid, entry, etag, created }
    }

    fn append(&mut self, uids: Vec<String>) -> EntryHash {
        let index = self.log.len() as u64;
        let mut hash = [0; 32];
        hash[24..].copy_from_slice(&index.to_be_bytes());
        let hash = EntryHash(hash);
        let (person, time) = (self.person.clone(), 1_711_929_600_000);
        let entry = Appended { index, hash, author: OFFICE, time, person, uids };
        self.log.push(entry.clone());
        if let Some(followers) = &self.followers {
            let _ = followers.send(Arc::from([entry]));
        }
        hash
    }

    fn view(&self, uid: &str) -> Result<EventView, CommandError> {
        let event =
            self.events.get(uid).ok_or_else(|| CommandError::UnknownEvent(uid.into()))?.clone();
        let touches = |entry: &&Appended| entry.uids.first().is_some_and(|touched| touched == uid);
        let etag = format!("v{}", self.log.iter().filter(touches).count());
        Ok(EventView { uid: uid.into(), etag, event })
    }

    fn page(&self, query: &EventsQuery) -> Answer {
        let start = |uid: &String| self.events[uid].get("start").and_then(Value::as_str);
        let mut uids: Vec<&String> = self
            .events
            .keys()
            .filter(|&uid| query.after.as_ref().is_none_or(|after| uid > after))
            .filter(|uid| query.from.as_deref().is_none_or(|from| start(uid) >= Some(from)))
            .filter(|uid| query.to.as_deref().is_none_or(|to| start(uid) < Some(to)))
            .take(query.limit + 1)
            .collect();
        let more = uids.len() > query.limit;
        uids.truncate(query.limit);
        let events = uids.into_iter().filter_map(|uid| self.view(uid).ok()).collect();
        Answer::Events { events, more }
    }

    fn status(&self) -> StatusView {
        StatusView {
            office: OFFICE,
            name: "Denver".into(),
            network: NetworkId([0xee; 32]),
            frontier: Digest([0xff; 32]),
            events: self.events.len() as u64,
            entries: self.log.len() as u64,
            peers: vec![OfficeId([0xbb; 32])],
            members: members(),
            conflicts: self.conflicts.len() as u64,
            deferred: 0,
            void: 0,
            forks: 0,
            elsewhere: 0,
            deliveries: Deliveries { pending: 2, dead: 1 },
            systems: Vec::new(),
        }
    }
}

/// Denver, which is the fake, Boston, which lags, and Austin.
fn members() -> Vec<MemberView> {
    let denver = MemberView {
        office: OFFICE,
        name: "Denver".into(),
        roles: vec![Role::Admin, Role::Approver],
        this: true,
        connected: true,
        acknowledged: true,
        behind: 0,
        last_seen: Some(1_711_929_600_000),
        addresses: vec!["/ip4/127.0.0.1/udp/4001/quic-v1".into()],
        relay: true,
        version: Some("0.1.0".into()),
        shared_ticket: false,
    };
    let boston = MemberView {
        office: OfficeId([0xbb; 32]),
        name: "Boston".into(),
        roles: vec![Role::Office],
        this: false,
        connected: false,
        acknowledged: false,
        behind: 3,
        last_seen: None,
        addresses: Vec::new(),
        relay: false,
        version: None,
        shared_ticket: false,
    };
    let austin = MemberView {
        office: RELAYED,
        name: "Austin".into(),
        connected: true,
        acknowledged: true,
        behind: 0,
        ..boston.clone()
    };
    vec![denver, boston, austin]
}

/// RFC 7396.
fn merge(target: &mut Object, patch: Object) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.shift_remove(&key)),
            Value::Object(patch) => {
                let slot = target.entry(key).or_insert_with(|| json!({}));
                if !slot.is_object() {
                    *slot = json!({});
                }
                if let Value::Object(object) = slot {
                    merge(object, patch);
                }
            }
            value => drop(target.insert(key, value)),
        }
    }
}
