//! Some 1,250 real files: those that come with the crate `calcard` and with the source packages of Python's
//! `icalendar` and `recurring-ical-events`. They are used where their packages lie. What is read of them is written
//! again, and read again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use calcard::icalendar::ICalendarComponentType;
use fasti_calendar::{Object, ical};
use serde_json::json;

/// Packages of Python's, which are fetched once.
const SOURCES: [&str; 2] = ["icalendar==7.3.2", "recurring-ical-events==3.8.2"];

fn corpus() -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(&calcard_folder().join("resources"), &mut files);
    let calcards = files.len();
    for package in SOURCES {
        walk(&source_of(package), &mut files);
    }
    let found = (calcards, files.len() - calcards);
    assert!(found.0 >= 990 && found.1 >= 250, "only {found:?} files");
    files.sort();
    files
}

fn run(command: &mut Command) -> Vec<u8> {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {said}");
    output.stdout
}

/// Where cargo keeps the sources of the crate.
fn calcard_folder() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let metadata: serde_json::Value = serde_json::from_slice(&run(&mut cargo)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let calcard = packages.iter().find(|it| it["name"] == "calcard").unwrap();
    Path::new(calcard["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

fn source_of(package: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    if !folder.exists() {
        let fetched = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:", "--dest"]);
        run(pip.arg(fetched.path()).arg(package));
        let archive = std::fs::read_dir(fetched.path()).unwrap().next().unwrap().unwrap().path();
        run(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(fetched.path()));
        // Whole or not at all; another test may have been faster.
        let _ = std::fs::rename(fetched.keep(), &folder);
    }
    folder
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|it| it.eq_ignore_ascii_case("ics")) {
            files.push(path);
        }
    }
}

/// The lines of a file, put together where they were folded. Written apart from the program that is tested.
fn unfolded(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.first(), lines.last_mut()) {
            (Some(b' ' | b'\t'), Some(last)) => last.extend_from_slice(&line[1..]),
            _ => lines.push(line.to_vec()),
        }
    }
    let latin1 = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    lines
        .into_iter()
        .map(|it| String::from_utf8(it).unwrap_or_else(|e| latin1(e.as_bytes())))
        .collect()
}

/// The lines of each event and task, sorted.
fn components(lines: &[String]) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let (mut depth, mut lines_of) = (0, Vec::new());
    for line in lines {
        let upper = line.trim_end().to_ascii_uppercase();
        match depth {
            0 if matches!(&*upper, "BEGIN:VEVENT" | "BEGIN:VTODO") => depth = 1,
            0 => {}
            1 if upper.starts_with("END:") => {
                depth = 0;
                let mut whole = std::mem::take(&mut lines_of);
                whole.sort_unstable();
                found.push(whole);
            }
            _ => {
                depth += usize::from(upper.starts_with("BEGIN:"));
                depth -= usize::from(upper.starts_with("END:"));
                if !upper.is_empty() {
                    lines_of.push(line.as_str());
                }
            }
        }
    }
    found
}

/// Whether a component has the lines of one that came, and at most what is required besides.
fn has_lines_of(written: &[&str], came: &[Vec<&str>]) -> bool {
    let required = |line: &&&str| line.starts_with("UID:") || line.starts_with("DTSTAMP:");
    came.iter().any(|came| {
        let mut rest: Vec<&str> = written.to_vec();
        let all = came.iter().all(|line| {
            rest.iter().position(|it| it == line).map(|place| rest.swap_remove(place)).is_some()
        });
        all && rest.iter().all(|line| required(&line))
    })
}

fn meaning(event: &Object) -> Object {
    let mut event = event.clone();
    event.shift_remove("fasti:icalendar");
    event
}

#[test]
fn every_event_comes_back_with_its_meaning_and_its_lines() {
    let (mut events, mut with_all_lines) = (0, 0);
    for file in corpus() {
        let name = file.display();
        let bytes = std::fs::read(&file).unwrap();
        let contents = ical::read(&bytes);
        let lines = unfolded(&bytes);
        let came = components(&lines);
        for problem in &contents.problems {
            assert!((1..=lines.len() + bytes.len()).contains(&problem.line), "{name}: {problem}");
            assert!(!problem.reason.is_empty());
        }
        for (_, event) in &contents.events {
            let text = ical::write(std::slice::from_ref(event));
            let again = ical::read(text.as_bytes());
            assert_eq!(again.events.len(), 1, "{name}: {text}");
            assert_eq!(meaning(&again.events[0].1), meaning(event), "{name}: {text}");
            let lines = unfolded(text.as_bytes());
            let written = components(&lines);
            events += 1;
            with_all_lines += usize::from(written.iter().all(|it| has_lines_of(it, &came)));
            assert_independent_reader_agrees(&text, written.len(), &name.to_string());
        }
    }
    println!("{with_all_lines} of {events} events have all their lines");
    assert!(events > 13_000, "only {events} events");
    assert!(with_all_lines * 1000 >= events * 998, "{with_all_lines} of {events}");
}

fn assert_independent_reader_agrees(text: &str, components: usize, name: &str) {
    let read = calcard::icalendar::ICalendar::parse(text);
    let read = read.unwrap_or_else(|error| panic!("{name}: {error:?}: {text}"));
    let kinds = [ICalendarComponentType::VEvent, ICalendarComponentType::VTodo];
    let count = read.components.iter().filter(|it| kinds.contains(&it.component_type)).count();
    assert_eq!(count, components, "{name}: {text}");
}

/// Of whatever shape the event is, its title is a line of its own.
#[test]
fn another_title_rewrites_the_title_alone() {
    let mut events = 0;
    for file in corpus() {
        for (_, event) in ical::read(&std::fs::read(&file).unwrap()).events {
            let mut edited = event.clone();
            edited.insert("title".into(), json!("Quite another title"));
            let texts = [event, edited].map(|it| ical::write(&[it]));
            let [before, after] = texts.each_ref().map(|it| unfolded(it.as_bytes()));
            let (before, after): (BTreeSet<_>, BTreeSet<_>) =
                (before.into_iter().collect(), after.into_iter().collect());
            let is_expected = |line: &&String| {
                let name = line.split([':', ';']).next().unwrap_or_default().to_ascii_uppercase();
                matches!(&*name, "SUMMARY" | "DTSTAMP" | "LAST-MODIFIED")
            };
            let changed: Vec<_> = before.symmetric_difference(&after).collect();
            let unexpected: Vec<_> = changed.iter().filter(|line| !is_expected(line)).collect();
            assert!(unexpected.is_empty(), "{}: {unexpected:?}", file.display());
            events += 1;
        }
    }
    assert!(events > 13_000, "only {events} events");
}
