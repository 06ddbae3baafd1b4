//! What needs a person: one list over all kinds, each with what was said by whom, and what can be done. What is on it
//! follows from the entries that are held; a decision is an entry like any other, so that what is decided at one
//! office is decided at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::booking::Key;
use crate::calendar::{Context, invalid};
use crate::command::{
    ChoiceView, CommandError, ConflictKind, ConflictValue, ConflictView, Object, PolicyView,
    Written,
};
use crate::document::Values;
use crate::event::{self, Leaf};
use crate::graph::Index;
use crate::ids::{EntryHash, LogId, ResourceId};
use crate::ledger::{Ledger, TooLarge};
use crate::statement::{REVIEWED_MAX, Remove, Review, Role, Statement};
use crate::views;

/// Most values of a conflict that are shown: more come of liars.
const VALUES_MAX: usize = 16;

/// What is on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Field { uid: String, path: String },
    Cancelled { uid: String },
    Policy { uid: String },
    Booking { resource: ResourceId, key: Key },
    Fork { log: LogId, seq: u64 },
}

/// A conflict's name: equal on every node.
pub(crate) fn id(subject: &str, what: &str) -> String {
    let hash = Sha256::new().chain_update(subject).chain_update([0]).chain_update(what).finalize();
    hex::encode(&hash[..6])
}

fn choice(keep: impl Into<Value>, does: impl Into<String>) -> ChoiceView {
    ChoiceView { keep: keep.into(), does: does.into() }
}

impl Ledger {
    fn open_conflicts(&self) -> impl Iterator<Item = Open> {
        let of_events = self.conflicts.iter().map(|(uid, path)| match path.as_str() {
            "" => Open::Cancelled { uid: uid.clone() },
            path => Open::Field { uid: uid.clone(), path: path.to_owned() },
        });
        let policies = self.contested.iter().map(|uid| Open::Policy { uid: uid.clone() });
        let bookings = self.bookings.dockets().flat_map(|docket| {
            let resource = docket.id;
            docket.displaced().map(move |key| Open::Booking { resource, key })
        });
        let forks = self.graph.forks().iter().flat_map(|(log, seqs)| {
            let open = seqs.iter().filter(|seq| self.is_open_fork(log, **seq));
            open.map(|seq| Open::Fork { log: *log, seq: *seq })
        });
        of_events.chain(policies).chain(bookings).chain(forks)
    }

    /// Whether nobody has looked into it. Whoever was removed is of no concern any more.
    fn is_open_fork(&self, log: &LogId, seq: u64) -> bool {
        let mut histories = self.graph.histories_at(log, seq).into_iter();
        self.roster.member(&log.author).is_some()
            && histories.any(|at| !self.reviewed.contains(&self.graph.node(at).hash))
    }

    fn id_of(&self, open: &Open) -> String {
        match open {
            Open::Field { uid, path } => id(uid, path),
            Open::Cancelled { uid } => id(uid, ""),
            // No path begins with a slash.
            Open::Policy { uid } => id(uid, "/approval"),
            Open::Booking { resource, key } => {
                let docket = self.bookings.docket(resource);
                docket.map(|docket| views::bookings::id(docket, *key)).unwrap_or_default()
            }
            Open::Fork { log, seq } => {
                id(&format!("{}/{}", log.author, log.incarnation.0), &seq.to_string())
            }
        }
    }

    /// How many there are. All that was taken must have come to what it comes to, here and below.
    pub(crate) fn conflicts_open(&self) -> u64 {
        self.open_conflicts().count() as u64
    }

    /// All of them, those of one kind together.
    pub(crate) fn conflicts(&self) -> Vec<ConflictView> {
        let mut conflicts: Vec<_> =
            self.open_conflicts().filter_map(|it| self.view_of_conflict(&it)).collect();
        conflicts.sort_by(|a, b| {
            (a.kind, &a.uid, &a.path, &a.id).cmp(&(b.kind, &b.uid, &b.path, &b.id))
        });
        conflicts
    }

    fn view_of_conflict(&self, open: &Open) -> Option<ConflictView> {
        let id = self.id_of(open);
        let mut view = match open {
            Open::Field { uid, path } => self.field(id, uid, path),
            Open::Cancelled { uid } => self.cancelled(id, uid),
            Open::Policy { uid } => self.contested_policy(id, uid)?,
            Open::Booking { resource, key } => {
                views::bookings::displaced(self, self.bookings.docket(resource)?, *key)
            }
            Open::Fork { log, seq } => self.fork(id, log, *seq),
        };
        view.values.truncate(VALUES_MAX);
        Some(view)
    }

