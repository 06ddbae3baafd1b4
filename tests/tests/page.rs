//! The web page, in a real browser against real nodes: the stories themselves are in crates/doors/page/tests. And that
//! what is in the binary is what its sources make.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use fasti_tests::{Cluster, Fasti};
use serde_json::{Value, json};

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/doors/page")
}

/// A tool of the page's, with what it needs installed as the lock file says.
fn npx(args: &[&str]) -> Command {
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm.lock")).unwrap();
    lock.lock().unwrap();
    let wanted = fs::read_to_string(page().join("package-lock.json")).unwrap();
    let mark = page().join("node_modules/installed");
    if !fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
        run(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
            .current_dir(page()));
        // Last: what was installed halfway is begun anew.
        fs::write(mark, wanted).unwrap();
    }
    let mut command = Command::new("npx");
    command.arg("--no-install").args(args).current_dir(page());
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{command:?} gave {status:?}. These tests need node 20 with npm, a registry that it reaches, and chromium; \
         .ci/test installs them."
    );
}

/// Runs one file of stories with these offices' nodes.
fn tell(stories: &str, offices: &[&str]) {
    let fasti = Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1");
    let cluster = Cluster::of(&fasti, offices).unwrap();
    let nodes: Vec<Value> = cluster
        .nodes
        .iter()
        .map(|node| {
            let (http, token) = node.api().address();
            let (name, office, dir) = (&node.name, &node.office, node.dir());
            json!({ "name": name, "http": http, "token": token, "office": office, "dir": dir })
        })
        .collect();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page").join(stories);
    run(npx(&["playwright", "test", &format!("tests/{stories}.spec.ts")])
        .env("FASTI_NODES", json!(nodes).to_string())
        .env("FASTI_PROGRAM", env!("CARGO_BIN_EXE_fasti-under-test"))
        .env("FASTI_PAGE_PICTURES", out.join("pictures"))
        .env("FASTI_PAGE_RESULTS", out.join("results")));
}

#[test]
fn people_use_the_page_at_two_offices() {
    tell("stories", &["Core", "Denver"]);
}

#[test]
fn everyone_can_use_it() {
    tell("access", &["Core"]);
}

#[test]
fn it_can_be_used_soon_with_many_events() {
    tell("speed", &["Core"]);
}

#[test]
#[ignore = "makes the pictures for the documentation: tests/page/pictures"]
fn pictures() {
    tell("picture", &["Core", "Denver"]);
}

#[test]
fn the_sources_are_sound_and_make_what_is_in_the_binary() {
    run(&mut npx(&["svelte-check", "--tsconfig", "./tsconfig.json", "--fail-on-warnings"]));
    let folder = tempfile::tempdir().unwrap();
    run(npx(&["vite", "build", "--logLevel", "warn"]).env("FASTI_PAGE_OUT", folder.path()));
    let (built, kept) = (files(folder.path()), files(&page().join("dist")));
    assert_eq!(built.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for (name, bytes) in built {
        assert!(
            kept[&name] == bytes,
            "{name} is not what the sources make: npm run build in crates/doors/page, and commit dist"
        );
    }
}

#[test]
fn a_link_into_the_page_is_printed() {
    let fasti = Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"));
    let cluster = Cluster::found(&fasti, "Core").unwrap();
    let node = &cluster.nodes[0];
    let link = fasti.prints(node.dir(), &["login"]);
    let (http, _) = node.api().address();
    let code = link.trim().strip_prefix(&format!("{http}/#/login/")).unwrap();
    let log_in = || {
        let body = json!({ "code": code }).to_string();
        let headers = [("content-type", "application/json")];
        node.api().ask("POST", "/v1/session", &headers, &body).unwrap()
    };
    let begun = log_in();
    assert_eq!((begun.status, &begun.body["caller"]), (201, &json!("operator")));
    assert_eq!(log_in().status, 401, "it is good once");
    let json: Value =
        serde_json::from_str(&fasti.prints(node.dir(), &["login", "--json"])).unwrap();
    assert!(json["link"].as_str().unwrap().contains("/#/login/"), "{json}");
}

#[test]
fn the_policies_of_a_range_are_those_that_its_calendar_shows() {
    let fasti = Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"));
    let cluster = Cluster::found(&fasti, "Core").unwrap();
    let api = cluster.nodes[0].api();
    for (policy, start) in [("APRIL", "2030-04-30"), ("MAY", "2030-05-01")] {
        api.publish(policy, start, policy).unwrap();
    }
    let event = json!({"@type": "Event", "title": "None", "start": "2030-04-30T09:00:00"});
    api.send("POST", "/v1/events", &event).unwrap();
    let in_range = |query: &str| -> Vec<String> {
        let answer = api.get(&format!("/v1/policies?{query}")).unwrap();
        assert_eq!(answer["more"], json!(false));
        let policies = answer["policies"].as_array().unwrap().iter();
        policies.map(|it| it["policy"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(in_range("from=2030-04-01&to=2030-04-30&zone=America/Denver"), ["APRIL"]);
    assert_eq!(in_range("from=2030-05-01T00:00:00&to=2030-06-01T00:00:00"), ["MAY"]);
    assert_eq!(in_range("from=2030-01-01&to=2030-12-31").len(), 2);
    for wrong in ["from=2030-04-01", "zone=UTC", "from=x&to=y"] {
        let answer = api.ask("GET", &format!("/v1/policies?{wrong}"), &[], "").unwrap();
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

/// All files beneath a folder, by their names.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}
