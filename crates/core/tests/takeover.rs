//! What external systems say of events: written as this office's edits, beside what they didn't know of.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use fasti_calendar::ical;
use fasti_core::command::{ConflictKind, Object, TakeOver};
use fasti_core::outbox::{
    Attempt, Filter, NewSubscription, Outcome, Secret, Start, SubscriptionId, Target, Tried,
};
use fasti_core::{Answer, Command, CommandError, EntryHash, Input, OfficeId};
use serde_json::{Value, json};

const UID: &str = "policy-YSP";

/// Two offices, and a system beside the first that has the policy.
struct Beside {
    world: World,
    denver: OfficeId,
    boston: OfficeId,
    system: SubscriptionId,
    /// It wants nothing but what is approved.
    approved: bool,
}

impl Beside {
    fn new() -> Self {
        let (world, offices) = World::of(2);
        let mut beside = Self::without_system(world, offices[0], offices[1]);
        beside.subscribe();
        beside.confirm_all();
        beside
    }

    /// With the policy, and no system yet.
    fn without_system(mut world: World, denver: OfficeId, boston: OfficeId) -> Self {
        world.publish(denver, "YSP", "2030-04-01");
        world.settle_for(5);
        Self { world, denver, boston, system: SubscriptionId(0), approved: false }
    }

    fn subscribe(&mut self) {
        let new = NewSubscription {
            name: "calendar".into(),
            target: Target {
                url: "caldav://calendar.example/office/".into(),
                options: "{}".into(),
            },
            filter: Filter { approved: self.approved, ..Filter::default() },
            start: Start::Beginning,
            secret: Secret(vec![7; 32]),
        };
        match self.world.ask(self.denver, Command::Subscribe(new)).unwrap() {
            Answer::Subscription(view) => self.system = view.id,
            other => panic!("{other:?}"),
        }
    }

    fn attempts(&mut self) -> Vec<Attempt> {
        self.world.settle_for(1);
        std::mem::take(&mut self.world.attempts).into_iter().map(|it| it.1).collect()
    }

    /// Confirms all that is owed, with what the system has then as the receipt; gives what it was told.
    fn confirm_all(&mut self) -> Vec<Object> {
        let mut told = Vec::new();
        loop {
            let attempts = self.attempts();
            if attempts.is_empty() {
                return told;
            }
            for attempt in attempts {
                let receipt = serde_json::to_vec(&attempt.delivery.event).unwrap();
                self.answer(&attempt, Outcome::Confirmed { applied: None, receipt });
                told.push(attempt.delivery.event);
            }
        }
    }

    /// Refuses all that is on its way.
    fn refuse_all(&mut self) {
        self.world.settle_for(1);
        while let Some((_, attempt)) = self.world.attempts.pop_front() {
            let reason = "412".into();
            self.answer(&attempt, Outcome::Failed { reason, retry_after: None });
        }
    }

    fn answer(&mut self, attempt: &Attempt, outcome: Outcome) {
        let Attempt { number, subscription, delivery, heads } = attempt.clone();
        let (subscription, uid) = (subscription.id, delivery.uid);
        let tried = Tried { number, subscription, uid, heads, outcome };
        self.world.input(self.denver, Input::Tried(tried));
    }

    /// What was agreed of an event.
    fn agreed(&self, uid: &str) -> Option<(Object, Vec<EntryHash>)> {
        let disk = &self.world.offices[&self.denver].disk;
        let agreed = disk.agreed.get(&(self.system, uid.to_owned()))?;
        let event: Object = serde_json::from_slice(&agreed.receipt).unwrap();
        Some((ical::as_read(&event), agreed.heads.clone()))
    }

    /// The system has an event that differs by this from what was agreed; it is as it was before that.
    fn says(&mut self, uid: &str, change: &Value) -> Result<bool, CommandError> {
        let before = self.agreed(uid);
        let mut event = before.clone().map(|it| it.0).unwrap_or_default();
        event.insert("uid".into(), json!(uid));
        event.extend(change.as_object().unwrap().clone());
        self.takes_over(uid, Some(event), before)
    }

