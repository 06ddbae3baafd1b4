//! The gate for entries: whatever members sign, on top of whatever, in whatever order it comes.
//!
//! An input is a plan: who writes what on top of what, properly signed, with forks, removals, admissions,
//! and things that no program would write. Three nodes get it: one as it was written, one in another order and with
//! restarts, and one from what the first one serves to newcomers. All must show the same, now and when they are
//! opened again: from their rows, from a snapshot, and with everything judged anew.

use arbitrary::{Arbitrary, Unstructured};
use fasti_core::entry::{Bundle, Link, RULES, Run};
use fasti_core::event::Leaf;
use fasti_core::message::Message;
use fasti_core::statement::{
    Admit, DocumentChange, EventEdit, Found, Invite, Remove, Role, Statement, Succeed,
};
use fasti_core::{DocumentId, EntryHash, TicketId};

use crate::dice::Dice;
use crate::history::{History, sign};
use crate::network::{MEMBERS, Network, office, signer};
use crate::node::{Node, START, assert_same};

/// Entries of a plan: enough for a removal of a removal on top of a fork, and few enough for some hundred
/// plans in a second.
const ACTS_MAX: usize = 24;

#[derive(Arbitrary, Debug)]
struct Plan {
    /// In which order the second node hears of it.
    order: u64,
    acts: Vec<Act>,
}

#[derive(Arbitrary, Debug)]
struct Act {
    author: u8,
    says: Says,
    /// Entries to build upon, counted from the latest.
    parents: Vec<u8>,
    how: How,
    /// What becomes of the first node afterwards.
    then: Then,
}

