//! The approval of policies: a fold over what members say of them, each judged by what lies under it. An approval
//! holds the content that it approves, so that it can be shown and proved whatever is edited since. Of what was
//! said, what nothing later was said over stands; said at once in two parts of a divided network, both stand.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::calendar::Context;
use crate::command::{
    Answer, ApprovalView, CommandError, Condition, EventView, Object, PolicyState, PolicyView,
    Reply,
};
use crate::entry::BODY_BYTES_MAX;
use crate::event;
use crate::graph::{Graph, Index};
use crate::ids::OfficeId;
use crate::ledger::{Ledger, TooLarge};
use crate::policy;
use crate::statement::{Role, Statement};
use crate::views;

/// Most policies that an approval may supersede.
const SUPERSEDED_MAX: usize = 64;

/// What is said of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Kind 12.
    Propose(Propose),
    /// Kind 13.
    Approve(Approve),
    /// Kind 14.
    Withdraw(Withdraw),
}

/// A member's wish that this content be approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// The policy's event.
    pub uid: String,
    /// See [`content`].
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

/// An approver's signature over a policy's content: that of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approve {
    /// The policy's event.
    pub uid: String,
    /// See [`content`].
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
    /// Policies that it takes the place of; sorted.
    pub supersedes: Vec<String>,
}

/// An end to what was proposed or approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// The policy's event.
    pub uid: String,
}

impl Approval {
    /// The policy's event.
    pub fn uid(&self) -> &str {
        match self {
            Self::Propose(it) => &it.uid,
            Self::Approve(it) => &it.uid,
            Self::Withdraw(it) => &it.uid,
        }
    }

    /// All policies that it is about.
    pub(crate) fn uids(&self) -> impl Iterator<Item = &String> {
        let (uid, others) = match self {
            Self::Propose(it) => (&it.uid, &[][..]),
            Self::Approve(it) => (&it.uid, &it.supersedes[..]),
            Self::Withdraw(it) => (&it.uid, &[][..]),
        };
        std::iter::once(uid).chain(others)
    }

    /// Whether it is as this program writes it.
    pub(crate) fn is_sound(&self) -> bool {
        let is_content = |content: &[u8]| {
            matches!(serde_json::from_slice(content),
                Ok(Value::Object(event)) if self::content(&event) == content)
        };
        event::is_uid(self.uid())
            && match self {
                Self::Propose(it) => is_content(&it.content),
                Self::Approve(it) => {
                    is_content(&it.content)
                        && it.supersedes.len() <= SUPERSEDED_MAX
                        && it.supersedes.is_sorted_by(|a, b| a < b)
                        && it.supersedes.iter().all(|uid| event::is_uid(uid) && *uid != it.uid)
                }
                Self::Withdraw(_) => true,
            }
    }
}

/// What of an event is approved, as canonical JSON: all but what is derived from the log, and how it was written in
/// another program.
pub fn content(event: &Object) -> Vec<u8> {
    let mut content = event.clone();
    for name in ["uid", "created", "updated", "fasti:icalendar"] {
        content.shift_remove(name);
    }
    event::canonical(Value::Object(content))
}

fn object(content: &[u8]) -> Object {
    match serde_json::from_slice(content) {
        Ok(Value::Object(content)) => content,
        _ => Object::new(),
    }
}

/// The short name of a content: equal exactly where it is.
fn version(content: &[u8]) -> String {
    hex::encode(&Sha256::digest(content)[..8])
}

/// Something that was said and counts.
#[derive(Clone, Debug)]
struct Said {
    by: OfficeId,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Proposed(Vec<u8>),
    Approved(Vec<u8>),
    Withdrawn,
    /// By the approval of this policy.
    Superseded(String),
}

/// What was said of a policy.
#[derive(Clone, Debug, Default)]
struct Policy {
    said: BTreeMap<Index, Said>,
    /// What nothing was said over; proposals and decisions apart, as a proposal ends no approval.
    proposals: BTreeSet<Index>,
    decisions: BTreeSet<Index>,
}

/// What was said of all policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Approvals {
    policies: BTreeMap<String, Policy>,
}

impl Approvals {
    /// Whether anything was said of this policy.
    pub(crate) fn knows(&self, uid: &str) -> bool {
        self.policies.contains_key(uid)
    }