    fn takes_over(
        &mut self,
        uid: &str,
        event: Option<Object>,
        before: Option<(Object, Vec<EntryHash>)>,
    ) -> Result<bool, CommandError> {
        let receipt = serde_json::to_vec(&event.clone().unwrap_or_default()).unwrap();
        let (subscription, uid, calendar) = (self.system, uid.into(), Some("office".into()));
        let said = TakeOver { subscription, uid, event, before, calendar, receipt };
        match self.world.ask(self.denver, Command::TakeOver(said))? {
            Answer::TakenOver(taken) => Ok(taken),
            other => panic!("{other:?}"),
        }
    }

    fn at(&mut self, office: OfficeId, uid: &str) -> Object {
        self.world.deliver();
        self.world.event(office, uid).unwrap().event
    }
}

#[test]
fn an_edit_of_what_was_agreed_is_an_edit_and_nothing_goes_round() {
    let mut it = Beside::new();
    assert!(it.says(UID, &json!({"title": "Youth sports"})).unwrap());
    let entries = it.world.status(it.denver).entries;
    let (boston, denver) = (it.boston, it.denver);
    assert_eq!(it.at(boston, UID)["title"], "Youth sports");
    // It is owed what it said, as nobody knows yet that it is all there is; and then says the same again.
    assert_eq!(it.confirm_all()[0]["title"], "Youth sports");
    assert!(it.says(UID, &json!({})).unwrap());
    assert_eq!(it.confirm_all(), [] as [Object; 0]);
    assert_eq!(it.world.status(denver).entries, entries);
    // Once more, by restart.
    it.world.restart(denver);
    assert!(it.says(UID, &json!({"title": "Sports"})).unwrap());
    assert_eq!(it.at(boston, UID)["title"], "Sports");
    assert!(it.world.conflicts(boston).is_empty());
}

#[test]
fn nothing_is_taken_over_while_a_state_of_the_event_is_on_its_way() {
    let mut it = Beside::new();
    it.world.patch(it.denver, UID, json!({"title": "New"}));
    assert!(!it.says(UID, &json!({"description": "there"})).unwrap());
    let denver = it.denver;
    assert_eq!(it.at(denver, UID).get("description"), None);
    it.refuse_all();
    assert!(it.says(UID, &json!({"description": "there"})).unwrap());
    let both = it.at(denver, UID);
    assert_eq!((&both["title"], &both["description"]), (&json!("New"), &json!("there")));
    assert!(it.world.conflicts(denver).is_empty());
}

#[test]
fn what_was_written_at_once_is_a_conflict_at_every_office() {
    let mut it = Beside::new();
    let (denver, boston) = (it.denver, it.boston);
    it.world.patch(boston, UID, json!({"title": "Boston's"}));
    // The system has not heard of it.
    it.refuse_all();
    assert!(it.says(UID, &json!({"title": "Denver's"})).unwrap());
    it.world.settle_for(1);
    for office in [denver, boston] {
        let conflicts = it.world.conflicts(office);
        let values: Vec<(OfficeId, &Value)> =
            conflicts[0].values.iter().map(|it| (it.office, &it.value)).collect();
        assert_eq!(conflicts.len(), 1);
        assert!(values.contains(&(denver, &json!("Denver's"))), "{values:?}");
        assert!(values.contains(&(boston, &json!("Boston's"))), "{values:?}");
    }
    it.world.settle();
    it.world.assert_agreed();
    // What is written there on top of its own is no conflict of its own, and what it was told ends it.
    it.confirm_all();
    assert!(it.says(UID, &json!({"title": "Decided there"})).unwrap());
    it.world.settle_for(1);
    assert!(it.world.conflicts(boston).is_empty());
    assert_eq!(it.at(boston, UID)["title"], "Decided there");
}

