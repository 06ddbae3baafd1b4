//! What compliance asks: which version of a policy was approved, by whom and when, who wrote it, and which offices held
//! it, as of now, of a moment, or of what some office held. All of it follows from entries, and from offices' own
//! signed words of what they hold, so that whoever has the same can find the same.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ChangeHash;

use crate::approval;
use crate::board::Board;
use crate::command::{
    Answer, AsOf, CommandError, Condition, HolderView, Object, PolicyReport, Reply, ReportQuery,
    ReportView, WrittenView,
};
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, LogId, OfficeId};
use crate::ledger::Ledger;
use crate::notice::{SignedNotice, Topic};
use crate::policy;
use crate::proof::{Evidence, Question};
use crate::views;

/// Most pairs of a policy and an office in a report: 10,000 policies of 100 offices. A report that a stranger
/// gives us to check must not fill our memory.
const HOLDERS_MAX: usize = 1_000_000;

/// What had been written, as far as a report looks.
struct Cut {
    /// For each entry whether it had.
    inside: Vec<bool>,
    /// Those without children inside.
    heads: Vec<Index>,
    /// Milliseconds since 1970: what offices said of themselves until then counts as well.
    until: Option<i64>,
}

impl Cut {
    fn new(graph: &Graph, as_of: &AsOf) -> Result<Self, CommandError> {
        let all = graph.len();
        let (inside, until) = match as_of {
            AsOf::Now => (vec![true; all as usize], Some(i64::MAX)),
            AsOf::Time(until) => {
                let mut inside = vec![false; all as usize];
                for at in 0..all {
                    let node = graph.node(at);
                    // By the authors' clocks; and what builds upon something later was later.
                    let grounded = node.parents.iter().all(|parent| inside[*parent as usize]);
                    inside[at as usize] = node.time <= *until && grounded;
                }
                (inside, Some(*until))
            }
            AsOf::Entries(heads) => {
                let find = |hash| {
                    graph.index(hash).ok_or_else(|| CommandError::Invalid {
                        path: "as_of".into(),
                        problem: format!("this node holds no entry {hash}"),
                    })
                };
                let heads = heads.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                (graph.under(&heads), None)
            }
        };
        let mut is_head = inside.clone();
        for at in (0..all).filter(|at| inside[*at as usize]) {
            for parent in &graph.node(at).parents {
                is_head[*parent as usize] = false;
            }
        }
        let heads = (0..all).filter(|at| is_head[*at as usize]).collect();
        Ok(Self { inside, heads, until })
    }

    /// The heads by their names, sorted: the same on every node.
    fn hashes(&self, graph: &Graph) -> Vec<EntryHash> {
        let mut hashes: Vec<_> = self.heads.iter().map(|at| graph.node(*at).hash).collect();
        hashes.sort();
        hashes
    }

    fn has(&self, at: Index) -> bool {
        self.inside[at as usize]
    }
}

/// Answers at once where it can. See [`Answer::Evidence`].
pub(crate) fn report(ledger: &mut Ledger, board: &Board, query: ReportQuery, now: i64) -> Reply {
    let (cut, question) = look(ledger, query, now)?;
    if stands_alone(ledger, &cut) {
        view(ledger, board, &cut, &question).map(Answer::Report)
    } else {
        Ok(Answer::Evidence(Box::new(gather(ledger, board, cut, question))))
    }
}

/// Gives all that a report follows from, but the entries themselves, which are on the disk.
pub(crate) fn evidence(ledger: &mut Ledger, board: &Board, query: ReportQuery, now: i64) -> Reply {
    let (cut, question) = look(ledger, query, now)?;
    if cut.heads.is_empty() {
        let problem = "nothing was written by then: not even the network was founded".into();
        return Err(CommandError::Invalid { path: "as_of".into(), problem });
    }
    Ok(Answer::Evidence(Box::new(gather(ledger, board, cut, question))))
}

/// The report of a ledger that holds what a question is about and nothing else.
pub(crate) fn report_of_all(
    ledger: &mut Ledger,
    board: &Board,
    question: &Question,
) -> Result<ReportView, CommandError> {
    ledger.settle_all();
    let cut = Cut::new(&ledger.graph, &question.as_of)?;
    view(ledger, board, &cut, question)
}

