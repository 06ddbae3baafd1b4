//! Mutations of what an honest program would write, properly hashed, chained and signed with a member's key: so
//! that they pass everything that stands before the gate. Each batch goes to fresh nodes, as does everything
//! in it in another order.

use std::fmt;
use std::ops::AddAssign;

use fasti_core::entry::{Bundle, Link, RULES};
use fasti_core::event::Leaf;
use fasti_core::row::{Standing, Void};
use fasti_core::statement::{
    Admit, DocumentChange, EventEdit, Invite, Remove, Role, Statement, Succeed,
};
use fasti_core::{DocumentId, EntryHash, TicketId};

use crate::dice::Dice;
use crate::guard::{assert_reloads, assert_serves, settle};
use crate::history::{History, sign};
use crate::network::{Network, office, signer};
use crate::node::{Node, START, assert_same};

/// Mutations that one network gets: some hundred that count are more than any two could do together.
pub const BATCH: usize = 500;

/// What became of mutations.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// All of them.
    pub mutations: u64,
    /// Those that are no part of any log: the gate refused them, or what they build upon never came.
    pub refused: u64,
    /// Entries that count.
    pub applied: u64,
    /// Entries for later versions.
    pub deferred: u64,
    /// Entries that can't be read.
    pub malformed: u64,
    /// Entries that say what their author may not, or what comes to nothing.
    pub void: u64,
    /// How often nodes judged everything again.
    pub judged_again: u64,
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.mutations += other.mutations;
        self.refused += other.refused;
        self.applied += other.applied;
        self.deferred += other.deferred;
        self.malformed += other.malformed;
        self.void += other.void;
        self.judged_again += other.judged_again;
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mutations, refused, applied, deferred, malformed, void, judged_again } = self;
        write!(
            f,
            "{mutations} mutations: {refused} refused; of the others {applied} count, {deferred} are \
             deferred, {malformed} malformed and {void} void; all was judged again {judged_again} times"
        )
    }
}

/// Gives [`BATCH`] mutations to nodes, and says what became of them.
///
/// # Panics
/// If a node shows something else than another one, or than before it was opened again.
pub fn batch(seed: u64) -> Found {
    let network = Network::get();
    let mut dice = Dice(seed);
    let mut history = History::of(network.id, &network.disk.rows);
    let mut bundles: Vec<Bundle> = Vec::with_capacity(BATCH);
    let mut first = network.observer();
    for at in 0..BATCH {
        let author = [1, 2, 3, 3, 4, 4, 4, 5][dice.roll(8)];
        let link = mutated(&mut dice, &history, network, author, at);
        let incarnation = 70 + dice.roll(3) as u64;
        let back = if dice.roll(250) == 0 { 1 + dice.roll(3) } else { 0 };
        let mut run = history.run(author, incarnation, back, vec![link]);
        if dice.roll(20) == 0 {
            match dice.roll(4) {
                0 => run.first = run.first.wrapping_add([1, 2, 255, u64::MAX][dice.roll(4)]),
                1 => run.first = [0, u64::MAX, u64::MAX - 1, 1 << 63][dice.roll(4)],
                2 => run.prev = history.known(dice.roll(64)),
                _ => run.log.incarnation.0 ^= 1 << dice.roll(64),
            }
            sign(&mut run, author);
        }
        let before = first.entries();
        first.push(vec![run.clone()]);
        // Whoever built upon what nobody takes would never be heard.
        if first.entries() > before {
            history.add(&run);
        }
        bundles.push(vec![run]);
        if at % (BATCH / 4) == 0 {
            first.pass(60);
            first.reopen();
        }
    }
    let mut second = network.observer();
    dice.shuffle(&mut bundles);
    for bundle in &bundles {
        second.push(bundle.clone());
    }
    settle(&mut first, bundles.iter());
    settle(&mut second, bundles.iter());
    assert_same(&second.shown(), &first.shown(), "the order of arrival decided something");
    assert_reloads(&mut first);
    // Seldom, as with its forks it costs as much as all the rest.
    if seed.is_multiple_of(4) {
        assert_serves(&mut first, network.observer());
    }
    found(&first, network)
}

fn found(node: &Node, network: &Network) -> Found {
    let rows = &node.disk.rows[network.disk.rows.len()..];
    let mut found = Found {
        mutations: BATCH as u64,
        refused: (BATCH - rows.len()) as u64,
        judged_again: node.reopened,
        ..Found::default()
    };
    for row in rows {
        match row.standing {
            Standing::Applied => found.applied += 1,
            Standing::Deferred => found.deferred += 1,
            Standing::Void(Void::Malformed) => found.malformed += 1,
            Standing::Void(_) => found.void += 1,
        }
    }
    found
}