/// Its title differs, and the place: the place is added, as nobody said anything else.
#[test]
fn two_that_have_one_uid_and_nobody_knows_why_are_merged_and_differ_in_the_open() {
    let mut it = Beside::new();
    let (denver, boston) = (it.denver, it.boston);
    it.world.patch(denver, UID, json!({"title": "One"}));
    it.confirm_all();
    let mut there = it.agreed(UID).unwrap().0;
    there.insert("title".into(), json!("Another"));
    there.insert("locations".into(), json!({"1": {"@type": "Location", "name": "Hall"}}));
    assert!(it.takes_over(UID, Some(there.clone()), None).unwrap());
    it.world.settle_for(1);
    let conflicts = it.world.conflicts(boston);
    assert_eq!(conflicts.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["title"]);
    assert_eq!(it.at(boston, UID)["locations"]["1"]["name"], "Hall");
    // Where they are the same there is nothing to say.
    it.world.publish(denver, "OTHER", "2030-04-01");
    it.confirm_all();
    let entries = it.world.status(denver).entries;
    let same = it.agreed("policy-OTHER").unwrap().0;
    assert!(it.takes_over("policy-OTHER", Some(same), None).unwrap());
    assert_eq!(it.world.status(denver).entries, entries);
}

#[test]
fn what_is_deleted_there_is_cancelled_and_gives_up_what_it_has_booked() {
    let mut it = Beside::new();
    let (denver, boston) = (it.denver, it.boston);
    let before = it.agreed(UID);
    assert!(it.takes_over(UID, None, before).unwrap());
    assert_eq!(it.at(boston, UID)["status"], "cancelled");
    // Deleted there while it was edited here.
    it.world.publish(denver, "OTHER", "2030-04-01");
    it.confirm_all();
    let before = it.agreed("policy-OTHER");
    it.world.patch(boston, "policy-OTHER", json!({"title": "Edited"}));
    it.refuse_all();
    assert!(it.takes_over("policy-OTHER", None, before).unwrap());
    it.world.settle_for(1);
    let kinds: Vec<ConflictKind> = it.world.conflicts(boston).iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [ConflictKind::Cancelled]);
}

#[test]
fn what_is_no_event_is_refused_and_nothing_is_agreed() {
    let mut it = Beside::new();
    let refused = it.says("new", &json!({"@type": "Event", "start": "tomorrow"}));
    assert!(matches!(refused, Err(CommandError::Invalid { .. })), "{refused:?}");
    assert_eq!(it.agreed("new"), None);
    let made = json!({"@type": "Event", "title": "New", "start": "2030-05-01T09:00:00"});
    assert!(it.says("new", &made).unwrap());
    let boston = it.boston;
    assert_eq!(it.at(boston, "new")["title"], "New");
    let unknown = TakeOver {
        subscription: SubscriptionId(1),
        uid: "new".into(),
        event: None,
        before: None,
        calendar: None,
        receipt: Vec::new(),
    };
    let refused = it.world.ask(it.denver, Command::TakeOver(unknown));
    assert!(matches!(refused, Err(CommandError::UnknownSystem(_))), "{refused:?}");
}

#[test]
fn an_edit_leaves_an_event_in_its_calendar() {
    let mut it = Beside::new();
    assert!(it.says(UID, &json!({"title": "Youth sports"})).unwrap());
    let denver = it.denver;
    assert_eq!(it.at(denver, UID)["fasti:calendar"], "policies");
    let made = json!({"@type": "Event", "title": "New", "start": "2030-05-01T09:00:00"});
    assert!(it.says("new", &made).unwrap());
    assert_eq!(it.at(denver, "new")["fasti:calendar"], "office");
}

