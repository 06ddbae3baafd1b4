//! Who belongs to the network and what counts of those who don't, as docs/protocol.md has it, found from the
//! entries on an office's disk without the core's help (apart from the order in which removals are decided):
//! the oracles of removals. Leaves what all must hold, members or not, to `oracle`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fasti_core::event::Leaf;
use fasti_core::row::{Row, Standing, Void};
use fasti_core::statement::{Role, Statement};
use fasti_core::{EntryHash, OfficeId};

use crate::forge::MARK;
use crate::oracle::{Broken, Invariant};
use crate::world::World;

/// The number of [`Statement::Remove`].
const KIND_REMOVE: u16 = 4;

/// What lies on a disk, taken apart.
struct Held<'a> {
    rows: &'a [Rc<Row>],
    statements: Vec<Option<Statement>>,
    parents: Vec<Vec<usize>>,
}

impl<'a> Held<'a> {
    fn of(rows: &'a [Rc<Row>]) -> Self {
        let places: BTreeMap<EntryHash, usize> =
            rows.iter().enumerate().map(|(at, row)| (row.hash, at)).collect();
        let parents = |row: &Rc<Row>| {
            let link = &row.entry.link;
            let all = link.parents.iter().chain([&row.entry.prev]);
            all.filter_map(|hash| places.get(hash).copied()).collect()
        };
        let read =
            |row: &Rc<Row>| Statement::decode(row.entry.link.kind, &row.entry.link.body).ok();
        Self {
            rows,
            statements: rows.iter().map(read).collect(),
            parents: rows.iter().map(parents).collect(),
        }
    }

    fn author(&self, at: usize) -> OfficeId {
        self.rows[at].entry.log.author
    }

    fn counts(&self, at: usize) -> bool {
        self.rows[at].standing == Standing::Applied
    }

    /// What lies under these, themselves among them.
    fn under(&self, tips: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut under = vec![false; self.rows.len()];
        for tip in tips {
            under[tip] = true;
        }
        for at in (0..under.len()).rev() {
            if under[at] {
                for parent in &self.parents[at] {
                    under[*parent] = true;
                }
            }
        }
        under
    }

    /// What lies over this one, itself among them.
    fn over(&self, root: usize) -> Vec<bool> {
        let mut over = vec![false; self.rows.len()];
        for at in root..over.len() {
            over[at] = at == root || self.parents[at].iter().any(|parent| over[*parent]);
        }
        over
    }

    /// Removals that count: where, and of whom.
    fn removals(&self) -> Vec<(usize, OfficeId)> {
        let all = self.statements.iter().enumerate().filter(|(at, _)| self.counts(*at));
        all.filter_map(|(at, statement)| match statement {
            Some(Statement::Remove(remove)) => Some((at, remove.office)),
            _ => None,
        })
        .collect()
    }

    /// Where each office was admitted, by what counts.
    fn admissions(&self) -> BTreeMap<OfficeId, Vec<usize>> {
        let mut found: BTreeMap<OfficeId, Vec<usize>> = BTreeMap::new();
        for (at, statement) in self.statements.iter().enumerate().filter(|(at, _)| self.counts(*at))
        {
            match statement {
                Some(Statement::Admit(admit)) => found.entry(admit.office).or_default().push(at),
                Some(Statement::Succeed(succeed)) => {
                    found.entry(succeed.office).or_default().push(at);
                }
                Some(Statement::Found(_)) => found.entry(self.author(at)).or_default().push(at),
                _ => {}
            }
        }
        found
    }

    /// What removals cut off: see "Removals" in docs/protocol.md, whose words these are.
    fn cut(&self) -> BTreeSet<usize> {
        let removals = self.removals();
        let admissions = self.admissions();
        let mut under_removals = Vec::new();
        for (at, _) in &removals {
            under_removals.push(self.under([*at]));
        }
        let mut cut = BTreeSet::new();
        for ((removal, office), under) in removals.iter().zip(&under_removals) {
            let stray: Vec<usize> = (0..self.rows.len())
                .filter(|at| self.author(*at) == *office && !under[*at])
                .collect();
            if stray.is_empty() {
                continue;
            }
            let over = self.over(*removal);
            let third = |at: usize| {
                let author = self.author(at);
                let admitted = admissions.get(&author).into_iter().flatten();
                let mut both = admitted.filter(|it| under[**it]);
                author != *office
                    && !over[at]
                    && both.any(|it| self.lies_over(at, *it))
                    && removals
                        .iter()
                        .zip(&under_removals)
                        .all(|((_, gone), under)| *gone != author || under[at])
            };
            let first = stray[0];
            let vouching: Vec<usize> = (first..self.rows.len()).filter(|at| third(*at)).collect();
            let kept = self.under(vouching);
            let is_removal =
                |at: &usize| matches!(self.statements[*at], Some(Statement::Remove(_)));
            cut.extend(stray.into_iter().filter(|at| !kept[*at] || is_removal(at)));
        }
        cut
    }

