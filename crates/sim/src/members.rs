//! Who leaves: admins remove members and each other, offices leave, and offices go on under a new key, as
//! the program has them do it. Leaves who comes to `faults`, and what must follow to `standing`.

use fasti_core::entry::Signer;
use fasti_core::statement::{Statement, Succeed};
use fasti_core::{Command, OfficeId};

use crate::clients::Asked;
use crate::oracle::Broken;
use crate::standing::named;
use crate::world::{Happening, MILLISECOND, SECOND, World};

impl World {
    /// An admin that is up, as far as people know who is one.
    pub(crate) fn some_admin(&mut self) -> Option<usize> {
        let is_admin = |at: &usize| self.offices[*at].admin && self.offices[*at].core.is_some();
        let admins: Vec<usize> = (0..self.offices.len()).filter(is_admin).collect();
        self.dice.pick(&admins).copied()
    }

    /// An admin removes somebody, two of them each other, or somebody leaves. As people's lists of members
    /// are old ones, some of it is refused.
    pub(crate) fn remove_someone(&mut self) -> Result<(), Broken> {
        if !self.unkind || self.removals >= self.scenario.faults.removals_max {
            return Ok(());
        }
        self.some_time(self.scenario.faults.remove_every_seconds * SECOND, Happening::Remove);
        let Some(admin) = self.some_admin() else { return Ok(()) };
        let in_use =
            |at: &usize| *at != admin && self.offices[*at].started && !self.offices[*at].retired;
        let all: Vec<usize> = (0..self.offices.len()).filter(in_use).collect();
        let of = |wanted: &dyn Fn(usize) -> bool| {
            all.iter().copied().filter(|at| wanted(*at)).collect::<Vec<_>>()
        };
        let admins = of(&|at| self.offices[at].admin && self.offices[at].core.is_some());
        let liars = of(&|at| !self.is_honest(at));
        let leavers = of(&|at| !self.offices[at].admin && self.offices[at].core.is_some());
        match self.dice.below(10) {
            0..3 if !admins.is_empty() => {
                let Some(other) = self.dice.pick(&admins).copied() else { return Ok(()) };
                self.remove(admin, other)?;
                self.remove(other, admin)
            }
            3 => match self.dice.pick(&leavers).copied() {
                Some(leaver) => self.remove(leaver, leaver),
                None => Ok(()),
            },
            4..7 if !liars.is_empty() => match self.dice.pick(&liars).copied() {
                Some(liar) => self.remove(admin, liar),
                None => Ok(()),
            },
            _ => match self.dice.pick(&all).copied() {
                Some(other) => self.remove(admin, other),
                None => Ok(()),
            },
        }
    }

    fn remove(&mut self, by: usize, whom: usize) -> Result<(), Broken> {
        self.removals += 1;
        let office = self.offices[whom].id;
        self.trace.note(self.now, by, "removes", &office.0, || format!("office {whom}"));
        self.ask(by, Asked::Remove, Command::Remove { office });
        self.work(by)
    }

    /// Whether an office has heard of somebody's wish to remove this one, rightly or not.
    pub(crate) fn is_named(&self, at: usize, office: OfficeId) -> bool {
        named(&self.offices[at].disk.rows).any(|it| it == office)
    }

    // ---- New keys ----

    /// An honest office draws a new key, and has its old one say so.
    pub(crate) fn rotate(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(self.scenario.faults.rotate_every_seconds * SECOND, Happening::Rotate);
        let Some(old) = self.someone_up().filter(|at| self.is_honest(*at)) else { return Ok(()) };
        let signer = Signer::from_seed(&self.dice.bytes());
        let succeed = Succeed::new(&self.network, &self.offices[old].id, &signer);
        let new = self.add_office(signer, crate::disk::Disk::default());
        self.promises.succeeded(self.offices[old].id, self.offices[new].id);
        self.ask(old, Asked::Succeed { old, new }, Command::Succeed(succeed));
        self.work(old)
    }

    /// Once another member holds the entry that names the new key, the office stops, and starts again under it,
    /// with what it has on its disk; and removes the old one.
    pub(crate) fn take_over(&mut self, old: usize, new: usize) -> Result<(), Broken> {
        if !self.unkind || self.offices[old].retired {
            return Ok(());
        }
        let id = self.offices[new].id;
        let is_named = |at: usize| {
            self.offices[at].disk.rows.iter().any(|row| {
                matches!(Statement::decode(row.entry.link.kind, &row.entry.link.body),
                    Ok(Statement::Succeed(succeed)) if succeed.office == id)
            })
        };
        let known = self.linked_with(old).into_iter().any(|at| self.is_honest(at) && is_named(at));
        if self.offices[old].core.is_none() || !known || !is_named(old) {
            self.after(500 * MILLISECOND, Happening::TakeOver { old, new });
            return Ok(());
        }
        self.crash(old)?;
        self.offices[old].retired = true;
        self.offices[new].admin = std::mem::take(&mut self.offices[old].admin);
        self.offices[new].disk = self.offices[old].disk.clone();
        self.offices[new].disk.forget_incarnation();
        self.watch.moved(old, new);
        self.move_deliveries(old, new);
        self.stats.rotated += 1;
        self.open(new)?;
        let office = self.offices[old].id;
        self.ask(new, Asked::Remove, Command::Remove { office });
        self.work(new)
    }
}