#[test]
fn what_is_taken_out_of_one_occurrence_stays_out() {
    let mut it = Beside::new();
    let (denver, boston) = (it.denver, it.boston);
    let series = json!({
        "@type": "Event", "title": "Round", "start": "2030-05-01T09:00:00", "timeZone": "Etc/UTC",
        "duration": "PT1H", "description": "Bring figures",
        "recurrenceRules": [{"@type": "RecurrenceRule", "frequency": "weekly", "count": 4}],
    });
    it.world.put(denver, "round", series);
    it.confirm_all();
    let once = json!({"2030-05-08T09:00:00": {"description": null, "title": "Short round"}});
    assert!(it.says("round", &json!({"recurrenceOverrides": once})).unwrap());
    assert_eq!(it.at(boston, "round")["recurrenceOverrides"], once);
    let told = it.confirm_all();
    assert_eq!(told.last().unwrap()["recurrenceOverrides"], once);
}

/// It made what was cut off count again, as somebody had built upon it.
#[test]
fn what_a_removed_member_wrote_does_not_come_back_by_an_edit_of_what_it_was_in() {
    let (world, offices) = World::of(3);
    let [founder, denver, other] = offices[..] else { unreachable!() };
    let mut it = Beside::without_system(world, denver, founder);
    it.subscribe();
    it.confirm_all();
    // The founder does not hear of what is written next.
    it.world.cut(founder, denver);
    it.world.cut(founder, other);
    it.world.patch(other, UID, json!({"title": "A liar's"}));
    it.confirm_all();
    assert_eq!(it.agreed(UID).unwrap().0["title"], "A liar's");
    it.world.ask(founder, Command::Remove { office: other }).unwrap();
    it.world.link(founder, denver);
    it.world.settle_for(10);
    it.refuse_all();
    assert_ne!(it.at(denver, UID)["title"], "A liar's");
    assert!(it.says(UID, &json!({"priority": 5})).unwrap());
    it.world.settle_for(10);
    for at in [founder, denver] {
        assert_ne!(it.at(at, UID)["title"], "A liar's");
        assert_eq!(it.at(at, UID)["priority"], 5);
    }
}

#[test]
fn many_events_that_nobody_agreed_on_are_written_in_one_log() {
    let mut it = Beside::new();
    let denver = it.denver;
    let entries = |it: &Beside| {
        let rows = it.world.offices[&it.denver].disk.rows.iter();
        let logs = rows.filter(|row| row.entry.log.author == it.denver).map(|row| row.entry.log);
        logs.collect::<std::collections::BTreeSet<_>>().len()
    };
    let before = entries(&it);
    for at in 0..20 {
        let policy = format!("P{at}");
        it.world.publish(denver, &policy, "2030-04-01");
        it.confirm_all();
        let uid = format!("policy-{policy}");
        let mut there = it.agreed(&uid).unwrap().0;
        there.insert("title".into(), json!("Another"));
        assert!(it.takes_over(&uid, Some(there), None).unwrap());
    }
    assert_eq!(entries(&it), before + 1);
    assert_eq!(it.world.conflicts(denver).len(), 20);
}

/// The edit went on top of what the system had never been told.
#[test]
fn an_edit_of_what_was_approved_is_beside_what_was_said_since() {
    let (world, offices) = World::of(2);
    let mut it = Beside::without_system(world, offices[0], offices[1]);
    it.approved = true;
    let (supersedes, condition) = (Vec::new(), Default::default());
    let approve = Command::Approve { policy: "YSP".into(), supersedes, condition };
    it.world.ask(offices[0], approve).unwrap();
    it.world.patch(offices[1], UID, json!({"title": "Boston's"}));
    it.world.settle_for(2);
    it.subscribe();
    it.confirm_all();
    assert_eq!(it.agreed(UID).unwrap().0["title"], "YSP");
    assert!(it.says(UID, &json!({"title": "There"})).unwrap());
    it.world.settle_for(2);
    let conflicts = it.world.conflicts(offices[1]);
    let field = conflicts.iter().find(|it| it.kind == ConflictKind::Field).unwrap();
    let values: Vec<&Value> = field.values.iter().map(|it| &it.value).collect();
    assert!(
        values.contains(&&json!("Boston's")) && values.contains(&&json!("There")),
        "{values:?}"
    );
}
