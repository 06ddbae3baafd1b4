//! Which removals count, and what of a removed member's entries. All else follows from what lies under an
//! entry; this follows from all that is held, so that it is found anew whenever something comes that may
//! change it (`ledger`), in a way that doesn't depend on what came first:
//!
//! - Of what a removed member wrote, an entry counts if it lies under the removal (whoever removed knew it), or if
//!   a third member has *built upon* it without knowing of the removal: nobody's work loses its ground. What
//!   else isn't under the removal is *cut*, whether it was written before or after: nobody can tell.
//! - Third members are those who were members under the removal and are not removed themselves. So those who
//!   are removed can't vouch for each other, nor can newcomers whom they admit.
//! - Nobody vouches for a removal. Removals are decided one after the other: the more senior admin's first, but each
//!   after those that lie under it. One that is cut by what was decided before doesn't count.
//!
//! So one admin always remains, however they remove each other: the one whose removal was decided last. His own
//! would have been decided before, and then his last removal would have to lie under it, and would have
//! been decided before that. (No admin removes himself.)

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{Entry, RULES, Verifier};
use crate::graph::{Graph, Index};
use crate::ids::{LogId, NetworkId, OfficeId};
use crate::roster::{Claim, Ground, Member, Rank, Roster};
use crate::row::{Row, Standing};
use crate::statement::{Statement, Unreadable};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Removals that count.
    pub(crate) counting: BTreeSet<Index>,
    /// Entries that count for nothing, as their author was removed.
    pub(crate) cut: BTreeSet<Index>,
}

/// The entries as they lie, and what they say of membership: all that a verdict needs.
pub(crate) struct Survey {
    graph: Graph,
    statements: Vec<(Index, Statement)>,
    removals: Vec<Index>,
}

impl Survey {
    pub(crate) fn new(forks: impl IntoIterator<Item = (LogId, u64)>) -> Self {
        let mut graph = Graph::default();
        graph.know_forks(forks);
        Self { graph, statements: Vec::new(), removals: Vec::new() }
    }

    /// Takes the next row; says so if what it builds upon is not there.
    pub(crate) fn add(&mut self, row: &Row) -> Option<()> {
        let parents = self.graph.parents_of(&row.entry)?;
        let statement = understood(&row.entry, &parents, &self.graph);
        let standing = if statement.is_none() { Standing::Deferred } else { Standing::Applied };
        let bare = Row { applied: None, standing, ..row.clone() };
        let at = self.graph.append(&bare, parents);
        match statement.flatten() {
            Some(statement) if statement.is_of_roster() => {
                if matches!(statement, Statement::Remove(_)) {
                    self.removals.push(at);
                }
                self.statements.push((at, statement));
            }
            None | Some(_) => {}
        }
        Some(())
    }

    /// Finds what counts.
    pub(crate) fn verdict(&self, network: &NetworkId, verifier: &dyn Verifier) -> Verdict {
        let mut found = Verdict::default();
        let ground = Ground { graph: &self.graph, network, verifier };
        let strays: BTreeMap<Index, Strays> =
            self.removals.iter().map(|at| (*at, self.strays(*at))).collect();
        if strays.values().all(|it| it.entries.is_empty()) {
            found.counting = self.in_order(&ground);
            return found;
        }
        // Void because something over it was decided already.
        let mut passed: BTreeSet<Index> = BTreeSet::new();
        loop {
            // What is cut takes admissions with it, and with those more: who was admitted by them vouches for nothing.
            let roster = loop {
                let roster = self.fold(&ground, &found);
                let before = found.cut.len();
                found.cut.extend(self.cut(&roster, &found.counting, &strays));
                if found.cut.len() == before {
                    break roster;
                }
            };
            let open: Vec<_> = self
                .removals
                .iter()
                .filter(|at| !(found.counting.contains(at) || passed.contains(*at)))
                .filter(|at| !found.cut.contains(at))
                .filter_map(|at| {
                    let rank = self.rank(&ground, &roster, *at)?;
                    Some((rank, self.graph.node(*at).hash, *at))
                })
                .collect();
            let Some((_, _, mut next)) = open.iter().min().copied() else { return found };
            let lower = |than: Index| {
                let under = |at: Index| at != than && strays[&than].under[at as usize];
                open.iter().filter(|(_, _, at)| under(*at)).min().map(|it| it.2)
            };
            while let Some(at) = lower(next) {
                next = at;
            }
            let under = &strays[&next].under;
            passed.extend(self.removals.iter().filter(|at| under[**at as usize]));
            found.counting.insert(next);
        }
    }

    /// The removals that count if none cuts anything off: then all follows from what lies under each.
    fn in_order(&self, ground: &Ground<'_>) -> BTreeSet<Index> {
        let mut roster = Roster::default();
        let mut counting = BTreeSet::new();
        for (at, statement) in &self.statements {
            let claim = self.claim(*at, statement);
            if roster.judge(ground, &claim).is_ok() {
                roster.fold(ground.graph, &claim, *at);
                if matches!(statement, Statement::Remove(_)) {
                    counting.insert(*at);
                }
            }
        }
        counting
    }

