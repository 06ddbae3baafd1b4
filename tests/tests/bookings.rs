//! Rooms that are booked on the command line, with real nodes: one's own, another office's, and one that two want.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use fasti_tests::{Cluster, Fasti, wait_for};
use serde_json::Value;

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

#[track_caller]
fn says(dir: &Path, args: &[&str]) -> String {
    fasti().prints(dir, args)
}

fn state_of(dir: &Path, title: &str) -> anyhow::Result<String> {
    let all: Value = serde_json::from_str(&says(dir, &["bookings", "--json"]))?;
    let all = all["bookings"].as_array().unwrap();
    let found = all.iter().find(|it| it["title"] == title).map(|it| it["state"].as_str().unwrap());
    Ok(found.unwrap_or_default().to_owned())
}

#[test]
fn ones_own_room_is_settled_at_once_another_ones_soon_and_of_two_who_want_it_one_is_displaced() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.join("Denver").unwrap();
    let [core, denver] = [0, 1].map(|at| cluster.nodes[at].dir().to_owned());
    cluster.wait_until_equal().unwrap();
    let zone = ["--time-zone", "America/Denver"];
    let added = says(&denver, &["resource", "add", "Room 1", "--buffer", "10m"]);
    assert!(
        added.contains("Room 1") && added.contains("10 min") && added.contains("Denver"),
        "{added}"
    );
    cluster.wait_until_equal().unwrap();

    let at = |start: &str, title: &str| -> Vec<String> {
        let args = ["book", "Room 1", "--start", start, "--duration", "PT1H", "--title", title];
        args.iter().chain(&zone).map(|it| (*it).to_owned()).collect()
    };
    let book = |dir: &Path, start: &str, title: &str| {
        let args = at(start, title);
        says(dir, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let own = book(&denver, "2024-05-06T09:00", "Round");
    assert!(own.contains("2024-05-06 09:00 - 10:00") && own.contains("settled"), "{own}");
    let asked = book(&core, "2024-05-06T11:00", "Visit");
    assert!(asked.contains("tentative, asked for") || asked.contains("settled"), "{asked}");
    wait_for("Denver's word", || Ok(state_of(&core, "Visit")? == "settled")).unwrap();

    // With the ten minutes around it, this is too early.
    let late = book(&core, "2024-05-06T12:05", "Lunch");
    assert!(late.contains("Lunch"), "{late}");
    wait_for("a decision", || Ok(state_of(&core, "Lunch")? == "displaced")).unwrap();
    let shown = says(&core, &["bookings", "Room 1", "--zone", "America/Denver"]);
    assert!(shown.contains("displaced") && shown.contains("held by Core from"), "{shown}");
    assert!(shown.contains("free 2024-05-06"), "{shown}");
    assert!(says(&core, &["conflicts"]).contains("Lunch"));
    let free = says(&core, &["free", "Room 1", "--from", "2024-05-06", "--zone", "America/Denver"]);
    assert!(free.starts_with("2024-05-06 00:00 - "), "{free}");

    // Who held it gives it up, and the one who waited has it.
    let all: Value = serde_json::from_str(&says(&core, &["bookings", "--json"])).unwrap();
    let visit =
        all["bookings"].as_array().unwrap().iter().find(|it| it["title"] == "Visit").unwrap();
    says(&core, &["event", "cancel", visit["uid"].as_str().unwrap()]);
    wait_for("the room", || Ok(state_of(&core, "Lunch")? == "settled")).unwrap();
    assert_eq!(says(&core, &["conflicts"]), "nothing needs a decision\n");
}

#[test]
fn what_can_not_be_booked_is_refused_with_a_reason() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].dir();
    let refuses = |args: &[&str], why: &str| {
        let said = fasti().says(core, args).unwrap();
        assert!(said.status == 1 && said.err.contains(why), "{args:?}: {}", said.err);
    };
    let start = ["--start", "2024-05-06T09:00", "--title", "x"];
    refuses(&[&["book", "Room 9"], &start[..]].concat(), "there is no resource");
    assert!(says(core, &["resource", "list"]).starts_with("nothing to book"));
    says(core, &["resource", "add", "Room 1"]);
    refuses(&["resource", "add", "Van", "--stakeholders", "Nowhere"], "there is no member");
    refuses(&["resource", "add", "Van", "--capacity", "0"], "capacity");
    refuses(&["book", "Room 1", "--event", "nothing"], "there is no event");
    refuses(&["free", "Room 1", "--zone", "Denver"], "IANA");
}
