//! CalDAV servers that are not as one would wish. How a real one gets on is told in the tests of whole nodes.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{delivery, refused, subscription};
use fasti_core::Answer;
use fasti_core::command::TakeOver;
use fasti_core::outbox::{
    Agreed, Attempt, Delivery, DeliveryState, Outcome, Subscription, SubscriptionId,
};
use fasti_delivery::{Deliverer, Memory, Reach, Report};
use serde_json::json;
use server::{COLLECTION, Server, Whims};
use tokio::sync::mpsc;

const ID: SubscriptionId = SubscriptionId(7);

#[derive(Default)]
struct Agreements(Mutex<BTreeMap<String, Agreed>>);

impl Memory for Agreements {
    fn agreed(&self, _: SubscriptionId, uid: &str) -> Result<Option<Agreed>, String> {
        Ok(self.0.lock().unwrap().get(uid).cloned())
    }

    fn all_agreed(
        &self,
        _: SubscriptionId,
        each: &mut dyn FnMut(&str, Agreed),
    ) -> Result<(), String> {
        self.0.lock().unwrap().iter().for_each(|(uid, agreed)| each(uid, agreed.clone()));
        Ok(())
    }
}

/// A node that takes over all that it is told.
struct Node {
    subscription: Arc<Subscription>,
    agreements: Arc<Agreements>,
    deliverer: Deliverer,
    reports: mpsc::UnboundedReceiver<Report>,
}

impl Node {
    fn new(server: &Server) -> Self {
        Self::that_remembers(server, Arc::default())
    }

    fn that_remembers(server: &Server, agreements: Arc<Agreements>) -> Self {
        let url = format!("caldav://anna:x@{}{COLLECTION}", server.address);
        let subscription = subscription(&url, &json!({"look_every_s": 1, "timeout_s": 2}));
        let memory = Arc::clone(&agreements) as Arc<dyn Memory>;
        let (deliverer, reports) = Deliverer::new(Reach::Any, memory);
        Self { subscription, agreements, deliverer, reports }
    }

    fn reads(&self) {
        self.deliverer.subscriptions(&[Arc::clone(&self.subscription)]);
    }

    fn keep(&self, uid: &str, receipt: Vec<u8>) {
        let agreed = Agreed { heads: Vec::new(), receipt };
        self.agreements.0.lock().unwrap().insert(uid.to_owned(), agreed);
    }

    async fn report(&mut self) -> Report {
        let report = tokio::time::timeout(Duration::from_secs(20), self.reports.recv()).await;
        report.expect("a report in time").unwrap()
    }

    /// What is read next; it is taken over.
    async fn read(&mut self) -> TakeOver {
        match self.report().await {
            Report::Read(said, answer) => {
                self.keep(&said.uid, said.receipt.clone());
                answer.send(Ok(Answer::TakenOver(true))).unwrap();
                said
            }
            tried @ Report::Tried(_) => panic!("{tried:?}"),
        }
    }

    /// Nothing is read in some looks.
    async fn reads_nothing(&mut self) {
        let report = tokio::time::timeout(Duration::from_millis(2500), self.reports.recv()).await;
        assert!(report.is_err(), "{report:?}");
    }

    async fn deliver(&mut self, delivery: Delivery) -> Outcome {
        let uid = delivery.uid.clone();
        let subscription = Arc::clone(&self.subscription);
        self.deliverer.deliver(vec![Attempt {
            number: 1,
            subscription,
            delivery,
            heads: Vec::new(),
        }]);
        loop {
            match self.report().await {
                Report::Tried(tried) => {
                    assert_eq!(tried.uid, uid);
                    if let Outcome::Confirmed { receipt, .. } = &tried.outcome {
                        self.keep(&uid, receipt.clone());
                    }
                    return tried.outcome;
                }
                Report::Read(_, answer) => answer.send(Ok(Answer::TakenOver(false))).unwrap(),
            }
        }
    }

    async fn confirmed(&mut self, delivery: Delivery) {
        let outcome = self.deliver(delivery).await;
        assert!(matches!(outcome, Outcome::Confirmed { .. }), "{outcome:?}");
    }