fn look(
    ledger: &mut Ledger,
    query: ReportQuery,
    now: i64,
) -> Result<(Cut, Question), CommandError> {
    ledger.settle_all();
    let ReportQuery { policy, as_of } = query;
    // Who asks for a policy that there never was has mistyped it.
    if let Some(id) = &policy {
        ledger.policy_event(id, &Condition::Always)?;
    }
    let cut = Cut::new(&ledger.graph, &as_of)?;
    let office = ledger.office();
    let question = Question {
        network: ledger.network,
        office,
        name: views::name(ledger, &office),
        version: env!("CARGO_PKG_VERSION").into(),
        made: now,
        policy,
        as_of,
        heads: cut.hashes(&ledger.graph),
        notices: [0; 32],
    };
    Ok((cut, question))
}

fn gather(ledger: &Ledger, board: &Board, cut: Cut, question: Question) -> Evidence {
    let counts = |notice: &&SignedNotice| {
        let at = i64::try_from(notice.counter).unwrap_or(i64::MAX);
        notice.topic == Topic::Acknowledgement && cut.until.is_some_and(|until| at <= until)
    };
    let mut notices: Vec<SignedNotice> = board.since(0).filter(counts).cloned().collect();
    notices.sort_by_key(|notice| notice.office);
    Evidence::new(question, cut.inside, notices, &ledger.signer)
}

/// Whether these entries count for the same here as where nothing else is held. Else a removal cuts some of them off,
/// or an entry lets them count again; or a fork gives their changes other places; or an office has another name.
fn stands_alone(ledger: &Ledger, cut: &Cut) -> bool {
    let Ledger { graph, roster, .. } = ledger;
    if cut.inside.iter().all(|inside| *inside) {
        return true;
    }
    let cuts = roster.removed().iter().any(|(office, member)| {
        let under = |last: Index| {
            member.removals.values().all(|removal| graph.is_under(last, &[removal.at]))
        };
        !graph.last_of(*office).all(under)
    });
    let mut known = roster.members().values().chain(roster.removed().values());
    let named_since = known.any(|member| {
        let (inside, outside): (Vec<Index>, Vec<Index>) =
            member.admissions().partition(|at| cut.has(*at));
        !inside.is_empty() && !outside.is_empty()
    });
    !cuts && !named_since && !is_forked_since(graph, cut)
}

/// Whether a log that had reached a place forks there, and nobody could know it from these entries.
fn is_forked_since(graph: &Graph, cut: &Cut) -> bool {
    if graph.forks().is_empty() {
        return false;
    }
    let mut lengths: BTreeMap<LogId, u64> = BTreeMap::new();
    // Entries by what they follow in a log that forks; and the places at which two follow the same.
    let mut following: BTreeSet<(LogId, u64, Option<Index>)> = BTreeSet::new();
    let mut forks: BTreeSet<(LogId, u64)> = BTreeSet::new();
    for at in (0..graph.len()).filter(|at| cut.has(*at)) {
        let node = graph.node(at);
        let log = graph.log_of(node);
        if !graph.forks().contains_key(&log) {
            continue;
        }
        let length = lengths.entry(log).or_default();
        *length = node.seq.max(*length);
        let prev = (node.seq > 1).then(|| node.parents.first().copied()).flatten();
        if !following.insert((log, node.seq, prev)) {
            forks.insert((log, node.seq));
        }
    }
    let known = graph.forks().iter().flat_map(|(log, all)| all.iter().map(|seq| (*log, *seq)));
    let mut reached = known.filter(|(log, seq)| lengths.get(log).is_some_and(|it| seq <= it));
    reached.any(|fork| !forks.contains(&fork))
}

fn view(
    ledger: &Ledger,
    board: &Board,
    cut: &Cut,
    question: &Question,
) -> Result<ReportView, CommandError> {
    let changes = ledger.changes_under(&cut.heads);
    let policies = events(ledger, cut, question.policy.as_deref(), &changes);
    let offices = offices(ledger, cut);
    if policies.len().saturating_mul(offices.len()) > HOLDERS_MAX {
        let problem = format!(
            "a report on {} policies in {} offices is too large; ask for one policy after the other",
            policies.len(),
            offices.len()
        );
        return Err(CommandError::Invalid { path: "policy".into(), problem });
    }
    let report =
        |(uid, event): (String, Object)| policy(ledger, board, cut, &offices, &uid, &event);
    Ok(ReportView {
        network: question.network,
        office: question.office,
        name: question.name.clone(),
        made: question.made,
        as_of: question.as_of.clone(),
        heads: cut.hashes(&ledger.graph),
        policies: policies.into_iter().map(report).collect(),
    })
}

/// The policies that there were then, as they stood: all, or one by its number or uid.
fn events(
    ledger: &Ledger,
    cut: &Cut,
    policy: Option<&str>,
    changes: &[ChangeHash],
) -> Vec<(String, Object)> {
    let event = |uid: String| event_at(ledger, &uid, changes).map(|event| (uid, event));
    match policy {
        Some(id) => {
            [policy::uid(id), id.to_owned()].into_iter().find_map(event).into_iter().collect()
        }
        None => ledger.policy_uids(&|at| cut.has(at)).into_iter().filter_map(event).collect(),
    }
}

