//! What compliance asks: which version of a policy was approved, by whom and when, who wrote it, and which offices held
//! it, as of now, of a moment, or of what some office held. All of it follows from entries, and from offices' own
//! signed words of what they hold, so that whoever has the same can find the same.

use std::collections::BTreeMap;

use crate::approval;
use crate::command::{
    AsOf, CommandError, HolderView, Object, PolicyReport, ReportQuery, ReportView, WrittenView,
};
use crate::gossip::Gossip;
use crate::graph::{Graph, Index};
use crate::ids::OfficeId;
use crate::ledger::Ledger;
use crate::notice::{SignedNotice, Topic};
use crate::views;

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

    fn has(&self, at: Index) -> bool {
        self.inside[at as usize]
    }
}

pub(crate) fn report(
    ledger: &mut Ledger,
    gossip: &Gossip,
    query: &ReportQuery,
    now: i64,
) -> Result<ReportView, CommandError> {
    ledger.settle_all();
    let cut = Cut::new(&ledger.graph, &query.as_of)?;
    let uids = ledger.policy_uids(query.policy.as_deref())?;
    let ledger = &*ledger;
    let offices = offices(ledger, &cut);
    let policies =
        uids.iter().filter_map(|uid| policy(ledger, gossip, &cut, &offices, uid)).collect();
    Ok(ReportView {
        network: ledger.network,
        office: ledger.office(),
        name: views::name(ledger, &ledger.office()),
        made: now,
        as_of: query.as_of.clone(),
        heads: cut.heads.iter().map(|at| ledger.graph.node(*at).hash).collect(),
        policies,
    })
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
    gossip: &Gossip,
    cut: &Cut,
    offices: &[OfficeId],
    uid: &str,
) -> Option<PolicyReport> {
    let event = event_at(ledger, cut, uid)?;
    let current = approval::content(&event);
    let view = ledger.policy_as_of(uid, &current, &event, &|at| cut.has(at));
    // Of several versions that were approved at once the first is told of here; `disputed` says so.
    let approved = view.approved.first().and_then(|it| it.by.first());
    let entry = approved.and_then(|by| ledger.graph.index(&by.entry));
    let (written, holders) = match entry {
        Some(at) => (
            written(ledger, uid, &ledger.graph.node(at).parents),
            holders(ledger, gossip, cut, offices, at),
        ),
        None => (Vec::new(), Vec::new()),
    };
    Some(PolicyReport { policy: view, written, holders })
}

/// The event as it stood.
fn event_at(ledger: &Ledger, cut: &Cut, uid: &str) -> Option<Object> {
    let heads = ledger.changes_under(&cut.heads);
    let fields = ledger.document.fields_at(uid, &heads)?;
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
    found.into_iter().map(view).collect()
}

/// Which offices held an entry, and since when that is known of each: by what it wrote upon it, or said that it held.
fn holders(
    ledger: &Ledger,
    gossip: &Gossip,
    cut: &Cut,
    offices: &[OfficeId],
    entry: Index,
) -> Vec<HolderView> {
    let graph = &ledger.graph;
    let mut over = vec![false; graph.len() as usize];
    let mut wrote: BTreeMap<OfficeId, Index> = BTreeMap::new();
    for at in entry..graph.len() {
        let node = graph.node(at);
        over[at as usize] = at == entry || node.parents.iter().any(|it| over[*it as usize]);
        if over[at as usize] && cut.has(at) {
            wrote.entry(graph.log_of(node).author).or_insert(at);
        }
    }
    let view = |office: &OfficeId| {
        let notice = gossip.board.about(office, Topic::Acknowledgement);
        let said = notice.and_then(|notice| {
            let at = i64::try_from(notice.counter).ok()?;
            let heads = SignedNotice::acknowledgement(notice)?.heads;
            let covers =
                heads.iter().filter_map(|hash| graph.index(hash)).any(|at| over[at as usize]);
            (covers && cut.until.is_some_and(|until| at <= until)).then_some(at)
        });
        let by_entry = wrote.get(office).map(|at| graph.node(*at));
        HolderView {
            office: *office,
            name: views::name(ledger, office),
            since: by_entry.map(|node| node.time).or(said),
            entry: by_entry.map(|node| node.hash),
        }
    };
    offices.iter().map(view).collect()
}