    fn lies_over(&self, at: usize, old: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut walk = vec![at];
        while let Some(at) = walk.pop() {
            if at == old {
                return true;
            }
            walk.extend(self.parents[at].iter().filter(|it| **it >= old && seen.insert(**it)));
        }
        false
    }

    /// The marks in an entry's edits.
    fn marks(&self, at: usize) -> impl Iterator<Item = u64> {
        let edits = match &self.statements[at] {
            Some(Statement::Change(change)) => &change.edits[..],
            _ => &[],
        };
        edits.iter().flat_map(|edit| &edit.fields).flat_map(|(_, leaf)| match leaf {
            Some(Leaf::Text(text)) => marks(text),
            _ => Vec::new(),
        })
    }
}

/// Whom anybody wished to remove, rightly or not.
pub(crate) fn named(rows: &[Rc<Row>]) -> impl Iterator<Item = OfficeId> {
    let links = rows.iter().map(|row| &row.entry.link).filter(|link| link.kind == KIND_REMOVE);
    links.filter_map(|link| match Statement::decode(link.kind, &link.body) {
        Ok(Statement::Remove(remove)) => Some(remove.office),
        _ => None,
    })
}

fn broken(detail: String) -> Result<(), Broken> {
    Err(Broken::new(Invariant::RemovedCountsForNothing, detail))
}

/// The numbers of the marks in a text.
fn marks(text: &str) -> Vec<u64> {
    let number = |rest: &str| rest.split_once('.')?.0.parse().ok();
    text.split(MARK).skip(1).filter_map(number).collect()
}

impl World {
    /// What an office shows, when it holds so many entries, is what may be seen by these (invariant 7): nothing that a
    /// removal cuts off, and all the rest.
    pub(crate) fn check_standing(
        &self,
        at: usize,
        entries: u64,
        shown: &str,
    ) -> Result<(), Broken> {
        // Whatever no admin said is judged with the next things that change much: half a minute later at most.
        if !self.scenario.faults.removes() || self.offices[at].judging_due() {
            return Ok(());
        }
        let rows = &self.offices[at].disk.rows;
        let held = Held::of(&rows[..rows.len().min(entries as usize)]);
        let cut = held.cut();
        let name = |office: OfficeId| self.places.get(&office).copied();
        for place in 0..held.rows.len() {
            let Row { hash, standing, .. } = &*held.rows[place];
            let author = name(held.author(place));
            let is_removal = matches!(held.statements[place], Some(Statement::Remove(_)));
            // Of removals it is decided one after the other: what counted first goes on counting.
            if cut.contains(&place) && *standing == Standing::Applied && !is_removal {
                return broken(format!(
                    "office {at} lets entry {hash:?} of office {author:?} count, which a removal cuts off"
                ));
            }
            let wrongly = *standing == Standing::Void(Void::Removed) && !is_removal;
            if wrongly && !cut.contains(&place) {
                return broken(format!(
                    "office {at} lets entry {hash:?} of office {author:?} not count, which no removal cuts off"
                ));
            }
        }
        let may_show: BTreeSet<u64> = (0..held.rows.len())
            .filter(|at| !cut.contains(at))
            .flat_map(|at| held.marks(at))
            .collect();
        match marks(shown).into_iter().find(|mark| !may_show.contains(mark)) {
            Some(mark) => broken(format!("office {at} shows {MARK}{mark}, which is cut off")),
            None => Ok(()),
        }
    }