    async fn failure(&mut self, delivery: Delivery) -> String {
        match self.deliver(delivery).await {
            Outcome::Failed { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn has_problem(&self, part: &str) {
        for _ in 0..200 {
            if self.deliverer.problem(ID).is_some_and(|it| it.contains(part)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no {part:?}: {:?}", self.deliverer.problem(ID));
    }
}

fn title(said: &TakeOver) -> Option<&str> {
    said.event.as_ref()?.get("title")?.as_str()
}

#[tokio::test]
async fn one_that_knows_no_sync_collection_is_read_by_its_etags() {
    let server = Server::start(Whims { knows_no_sync: true, ..Whims::default() }).await;
    let mut node = Node::new(&server);
    node.confirmed(delivery("a", 1)).await;
    node.confirmed(delivery("b", 1)).await;
    node.reads();
    node.reads_nothing().await;
    server.edit("a.ics", "SUMMARY:Version 1", "SUMMARY:Theirs");
    let said = node.read().await;
    assert_eq!((said.uid.as_str(), title(&said)), ("a", Some("Theirs")));
    assert_eq!(said.before.unwrap().0["title"], "Version 1");
    server.delete("b.ics");
    let said = node.read().await;
    assert_eq!((said.uid.as_str(), said.event), ("b", None));
    node.reads_nothing().await;
}

#[tokio::test]
async fn one_that_forgets_where_it_was_and_gives_a_part_at_a_time_is_read_whole() {
    let server =
        Server::start(Whims { forgets_tokens: true, parts: true, ..Whims::default() }).await;
    let mut node = Node::new(&server);
    for uid in ["a", "b", "c"] {
        node.confirmed(delivery(uid, 1)).await;
    }
    node.reads();
    for (at, uid) in ["b", "c", "a"].into_iter().enumerate() {
        server.edit(&format!("{uid}.ics"), "SUMMARY:Version 1", &format!("SUMMARY:Change {at}"));
        assert_eq!(title(&node.read().await), Some(&*format!("Change {at}")));
    }
    node.reads_nothing().await;
}

/// What is there in the end is what was changed of.
#[tokio::test]
async fn one_that_changes_what_it_is_given_is_not_taken_for_a_person() {
    let server = Server::start(Whims { rewrites: true, ..Whims::default() }).await;
    let mut node = Node::new(&server);
    node.confirmed(delivery("a", 1)).await;
    node.reads();
    node.reads_nothing().await;
    let puts = server.puts();
    node.confirmed(delivery("a", 2)).await;
    assert_eq!(server.puts(), puts + 1);
    // Said once more, it is not written once more.
    node.confirmed(delivery("a", 2)).await;
    assert_eq!(server.puts(), puts + 1);
    node.reads_nothing().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found_out() {
    let server = Server::start(Whims { loses_answers: true, ..Whims::default() }).await;
    let mut node = Node::new(&server);
    for (uid, version) in [("a", 1), ("b", 1), ("a", 2)] {
        assert!(node.failure(delivery(uid, version)).await.contains("500"));
        node.confirmed(delivery(uid, version)).await;
    }
    node.reads();
    node.reads_nothing().await;
}

#[tokio::test]
async fn what_was_changed_there_is_not_written_over_and_read_at_once() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    node.confirmed(delivery("a", 1)).await;
    node.reads();
    node.reads_nothing().await;
    server.edit("a.ics", "SUMMARY:Version 1", "SUMMARY:Theirs");
    let refused = node.failure(delivery("a", 2)).await;
    assert!(refused.contains("it was changed there, which is read first"), "{refused}");
    assert!(server.text("a.ics").contains("SUMMARY:Theirs"));
    assert_eq!(title(&node.read().await), Some("Theirs"));
    node.confirmed(delivery("a", 2)).await;
    assert!(server.text("a.ics").contains("SUMMARY:Version 2"));
    node.reads_nothing().await;
}

#[tokio::test]
async fn what_happened_while_the_node_was_away_is_read_when_it_is_back() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    for uid in ["a", "b", "c"] {
        node.confirmed(delivery(uid, 1)).await;
    }
    let agreements = Arc::clone(&node.agreements);
    drop(node);
    server.edit("a.ics", "SUMMARY:Version 1", "SUMMARY:Theirs");
    server.delete("b.ics");
    server.put("new.ics", &server.text("c.ics").replace("UID:c", "UID:theirs"));
    let mut node = Node::that_remembers(&server, agreements);
    node.reads();
    let mut read = [node.read().await, node.read().await, node.read().await];
    read.sort_by(|a, b| a.uid.cmp(&b.uid));
    let said: Vec<_> = read.iter().map(|it| (it.uid.as_str(), title(it))).collect();
    assert_eq!(said, [("a", Some("Theirs")), ("b", None), ("theirs", Some("Version 1"))]);
    assert_eq!(read[2].before, None);
    node.reads_nothing().await;
    // An event that was deleted there, and takes place here.
    node.confirmed(delivery("b", 2)).await;
    assert!(server.text("b.ics").contains("Version 2"));
}

#[tokio::test]
async fn what_is_cancelled_is_marked_and_what_was_never_there_is_not_made() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    let cancelled = |uid: &str| Delivery { state: DeliveryState::Cancelled, ..delivery(uid, 2) };
    node.confirmed(cancelled("never")).await;
    assert_eq!(server.puts(), 0);
    node.confirmed(delivery("a", 1)).await;
    node.confirmed(cancelled("a")).await;
    assert!(server.text("a.ics").contains("STATUS:CANCELLED"));
    // Whoever wrote it does not count any more, and nothing of it is known.
    node.confirmed(delivery("b", 1)).await;
    let gone = json!({"@type": "Event", "uid": "b", "status": "cancelled"});
    let event = gone.as_object().unwrap().clone();
    node.confirmed(Delivery { event, ..cancelled("b") }).await;
    let text = server.text("b.ics");
    assert!(text.contains("STATUS:CANCELLED") && text.contains("SUMMARY:Version 1"), "{text}");
}

#[tokio::test]
async fn what_a_server_answers_instead_is_told_in_words() {
    let told = [
        (401, "", "name or password are wrong"),
        (403, "<C:supported-calendar-component/>", "this calendar takes no such component"),
        (507, "<D:quota-not-exceeded/>", "there is no room left on the server"),
        (503, "later", "later"),
    ];
    for (status, body, words) in told {
        let refuses = Some((status, body.to_owned()));
        let server = Server::start(Whims { refuses, ..Whims::default() }).await;
        let mut node = Node::new(&server);
        let reason = node.failure(delivery("a", 1)).await;
        assert!(reason.contains(words) && reason.contains(&status.to_string()), "{reason}");
        node.reads();
        node.has_problem(words).await;
        let tested = node.deliverer.test(&node.subscription).await;
        assert!(tested.unwrap_err().contains(words));
    }
    // Nonsense, and more of it than anybody needs.
    for body in ["<a", "no XML", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"] {
        let refuses = Some((207, body.to_owned()));
        let server = Server::start(Whims { refuses, ..Whims::default() }).await;
        let node = Node::new(&server);
        node.reads();
        node.has_problem("").await;
        assert!(node.deliverer.test(&node.subscription).await.is_err(), "{body}");
    }
}

#[tokio::test]
async fn what_can_not_be_read_keeps_nothing_else_from_being_read() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    node.confirmed(delivery("a", 1)).await;
    server.put("broken.ics", "BEGIN:VCALENDAR\r\nnothing\r\n");
    let twice = server.text("a.ics");
    server.put("twice.ics", &twice);
    node.reads();
    node.has_problem("broken.ics can't be taken over").await;
    node.has_problem("(and 1 more)").await;
    server.edit("a.ics", "SUMMARY:Version 1", "SUMMARY:Theirs");
    assert_eq!(title(&node.read().await), Some("Theirs"));
    server.delete("broken.ics");
    node.has_problem("twice.ics can't be taken over").await;
    node.has_problem("a.ics has the same UID").await;
}

#[tokio::test]
async fn what_a_list_does_not_have_is_there_until_the_server_says_that_it_is_not() {
    let omits = Some("b.ics".into());
    let server = Server::start(Whims { knows_no_sync: true, omits, ..Whims::default() }).await;
    let mut node = Node::new(&server);
    for uid in ["a", "b"] {
        node.confirmed(delivery(uid, 1)).await;
    }
    node.reads();
    node.reads_nothing().await;
}

#[tokio::test]
async fn what_is_moved_is_neither_gone_nor_there_twice() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    node.confirmed(delivery("a", 1)).await;
    node.reads();
    node.reads_nothing().await;
    let text = server.text("a.ics");
    server.delete("a.ics");
    server.put("moved.ics", &text);
    let said = node.read().await;
    assert_eq!((said.uid.as_str(), title(&said)), ("a", Some("Version 1")));
    node.reads_nothing().await;
    assert_eq!(node.deliverer.problem(ID), None);
    node.confirmed(delivery("a", 2)).await;
    assert!(server.text("moved.ics").contains("Version 2"));
}

#[tokio::test]
async fn what_was_agreed_in_one_calendar_says_nothing_of_another() {
    let (old, new) = (Server::start(Whims::default()).await, Server::start(Whims::default()).await);
    let mut node = Node::new(&old);
    node.confirmed(delivery("a", 1)).await;
    let mut node = Node::that_remembers(&new, Arc::clone(&node.agreements));
    node.reads();
    node.reads_nothing().await;
    node.confirmed(delivery("a", 1)).await;
    assert!(new.text("a.ics").contains("Version 1"));
}

#[tokio::test]
async fn a_loss_is_kept_in_mind_until_it_is_put_back() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    let uids = ["a", "b", "c", "d", "e", "f"];
    for uid in uids {
        node.confirmed(delivery(uid, 1)).await;
    }
    node.reads();
    node.reads_nothing().await;
    for uid in &uids[..4] {
        server.delete(&format!("{uid}.ics"));
    }
    for _ in 0..4 {
        let said = node.read().await;
        assert_eq!(title(&said), Some("Version 1"), "it is not cancelled");
    }
    node.has_problem("4 events were gone there at once").await;
    for uid in ["g", "h", "i", "j", "k"] {
        node.confirmed(delivery(uid, 1)).await;
    }
    let mut node = Node::that_remembers(&server, Arc::clone(&node.agreements));
    node.reads();
    node.has_problem("4 events were gone there at once").await;
    node.reads_nothing().await;
    // Of one somebody says that it is no loss.
    let cancelled = Delivery { state: DeliveryState::Cancelled, ..delivery("a", 2) };
    node.confirmed(cancelled).await;
    node.has_problem("3 events were gone there at once").await;
    for uid in &uids[1..] {
        node.confirmed(delivery(uid, 2)).await;
        assert!(server.text(&format!("{uid}.ics")).contains("Version 2"));
    }
    node.reads_nothing().await;
    assert_eq!(node.deliverer.problem(ID), None);
}