    /// Whether an entry decided on this policy.
    pub(crate) fn is_decision(&self, uid: &str, at: Index) -> bool {
        let said = self.policies.get(uid).and_then(|it| it.said.get(&at));
        said.is_some_and(|it| !matches!(it.what, What::Proposed(_)))
    }

    /// The last entry that said something of this policy.
    pub(crate) fn last(&self, uid: &str) -> Option<Index> {
        self.policies.get(uid)?.said.last_key_value().map(|it| *it.0)
    }

    /// Whether an office has a proposal of its own under these.
    pub(crate) fn has_proposed(
        &self,
        graph: &Graph,
        office: &OfficeId,
        uid: &str,
        parents: &[Index],
    ) -> bool {
        let said = self.policies.get(uid).into_iter().flat_map(|it| &it.said);
        said.filter(|(_, it)| it.by == *office && matches!(it.what, What::Proposed(_)))
            .any(|(at, _)| graph.is_under(*at, parents))
    }

    /// Lets what was found good take effect.
    pub(crate) fn fold(&mut self, graph: &Graph, by: OfficeId, said: &Approval, at: Index) {
        let uid = said.uid();
        match said {
            Approval::Propose(it) => {
                self.add(graph, uid, Said { by, what: What::Proposed(it.content.clone()) }, at);
            }
            Approval::Approve(it) => {
                self.add(graph, uid, Said { by, what: What::Approved(it.content.clone()) }, at);
                for old in &it.supersedes {
                    self.add(graph, old, Said { by, what: What::Superseded(uid.to_owned()) }, at);
                }
            }
            Approval::Withdraw(_) => self.add(graph, uid, Said { by, what: What::Withdrawn }, at),
        }
    }

    fn add(&mut self, graph: &Graph, uid: &str, said: Said, at: Index) {
        self.policies.entry(uid.to_owned()).or_default().add(graph, said, at);
    }
}

impl Policy {
    fn add(&mut self, graph: &Graph, said: Said, at: Index) {
        let Self { said: all, proposals, decisions } = self;
        let parents = &graph.node(at).parents;
        let is_over = |old: &Index| graph.is_under(*old, parents);
        proposals.retain(|old| !is_over(old));
        if matches!(said.what, What::Proposed(_)) {
            proposals.insert(at);
        } else {
            decisions.retain(|old| !is_over(old));
            decisions.insert(at);
        }
        all.insert(at, said);
    }
}

// ---- Commands ----

impl Ledger {
    pub(crate) fn propose(&mut self, context: Context, id: &str, condition: &Condition) -> Reply {
        let event = self.policy_event(id, condition)?;
        let content = content(&event.event);
        let propose = Propose { uid: event.uid, content };
        self.say(context, id, Approval::Propose(propose))
    }

    pub(crate) fn approve(
        &mut self,
        context: Context,
        id: &str,
        supersedes: &[String],
        condition: &Condition,
    ) -> Reply {
        self.check_approver("approve policies")?;
        let event = self.policy_event(id, condition)?;
        let mut others = BTreeSet::new();
        for other in supersedes {
            let other = self.policy_event(other, &Condition::Always)?.uid;
            if other == event.uid {
                let problem = "a policy can't take the place of itself".into();
                return Err(CommandError::Invalid { path: "supersedes".into(), problem });
            }
            others.insert(other);
        }
        if others.len() > SUPERSEDED_MAX {
            let problem = format!("an approval supersedes at most {SUPERSEDED_MAX} policies");
            return Err(CommandError::Invalid { path: "supersedes".into(), problem });
        }
        let content = content(&event.event);
        let supersedes = others.into_iter().collect();
        let approve = Approve { uid: event.uid, content, supersedes };
        self.say(context, id, Approval::Approve(approve))
    }

