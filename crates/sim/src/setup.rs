//! The network as a run finds it: a founder and members that it has admitted, all with the same log on
//! their disks and none started yet.

use std::convert::Infallible;

use fasti_core::entry::Signer;
use fasti_core::statement::{Admit, Invite, Role};
use fasti_core::{Command, Config, Core, Input, Stored, TicketId, Write, found};

use crate::disk::Disk;
use crate::faults::ticket_key;
use crate::liars::Lies;
use crate::mutation::Mutation;
use crate::oracle::{Broken, Invariant};
use crate::scenario::Scenario;
use crate::world::World;

impl World {
    /// Founds the network, admits the members and starts everyone.
    pub(crate) fn set_up(&mut self) -> Result<(), Broken> {
        let count = self.scenario.offices;
        let signers: Vec<Signer> =
            (0..count).map(|_| Signer::from_seed(&self.dice.bytes())).collect();
        let disks = self.found(&signers)?;
        for (at, (signer, disk)) in signers.into_iter().zip(disks).enumerate() {
            self.add_office(signer, disk);
            self.offices[at].admin = at < self.scenario.admins;
        }
        for _ in 0..self.scenario.faults.liars.min(count - 1) {
            let honest: Vec<usize> = (1..count).filter(|at| self.is_honest(*at)).collect();
            if let Some(at) = self.dice.pick(&honest) {
                self.offices[*at].lies = Some(Lies::default());
                self.promises.breaks_word(self.offices[*at].id);
            }
        }
        for at in 0..count {
            self.open(at)?;
            if self.scenario.systems.from_start {
                self.subscribe_to_all(at)?;
            }
        }
        Ok(())
    }

    /// The roles of a member from the start.
    fn roles(&self, at: usize) -> Vec<Role> {
        let Scenario { offices, admins, approvers, .. } = &self.scenario;
        let admin = (at < *admins).then_some(Role::Admin);
        let approver = (at + approvers >= *offices).then_some(Role::Approver);
        admin.into_iter().chain(approver).chain([Role::Office]).collect()
    }

    /// What each member has on its disk: the founder's log, in which all are admitted.
    fn found(&mut self, signers: &[Signer]) -> Result<Vec<Disk>, Broken> {
        let broken = |detail: String| Broken::new(Invariant::HonestRunsAreQuiet, detail);
        let Some((founder, others)) = signers.split_first() else { return Ok(Vec::new()) };
        let now = fasti_core::Now { wall: 1_600_000_000_000, ..Default::default() };
        let (network, log, row) = found(founder, "Office 0", [7; 16], now.wall)
            .map_err(|error| broken(error.to_string()))?;
        self.network = network;
        let mut config = Config::new(network, founder.clone(), self.dice.bytes());
        config.verifier = self.memo.clone();
        let stored = Stored { incarnation: Some(log.incarnation), ..Stored::default() };
        let rows = || Ok(std::iter::once(Ok::<_, Infallible>(row.clone())));
        let mut core =
            Core::open(config, stored, rows, now).map_err(|error| broken(error.to_string()))?;
        for (at, signer) in (1..).zip(others) {
            let key = ticket_key(at);
            let invite = Invite {
                ticket: TicketId(key.office().0),
                name: format!("Office {at}"),
                roles: self.roles(at),
                expires: i64::MAX,
            };
            let admit = Admit::new(&network, signer.office(), &key);
            core.handle(now, Input::Command(0, Command::Invite(invite)));
            core.handle(now, Input::Command(0, Command::Admit(admit)));
        }
        let mut writes = vec![Write::Entry { index: 0, row }];
        let _ = core.step(now).persist(|step| {
            let entries = step.iter().filter(|write| matches!(write, Write::Entry { .. }));
            writes.extend(entries.cloned());
            Ok::<_, Infallible>(())
        });
        let mut common = Disk::default();
        common.commit(&mut self.shelf, &writes, Mutation::None).map_err(broken)?;
        self.base = common.rows.len();
        let mut disks = vec![common; signers.len()];
        disks[0]
            .commit(&mut self.shelf, &[Write::Incarnation(log.incarnation)], Mutation::None)
            .map_err(broken)?;
        Ok(disks)
    }
}
