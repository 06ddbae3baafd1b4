//! A calendar on somebody else's CalDAV server, in step with the network in both directions.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use fasti_tests::{Cluster, Fasti, Node, Radicale, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

/// Two offices; a calendar program's server beside the second.
struct World {
    cluster: Cluster,
    radicale: Radicale,
    _home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let radicale =
            Radicale::start(&home.path().join("radicale"), Path::new(env!("CARGO_TARGET_TMPDIR")));
        let radicale = radicale.unwrap();
        let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
        Self { cluster, radicale, _home: home }
    }

    fn core(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    fn denver(&self) -> &Node {
        &self.cluster.nodes[1]
    }

    /// Keeps Denver's calendar in step.
    fn subscribe(&self) {
        self.subscribe_at(self.denver());
    }

    fn subscribe_at(&self, node: &Node) {
        let args =
            ["--option", "look_every_s=1", "--option", "calendar=office", "--from", "beginning"];
        let target = self.radicale.target();
        let args = [&["subscribe", "Calendar", &target][..], &args].concat();
        fasti().prints(node.dir(), &args);
    }

    /// Edits an event at the core, and there in other words, or deletes it there, while the node beside the calendar is
    /// away; which hears of the core first.
    fn edit_apart(&mut self, here: &str, name: &str, there: Option<[&str; 2]>) {
        self.cluster.nodes[1].stop().unwrap();
        let uid = name.replace(".ics", "");
        let edited = fasti().says(self.core().dir(), &["event", "edit", &uid, here]).unwrap();
        assert_eq!(edited.status, 0, "{edited:?}");
        match there {
            Some([from, to]) => {
                self.radicale.write(name, &self.there(name).replace(from, to)).unwrap();
            }
            None => self.radicale.delete(name).unwrap(),
        }
        self.radicale.end();
        self.cluster.nodes[1].start().unwrap();
        self.cluster.wait_until_equal().unwrap();
        self.radicale.go_on().unwrap();
    }

    /// The event as the calendar server has it.
    fn there(&self, name: &str) -> String {
        self.radicale.read(name).unwrap().map(|it| it.1).unwrap_or_default()
    }

    fn wait_there(&self, what: &str, name: &str, is_so: impl Fn(&str) -> bool) {
        let waited = wait_for(what, || Ok(is_so(&self.there(name))));
        waited.unwrap_or_else(|error| panic!("{error}: {}{}", self.there(name), self.state()));
    }

    fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        wait_for(what, || Ok(is_so())).unwrap_or_else(|error| panic!("{error}{}", self.state()));
    }

    fn state(&self) -> String {
        let (list, owed) = (["subscriptions"], ["deliveries"]);
        let says = |args: &[&str]| fasti().says(self.denver().dir(), args).unwrap().out;
        format!("\n{}\n{}", says(&list), says(&owed))
    }

    /// Nothing goes to and fro any more.
    fn is_quiet(&self, name: &str) {
        let nothing_owed = || {
            let status = fasti().prints(self.denver().dir(), &["status", "--json"]);
            let status: Value = serde_json::from_str(&status).unwrap();
            status["deliveries"] == json!({"pending": 0, "dead": 0})
        };
        self.wait_for("nothing to be owed", nothing_owed);
        let seen = || {
            let uid = name.replace(".ics", "");
            (self.radicale.read(name).unwrap(), event(self.core(), &uid))
        };
        let before = seen();
        // Some looks at it later.
        std::thread::sleep(std::time::Duration::from_millis(3200));
        assert_eq!(seen(), before, "it goes round in circles");
    }
}

fn event(node: &Node, uid: &str) -> Value {
    node.api().event(uid).unwrap().unwrap_or_default()
}

#[test]
fn a_calendar_elsewhere_is_kept_in_step_both_ways() {
    let world = World::new();
    world.core().api().publish("YSP", "2030-04-01", "Youth sports").unwrap();
    world.subscribe();
    let tested = fasti().prints(world.denver().dir(), &["subscriptions", "test", "Calendar"]);
    assert!(tested.contains("is a calendar"), "{tested}");
    let (name, uid) = ("policy-YSP.ics", "policy-YSP");
    world.wait_there("the policy", name, |it| it.contains("SUMMARY:Youth sports"));
    world.is_quiet(name);

    // An edit there is Denver's edit, and leaves alone what a calendar program doesn't show.
    let text = world.there(name);
    let edited = text
        .replace("SUMMARY:Youth sports", "SUMMARY:Youth sports funding")
        .replace("END:VEVENT", "X-APP-COLOUR:7\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nDESCRIPTION:Soon\nEND:VALARM\nEND:VEVENT");
    world.radicale.write(name, &edited).unwrap();
    let arrived = || event(world.core(), uid)["title"] == "Youth sports funding";
    world.wait_for("the edit at another office", arrived);
    let there = event(world.core(), uid);
    assert_eq!(
        (&there["fasti:policy"]["id"], &there["fasti:calendar"]),
        (&json!("YSP"), &json!("policies"))
    );
    assert_eq!(there["alerts"].as_object().unwrap().len(), 1);
    world.is_quiet(name);

    // An edit here keeps what was added there.
    world.core().api().publish("YSP", "2030-05-01", "Youth sports funding").unwrap();
    world.wait_there("the move", name, |it| it.contains("20300501"));
    assert!(world.there(name).contains("X-APP-COLOUR:7"), "{}", world.there(name));
    world.is_quiet(name);

    // Cancelled here.
    let cancelled = fasti().says(world.core().dir(), &["event", "cancel", uid]).unwrap();
    assert_eq!(cancelled.status, 0, "{cancelled:?}");
    world.wait_there("the cancellation", name, |it| it.contains("STATUS:CANCELLED"));
    world.is_quiet(name);
}