    /// Offices that could be in touch: honest, in use, and each admits the next. They must end with the same.
    pub(crate) fn circles(&self) -> Vec<Vec<usize>> {
        let mut rest: BTreeSet<usize> = (0..self.offices.len())
            .filter(|at| {
                let office = &self.offices[*at];
                self.is_honest(*at) && office.started && !office.retired
            })
            .collect();
        let mut circles = Vec::new();
        while let Some(first) = rest.pop_first() {
            let mut circle = vec![first];
            let mut next = 0;
            while let Some(at) = circle.get(next).copied() {
                next += 1;
                let friends: Vec<usize> = rest
                    .iter()
                    .copied()
                    .filter(|peer| self.admits(at, *peer) && self.admits(*peer, at))
                    .collect();
                rest.retain(|at| !friends.contains(at));
                circle.extend(friends);
            }
            circles.push(circle);
        }
        circles
    }

    /// At the end, who was removed is out, who was not is in, and what an honest office answered for counts unless
    /// it was removed, or its admission was cut off.
    pub(crate) fn check_members(&mut self) -> Result<(), Broken> {
        if !self.scenario.faults.removes() {
            return Ok(());
        }
        for circle in self.circles() {
            let held = Held::of(&self.offices[circle[0]].disk.rows);
            self.check_removals(&circle, &held)?;
            self.check_seniority(&circle, &held)?;
            self.check_the_rest(&circle, &held)?;
            self.check_answered(&circle, &held)?;
            let cut = held.cut();
            let stayed = (0..held.rows.len()).filter(|at| {
                !cut.contains(at) && held.marks(*at).next().is_some() && held.counts(*at)
            });
            let (cut, stayed) = (cut.len() as u64, stayed.count() as u64);
            self.stats.cut = self.stats.cut.max(cut);
            self.stats.stayed = self.stats.stayed.max(stayed);
        }
        Ok(())
    }

    /// Who was removed is let in by nobody. The order of removals is the core's to find; but one that nobody could
    /// contest counts: that of an admin from the start whom nobody wished to remove.
    fn check_removals(&self, circle: &[usize], held: &Held<'_>) -> Result<(), Broken> {
        let removals = held.removals();
        let admits =
            |gone: &OfficeId| circle.iter().find(|it| self.offices[**it].admits.contains(gone));
        if let Some((who, gone)) = removals.iter().find_map(|(_, gone)| Some((admits(gone)?, gone)))
        {
            let gone = self.places.get(gone);
            return broken(format!("office {who} still admits office {gone:?}, which was removed"));
        }
        let named: BTreeSet<OfficeId> = named(held.rows).collect();
        let admissions = held.admissions();
        let from_the_start = |it: &OfficeId| {
            admissions.get(it).is_some_and(|it| it.iter().any(|it| *it < self.base))
        };
        for (at, statement) in held.statements.iter().enumerate() {
            let Some(Statement::Remove(remove)) = statement else { continue };
            let author = held.author(at);
            let void = held.rows[at].standing == Standing::Void(Void::Removed);
            if void && !named.contains(&author) && from_the_start(&author) {
                let (by, whom) = (self.places.get(&author), self.places.get(&remove.office));
                return broken(format!(
                    "office {by:?}, whom nobody removed, removed {whom:?}, and that doesn't count"
                ));
            }
        }
        Ok(())
    }

    /// Whoever was admitted, and nobody wished to remove, is in. (It is not always heard of: nobody is told by who
    /// leaves while it is alone, nor who is removed while it can't be reached.) That is seen from where those from
    /// the start are: the newcomers of somebody who was removed may know nobody else.
    fn check_the_rest(&self, circle: &[usize], held: &Held<'_>) -> Result<(), Broken> {
        let honest = (0..self.offices.len()).filter(|at| self.is_honest(*at));
        let named: BTreeSet<OfficeId> =
            honest.flat_map(|at| named(&self.offices[at].disk.rows)).collect();
        let admissions = held.admissions();
        let whole: Vec<usize> = (0..self.offices.len())
            .filter(|at| {
                let office = &self.offices[*at];
                let id = office.id;
                self.is_honest(*at)
                    && office.started
                    && !office.retired
                    && admissions.contains_key(&id)
                    && !named.contains(&id)
            })
            .collect();
        let from_the_start = |at: &usize| *at < self.scenario.offices && whole.contains(at);
        match whole.iter().find(|at| !circle.contains(at)) {
            Some(out) if circle.iter().any(from_the_start) => broken(format!(
                "office {out} was admitted and nobody removed it, but office {} has lost it",
                circle[0]
            )),
            _ => Ok(()),
        }
    }