/// Who were members then.
fn offices(ledger: &Ledger, cut: &Cut) -> Vec<OfficeId> {
    let roster = &ledger.roster;
    let all = roster.members().iter().chain(roster.removed());
    let was_member = all.filter(|(_, member)| {
        member.admissions().any(|at| cut.has(at))
            && !member.removals.values().any(|it| cut.has(it.at))
    });
    was_member.map(|(office, _)| *office).collect()
}

fn policy(
    ledger: &Ledger,
    board: &Board,
    cut: &Cut,
    offices: &[OfficeId],
    uid: &str,
    event: &Object,
) -> PolicyReport {
    let current = approval::content(event);
    let view = ledger.policy_as_of(uid, &current, event, &|at| cut.has(at));
    // Of several versions that were approved at once the first is told of here; `disputed` says so.
    let approved = view.approved.first().and_then(|it| it.by.first());
    let entry = approved.and_then(|by| ledger.graph.index(&by.entry));
    let (written, holders) = match entry {
        Some(at) => (
            written(ledger, uid, &ledger.graph.node(at).parents),
            holders(ledger, board, cut, offices, at),
        ),
        None => (Vec::new(), Vec::new()),
    };
    PolicyReport { policy: view, written, holders }
}

/// The event as it stood.
fn event_at(ledger: &Ledger, uid: &str, changes: &[ChangeHash]) -> Option<Object> {
    let fields = ledger.document.fields_at(uid, changes)?;
    let flat: crate::event::Flat =
        fields.into_iter().map(|(path, (leaf, _))| (path, leaf)).collect();
    Some(crate::event::unflatten(&flat))
}

/// Who wrote what of the event as it stood under an entry: the fields by the entry that wrote each.
fn written(ledger: &Ledger, uid: &str, under: &[Index]) -> Vec<WrittenView> {
    let heads = ledger.changes_under(under);
    let fields = ledger.document.fields_at(uid, &heads).unwrap_or_default();
    let mut found: BTreeMap<Index, Vec<String>> = BTreeMap::new();
    for (path, (_, id)) in fields {
        let hash = ledger.document.change_of(&id).and_then(|hash| ledger.graph.by_change(&hash));
        if let Some(at) = hash.and_then(|node| ledger.graph.index(&node.hash)) {
            found.entry(at).or_default().push(path);
        }
    }
    let view = |(at, fields): (Index, Vec<String>)| {
        let node = ledger.graph.node(at);
        let by = views::signature(ledger, ledger.graph.log_of(node).author, node);
        WrittenView { by, fields }
    };
    let mut written: Vec<WrittenView> = found.into_iter().map(view).collect();
    // Nodes hold entries in the order in which they came.
    written.sort_by_key(|it| (it.by.time, it.by.entry));
    written
}

/// Which offices held an entry, and since when that is known of each: by what it wrote upon it, or said that it held.
fn holders(
    ledger: &Ledger,
    board: &Board,
    cut: &Cut,
    offices: &[OfficeId],
    entry: Index,
) -> Vec<HolderView> {
    let graph = &ledger.graph;
    let mut over = vec![false; graph.len() as usize];
    // Of an office with several logs, or two histories, the first by its clock.
    let mut wrote: BTreeMap<OfficeId, (i64, EntryHash)> = BTreeMap::new();
    for at in (entry..graph.len()).filter(|at| cut.has(*at)) {
        let node = graph.node(at);
        over[at as usize] = at == entry || node.parents.iter().any(|it| over[*it as usize]);
        if over[at as usize] {
            let this = (node.time, node.hash);
            let first = wrote.entry(graph.log_of(node).author).or_insert(this);
            *first = this.min(*first);
        }
    }
    let view = |office: &OfficeId| {
        let notice = board.about(office, Topic::Acknowledgement);
        let said = notice.and_then(|notice| {
            let at = i64::try_from(notice.counter).ok()?;
            let heads = SignedNotice::acknowledgement(notice)?.heads;
            let covers =
                heads.iter().filter_map(|hash| graph.index(hash)).any(|at| over[at as usize]);
            (covers && cut.until.is_some_and(|until| at <= until)).then_some(at)
        });
        let wrote = wrote.get(office);
        HolderView {
            office: *office,
            name: views::name(ledger, office),
            since: wrote.map(|it| it.0).or(said),
            entry: wrote.map(|it| it.1),
        }
    };
    offices.iter().map(view).collect()
}