#[tokio::test]
async fn another_event_in_the_place_of_one_is_not_written_over() {
    let server = Server::start(Whims::default()).await;
    let mut node = Node::new(&server);
    for uid in ["a", "b", "c"] {
        node.confirmed(delivery(uid, 1)).await;
    }
    node.reads();
    node.reads_nothing().await;
    server.edit("a.ics", "UID:a", "UID:theirs");
    let (gone, new) = (node.read().await, node.read().await);
    assert_eq!((gone.uid.as_str(), gone.event), ("a", None));
    assert_eq!((new.uid.as_str(), title(&new)), ("theirs", Some("Version 1")));
    let refused = node.failure(delivery("a", 2)).await;
    assert!(refused.contains("412"), "{refused}");
    assert!(server.text("a.ics").contains("UID:theirs"));
}

#[tokio::test]
async fn what_the_server_gives_to_nobody_keeps_nothing_else_from_being_read() {
    let forbids = Some("private.ics".into());
    let server = Server::start(Whims { forbids, ..Whims::default() }).await;
    let mut node = Node::new(&server);
    for uid in ["a", "b", "z"] {
        node.confirmed(delivery(uid, 1)).await;
    }
    server.put("private.ics", "");
    let many = format!("SUMMARY:{}", "x".repeat(300_000));
    server.put(
        "large.ics",
        &server.text("a.ics").replace("UID:a", "UID:l").replace("SUMMARY:Version 1", &many),
    );
    node.reads();
    node.has_problem("large.ics can't be taken over: it has 300").await;
    server.edit("z.ics", "SUMMARY:Version 1", "SUMMARY:Theirs");
    server.delete("b.ics");
    let (edited, gone) = (node.read().await, node.read().await);
    assert_eq!((title(&edited), gone.event), (Some("Theirs"), None));
    server.delete("large.ics");
    node.has_problem("private.ics can't be taken over: 403").await;
}

#[test]
fn targets_are_checked_before_anything_is_sent() {
    let refused = |url: &str, options| refused(Reach::Any, url, &options);
    assert!(refused("caldav://", json!({})).starts_with("callback_url: "));
    assert!(refused("caldavs://a/b?c", json!({})).contains("a calendar's URL"));
    let pause = refused("caldavs://a/b", json!({"look_every_s": 0}));
    assert_eq!(pause, "look_every_s: expected 1 to 3600 seconds");
    assert!(refused("caldavs://a/b", json!({"no": 1})).contains("unknown field `no`"));
}