    /// Of two admins from the start who removed each other without knowing, and whom nobody else wished to
    /// remove, the senior one stays: the one whose invitation is the lower in the order of depth, time and hash.
    fn check_seniority(&self, circle: &[usize], held: &Held<'_>) -> Result<(), Broken> {
        let removes: Vec<(usize, OfficeId, OfficeId)> = (0..held.rows.len())
            .filter_map(|at| match &held.statements[at] {
                Some(Statement::Remove(remove)) => Some((at, held.author(at), remove.office)),
                _ => None,
            })
            .collect();
        let rank = |office: OfficeId| {
            let admission = held.admissions().get(&office)?.first().copied()?;
            let admit = match &held.statements[admission] {
                Some(Statement::Admit(admit)) => admit,
                Some(Statement::Found(_)) => return Some((0, 0, EntryHash([0; 32]))),
                _ => return None,
            };
            let mut invites = (0..self.base).filter(|at| {
                matches!(&held.statements[*at],
                    Some(Statement::Invite(it)) if it.ticket == admit.ticket && it.roles.contains(&Role::Admin))
            });
            let invite = &held.rows[invites.next()?];
            Some((1, invite.entry.link.time, invite.hash))
        };
        for (first, a, b) in &removes {
            let Some((second, ..)) = removes.iter().find(|it| (it.1, it.2) == (*b, *a)) else {
                continue;
            };
            let alone = removes.iter().filter(|it| [*a, *b].contains(&it.2)).count() == 2;
            let apart = !held.lies_over(*first, *second) && !held.lies_over(*second, *first);
            // Another removal counts after those under it, and brings the junior one's forward with it.
            let alone = alone
                && !removes.iter().any(|(at, by, whom)| {
                    let theirs = [a, b].contains(&by);
                    let forward = held.lies_over(*at, *second) && !held.lies_over(*at, *first);
                    by != whom && !theirs && forward
                });
            let (Some(of_a), Some(of_b)) = (rank(*a), rank(*b)) else { continue };
            if alone && apart && of_a < of_b && !held.counts(*first) {
                let (a, b) = (self.places.get(a), self.places.get(b));
                return broken(format!(
                    "offices {a:?} and {b:?} removed each other, and to office {} the senior one, {a:?}, is out",
                    circle[0]
                ));
            }
        }
        Ok(())
    }

    fn check_answered(&self, circle: &[usize], held: &Held<'_>) -> Result<(), Broken> {
        let admissions = held.admissions();
        let removed: BTreeSet<OfficeId> = held.removals().into_iter().map(|it| it.1).collect();
        for (at, row) in held.rows.iter().enumerate() {
            let author = held.author(at);
            let honest = self.places.get(&author).is_some_and(|it| circle.contains(it));
            let number = self.shelf.known(&row.hash);
            let answered = number.is_some_and(|it| self.watch.answered.contains(&it));
            // What it meant to clear may be gone with those who wrote it.
            let counts =
                [Standing::Applied, Standing::Void(Void::NoEffect)].contains(&row.standing);
            // One that was admitted again, as its first sponsor was removed, belongs from then on.
            let belongs = || {
                let mut all = admissions.get(&author).into_iter().flatten();
                !removed.contains(&author) && all.any(|it| held.lies_over(at, *it))
            };
            if honest && answered && !counts && belongs() {
                return broken(format!(
                    "entry {:?} of office {:?} was answered for, and counts for nothing ({:?})",
                    row.hash,
                    self.places.get(&author),
                    row.standing
                ));
            }
        }
        Ok(())
    }

    /// However they remove each other, an admin is left.
    pub(crate) fn check_admins(
        &self,
        at: usize,
        members: &[fasti_core::command::MemberView],
    ) -> Result<(), Broken> {
        let is_admin = |it: &fasti_core::command::MemberView| it.roles.contains(&Role::Admin);
        if !members.is_empty() && !members.iter().any(is_admin) {
            return broken(format!("office {at} shows {} members and no admin", members.len()));
        }
        Ok(())
    }
}
