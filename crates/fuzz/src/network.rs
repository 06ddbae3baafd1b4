//! A network to begin with: a founder, an admin, two offices and an auditor, whose keys anybody may hold here, and
//! one event.

use std::sync::LazyLock;

use fasti_core::entry::Signer;
use fasti_core::policy::PolicyEvent;
use fasti_core::statement::{Admit, Invite, Role};
use fasti_core::{Command, NetworkId, OfficeId, TicketId};
use serde_json::json;

use crate::node::{Disk, Node, START};

/// Members to begin with; their keys are [`signer`] of 1 to this.
pub(crate) const MEMBERS: u8 = 5;

pub(crate) struct Network {
    pub(crate) id: NetworkId,
    pub(crate) disk: Disk,
}

/// A key: those of members, of those who could become some, and of tickets.
pub(crate) fn signer(number: u8) -> &'static Signer {
    static SIGNERS: LazyLock<Vec<Signer>> =
        LazyLock::new(|| (0..=255).map(|number| Signer::from_seed(&[number; 32])).collect());
    &SIGNERS[usize::from(number)]
}

pub(crate) fn office(number: u8) -> OfficeId {
    static OFFICES: LazyLock<Vec<OfficeId>> =
        LazyLock::new(|| (0..=255).map(|number| signer(number).office()).collect());
    OFFICES[usize::from(number)]
}

impl Network {
    /// The same for all, as it costs some.
    pub(crate) fn get() -> &'static Self {
        static NETWORK: LazyLock<Network> = LazyLock::new(Network::found);
        &NETWORK
    }

    fn found() -> Self {
        let (id, log, row) = fasti_core::found(signer(1), "Core", [7; 16], START).expect("a name");
        let disk = Disk { rows: vec![row], incarnation: Some(log.incarnation), ..Disk::default() };
        let mut founder = Node::open(id, signer(1).clone(), disk, None).expect("opens");
        let roles: [&[Role]; 4] =
            [&[Role::Admin, Role::Office], &[Role::Office], &[Role::Office], &[Role::Auditor]];
        for (number, roles) in (2..=MEMBERS).zip(roles) {
            let ticket = signer(100 + number);
            let invite = Invite {
                ticket: TicketId(ticket.office().0),
                name: format!("Office {number}"),
                roles: roles.to_vec(),
                expires: i64::MAX,
            };
            founder.ask(Command::Invite(invite)).expect("invites");
            let admit = Admit::new(&id, office(number), ticket);
            founder.ask(Command::Admit(admit)).expect("admits");
        }
        let event = json!({"type": "policy_start",
            "payload": {"policy_id": "A", "start_date": "2024-04-01", "title": "A"}});
        let event = PolicyEvent::from_json(event).expect("a publication");
        founder.ask(Command::Publish(vec![event])).expect("publishes");
        Self { id, disk: founder.disk }
    }

    /// A node that holds this much, writes nothing, and hears from someone who is never removed.
    pub(crate) fn observer(&self) -> Node {
        let disk = Disk { rows: self.disk.rows.clone(), ..Disk::default() };
        Node::open(self.id, signer(90).clone(), disk, Some(office(91))).expect("opens")
    }
}