    pub(crate) fn withdraw(&mut self, context: Context, id: &str) -> Reply {
        let uid = self.policy_event(id, &Condition::Always)?.uid;
        let tips: Vec<Index> = self.graph.tips().collect();
        let own = self.office();
        if !self.approvals.has_proposed(&self.graph, &own, &uid, &tips) {
            self.check_approver("withdraw what others proposed or approved")?;
        }
        let has_any = self.approvals.policies.get(&uid).is_some_and(|it| {
            !it.proposals.is_empty()
                || it.decisions.iter().any(|at| matches!(it.said[at].what, What::Approved(_)))
        });
        if !has_any {
            return Err(CommandError::NotAllowed(format!(
                "there is nothing to withdraw: policy {id:?} is neither proposed nor approved"
            )));
        }
        self.say(context, id, Approval::Withdraw(Withdraw { uid }))
    }

    fn say(&mut self, context: Context, id: &str, said: Approval) -> Reply {
        let statement = Statement::Approval(said);
        self.write(&statement, context.fresh, context.time)
            .map_err(|TooLarge(size)| CommandError::TooLarge { size, max: BODY_BYTES_MAX })?;
        self.policy(id)
    }

    pub(crate) fn check_approver(&self, what: &str) -> Result<(), CommandError> {
        let member = self.roster.member(&self.office());
        if member.is_some_and(|member| member.roles.contains(&Role::Approver)) {
            return Ok(());
        }
        Err(CommandError::NotAllowed(format!(
            "only approvers {what}; `fasti members` shows who is one"
        )))
    }

    /// The event of a policy: by the publisher's number, or any other event by its uid.
    pub(crate) fn policy_event(
        &mut self,
        id: &str,
        condition: &Condition,
    ) -> Result<EventView, CommandError> {
        for uid in [policy::uid(id), id.to_owned()] {
            self.settle(&uid);
            if let Some(view) = views::event(self, &uid) {
                crate::calendar::check_condition(condition, Some(&view))?;
                return Ok(view);
            }
        }
        Err(CommandError::UnknownPolicy(id.to_owned()))
    }

    // ---- Answers ----

    pub(crate) fn policy(&mut self, id: &str) -> Reply {
        let event = self.policy_event(id, &Condition::Always)?;
        Ok(Answer::Policy(Box::new(self.policy_view(&event))))
    }

    /// All events that anything was said of, and all policies that were published.
    pub(crate) fn policies(&mut self) -> Vec<PolicyView> {
        self.settle_all();
        let uids = self.policy_uids(&|_| true);
        let events = uids.iter().filter_map(|uid| views::event(self, uid));
        events.collect::<Vec<_>>().iter().map(|event| self.policy_view(event)).collect()
    }

    /// A policy as it stands, by its event; what was written must have been applied.
    pub(crate) fn policy_now(&self, uid: &str) -> Option<PolicyView> {
        views::event(self, uid).map(|event| self.policy_view(&event))
    }

    /// Whether what was approved isn't what shows, or isn't one thing.
    pub(crate) fn is_contested_policy(&self, uid: &str) -> bool {
        self.policy_now(uid).is_some_and(|policy| policy.changed || policy.disputed)
    }

    /// What else than an approval was decided of a policy and stands, in words.
    pub(crate) fn other_decisions(&self, uid: &str) -> Vec<(Index, String)> {
        let Some(policy) = self.approvals.policies.get(uid) else { return Vec::new() };
        let decision = |at: &Index| match &policy.said[at].what {
            What::Withdrawn => Some((*at, "withdrawn".to_owned())),
            What::Superseded(by) => {
                Some((*at, format!("superseded by {}", policy::id_of(by).unwrap_or(by))))
            }
            What::Proposed(_) | What::Approved(_) => None,
        };
        let mut decisions: Vec<_> = policy.decisions.iter().filter_map(decision).collect();
        decisions.sort_by_key(|(at, _)| self.graph.node(*at).hash);
        decisions
    }

    /// Approves what shows.
    pub(crate) fn approve_as_it_is(
        &mut self,
        context: Context,
        uid: &str,
    ) -> Result<(), CommandError> {
        self.approve(context, uid, &[], &Condition::Always).map(|_| ())
    }

    fn policy_view(&self, event: &EventView) -> PolicyView {
        let nothing = Policy::default();
        let policy = self.approvals.policies.get(&event.uid).unwrap_or(&nothing);
        let current = content(&event.event);
        self.view_of(policy, &event.uid, &event.event, &event.etag, &current)
    }