    // ---- Of each kind ----

    fn field(&self, id: String, uid: &str, path: &str) -> ConflictView {
        let maps = self.document.maps(uid, None);
        let values: Values = self.document.values(&maps, path);
        let mut told = Vec::new();
        let mut choices: Vec<ChoiceView> = Vec::new();
        for (leaf, operation) in values.into_iter().rev() {
            let at = self.document.change_of(&operation);
            let Some(at) = at.and_then(|it| self.graph.index_by_change(&it)) else { continue };
            let value = leaf.to_json();
            let what =
                if told.is_empty() { "shows until someone decides" } else { "written as well" };
            if choices.iter().all(|it| it.keep != value) {
                choices.push(choice(value.clone(), format!("{value} shows at every office")));
            }
            told.push(self.conflict_value(at, value, what));
        }
        choices.truncate(VALUES_MAX);
        ConflictView {
            id,
            kind: ConflictKind::Field,
            problem: format!(
                "{path} was edited by offices that did not know of each other's edits"
            ),
            uid: uid.to_owned(),
            title: views::title(self, uid),
            path: path.to_owned(),
            values: told,
            choices,
        }
    }

    fn cancelled(&self, id: String, uid: &str) -> ConflictView {
        let cancelled_by = self.cancelled_by(uid);
        let mut written = self.fields_by_entry(uid);
        let values = |entries: &[Index], what: &str, written: &mut BTreeMap<Index, Object>| {
            let value = |at: &Index| {
                let fields = written.remove(at).unwrap_or_default();
                self.conflict_value(*at, Value::Object(fields), what)
            };
            let mut values: Vec<_> = entries.iter().map(value).collect();
            values.sort_by_key(|it| (it.time, it.entry));
            values
        };
        let beside: Vec<Index> = self
            .history_of(uid)
            .iter()
            .copied()
            .filter(|at| self.is_beside(*at, &cancelled_by))
            .collect();
        let mut told = values(&cancelled_by, "cancelled", &mut written);
        told.extend(values(&beside, "edited, not knowing that", &mut written));
        let [cancelled, takes_place] = self.ends_of_cancelled(uid);
        ConflictView {
            id,
            kind: ConflictKind::Cancelled,
            problem: "it was cancelled while somebody edited it who did not know that".into(),
            uid: uid.to_owned(),
            title: views::title(self, uid),
            path: String::new(),
            values: told,
            choices: vec![
                choice(cancelled, "it stays cancelled, at every office"),
                choice(
                    takes_place,
                    "it takes place, as edited, at every office; what it gave up has to be booked again",
                ),
            ],
        }
    }

    /// What an event's status can be in the end: cancelled, or what says that it takes place.
    fn ends_of_cancelled(&self, uid: &str) -> [&'static str; 2] {
        let maps = self.document.maps(uid, None);
        let is_task = self
            .document
            .values(&maps, "@type")
            .last()
            .is_some_and(|(leaf, _)| leaf.to_json() == "Task");
        ["cancelled", if is_task { "needs-action" } else { "confirmed" }]
    }

    /// The fields that show, by the entry that wrote each.
    fn fields_by_entry(&self, uid: &str) -> BTreeMap<Index, Object> {
        let mut found: BTreeMap<Index, Object> = BTreeMap::new();
        for (path, (leaf, operation)) in self.document.fields(uid).unwrap_or_default() {
            let at = self.document.change_of(&operation);
            if let Some(at) = at.and_then(|it| self.graph.index_by_change(&it)) {
                found.entry(at).or_default().insert(path, leaf.to_json());
            }
        }
        found
    }