fn of_person(uid: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//A person//EN\nBEGIN:VEVENT\nUID:{uid}\n\
         DTSTAMP:20300101T000000Z\nDTSTART;TZID=America/Denver:20300506T090000\nDURATION:PT1H\n{lines}END:VEVENT\n"
    )
}

#[test]
fn what_a_person_makes_moves_and_deletes_there_is_done_here() {
    let world = World::new();
    world.subscribe();
    let weekly =
        of_person("round@example.com", "SUMMARY:Round – Räume\nRRULE:FREQ=WEEKLY;COUNT=4\n");
    world.radicale.write("any-name.ics", &(weekly + "END:VCALENDAR\n")).unwrap();
    let uid = "round@example.com";
    world.wait_for("the event at another office", || event(world.core(), uid)["@type"] == "Event");
    let made = event(world.core(), uid);
    assert_eq!(
        (&made["title"], &made["fasti:calendar"]),
        (&json!("Round – Räume"), &json!("office"))
    );
    assert_eq!(made["recurrenceRules"][0]["count"], 4);
    let (etag, _) = world.radicale.read("any-name.ics").unwrap().unwrap();

    // It moves one of the four, while another office adds a note.
    let note = fasti().says(world.core().dir(), &["event", "edit", uid, "description=in room 1"]);
    assert_eq!(note.unwrap().status, 0);
    world.wait_there("the note", "any-name.ics", |it| it.contains("in room 1"));
    assert_ne!(world.radicale.read("any-name.ics").unwrap().unwrap().0, etag);
    let text = world.there("any-name.ics");
    let end = text.find("END:VEVENT").unwrap() + "END:VEVENT\n".len();
    let moved = "BEGIN:VEVENT\nUID:round@example.com\nDTSTAMP:20300101T000000Z\n\
                 RECURRENCE-ID;TZID=America/Denver:20300513T090000\n\
                 DTSTART;TZID=America/Denver:20300514T100000\nDURATION:PT1H\nSUMMARY:Round – Räume\nEND:VEVENT\n";
    world
        .radicale
        .write("any-name.ics", &format!("{}{moved}{}", &text[..end], &text[end..]))
        .unwrap();
    let is_moved = || {
        event(world.core(), uid)["recurrenceOverrides"]["2030-05-13T09:00:00"]["start"]
            == "2030-05-14T10:00:00"
    };
    world.wait_for("the move of one occurrence", is_moved);
    assert_eq!(event(world.core(), uid)["description"], "in room 1");

    // What is no event is left out, said, and keeps nothing else from being read.
    let broken = of_person("nameless", "SUMMARY:Ends before it begins\n")
        .replace("DTSTART;TZID=America/Denver:20300506T090000\n", "")
        .replace("VEVENT", "VJOURNAL")
        .replace("DURATION:PT1H\n", "DTSTART:20300506T090000Z\n");
    world.radicale.write("journal.ics", &(broken + "END:VCALENDAR\n")).unwrap();
    let shown = || fasti().prints(world.denver().dir(), &["subscriptions", "show", "Calendar"]);
    world.wait_for("the problem", || shown().contains("journal.ics can't be taken over"));
    let metrics = world.denver().api().text("/metrics").unwrap();
    assert!(metrics.contains("fasti_system_readable{system=\"Calendar\"} 0"), "{metrics}");
    world.radicale.delete("journal.ics").unwrap();
    world.wait_for("the end of the problem", || !shown().contains("can't be taken over"));

    // Deleted there is cancelled here; what comes to life again here is there again.
    world.radicale.delete("any-name.ics").unwrap();
    world.wait_for("the cancellation", || event(world.core(), uid)["status"] == "cancelled");
    let back = fasti().says(world.core().dir(), &["event", "edit", uid, "status=confirmed"]);
    assert_eq!(back.unwrap().status, 0);
    world.wait_there("it to be there again", "any-name.ics", |it| it.contains("Round – Räume"));
    world.wait_for("no conflict", || {
        world.core().api().get("/v1/conflicts").unwrap()["conflicts"] == json!([])
    });
}