    /// The same as far as these entries say.
    pub(crate) fn policy_as_of(
        &self,
        uid: &str,
        current: &[u8],
        event: &Object,
        has: &dyn Fn(Index) -> bool,
    ) -> PolicyView {
        let mut policy = Policy::default();
        let said = self.approvals.policies.get(uid).into_iter().flat_map(|it| &it.said);
        for (at, said) in said.filter(|(at, _)| has(**at)) {
            policy.add(&self.graph, said.clone(), *at);
        }
        self.view_of(&policy, uid, event, &event::etag(event), current)
    }

    /// The events of all policies.
    pub(crate) fn policy_uids(&self, has: &dyn Fn(Index) -> bool) -> BTreeSet<String> {
        let published = self.document.uids().into_iter().filter(|uid| policy::id_of(uid).is_some());
        let said = self.approvals.policies.iter();
        let said = said.filter(|(_, policy)| policy.said.keys().any(|at| has(*at)));
        published.chain(said.map(|(uid, _)| uid.clone())).collect()
    }

    fn view_of(
        &self,
        policy: &Policy,
        uid: &str,
        event: &Object,
        etag: &str,
        current: &[u8],
    ) -> PolicyView {
        let mut approved = self.grouped(policy, &policy.decisions, |what| match what {
            What::Approved(content) => Some(content),
            _ => None,
        });
        let proposed = self.grouped(policy, &policy.proposals, |what| match what {
            What::Proposed(content) => Some(content),
            _ => None,
        });
        let decided = |wanted: fn(&What) -> bool| {
            policy.decisions.iter().any(|at| wanted(&policy.said[at].what))
        };
        // Of several, which may have come in any order, the first by the clocks.
        let superseding = policy.decisions.iter().filter_map(|at| match &policy.said[at].what {
            What::Superseded(by) => Some((self.graph.node(*at), by)),
            _ => None,
        });
        let superseded_by = superseding
            .min_by_key(|(node, _)| (node.time, node.hash))
            .map(|(_, by)| policy::id_of(by).unwrap_or(by).to_owned());
        let withdrawn = decided(|what| matches!(what, What::Withdrawn));
        let state = match (approved.is_empty(), &superseded_by, withdrawn, proposed.is_empty()) {
            (false, ..) => PolicyState::Approved,
            (true, Some(_), ..) => PolicyState::Superseded,
            (true, None, _, false) => PolicyState::Proposed,
            (true, None, true, true) => PolicyState::Withdrawn,
            (true, None, false, true) => PolicyState::Draft,
        };
        // Approvers who did not know of each other said different things: all of it is shown, in one order.
        let disputed =
            approved.len() > 1 || !approved.is_empty() && (withdrawn || superseded_by.is_some());
        approved.sort_by(|a, b| a.version.cmp(&b.version));
        let is_current = |view: &ApprovalView| view.version == version(current);
        PolicyView {
            policy: policy::id_of(uid).unwrap_or(uid).to_owned(),
            uid: uid.to_owned(),
            title: event.get("title").and_then(Value::as_str).unwrap_or_default().to_owned(),
            etag: etag.to_owned(),
            version: version(current),
            content: object(current),
            state,
            changed: !approved.is_empty() && !approved.iter().any(is_current),
            disputed,
            approved,
            proposed,
            superseded_by,
        }
    }

    /// What stands, by its content, with all who said it.
    fn grouped<'a>(
        &self,
        policy: &'a Policy,
        standing: &BTreeSet<Index>,
        of: impl Fn(&'a What) -> Option<&'a Vec<u8>>,
    ) -> Vec<ApprovalView> {
        let mut found: BTreeMap<&[u8], ApprovalView> = BTreeMap::new();
        for at in standing {
            let Some(said) = policy.said.get(at) else { continue };
            let Some(content) = of(&said.what) else { continue };
            let node = self.graph.node(*at);
            let view = found.entry(content).or_insert_with(|| ApprovalView {
                version: version(content),
                content: object(content),
                by: Vec::new(),
            });
            view.by.push(views::signature(self, said.by, node));
        }
        let mut found: Vec<_> = found.into_values().collect();
        for view in &mut found {
            view.by.sort_by_key(|it| (it.time, it.entry));
        }
        found
    }
}