    fn contested_policy(&self, id: String, uid: &str) -> Option<ConflictView> {
        let policy = self.policy_now(uid)?;
        let mut values = Vec::new();
        let (kind, problem, choices) = if policy.disputed {
            let problem = "approvers who did not know of each other decided differently";
            let mut choices: Vec<_> = policy
                .approved
                .iter()
                .map(|it| {
                    let does = format!(
                        "version {} shows, and is approved by your office (for approvers)",
                        it.version
                    );
                    choice(it.version.clone(), does)
                })
                .collect();
            choices.push(choice("withdraw", "no version is approved any more (for approvers)"));
            (ConflictKind::Dispute, problem, choices)
        } else {
            let problem = "it was edited since it was approved; reports give the approved version";
            let choices = vec![
                choice("approve", "what shows now is approved by your office (for approvers)"),
                choice("restore", "the approved version shows again, at every office"),
            ];
            (ConflictKind::Approval, problem, choices)
        };
        let current = policy.content.clone();
        let approved: Vec<&Object> = policy.approved.iter().map(|it| &it.content).collect();
        let differing = differing(&current, &approved);
        let pick = |content: &Object| Value::Object(fields(content, &differing));
        if let Some(at) = self.edited_since(uid, &policy) {
            let what = if policy.disputed { "shows now" } else { "shows now, not approved" };
            values.push(self.conflict_value(at, pick(&current), what));
        }
        for version in &policy.approved {
            let what = format!("approved, version {}", version.version);
            let of_signer = version.by.iter().filter_map(|by| self.graph.index(&by.entry));
            values
                .extend(of_signer.map(|at| self.conflict_value(at, pick(&version.content), &what)));
        }
        for (at, what) in self.other_decisions(uid) {
            values.push(self.conflict_value(at, Value::Null, &what));
        }
        Some(ConflictView {
            id,
            kind,
            problem: problem.into(),
            uid: uid.to_owned(),
            title: policy.title,
            path: String::new(),
            values,
            choices,
        })
    }

    /// The last edit of a policy that none of its approvals knew; else the last of all.
    fn edited_since(&self, uid: &str, policy: &PolicyView) -> Option<Index> {
        let signed = policy.approved.iter().flat_map(|it| &it.by);
        let signed: Vec<Index> = signed.filter_map(|by| self.graph.index(&by.entry)).collect();
        let is_later = |at: &Index| !self.graph.is_under(*at, &signed);
        let by_time = |at: &Index| (self.graph.node(*at).time, self.graph.node(*at).hash);
        let history = self.history_of(uid).iter().copied();
        let later = history.clone().filter(is_later).max_by_key(by_time);
        later.or_else(|| history.max_by_key(by_time))
    }

    fn fork(&self, id: String, log: &LogId, seq: u64) -> ConflictView {
        let name = views::name(self, &log.author);
        let mut histories = self.graph.histories_at(log, seq);
        histories.sort_by_key(|at| self.graph.node(*at).hash);
        let told = histories.iter().map(|at| {
            let value = json!({ "incarnation": format!("{:016x}", log.incarnation.0), "seq": seq });
            self.conflict_value(*at, value, "begins one of the histories")
        });
        ConflictView {
            id,
            kind: ConflictKind::Fork,
            problem: format!(
                "{name} signed several histories: its disk was copied or restored, or its key is in other hands"
            ),
            uid: String::new(),
            values: told.collect(),
            choices: vec![
                choice(
                    "both",
                    format!("{name} stays a member, with all that it wrote (for admins)"),
                ),
                choice(
                    "remove",
                    format!("{name} is removed from the network for good (for admins)"),
                ),
            ],
            title: name,
            path: String::new(),
        }
    }

    pub(crate) fn conflict_value(&self, at: Index, value: Value, what: &str) -> ConflictValue {
        let node = self.graph.node(at);
        let office = self.graph.log_of(node).author;
        let by = views::signature(self, office, node);
        let (name, person, time, entry) = (by.name, by.person, by.time, by.entry);
        ConflictValue { value, what: what.to_owned(), office, name, person, time, entry }
    }

    // ---- Deciding ----

