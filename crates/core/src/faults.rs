//! Faults in Automerge, made on purpose: what a panic in it does to a node.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;

use automerge::Change;
use automerge::legacy::Key;
use serde_json::json;

use crate::entry::Signer;
use crate::policy::PolicyEvent;
use crate::row::{Release, Row, Standing, Void};
use crate::step::{Effect, Write};
use crate::{Answer, Command, Config, Core, Incarnation, Input, NetworkId, Now, Stored};

thread_local! {
    /// Events that can't be derived.
    static UNDERIVABLE: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    /// Events whose changes can't be applied.
    static UNAPPLICABLE: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

pub(crate) fn deriving(uid: &str) {
    assert!(!UNDERIVABLE.with_borrow(|it| it.contains(uid)), "a fault at {uid}");
}

pub(crate) fn applying(changes: &[Change]) {
    let bad = |uid: &String| changes.iter().any(|change| makes(change, uid));
    let fails = UNAPPLICABLE.with_borrow(|it| it.iter().any(bad));
    assert!(!fails, "a fault in {} changes", changes.len());
}

fn makes(change: &Change, uid: &str) -> bool {
    let key = Key::Map(uid.into());
    change.decode().operations.iter().any(|op| op.key == key)
}

struct Node {
    core: Core,
    network: NetworkId,
    signer: Signer,
    rows: Vec<Row>,
    judge_again: bool,
    incarnation: Option<Incarnation>,
    alarms: Vec<String>,
    asked: u64,
}

impl Node {
    fn found() -> Self {
        let signer = Signer::from_seed(&[1; 32]);
        let (network, log, row) = crate::found(&signer, "Core", [7; 16], 0).unwrap();
        let rows = vec![row];
        let incarnation = Some(log.incarnation);
        let core = Self::open(network, &signer, &rows, false, incarnation);
        Self {
            core,
            network,
            signer,
            rows,
            judge_again: false,
            incarnation,
            alarms: vec![],
            asked: 0,
        }
    }

    fn open(
        network: NetworkId,
        signer: &Signer,
        rows: &[Row],
        judge_again: bool,
        incarnation: Option<Incarnation>,
    ) -> Core {
        let config = Config::new(network, signer.clone(), [9; 32]);
        let stored = Stored { incarnation, judge_again, ..Stored::default() };
        let rows = || Ok(rows.iter().cloned().map(Ok::<_, Infallible>));
        Core::open(config, stored, rows, Now::default()).unwrap()
    }

    fn reopen(&mut self) {
        self.core =
            Self::open(self.network, &self.signer, &self.rows, self.judge_again, self.incarnation);
    }

    fn ask(&mut self, command: Command) -> Option<crate::Reply> {
        self.asked += 1;
        self.core.handle(Now::default(), Input::Command(self.asked, command));
        let mut replies = Vec::new();
        loop {
            let effects = self.core.step(Now::default()).persist(|writes| {
                for write in writes.iter().cloned() {
                    match write {
                        Write::Entry { index, row } if (index as usize) < self.rows.len() => {
                            self.rows[index as usize] = row;
                        }
                        Write::Entry { row, .. } => self.rows.push(row),
                        Write::JudgeAgain(again) => self.judge_again = again,
                        _ => {}
                    }
                }
                Ok::<_, Infallible>(())
            });
            let mut reopened = false;
            for effect in effects.unwrap() {
                match effect {
                    Effect::Reply(_, reply) => replies.push(reply),
                    Effect::Alarm(alarm) => self.alarms.push(alarm),
                    Effect::Reopen { .. } => reopened = true,
                    _ => {}
                }
            }
            if !reopened {
                return replies.pop();
            }
            self.reopen();
        }
    }

    fn publish(&mut self, policy: &str) {
        let event = json!({"type": "policy_start",
            "payload": {"policy_id": policy, "start_date": "2024-04-01"}});
        self.ask(Command::Publish(vec![PolicyEvent::from_json(event).unwrap()]));
    }

    fn shows(&mut self, policy: &str) -> bool {
        let uid = format!("policy-{policy}");
        matches!(self.ask(Command::Event { uid }), Some(Ok(Answer::Event(_))))
    }

    fn quarantined(&self) -> Vec<usize> {
        let is = |row: &Row| row.standing == Standing::Void(Void::Quarantined(Release::THIS));
        (0..self.rows.len()).filter(|at| is(&self.rows[*at])).collect()
    }
}

#[test]
fn an_entry_that_can_not_be_derived_is_left_out_and_said() {
    let mut node = Node::found();
    node.publish("A");
    UNDERIVABLE.with_borrow_mut(|it| it.insert("policy-B".into()));
    node.publish("B");
    node.publish("C");
    assert_eq!(node.quarantined(), [2]);
    assert!(node.shows("A") && !node.shows("B") && node.shows("C"));
    assert!(node.alarms[0].contains("makes this version fail"), "{:?}", node.alarms);
    node.reopen();
    assert!(node.shows("A") && !node.shows("B") && node.shows("C"));
}

/// The batch that fails says nothing of which of its changes is at fault, and leaves a document that is not to
/// be trusted.
#[test]
fn a_change_that_can_not_be_applied_is_found_in_its_batch_and_the_document_is_built_anew() {
    let mut node = Node::found();
    for policy in ["A", "B", "C", "D"] {
        node.publish(policy);
    }
    UNAPPLICABLE.with_borrow_mut(|it| it.insert("policy-C".into()));
    // All four are staged until someone reads.
    assert!(node.ask(Command::Conflicts).is_some());
    assert_eq!(node.quarantined(), [3], "{:?}", node.alarms);
    assert!(node.shows("A") && node.shows("B") && !node.shows("C") && node.shows("D"));
    assert!(!node.judge_again);
    node.publish("E");
    node.reopen();
    assert!(node.shows("B") && !node.shows("C") && node.shows("E"));
}

#[test]
fn what_another_release_left_out_is_tried_again() {
    let mut node = Node::found();
    UNDERIVABLE.with_borrow_mut(|it| it.insert("policy-A".into()));
    node.publish("A");
    UNDERIVABLE.with_borrow_mut(|it| it.clear());
    node.reopen();
    assert!(!node.shows("A"), "this release fails at it");
    let older: Release = postcard::from_bytes(&[0, 0, 0]).unwrap();
    node.rows[1].standing = Standing::Void(Void::Quarantined(older));
    node.reopen();
    assert!(node.shows("A"));
    assert_eq!(node.quarantined(), [0; 0]);
}

/// As when a version with a new fault starts on an old log.
#[test]
fn a_fault_at_opening_is_found_as_well() {
    let mut node = Node::found();
    for policy in ["A", "B", "C"] {
        node.publish(policy);
    }
    UNDERIVABLE.with_borrow_mut(|it| it.insert("policy-B".into()));
    node.reopen();
    assert!(node.shows("A") && !node.shows("B") && node.shows("C"));
    assert_eq!(node.quarantined(), [2]);
}
