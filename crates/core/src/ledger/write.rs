//! Writing our own entries: they go on top of all that we hold, through the gate that all entries go through,
//! and share a signature for each step.

use super::Ledger;
use crate::entry::{BODY_BYTES_MAX, Entry, Link, PARENTS_MAX, RULES, Run, first_prev};
use crate::event::FieldEdits;
use crate::ids::{DocumentId, EntryHash, Incarnation, LogId, OfficeId};
use crate::resource::{Grant, Reservation};
use crate::row::Standing;
use crate::statement::{DocumentChange, EventEdit, Role, Statement};
use crate::step::Write;

/// Own entries that wait for a signature are signed at this many bytes, so that no run outgrows a
/// chunk; a signature per 64 kB costs nothing.
const RUN_BYTES_MAX: usize = 64 * 1024;

/// A body of this many bytes doesn't fit into an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) usize);

impl Ledger {
    /// Whether this office is a member as far as it knows.
    pub(crate) fn is_member(&self) -> bool {
        self.roster.member(&self.office()).is_some()
    }

    /// The log that we write; a new incarnation if there is none yet, or if the one we wrote has two
    /// histories.
    fn own_log(&mut self, fresh: Incarnation) -> LogId {
        match self.own {
            Some(own) if !self.graph.forks().contains_key(&own) => own,
            _ => {
                let own = LogId { author: self.office(), incarnation: fresh };
                self.writes.push(Write::Incarnation(fresh));
                self.own = Some(own);
                own
            }
        }
    }

    /// Writes the edits of an event. Nothing is written if the change would be too large.
    pub(crate) fn write_edits(
        &mut self,
        uid: &str,
        edits: FieldEdits,
        fresh: Incarnation,
        time: i64,
    ) -> Result<EntryHash, TooLarge> {
        self.write(&edited(uid, edits), fresh, time)
    }

    /// Whether others wait for our word on their bookings.
    pub(crate) fn owes_grants(&self) -> bool {
        self.may_grant() && self.bookings.next_grant(&self.origin()).is_some()
    }

    fn may_grant(&self) -> bool {
        self.bookings.is_asked() && self.may_write()
    }

    /// Whether this office is a member that writes.
    pub(crate) fn may_write(&self) -> bool {
        let member = self.roster.member(&self.office());
        member.is_some_and(|it| it.roles != [Role::Auditor])
    }

    /// This office, as others knew it first.
    pub(crate) fn origin(&self) -> OfficeId {
        let tips: Vec<_> = self.graph.tips().collect();
        self.roster.origin(&self.graph, self.office(), &tips)
    }

    /// Grants what others asked for: whether they get it was decided by the order in which it counts. All at once, and
    /// each only once, so that nothing goes round in circles.
    pub(crate) fn grant_requests(&mut self, fresh: Incarnation, time: i64) {
        let office = self.origin();
        let mut before = None;
        while !self.stale
            && self.may_grant()
            && let Some(next) = self.bookings.next_grant(&office)
            && before.as_ref() != Some(&next)
        {
            let (resource, requests) = next.clone();
            before = Some(next);
            let grant = Statement::Reservation(Reservation::Grant(Grant { resource, requests }));
            if let Err(TooLarge(size)) = self.write(&grant, fresh, time) {
                self.alarms
                    .push(format!("a grant of {size} bytes is too large; please report this"));
                return;
            }
        }
    }

    /// Writes an entry of ours on top of all that we hold and understand.
    pub(crate) fn write(
        &mut self,
        statement: &Statement,
        fresh: Incarnation,
        time: i64,
    ) -> Result<EntryHash, TooLarge> {
        let mut parents: Vec<_> =
            self.graph.tips().map(|index| self.graph.node(index).hash).collect();
        let log = self.own_log(fresh);
        parents.sort();
        // More than that come of a liar: the rest lies under what is written next.
        parents.truncate(PARENTS_MAX);
        self.write_on(parents, log, statement, time)
    }

    /// Writes edits of an event as somebody did who knew of these entries and no others: in another log than ours, as
    /// what stands there knows of all before it.
    pub(crate) fn write_edits_aside(
        &mut self,
        parents: Vec<EntryHash>,
        uid: &str,
        edits: FieldEdits,
        log: Incarnation,
        time: i64,
    ) -> Result<EntryHash, TooLarge> {
        // A run is of one log.
        self.seal();
        self.aside = Some(log);
        let log = LogId { author: self.office(), incarnation: log };
        let hash = self.write_on(parents, log, &edited(uid, edits), time);
        self.seal();
        hash
    }

    fn write_on(
        &mut self,
        mut parents: Vec<EntryHash>,
        log: LogId,
        statement: &Statement,
        time: i64,
    ) -> Result<EntryHash, TooLarge> {
        let (kind, body) = statement.encode();
        if body.len() > BODY_BYTES_MAX {
            return Err(TooLarge(body.len()));
        }
        let last = self.graph.last(&log);
        let seq = last.map_or(0, |node| node.seq) + 1;
        let prev = match last {
            Some(node) => node.hash,
            None if self.graph.len() == 0 => first_prev(None),
            None => first_prev(Some(self.network)),
        };
        if last.is_some() {
            parents.retain(|hash| *hash != prev);
        }
        let size = body.len() + 32 * parents.len();
        let person = self.person.as_str().into();
        let link = Link { rules: RULES, parents, time, person, kind, body };
        let entry = Entry { log, seq, prev, link };
        let hash = entry.hash();
        self.append(hash, entry, None);
        self.unsigned_bytes += size;
        if let Some(Write::Entry { row, .. }) = self.writes.last() {
            if row.standing == Standing::Deferred && !self.stale {
                self.alarms.push(
                    "this node writes under rules that it doesn't understand itself: upgrade it"
                        .into(),
                );
            }
            if let Standing::Void(why) = row.standing {
                self.alarms
                    .push(format!("our own entry {hash} is void ({why:?}); please report this"));
            }
            self.unsigned.push(row.clone());
        }
        if self.unsigned_bytes >= RUN_BYTES_MAX {
            self.seal();
        }
        Ok(hash)
    }

    /// Signs what we have written and not yet signed.
    pub(super) fn seal(&mut self) {
        let rows = std::mem::take(&mut self.unsigned);
        self.unsigned_bytes = 0;
        let Some(last) = rows.last().map(|row| row.hash) else { return };
        let signature = self.signer.sign(&last.0);
        let signed = self.writes.iter_mut().rev().find_map(|write| match write {
            Write::Entry { row, .. } if row.hash == last => Some(row),
            _ => None,
        });
        if let Some(row) = signed {
            row.signature = Some(signature);
        }
        if let Some(first) = rows.first() {
            let Entry { log, seq, prev, .. } = first.entry;
            let links = rows.into_iter().map(|row| row.entry.link).collect();
            self.fresh.push(Run { log, first: seq, prev, links, signature });
        }
    }
}

fn edited(uid: &str, edits: FieldEdits) -> Statement {
    let edit = EventEdit { uid: uid.to_owned(), fields: edits.into_iter().collect() };
    Statement::Change(DocumentChange { document: DocumentId::CALENDAR, edits: vec![edit] })
}