    /// The roster, as far as it was found what counts.
    fn fold(&self, ground: &Ground<'_>, found: &Verdict) -> Roster {
        let mut roster = Roster::default();
        for (at, statement) in &self.statements {
            let claim = self.claim(*at, statement);
            let counts = match statement {
                Statement::Remove(_) => found.counting.contains(at),
                _ => !found.cut.contains(at) && roster.judge(ground, &claim).is_ok(),
            };
            if counts {
                roster.fold(ground.graph, &claim, *at);
            }
        }
        roster
    }

    fn claim<'a>(&'a self, at: Index, statement: &'a Statement) -> Claim<'a> {
        let node = self.graph.node(at);
        Claim {
            author: self.author(at),
            hash: node.hash,
            branch: None,
            parents: &node.parents,
            time: node.time,
            statement,
        }
    }

    fn author(&self, at: Index) -> OfficeId {
        self.graph.log_of(self.graph.node(at)).author
    }

    fn statement(&self, at: Index) -> Option<&Statement> {
        let place = self.statements.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(&self.statements[place].1)
    }

    /// When a removal is decided: admins' come first, by how senior their authors are. None if its author may
    /// not remove.
    fn rank(&self, ground: &Ground<'_>, roster: &Roster, at: Index) -> Option<(bool, Rank)> {
        let claim = self.claim(at, self.statement(at)?);
        roster.judge(ground, &claim).ok()?;
        // Who leaves has no say in which admin stays: not even by which removals it leaves on top of.
        let is_admin = roster.is_admin(ground.graph, &claim);
        Some((!is_admin, roster.rank(ground.graph, &claim)?))
    }

    /// What the office that is removed here wrote and isn't under the removal, and who could vouch for it.
    fn strays(&self, removal: Index) -> Strays {
        let Some(Statement::Remove(remove)) = self.statement(removal) else {
            return Strays::default();
        };
        let under = self.graph.under(&[removal]);
        let wrote = |at: &Index| self.author(*at) == remove.office && !under[*at as usize];
        let entries: BTreeSet<Index> = (0..self.graph.len()).filter(wrote).collect();
        if entries.is_empty() {
            return Strays { under, ..Strays::default() };
        }
        let all = under.len();
        let (mut over, mut above) = (vec![false; all], vec![false; all]);
        let mut vouching = Vec::new();
        for at in 0..self.graph.len() {
            let node = self.graph.node(at);
            let any = |of: &[bool]| node.parents.iter().any(|parent| of[*parent as usize]);
            over[at as usize] = at == removal || any(&over);
            above[at as usize] = entries.contains(&at) || any(&above);
            let understood = node.standing != Standing::Deferred;
            if above[at as usize] && !over[at as usize] && understood {
                let author = self.author(at);
                if author != remove.office {
                    vouching.push((at, author));
                }
            }
        }
        Strays { entries, vouching, under }
    }

    /// What is cut by these removals.
    fn cut(
        &self,
        roster: &Roster,
        counting: &BTreeSet<Index>,
        strays: &BTreeMap<Index, Strays>,
    ) -> BTreeSet<Index> {
        let mut cut = BTreeSet::new();
        for removal in counting {
            let Some(these) = strays.get(removal).filter(|it| !it.entries.is_empty()) else {
                continue;
            };
            let vouches = |(at, author): &(Index, OfficeId)| {
                let mut admissions = roster.known(author).into_iter().flat_map(Member::admissions);
                let removed = roster.removed().get(author);
                let mut removals = removed.into_iter().flat_map(|it| it.removals.values());
                admissions.any(|admitted| {
                    these.under[admitted as usize] && self.graph.is_under(admitted, &[*at])
                }) && removals.all(|it| strays[&it.at].under[*at as usize])
            };
            let by: Vec<Index> =
                these.vouching.iter().filter(|it| vouches(it)).map(|it| it.0).collect();
            let kept = self.graph.under(&by);
            let is_removal = |at| matches!(self.statement(at), Some(Statement::Remove(_)));
            let cuts = |at: &Index| !kept[*at as usize] || is_removal(*at);
            cut.extend(these.entries.iter().copied().filter(cuts));
        }
        cut
    }
}

/// See [`Survey::strays`].
#[derive(Default)]
struct Strays {
    entries: BTreeSet<Index>,
    vouching: Vec<(Index, OfficeId)>,
    /// What lies under the removal.
    under: Vec<bool>,
}

/// What an entry says, if this version understands it and what it builds upon: nothing if it is malformed.
pub(crate) fn understood(
    entry: &Entry,
    parents: &[Index],
    graph: &Graph,
) -> Option<Option<Statement>> {
    let deferred = |at: &Index| graph.node(*at).standing == Standing::Deferred;
    if entry.link.rules > RULES || parents.iter().any(deferred) {
        return None;
    }
    match Statement::decode(entry.link.kind, &entry.link.body) {
        Ok(statement) => Some(Some(statement)),
        Err(Unreadable::Malformed) => Some(None),
        Err(Unreadable::Unknown) => None,
    }
}
