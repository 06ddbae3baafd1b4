//! Calendars as apps see them: what two people change at once, what has changed, what left, and who did it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Disk, World};
use fasti_calendar::ical;
use fasti_core::collection::{Place, content, uid_beside};
use fasti_core::command::{AgendaQuery, ChangedView, Condition, Object, Save, Written};
use fasti_core::{Answer, Command, CommandError, OfficeId};
use serde_json::{Value, json};

const TALK: &str = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//App//EN\nBEGIN:VEVENT\nUID:talk@app\nDTSTAMP:20300101T000000Z\n\
                    DTSTART;TZID=America/Denver:20300401T090000\nDURATION:PT1H\nSUMMARY:Talk\nLOCATION:Room 1\n\
                    X-APP-MOOD;X-P=1:good\nEND:VEVENT\nEND:VCALENDAR\n";

fn place(calendar: &str, name: &str) -> Place {
    Place { calendar: calendar.into(), name: name.into() }
}

fn event(text: &str) -> Object {
    let mut events = ical::read(text.as_bytes()).events;
    assert_eq!(events.len(), 1, "{text}");
    events.remove(0).1
}

/// Two offices whose people have calendar apps.
struct Apps {
    world: World,
    denver: OfficeId,
    boston: OfficeId,
}

impl Apps {
    fn new() -> Self {
        let (world, offices) = World::of(2);
        Self { world, denver: offices[0], boston: offices[1] }
    }

    fn try_save(
        &mut self,
        office: OfficeId,
        text: &str,
        place: Place,
        condition: Condition,
    ) -> Result<Written, CommandError> {
        let uid = "talk@app".to_owned();
        let save = Save { uid, event: event(text), place, condition };
        self.world.ask(office, Command::Save(save)).map(|answer| match answer {
            Answer::Written(written) => written,
            other => panic!("{other:?}"),
        })
    }

    fn save(&mut self, office: OfficeId, text: &str) -> Written {
        let place = place("default", "talk@app.ics");
        self.try_save(office, text, place, Condition::Always).unwrap()
    }

    fn discard(&mut self, office: OfficeId) -> Result<Answer, CommandError> {
        let (uid, condition) = ("talk@app".to_owned(), Condition::Always);
        self.world.ask(office, Command::Discard { uid, condition })
    }

    /// As an app gets it.
    fn text(&mut self, office: OfficeId) -> String {
        let view = self.world.event(office, "talk@app").unwrap();
        ical::write(&[content(&view.event)]).replace("\r\n", "\n")
    }

    /// What changed since, where the answer ends, and how indices are numbered.
    fn changes(
        &mut self,
        office: OfficeId,
        since: u64,
        limit: usize,
    ) -> (Vec<ChangedView>, bool, u64, u64) {
        match self.world.ask(office, Command::Changes { since, limit }).unwrap() {
            Answer::Changes { changes, more, end, numbering, .. } => {
                (changes, more, end, numbering)
            }
            other => panic!("{other:?}"),
        }
    }