    pub(crate) fn resolve(
        &mut self,
        context: Context,
        conflict: &str,
        keep: &Value,
    ) -> Result<Written, CommandError> {
        self.settle_all();
        self.bookings.refresh();
        let open = self.open_conflicts().find(|it| self.id_of(it) == conflict);
        let open = open.ok_or_else(|| CommandError::UnknownConflict(conflict.to_owned()))?;
        if let Open::Field { uid, path } = &open {
            return self.write_value(context, uid, path, keep.clone());
        }
        let view = self.view_of_conflict(&open);
        let choices = view.map(|it| it.choices).unwrap_or_default();
        let Some(keep) = keep.as_str().filter(|keep| choices.iter().any(|it| it.keep == *keep))
        else {
            let all: Vec<String> = choices.iter().map(|it| it.keep.to_string()).collect();
            return Err(invalid("keep", format!("expected one of {}", all.join(", "))));
        };
        match &open {
            Open::Field { .. } => unreachable!("is decided above"),
            Open::Cancelled { uid } => {
                let view = views::event(self, uid);
                let path = view.map_or("status", |view| event::status_of(&view.event));
                self.write_value(context, uid, path, json!(keep))
            }
            Open::Policy { uid } => {
                self.decide_policy(context, uid, keep)?;
                Ok(self.written(uid))
            }
            Open::Booking { resource, key } => {
                let uid = self.decide_booking(context, resource, *key, keep)?;
                Ok(self.written(&uid))
            }
            Open::Fork { log, seq } => {
                self.decide_fork(context, log, *seq, keep)?;
                Ok(self.written(""))
            }
        }
    }

    fn decide_policy(
        &mut self,
        context: Context,
        uid: &str,
        keep: &str,
    ) -> Result<(), CommandError> {
        let policy =
            self.policy_now(uid).ok_or_else(|| CommandError::UnknownPolicy(uid.to_owned()))?;
        match keep {
            "withdraw" => self.withdraw(context, uid).map(|_| ()),
            "approve" => self.approve_as_it_is(context, uid),
            "restore" => {
                let approved = policy.approved.into_iter().next();
                self.restore(context, uid, approved.map(|it| it.content).unwrap_or_default())
            }
            version => {
                self.check_approver("approve policies")?;
                let approved = policy.approved.into_iter().find(|it| it.version == version);
                self.restore(context, uid, approved.map(|it| it.content).unwrap_or_default())?;
                self.approve_as_it_is(context, uid)
            }
        }
    }

    fn decide_fork(
        &mut self,
        context: Context,
        log: &LogId,
        seq: u64,
        keep: &str,
    ) -> Result<(), CommandError> {
        let member = self.roster.member(&self.office());
        if !member.is_some_and(|member| member.roles.contains(&Role::Admin)) {
            return Err(CommandError::NotAllowed(
                "only admins decide about an office that signed several histories; `fasti members` shows who is one".into(),
            ));
        }
        let statement = if keep == "remove" {
            if log.author == self.office() {
                return Err(CommandError::NotAllowed(
                    "an admin can't remove itself: ask another one".into(),
                ));
            }
            Statement::Remove(Remove { office: log.author })
        } else {
            let histories = self.graph.histories_at(log, seq).into_iter();
            let open = histories
                .map(|at| self.graph.node(at).hash)
                .filter(|it| !self.reviewed.contains(it));
            let open: BTreeSet<EntryHash> = open.collect();
            Statement::Review(Review { histories: open.into_iter().take(REVIEWED_MAX).collect() })
        };
        let written = self.write(&statement, context.fresh, context.time);
        written.map(|_| ()).map_err(|TooLarge(size)| CommandError::TooLarge {
            size,
            max: crate::entry::BODY_BYTES_MAX,
        })
    }

    /// What became of a write about this event: our last entry.
    fn written(&mut self, uid: &str) -> Written {
        self.settle(uid);
        let last = self.own.and_then(|log| self.graph.last(&log)).map(|node| node.hash);
        Written {
            uid: uid.to_owned(),
            entry: last.unwrap_or(EntryHash([0; 32])),
            etag: views::event(self, uid).map(|view| view.etag).unwrap_or_default(),
            created: false,
        }
    }
}

/// The fields in which a content isn't like one of the others.
fn differing(content: &Object, others: &[&Object]) -> BTreeSet<String> {
    let flat = |content: &Object| event::flatten(content).unwrap_or_default();
    let all: Vec<BTreeMap<String, Leaf>> =
        others.iter().copied().chain([content]).map(flat).collect();
    let paths: BTreeSet<&String> = all.iter().flat_map(|it| it.keys()).collect();
    let differs =
        |path: &&String| all.windows(2).any(|pair| pair[0].get(*path) != pair[1].get(*path));
    paths.into_iter().filter(differs).cloned().collect()
}

/// These fields of a content; null where it has none.
fn fields(content: &Object, paths: &BTreeSet<String>) -> Object {
    let flat = event::flatten(content).unwrap_or_default();
    let value = |path: &String| flat.get(path).map_or(Value::Null, Leaf::to_json);
    paths.iter().map(|path| (path.clone(), value(path))).collect()
}