#[derive(Arbitrary, Debug)]
enum Says {
    Edits(Vec<Edit>),
    Invite { ticket: u8, roles: u8, expires: i64 },
    Admit { ticket: u8, office: u8 },
    Remove { office: u8 },
    Succeed { office: u8 },
    Found,
    Anything { kind: u8, body: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
struct Edit {
    uid: u8,
    fields: Vec<(u8, Option<Value>)>,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Json(Vec<u8>),
}

/// How the entry is put into its log.
#[derive(Arbitrary, Debug)]
enum How {
    GoesOn,
    /// In one run with the one before, if that was by the same author.
    InOneRun,
    /// In one bundle with the one before.
    InOneBundle,
    /// In another incarnation.
    Again(u8),
    /// In place of one of the author's earlier entries.
    Forks(u8),
    AtTime(i64),
    UnderRules(u8),
    OnUnknown([u8; 32]),
    At(u64),
}

#[derive(Arbitrary, Debug)]
enum Then {
    GoesOn,
    Restarts,
    /// A minute passes.
    Waits,
}

const UIDS: [&str; 4] = ["policy-A", "e1", "e2", "with a/slash"];
const PATHS: [&str; 10] = [
    "title",
    "description",
    "start",
    "status",
    "locations",
    "locations/1",
    "locations/1/name",
    "a~1b",
    "uid",
    "fasti:policy/start",
];

/// Members, those who could become some, and nobody.
fn author(number: u8) -> u8 {
    match number % 10 {
        at @ 0..MEMBERS => at + 1,
        at => at + 15,
    }
}

fn statement(says: Says, network: &Network, author: u8) -> (u16, Vec<u8>) {
    let ticket = |number: u8| signer(150 + number % 4);
    let newcomer = |number: u8| self::author(number);
    let statement = match says {
        Says::Edits(edits) => {
            let mut edits: Vec<_> = edits.into_iter().map(edit).collect();
            edits.sort_by(|a, b| a.uid.cmp(&b.uid));
            edits.dedup_by(|a, b| a.uid == b.uid);
            Statement::Change(DocumentChange { document: DocumentId::CALENDAR, edits })
        }
        Says::Invite { ticket: number, roles, expires } => {
            let all = [Role::Admin, Role::Approver, Role::Office, Role::Auditor];
            let roles = all.into_iter().enumerate().filter(|(at, _)| roles >> at & 1 == 1);
            Statement::Invite(Invite {
                ticket: TicketId(ticket(number).office().0),
                name: format!("Office {number}"),
                roles: roles.map(|(_, role)| role).collect(),
                expires: if expires % 4 == 0 { expires } else { i64::MAX },
            })
        }
        Says::Admit { ticket: number, office: at } => {
            Statement::Admit(Admit::new(&network.id, office(newcomer(at)), ticket(number)))
        }
        Says::Remove { office: at } => Statement::Remove(Remove { office: office(newcomer(at)) }),
        Says::Succeed { office: at } => {
            Statement::Succeed(Succeed::new(&network.id, &office(author), signer(newcomer(at))))
        }
        Says::Found => Statement::Found(Found { name: "Mine".into(), nonce: [1; 16] }),
        Says::Anything { kind, body } => return (kind.into(), body),
    };
    statement.encode()
}

fn edit(edit: Edit) -> EventEdit {
    let path = |at: u8| PATHS[usize::from(at) % PATHS.len()].to_owned();
    let leaf = |value| match value {
        Value::Bool(value) => Leaf::Bool(value),
        Value::Int(value) => Leaf::Int(value),
        Value::Float(value) => Leaf::Float(value),
        Value::Text(value) => Leaf::Text(value),
        Value::Json(value) => Leaf::Json(value),
    };
    let mut fields: Vec<_> =
        edit.fields.into_iter().map(|(at, value)| (path(at), value.map(leaf))).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields.dedup_by(|a, b| a.0 == b.0);
    EventEdit { uid: UIDS[usize::from(edit.uid) % UIDS.len()].to_owned(), fields }
}

/// The bundles of a plan, each with what happens then.
fn written(acts: Vec<Act>, network: &Network) -> Vec<(Bundle, Then)> {
    let mut history = History::of(network.id, &network.disk.rows);
    let mut bundles: Vec<(Bundle, Then)> = Vec::new();
    for (at, act) in acts.into_iter().take(ACTS_MAX).enumerate() {
        let Act { author: number, says, parents, how, then } = act;
        let author = author(number);
        let (kind, body) = statement(says, network, author);
        let mut parents: Vec<EntryHash> =
            parents.iter().take(4).map(|back| history.known(usize::from(*back))).collect();
        if parents.is_empty() {
            parents.push(history.known(0));
        }
        if let How::OnUnknown(hash) = how {
            parents.push(EntryHash(hash));
        }
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
        match how {
            How::AtTime(time) => link.time = time,
            How::UnderRules(rules) => link.rules = rules,
            _ => {}
        }
        let incarnation = if let How::Again(other) = how { u64::from(other) } else { 77 };
        let back = if let How::Forks(back) = how { usize::from(back % 4) + 1 } else { 0 };
        let mut run = history.run(author, incarnation, back, vec![link]);
        if let How::At(first) = how {
            run.first = first;
            sign(&mut run, author);
        } else {
            history.add(&run);
        }
        match (how, bundles.last_mut()) {
            (How::InOneRun, Some((bundle, after))) => {
                *after = then;
                let goes_on = bundle.last_mut().filter(|before| {
                    before.log == run.log
                        && before.first.checked_add(before.links.len() as u64) == Some(run.first)
                });
                match goes_on {
                    Some(before) => {
                        before.links.extend(run.links);
                        sign(before, author);
                    }
                    None => bundle.push(run),
                }
            }
            (How::InOneBundle, Some((bundle, after))) => {
                *after = then;
                bundle.push(run);
            }
            _ => bundles.push((vec![run], then)),
        }
    }
    bundles
}

pub(crate) fn guard(bytes: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let network = Network::get();
    let mut dice = Dice(plan.order);
    let mut bundles = written(plan.acts, network);

    let mut first = network.observer();
    for (bundle, then) in &bundles {
        first.push(bundle.clone());
        match then {
            Then::GoesOn => {}
            Then::Restarts => first.reopen(),
            Then::Waits => first.pass(60),
        }
    }
    settle(&mut first, bundles.iter().map(|it| &it.0));

    dice.shuffle(&mut bundles);
    let mut second = network.observer();
    for (bundle, _) in &bundles {
        second.push(bundle.clone());
        match dice.roll(8) {
            0 => second.reopen(),
            1 => second.pass(60),
            _ => {}
        }
    }
    settle(&mut second, bundles.iter().map(|it| &it.0));

    let shown = first.shown();
    assert_same(&second.shown(), &shown, "the order of arrival decided something");
    // One of them, as each costs as much as all the rest.
    match plan.order % 4 {
        0 => first.reopen(),
        1 => first.reopen_from_snapshot(),
        2 => first.judge_again(),
        _ => assert_serves(&mut first, network.observer()),
    }
    assert_same(&first.shown(), &shown, "opened again, it is something else");
}

/// Offers all until nothing of it is taken any more: what came too early, from whom nobody had spoken of, and
/// forks, of which a node takes some in half a minute.
pub(crate) fn settle<'a>(node: &mut Node, bundles: impl Iterator<Item = &'a Bundle> + Clone) {
    loop {
        node.pass(60);
        let before = (node.entries(), node.reopened);
        bundles.clone().for_each(|bundle| node.push(bundle.clone()));
        if (node.entries(), node.reopened) == before {
            return;
        }
    }
}

/// What a node stored loads, and shows the same, in every way in which it can be loaded.
pub(crate) fn assert_reloads(node: &mut Node) {
    let shown = node.shown();
    node.reopen();
    assert_same(&node.shown(), &shown, "opened again, it is something else");
    node.reopen_from_snapshot();
    assert_same(&node.shown(), &shown, "from a snapshot, it is something else");
    node.judge_again();
    assert_same(&node.shown(), &shown, "judged again, it is something else");
}

/// A newcomer can take all that a node serves, and shows the same.
pub(crate) fn assert_serves(node: &mut Node, mut newcomer: Node) {
    while newcomer.entries() < node.entries() {
        newcomer.pass(60);
        let before = (newcomer.entries(), newcomer.reopened);
        for bundle in node.chunks() {
            newcomer.push(bundle);
        }
        let after = (newcomer.entries(), newcomer.reopened);
        assert_ne!(after, before, "it serves what can't be taken");
    }
    assert_same(&newcomer.shown(), &node.shown(), "a newcomer shows something else");
}

/// A frame, as it is; and, if it holds entries of members, properly signed.
pub(crate) fn frame_of_member(bytes: &[u8]) {
    let network = Network::get();
    let mut node = network.observer();
    node.receive(bytes.to_vec());
    if let Ok(Message::Push(mut bundle) | Message::Chunk { mut bundle, .. }) =
        Message::decode(bytes)
    {
        bundle.iter_mut().for_each(resign);
        node.push(bundle);
    }
    node.pass(60);
    assert_reloads(&mut node);
    assert_serves(&mut node, network.observer());
}

fn resign(run: &mut Run) {
    let whose = (0..10).map(author).find(|number| office(*number) == run.log.author);
    if let Some(number) = whose {
        sign(run, number);
    }
}