#[test]
fn edits_at_both_sides_at_once_are_merged_or_shown_as_a_conflict() {
    let mut world = World::new();
    world.subscribe();
    let (name, uid) = ("policy-YSP.ics", "policy-YSP");
    world.core().api().publish("YSP", "2030-04-01", "Youth sports").unwrap();
    world.wait_there("the policy", name, |it| it.contains("SUMMARY:Youth sports"));
    world.is_quiet(name);

    let what = |world: &World| event(world.core(), uid);
    let open = |world: &World| {
        let list = world.core().api().get("/v1/conflicts").unwrap();
        list["conflicts"].as_array().unwrap().clone()
    };

    // Different parts: both are kept.
    world.edit_apart(
        "description=For all schools",
        name,
        Some(["END:VEVENT", "LOCATION:Town hall\nEND:VEVENT"]),
    );
    let merged = || !what(&world)["locations"].is_null();
    world.wait_for("the place at the other office", merged);
    assert_eq!(what(&world)["description"], "For all schools");
    world.wait_there("the description there", name, |it| it.contains("For all schools"));
    world.is_quiet(name);
    assert_eq!(open(&world), [] as [Value; 0]);

    // The same part: people decide, and what they decide is there.
    let titles = ["SUMMARY:Youth sports", "SUMMARY:Sports for the young"];
    world.edit_apart("title=Sports funding", name, Some(titles));
    world.wait_for("the conflict at the other office", || open(&world).len() == 1);
    let conflict = open(&world)[0].clone();
    let values = conflict["values"].as_array().unwrap().iter();
    let mut values: Vec<_> =
        values.map(|it| (it["name"].as_str().unwrap(), it["value"].clone())).collect();
    values.sort_by_key(|it| it.0);
    let said = [("Core", json!("Sports funding")), ("Denver", json!("Sports for the young"))];
    assert_eq!(values, said);
    let id = conflict["id"].as_str().unwrap();
    let decided = ["conflicts", "resolve", id, "--keep", "Sports for the young"];
    assert_eq!(fasti().says(world.core().dir(), &decided).unwrap().status, 0);
    world.wait_there("what was decided", name, |it| it.contains("SUMMARY:Sports for the young"));
    world.is_quiet(name);
    assert_eq!(open(&world), [] as [Value; 0]);

    // Deleted there, edited here.
    world.edit_apart("description=In all halls", name, None);
    world.wait_for("the conflict at the other office", || open(&world).len() == 1);
    assert_eq!(open(&world)[0]["kind"], "cancelled");
    let id = open(&world)[0]["id"].as_str().unwrap().to_owned();
    let decided = ["conflicts", "resolve", &id, "--keep", "confirmed"];
    assert_eq!(fasti().says(world.core().dir(), &decided).unwrap().status, 0);
    world.wait_there("it to be there again", name, |it| it.contains("In all halls"));
    world.is_quiet(name);
}

#[test]
fn a_server_that_loses_all_events_cancels_none() {
    let mut world = World::new();
    for at in 0..12 {
        world.core().api().publish(&format!("P{at}"), "2030-04-01", "A policy").unwrap();
    }
    world.subscribe();
    let names: Vec<String> = (0..12).map(|at| format!("policy-P{at}.ics")).collect();
    let all = |world: &World| names.iter().all(|name| world.there(name).contains("A policy"));
    world.wait_for("all events there", || all(&world));
    world.is_quiet(&names[0]);
    world.radicale.end();
    world.radicale.lose_all();
    world.radicale.go_on().unwrap();
    world.radicale.make().unwrap();
    let shown = || fasti().prints(world.denver().dir(), &["subscriptions", "show", "Calendar"]);
    world.wait_for("the problem", || shown().contains("12 events were gone there at once"));
    assert_eq!(event(world.core(), "policy-P3")["status"], "confirmed");
    fasti().prints(world.denver().dir(), &["replay", "Calendar", "--since", "beginning"]);
    world.wait_for("all events there again", || all(&world));
    assert_eq!(event(world.core(), "policy-P3")["status"], "confirmed");
    world.wait_for("the end of the problem", || !shown().contains("were gone there"));
}

#[test]
fn two_offices_that_share_one_calendar_make_one_event_of_each() {
    let world = World::new();
    for node in &world.cluster.nodes {
        world.subscribe_at(node);
    }
    let (name, uid) = ("policy-YSP.ics", "policy-YSP");
    world.core().api().publish("YSP", "2030-04-01", "Youth sports").unwrap();
    world.wait_there("the policy", name, |it| it.contains("SUMMARY:Youth sports"));
    world.is_quiet(name);
    let edited = world.there(name).replace("SUMMARY:Youth sports", "SUMMARY:Sports");
    world.radicale.write(name, &edited).unwrap();
    world.wait_for("the edit", || event(world.core(), uid)["title"] == "Sports");
    world.is_quiet(name);
    assert_eq!(world.core().api().get("/v1/conflicts").unwrap()["conflicts"], json!([]));
    for node in &world.cluster.nodes {
        let shown = fasti().prints(node.dir(), &["subscriptions", "show", "Calendar"]);
        assert!(!shown.contains("problem"), "{shown}");
    }
}