    fn departed(&mut self, office: OfficeId, calendar: &str, since: u64) -> Vec<String> {
        let calendar = calendar.to_owned();
        match self.world.ask(office, Command::Departed { calendar, since, from: since }).unwrap() {
            Answer::Departed(names) => names.into_iter().map(|it| it.1).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn two_people_change_parts_of_one_event_apart_and_lose_nothing() {
    let mut apps = Apps::new();
    let (denver, boston) = (apps.denver, apps.boston);
    apps.save(denver, TALK);
    apps.world.settle();
    apps.world.cut(denver, boston);
    let before = apps.text(denver);
    assert!(before.contains("X-APP-MOOD;X-P=1:good"), "{before}");
    // Each app writes the whole event, and one of them in its own way.
    apps.save(denver, &TALK.replace("SUMMARY:Talk", "SUMMARY:A better talk"));
    apps.save(
        boston,
        &before.replace("LOCATION:Room 1", "LOCATION:Room 2").replace("PT1H", "PT2H"),
    );
    apps.world.link(denver, boston);
    apps.world.settle();
    apps.world.assert_agreed();
    let text = apps.text(denver);
    for line in
        ["SUMMARY:A better talk", "LOCATION:Room 2", "DURATION:PT2H", "X-APP-MOOD;X-P=1:good"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(apps.world.conflicts(denver), []);
}

#[test]
fn what_an_app_never_heard_of_stays() {
    let mut apps = Apps::new();
    let denver = apps.denver;
    apps.save(denver, TALK);
    apps.world.patch(
        denver,
        "talk@app",
        json!({ "fasti:policy/id": "YSP", "example.com:cost": 3 }),
    );
    let written = apps.save(denver, &TALK.replace("Talk", "Walk"));
    assert!(!written.created);
    let view = apps.world.event(denver, "talk@app").unwrap();
    assert_eq!(view.event["fasti:policy/id"], "YSP");
    assert_eq!(view.event["example.com:cost"], 3);
    assert_eq!(view.event["title"], "Walk");
    // What is said again is no change.
    let again = apps.save(denver, &TALK.replace("Talk", "Walk"));
    assert_eq!((again.entry, again.etag), (written.entry, view.etag));
}

#[test]
fn what_was_deleted_is_gone_from_its_calendar_and_cancelled_elsewhere() {
    let mut apps = Apps::new();
    let (denver, boston) = (apps.denver, apps.boston);
    apps.save(denver, TALK);
    apps.discard(denver).unwrap();
    apps.world.settle();
    assert_eq!(apps.world.event(boston, "talk@app").unwrap().event["status"], "cancelled");
    let query = AgendaQuery {
        from: "2030-01-01T00:00:00".into(),
        to: "2031-01-01T00:00:00".into(),
        zone: "America/Denver".into(),
        limit: 10,
    };
    let agenda = apps.world.ask(boston, Command::Agenda(query)).unwrap();
    assert!(matches!(agenda, Answer::Agenda { occurrences, .. } if occurrences.is_empty()));
    let (changes, ..) = apps.changes(boston, 0, 10);
    assert_eq!(changes.last().unwrap().place, None);
    assert_eq!(apps.discard(denver).unwrap_err(), CommandError::UnknownEvent("talk@app".into()));
    // Put in anew, it is what it is put in as, with nothing of what it was.
    let anew = TALK.replace("LOCATION:Room 1\n", "");
    let place = place("default", "talk@app.ics");
    let written = apps.try_save(denver, &anew, place, Condition::Absent).unwrap();
    assert!(written.created);
    let view = apps.world.event(denver, "talk@app").unwrap();
    assert_eq!(view.event.get("status"), None);
    assert_eq!(view.event.get("locations"), None);
}

#[test]
fn conditions_are_about_what_is_in_the_calendar() {
    let mut apps = Apps::new();
    let denver = apps.denver;
    let here = || place("default", "talk@app.ics");
    let missing = apps.try_save(denver, TALK, here(), Condition::Exists).unwrap_err();
    assert_eq!(missing, CommandError::Precondition { now: None });
    let written = apps.try_save(denver, TALK, here(), Condition::Absent).unwrap();
    assert!(apps.try_save(denver, TALK, here(), Condition::Absent).is_err());
    let stale = Condition::Matches(vec!["0".into()]);
    assert_eq!(
        apps.try_save(denver, TALK, here(), stale).unwrap_err(),
        CommandError::Precondition { now: Some(written.etag.clone()) }
    );
    let fresh = Condition::Matches(vec![written.etag]);
    apps.try_save(denver, &TALK.replace("Talk", "Walk"), here(), fresh).unwrap();
    for bad in [place("", "a.ics"), place("default", ".."), place("default", &"x".repeat(260))] {
        let refused = apps.try_save(denver, TALK, bad, Condition::Always).unwrap_err();
        assert!(matches!(refused, CommandError::Invalid { .. }), "{refused:?}");
    }
}

#[test]
fn what_left_a_calendar_is_known_to_have_been_there() {
    let mut apps = Apps::new();
    let denver = apps.denver;
    let (.., start, _) = apps.changes(denver, 0, 10);
    apps.try_save(denver, TALK, place("work", "1.ics"), Condition::Absent).unwrap();
    let (.., known, _) = apps.changes(denver, 0, 10);
    // Under another name, into another calendar, and changed there.
    apps.try_save(denver, TALK, place("work", "2.ics"), Condition::Always).unwrap();
    apps.try_save(denver, TALK, place("home", "2.ics"), Condition::Always).unwrap();
    apps.save_at_home("SUMMARY:Elsewhere");
    assert_eq!(apps.departed(denver, "work", known), ["1.ics", "2.ics"]);
    assert_eq!(apps.departed(denver, "home", known), [""; 0]);
    assert_eq!(apps.departed(denver, "other", known), [""; 0]);
    // Who never heard of it there may be told, and may not; but never of other calendars.
    assert_eq!(apps.departed(denver, "home", start), [""; 0]);
    let (changes, ..) = apps.changes(denver, known, 10);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].place, Some(place("home", "2.ics")));
    apps.discard(denver).unwrap();
    assert_eq!(apps.departed(denver, "home", known), ["2.ics"]);
}

impl Apps {
    fn save_at_home(&mut self, summary: &str) {
        let text = TALK.replace("SUMMARY:Talk", summary);
        let denver = self.denver;
        self.try_save(denver, &text, place("home", "2.ics"), Condition::Always).unwrap();
    }
}

#[test]
fn changes_come_in_their_order_page_by_page() {
    let mut apps = Apps::new();
    let denver = apps.denver;
    for at in 0..7 {
        apps.world.put(
            denver,
            &format!("e{at}"),
            json!({ "title": "T", "start": "2030-04-01T09:00:00" }),
        );
    }
    apps.world.patch(denver, "e2", json!({ "title": "Later" }));
    let (mut since, mut seen, mut pages) = (0, Vec::new(), 0);
    loop {
        let (changes, more, ..) = apps.changes(denver, since, 3);
        pages += 1;
        assert!(changes.len() <= 3);
        seen.extend(changes.iter().map(|it| it.view.uid.clone()));
        let Some(last) = changes.last() else { break };
        since = last.at + 1;
        if !more {
            break;
        }
    }
    assert_eq!(seen, ["e0", "e1", "e3", "e4", "e5", "e6", "e2"]);
    assert_eq!(pages, 3);
}

#[test]
fn numbers_hold_over_restarts_and_not_in_copies() {
    let mut apps = Apps::new();
    let (denver, boston) = (apps.denver, apps.boston);
    apps.save(denver, TALK);
    apps.world.settle();
    let (.., end, numbering) = apps.changes(denver, 0, 10);
    apps.world.restart(denver);
    assert_eq!(apps.changes(denver, 0, 10).2, end);
    assert_eq!(apps.changes(denver, 0, 10).3, numbering);
    assert_ne!(apps.changes(boston, 0, 10).3, numbering);
    // A copy, or what was made from a backup, doesn't know how it was numbered.
    let disk = Disk { numbering: None, ..apps.world.offices[&denver].disk.clone() };
    apps.world.restore(denver, disk);
    let copied = apps.changes(denver, 0, 10).3;
    assert_ne!(copied, numbering);
    // Where all is judged again, events change without an entry.
    let disk = Disk { judge_again: true, ..apps.world.offices[&denver].disk.clone() };
    apps.world.restore(denver, disk);
    assert_ne!(apps.changes(denver, 0, 10).3, copied);
}

#[test]
fn a_calendar_has_a_name_and_a_color_that_offices_change_apart() {
    let mut apps = Apps::new();
    let (denver, boston) = (apps.denver, apps.boston);
    let edit = |patch: Value| Command::EditCalendar {
        calendar: "team".into(),
        patch: Some(patch.as_object().unwrap().clone()),
    };
    apps.world.ask(denver, edit(json!({ "title": "Team" }))).unwrap();
    apps.world.settle();
    apps.world.cut(denver, boston);
    apps.world.ask(denver, edit(json!({ "title": "The team" }))).unwrap();
    apps.world.ask(boston, edit(json!({ "color": "#ff0000" }))).unwrap();
    apps.world.link(denver, boston);
    apps.world.settle();
    let (changes, ..) = apps.changes(boston, 0, 10);
    let told = changes.iter().find(|it| it.calendar.is_some()).unwrap();
    assert_eq!(told.calendar.as_ref().unwrap().id, "team");
    assert_eq!(
        (&told.view.event["title"], &told.view.event["color"]),
        (&json!("The team"), &json!("#ff0000"))
    );
    // Two names are a conflict like any other, and are decided like one.
    apps.world.cut(denver, boston);
    apps.world.ask(denver, edit(json!({ "title": "Denver's team" }))).unwrap();
    apps.world.ask(boston, edit(json!({ "title": "Boston's team" }))).unwrap();
    apps.world.link(denver, boston);
    apps.world.settle();
    let conflict = apps.world.conflicts(boston).remove(0);
    let keep = json!("Boston's team");
    apps.world.ask(boston, Command::Resolve { conflict: conflict.id, keep }).unwrap();
    apps.world.settle();
    assert_eq!(apps.world.conflicts(denver), []);
    // It is no event, in no list and no count.
    assert_eq!(apps.world.status(boston).events, 0);
    let query = fasti_core::command::EventsQuery { limit: 10, ..Default::default() };
    let answer = apps.world.ask(boston, Command::Events(query)).unwrap();
    assert!(matches!(answer, Answer::Events { events, .. } if events.is_empty()));
    let put = Command::Put {
        uid: "fasti:calendar/other".into(),
        event: Object::new(),
        condition: Condition::Always,
    };
    assert!(matches!(apps.world.ask(boston, put), Err(CommandError::Invalid { .. })));
    apps.world.ask(boston, Command::EditCalendar { calendar: "team".into(), patch: None }).unwrap();
    let (changes, ..) = apps.changes(boston, 0, 10);
    assert!(changes.iter().any(|it| it.calendar.as_ref().is_some_and(|it| it.is_removed)));
}

#[test]
fn one_uid_in_two_calendars_is_two_events() {
    let mut apps = Apps::new();
    let denver = apps.denver;
    apps.try_save(denver, TALK, place("work", "1.ics"), Condition::Absent).unwrap();
    let uid = uid_beside("talk@app", "home");
    assert_ne!(uid, uid_beside("talk@app", "hom"));
    let other = event(&TALK.replace("Talk", "The same talk"));
    let save = Save {
        uid: uid.clone(),
        event: other,
        place: place("home", "1.ics"),
        condition: Condition::Absent,
    };
    apps.world.ask(denver, Command::Save(save)).unwrap();
    let copy = apps.world.event(denver, &uid).unwrap();
    assert_eq!(content(&copy.event)["uid"], "talk@app");
    assert_eq!(apps.world.event(denver, "talk@app").unwrap().event["title"], "Talk");
    assert_eq!(apps.world.status(denver).events, 2);
}

#[test]
fn who_asked_is_named_in_what_is_written() {
    let mut apps = Apps::new();
    let (denver, boston) = (apps.denver, apps.boston);
    apps.save(denver, TALK);
    apps.world.settle();
    apps.world.cut(denver, boston);
    let by = |person: &str, title: &str| Command::By {
        person: person.into(),
        command: Box::new(Command::Patch {
            uid: "talk@app".into(),
            patch: json!({ "title": title }).as_object().unwrap().clone(),
            condition: Condition::Always,
        }),
    };
    apps.world.ask(denver, by("Ann", "Ann's")).unwrap();
    apps.world.ask(boston, by("Bob", "Bob's")).unwrap();
    // What nobody asked for is nobody's.
    apps.world.patch(denver, "talk@app", json!({ "description": "D" }));
    apps.world.link(denver, boston);
    apps.world.settle();
    let conflicts = apps.world.conflicts(denver);
    let people: Vec<_> = conflicts[0].values.iter().map(|it| it.person.as_deref()).collect();
    assert_eq!(conflicts[0].path, "title");
    assert!(people.contains(&Some("Ann")) && people.contains(&Some("Bob")), "{people:?}");
    apps.world.restart(denver);
    assert_eq!(apps.world.conflicts(denver), conflicts);
    let long = "x".repeat(65);
    assert!(matches!(apps.world.ask(denver, by(&long, "T")), Err(CommandError::Invalid { .. })));
}

#[test]
fn who_edited_an_event_is_told_edit_by_edit() {
    let mut apps = Apps::new();
    let (denver, boston) = (apps.denver, apps.boston);
    apps.save(denver, TALK);
    apps.world.settle();
    apps.world.pass(1000);
    apps.world.patch(boston, "talk@app", json!({ "title": "Boston's" }));
    apps.world.settle();
    apps.world.pass(1000);
    apps.world.patch(denver, "talk@app", json!({ "title": "Denver's", "description": "D" }));
    let history = |world: &mut World, limit| {
        let uid = "talk@app".to_owned();
        match world.ask(denver, Command::History { uid, limit }).unwrap() {
            Answer::History { edits, more } => {
                let told = edits.into_iter().map(|it| (it.by.office, it.fields.join(" ")));
                (told.collect::<Vec<_>>(), more)
            }
            other => panic!("{other:?}"),
        }
    };
    let (all, more) = history(&mut apps.world, 10);
    assert!(!more && all[0].0 == denver && all[0].1.contains("@type"), "{all:?}");
    // What was written over since is told all the same.
    assert_eq!(all[1..], [(boston, "title".into()), (denver, "description title".into())]);
    let (latest, more) = history(&mut apps.world, 1);
    assert!(more && latest == all[2..]);
    let unknown = Command::History { uid: "none".into(), limit: 1 };
    assert!(matches!(apps.world.ask(denver, unknown), Err(CommandError::UnknownEvent(_))));
}
