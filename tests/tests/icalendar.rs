//! Calendars of other programs, with the real binary: files that come in, are edited at two offices at once, and go
//! out again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use fasti_tests::{Cluster, Fasti};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

const FILE: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Other//EN\r\n\
    BEGIN:VEVENT\r\nUID:http://other.example/e/1\r\nDTSTAMP:20240101T000000Z\r\n\
    DTSTART;VALUE=DATE-TIME;TZID=America/Denver:20240401T090000\r\nDURATION:PT60M\r\nSUMMARY;LANGUAGE=en:Round\r\n\
    LOCATION:Hall\r\nX-ROOM;X-A=1:seven\r\nEND:VEVENT\r\n\
    BEGIN:VJOURNAL\r\nUID:j\r\nEND:VJOURNAL\r\n\
    BEGIN:VTODO\r\nUID:t1\r\nDTSTAMP:20240101T000000Z\r\nDUE;VALUE=DATE:20240430\r\nSUMMARY:Report\r\nEND:VTODO\r\n\
    END:VCALENDAR\r\n";

#[track_caller]
fn says(dir: &Path, args: &[&str], problems: &str) -> String {
    let said = fasti().says(dir, args).unwrap();
    assert_eq!((said.status, said.err.as_str()), (0, problems), "{args:?}: {}", said.out);
    said.out
}

#[track_caller]
fn exported(dir: &Path) -> Vec<String> {
    says(dir, &["export"], "").replace("\r\n ", "").lines().map(str::to_owned).collect()
}

#[test]
fn a_calendar_comes_in_is_edited_at_two_offices_at_once_and_goes_out_with_both_edits() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.join("Denver").unwrap();
    let [core, denver] = [0, 1].map(|at| cluster.nodes[at].dir().to_owned());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.ics");
    let name = file.to_str().unwrap();
    std::fs::write(&file, FILE).unwrap();

    let problem = format!("{name}:13: VJOURNAL is neither an event nor a task, and is not kept\n");
    assert_eq!(says(&core, &["import", name, "--dry-run"], &problem), "2 events can be imported\n");
    let said = says(&core, &["import", name, "--calendar", "other"], &problem);
    assert_eq!(said, "2 events imported: 2 new, 0 known before\n");
    let again: Value = serde_json::from_str(&says(&core, &["import", name, "--json"], "")).unwrap();
    assert_eq!((&again["created"], &again["updated"]), (&json!(0), &json!(2)));
    assert_eq!(again["problems"][0]["line"], 13);
    cluster.wait_until_equal().unwrap();
    let lines = exported(&denver);
    for line in FILE.lines().filter(|line| !line.contains("PRODID")) {
        let is_journal = line.contains("VJOURNAL") || line == "UID:j";
        assert_eq!(lines.contains(&line.to_owned()), !is_journal, "{line}: {lines:#?}");
    }
    // What was imported stays in its calendar, and is an event like any other.
    let shown = cluster.nodes[1].api().event("http:%2F%2Fother.example%2Fe%2F1").unwrap().unwrap();
    assert_eq!((&shown["fasti:calendar"], &shown["title"]), (&json!("other"), &json!("Round")));
    assert!(says(&denver, &["export", "--calendar", "none"], "").lines().count() == 4);

    // One edits, and the other takes in a newer file, without hearing of each other.
    cluster.nodes[1].stop().unwrap();
    says(&core, &["event", "edit", "http://other.example/e/1", "title=All round"], "");
    cluster.nodes[0].stop().unwrap();
    cluster.nodes[1].start().unwrap();
    std::fs::write(
        &file,
        FILE.replace("LOCATION:Hall", "LOCATION:Annex").replace("seven", "eight"),
    )
    .unwrap();
    says(&denver, &["import", name], &problem);
    cluster.nodes[0].start().unwrap();
    cluster.wait_until_equal().unwrap();
    for dir in [&core, &denver] {
        let lines = exported(dir);
        for line in ["SUMMARY:All round", "LOCATION:Annex", "X-ROOM;X-A=1:eight", "DURATION:PT60M"]
        {
            assert!(lines.contains(&line.to_owned()), "{line}: {lines:#?}");
        }
        assert_eq!(says(dir, &["conflicts"], ""), "nothing needs a decision\n");
    }
    assert_eq!(exported(&core), exported(&denver));
}

#[test]
fn a_file_without_events_says_so() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].dir();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no.ics");
    std::fs::write(&file, "hello\n").unwrap();
    let name = file.to_str().unwrap();
    let said = fasti().says(core, &["import", name]).unwrap();
    assert_eq!(said.status, 1);
    assert!(
        said.err.contains(&format!("{name}:1: expected NAME:VALUE, found \"hello\"")),
        "{}",
        said.err
    );
    assert!(said.err.contains("has no event or task that could be imported"), "{}", said.err);
    let said = fasti().says(core, &["import", "/no/such/file.ics"]).unwrap();
    assert!(said.status == 1 && said.err.contains("can't be read"), "{}", said.err);
}