/// What an honest program could write, changed in one way or another.
fn mutated(dice: &mut Dice, history: &History, network: &Network, author: u8, at: usize) -> Link {
    let (kind, body) = honest(dice, network, author, at).encode();
    let mut parents: Vec<EntryHash> =
        (0..1 + dice.roll(2)).map(|_| history.known(dice.roll(8))).collect();
    parents.sort();
    parents.dedup();
    let mut link = Link {
        rules: RULES,
        parents,
        time: START + at as i64 * 1000,
        person: "".into(),
        kind,
        body,
    };
    match dice.roll(16) {
        0 => link.kind = [0, 1, 2, 3, 4, 5, 6, u16::MAX][dice.roll(8)],
        1 => link.time = [i64::MIN, i64::MAX, -1, 0, 1 << 53][dice.roll(5)],
        // What is deferred defers all that builds upon it: seldom, or nothing else would be seen.
        2 if dice.roll(512) == 0 => link.rules = [2, 255][dice.roll(2)],
        2 => link.rules = 0,
        3 => link.parents = mutated_parents(dice, history),
        _ => dice.mutate(&mut link.body),
    }
    // A kind or a document of a later version: as seldom.
    let is_later = link.kind > 5 || link.kind == 3 && link.body.first().is_some_and(|it| *it != 0);
    if is_later && dice.roll(512) != 0 {
        link.kind = 3;
        if let Some(first) = link.body.first_mut() {
            *first = 0;
        }
    }
    link
}

fn mutated_parents(dice: &mut Dice, history: &History) -> Vec<EntryHash> {
    let mut parents: Vec<EntryHash> =
        (0..dice.roll(6)).map(|_| history.known(dice.roll(256))).collect();
    match dice.roll(4) {
        0 => parents.push(EntryHash([dice.roll(256) as u8; 32])),
        1 => parents.reverse(),
        _ => {
            parents.sort();
            parents.dedup();
        }
    }
    parents
}

fn honest(dice: &mut Dice, network: &Network, author: u8, at: usize) -> Statement {
    let ticket = signer(150 + dice.roll(6) as u8);
    match dice.roll(24) {
        0 => {
            let roles = [vec![Role::Admin], vec![Role::Office], vec![Role::Admin, Role::Auditor]];
            Statement::Invite(Invite {
                ticket: TicketId(ticket.office().0),
                name: format!("Office {at}"),
                roles: roles[dice.roll(3)].clone(),
                expires: [i64::MAX, START, START + 200_000][dice.roll(3)],
            })
        }
        1 => {
            let newcomer = office(20 + dice.roll(4) as u8);
            Statement::Admit(Admit::new(&network.id, newcomer, ticket))
        }
        2 if dice.roll(8) == 0 => {
            Statement::Remove(Remove { office: office(1 + dice.roll(5) as u8) })
        }
        2 => Statement::Remove(Remove { office: office(20 + dice.roll(8) as u8) }),
        3 => {
            let new = signer(24 + dice.roll(4) as u8);
            Statement::Succeed(Succeed::new(&network.id, &office(author), new))
        }
        _ => {
            let mut edits: Vec<_> = (0..1 + dice.roll(2)).map(|_| edit(dice)).collect();
            edits.sort_by(|a, b| a.uid.cmp(&b.uid));
            edits.dedup_by(|a, b| a.uid == b.uid);
            Statement::Change(DocumentChange { document: DocumentId::CALENDAR, edits })
        }
    }
}

fn edit(dice: &mut Dice) -> EventEdit {
    const PATHS: [&str; 6] =
        ["description", "locations/1/name", "priority", "recurrenceRules", "start", "title"];
    let uid = ["policy-A", "e1", "e2", "e3"][dice.roll(4)].to_owned();
    let fields = PATHS.iter().filter_map(|path| {
        let leaf = match dice.roll(12) {
            0 => Some(Leaf::Text(format!("{path} {}", dice.roll(100)))),
            1 => Some(Leaf::Int(dice.roll(1000) as i64 - 500)),
            2 => Some(Leaf::Float(dice.roll(1000) as f64 / 8.0)),
            3 => Some(Leaf::Bool(dice.roll(2) == 0)),
            4 => Some(Leaf::Json(b"[{\"frequency\":\"daily\"}]".to_vec())),
            5 => None,
            _ => return None,
        };
        Some(((*path).to_owned(), leaf))
    });
    let mut fields: Vec<_> = fields.collect();
    if fields.is_empty() {
        fields.push(("title".into(), Some(Leaf::Text("one".into()))));
    }
    EventEdit { uid, fields }
}
