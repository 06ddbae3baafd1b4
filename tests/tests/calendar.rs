//! The calendar on the terminal: what takes place when, and what was approved, with real nodes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use fasti_tests::{Cluster, Fasti};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

#[track_caller]
fn says(dir: &Path, args: &[&str]) -> String {
    fasti().prints(dir, args)
}

#[track_caller]
fn refuses(dir: &Path, args: &[&str], why: &str) {
    let said = fasti().says(dir, args).unwrap();
    assert_eq!(said.status, 1, "{args:?}: {}", said.out);
    assert!(said.err.contains(why), "{args:?}: {}", said.err);
}

#[test]
fn the_agenda_tells_days_times_and_states_in_the_readers_zone() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].dir();
    says(
        core,
        &[
            "publish",
            "policy_start",
            "--policy",
            "YSP",
            "--start",
            "2024-04-01",
            "--title",
            "Youth sports",
        ],
    );
    says(core, &["approve", "YSP"]);
    says(core, &["publish", "policy_update", "--policy", "YSP", "--end", "2024-04-02"]);
    let round = json!({"@type": "Event", "title": "Round", "start": "2024-03-29T09:00:00",
        "timeZone": "Europe/Berlin", "duration": "PT1H", "status": "tentative",
        "locations": {"1": {"@type": "Location", "name": "Hall"}},
        "recurrenceRules": [{"@type": "RecurrenceRule", "frequency": "weekly", "byDay": [
            {"@type": "NDay", "day": "mo"}, {"@type": "NDay", "day": "fr"}]}],
        "recurrenceOverrides": {"2024-04-05T09:00:00": {"start": "2024-04-05T23:30:00"}}});
    cluster.nodes[0].api().send("POST", "/v1/events", &round).unwrap();
    let task =
        json!({"@type": "Task", "uid": "report", "title": "Report", "due": "2024-04-01T17:00:00"});
    cluster.nodes[0].api().send("PUT", "/v1/events/report", &task).unwrap();

    let range = ["--from", "2024-03-29", "--to", "2024-04-06"];
    let agenda = says(core, &[&["agenda", "--zone", "America/Denver"], &range[..]].concat());
    // In Denver clocks changed weeks before: an hour later after Berlin's did.
    let wanted = "\
Friday, 29 March 2024
  02:00 - 03:00  Round  Hall  tentative

Monday, 1 April 2024
  until 2 Apr    Youth sports  changed since approval
  01:00 - 02:00  Round  Hall  tentative
  17:00          Report  to do

Friday, 5 April 2024
  15:30 - 16:30  Round  Hall  tentative

times in America/Denver
";
    assert_eq!(agenda, wanted);
    let berlin = says(core, &[&["agenda", "--zone", "Europe/Berlin"], &range[..]].concat());
    assert!(berlin.contains("  23:30 - ...    Round  Hall  tentative\n"), "{berlin}");
    let other =
        says(core, &["agenda", "--zone", "UTC", "--from", "2024-06-01", "--to", "2024-06-01"]);
    assert_eq!(other, "nothing from 2024-06-01 to 2024-06-01\ntimes in UTC\n");
    let policies =
        says(core, &[&["agenda", "--zone", "UTC", "--calendar", "policies"], &range[..]].concat());
    assert!(policies.contains("Youth sports") && !policies.contains("Round"), "{policies}");
    let json: Value = serde_json::from_str(&says(
        core,
        &[&["agenda", "--zone", "UTC", "--json"], &range[..]].concat(),
    ))
    .unwrap();
    assert_eq!(json["occurrences"][0]["starts_at"], "2024-03-29T08:00:00Z");
    refuses(core, &["agenda", "--zone", "Denver"], "is no IANA time zone");

    let list = says(core, &[&["event", "list"], &range[..]].concat());
    assert_eq!(list.matches("Round").count(), 3, "{list}");
    assert_eq!(says(core, &["event", "list"]).matches("Round").count(), 1);
}

#[test]
fn a_policy_is_proposed_approved_and_changed_and_every_office_says_so() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.join("Denver").unwrap();
    let [core, denver] = [0, 1].map(|at| cluster.nodes[at].dir().to_owned());
    cluster.wait_until_equal().unwrap();
    says(
        &denver,
        &[
            "publish",
            "policy_start",
            "--policy",
            "YSP",
            "--start",
            "2024-04-01",
            "--title",
            "Youth sports",
        ],
    );
    assert!(says(&denver, &["propose", "YSP"]).contains("state   proposed"));
    refuses(&denver, &["approve", "YSP"], "only approvers approve policies");
    refuses(&core, &["approve", "OTHER"], "there is no policy");
    cluster.wait_until_equal().unwrap();
    let shown: Value = serde_json::from_str(&says(&core, &["policies", "YSP", "--json"])).unwrap();
    assert_eq!(
        (&shown["state"], &shown["proposed"][0]["by"][0]["name"]),
        (&json!("proposed"), &json!("Denver"))
    );
    // What was looked at is what is signed.
    let seen = shown["etag"].as_str().unwrap();
    says(&denver, &["publish", "policy_update", "--policy", "YSP", "--start", "2024-04-02"]);
    cluster.wait_until_equal().unwrap();
    refuses(&core, &["approve", "YSP", "--if-match", seen], "etag");
    assert!(says(&core, &["approve", "YSP"]).contains("signed  by Core at "));
    cluster.wait_until_equal().unwrap();
    let list = says(&denver, &["policies"]);
    assert!(list.contains("YSP     approved  Youth sports  Core"), "{list}");
    says(&denver, &["publish", "policy_update", "--policy", "YSP", "--title", "Sports"]);
    cluster.wait_until_equal().unwrap();
    let shown = says(&core, &["policies", "YSP"]);
    assert!(shown.contains("approved, changed since"), "{shown}");
    assert!(shown.contains("title: approved Youth sports, now Sports"), "{shown}");
    let other = ["publish", "policy_start", "--policy", "NEW", "--start", "2024-05-01"];
    says(&core, &other);
    says(&core, &["approve", "NEW", "--supersedes", "YSP"]);
    cluster.wait_until_equal().unwrap();
    let shown = says(&denver, &["policies", "YSP"]);
    assert!(shown.contains("superseded") && shown.contains("superseded by  NEW"), "{shown}");
    assert!(says(&core, &["withdraw", "NEW"]).contains("withdrawn"));
}

#[test]
fn compliance_reports_what_was_approved_and_who_has_it_and_who_has_not() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.join("Denver").unwrap();
    cluster.join("Boston").unwrap();
    let [core, denver, _] = [0, 1, 2].map(|at| cluster.nodes[at].dir().to_owned());
    cluster.wait_until_equal().unwrap();
    // Boston is away.
    cluster.nodes[2].stop().unwrap();
    says(
        &denver,
        &[
            "publish",
            "policy_start",
            "--policy",
            "YSP",
            "--start",
            "2024-04-01",
            "--title",
            "=Youth <sports>",
        ],
    );
    cluster.nodes[0].api().event("policy-YSP").unwrap();
    fasti_tests::wait_for("the policy at Core", || {
        Ok(cluster.nodes[0].api().event("policy-YSP")?.is_some())
    })
    .unwrap();
    says(&core, &["approve", "YSP"]);
    let holds = |name: &str| -> anyhow::Result<bool> {
        let report = cluster.nodes[0].api().get("/v1/report?policy=YSP")?;
        let holders = report["policies"][0]["holders"].as_array().unwrap().clone();
        Ok(holders.iter().any(|it| it["name"] == name && it["since"].is_i64()))
    };
    fasti_tests::wait_for("Denver's word", || holds("Denver")).unwrap();
    assert!(!holds("Boston").unwrap());
    let text = says(&core, &["report", "--policy", "YSP"]);
    assert!(text.contains("YSP  =Youth <sports>  (approved)"), "{text}");
    assert!(text.contains("held by   2 of 3 offices"), "{text}");
    assert!(text.contains("Boston: NOT KNOWN TO HOLD IT"), "{text}");
    assert!(text.contains("written   by Denver at "), "{text}");
    let csv = says(&core, &["report", "--format", "csv"]);
    assert!(
        csv.contains("\r\nYSP,approved,false,") && csv.contains(",'=Youth <sports>,2024-04-01,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 4, "{csv}");
    let html = says(&core, &["report", "--format", "html"]);
    assert!(
        html.starts_with("<!doctype html>") && html.contains("=Youth &lt;sports&gt;"),
        "{html}"
    );
    let json: Value = serde_json::from_str(&says(&core, &["report", "--json"])).unwrap();
    // The same entries give the same at another office, whatever it holds besides.
    let heads: Vec<&str> =
        json["heads"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let as_of = heads.join(",");
    says(&denver, &["event", "edit", "policy-YSP", "title=Moved"]);
    let query = ["report", "--json", "--policy", "YSP", "--as-of", &as_of];
    let [here, there]: [Value; 2] =
        [&core, &denver].map(|dir| serde_json::from_str(&says(dir, &query)).unwrap());
    assert_eq!(here["policies"], there["policies"]);
    assert_eq!(here["policies"][0]["changed"], false);
    let before: Value =
        serde_json::from_str(&says(&core, &["report", "--json", "--as-of", "2020-01-01"])).unwrap();
    assert_eq!(before["policies"], json!([]));
    refuses(&core, &["report", "--as-of", "yesterday"], "as_of is a day");
    refuses(&core, &["report", "--policy", "NO"], "there is no policy");
}

#[test]
fn a_bundle_is_checked_where_there_is_no_node_and_tells_what_is_wrong_with_it() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.join("Denver").unwrap();
    let [core, denver] = [0, 1].map(|at| cluster.nodes[at].dir().to_owned());
    cluster.wait_until_equal().unwrap();
    let publish = [
        "publish",
        "policy_start",
        "--policy",
        "YSP",
        "--start",
        "2024-04-01",
        "--title",
        "Youth sports",
    ];
    says(&denver, &publish);
    cluster.wait_until_equal().unwrap();
    says(&core, &["approve", "YSP"]);
    says(&denver, &["publish", "policy_start", "--policy", "OTHER", "--start", "2024-05-01"]);
    cluster.wait_until_equal().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let report = std::process::Command::new(env!("CARGO_BIN_EXE_fasti-under-test"))
        .args(["report", "--format", "bundle", "--policy", "YSP", "--dir"])
        .arg(&denver)
        .output()
        .unwrap();
    assert!(report.status.success(), "{report:?}");
    let bundle = report.stdout;
    std::fs::write(path("report.fasti"), &bundle).unwrap();
    let status: Value = serde_json::from_str(&says(&denver, &["status", "--json"])).unwrap();
    let network = status["network"].as_str().unwrap();
    drop(cluster);

    let empty = elsewhere.path().join("no folder");
    let told = says(&empty, &["verify", &path("report.fasti"), "--network", network]);
    for part in [
        "proves what it says",
        network,
        "by Denver",
        "YSP  Youth sports  (approved)",
        "by Core at",
        "held by   2 of 2 offices",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let json = says(&empty, &["verify", &path("report.fasti"), "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["network"], &json["report"]["policies"][0]["policy"]),
        (&json!(network), &json!("YSP"))
    );
    assert!(!empty.exists());

    let other = "00".repeat(32);
    refuses(
        &empty,
        &["verify", &path("report.fasti"), "--network", &other],
        "about another network",
    );
    refuses(&empty, &["verify", &path("nothing")], "can't be read");
    for (name, change, why) in [
        ("short", (|it: &mut Vec<u8>| it.truncate(it.len() - 40)) as fn(&mut Vec<u8>), "cut short"),
        (
            "flipped",
            |it| {
                let middle = it.len() / 2;
                it[middle] ^= 1;
            },
            "damaged on its way",
        ),
        ("later", |it| it[15] += 1, "doesn't know"),
        ("foreign", |it| it[0] += 1, "no bundle"),
        ("longer", |it| it.push(0), "goes on after its end"),
    ] {
        let mut bytes = bundle.clone();
        change(&mut bytes);
        std::fs::write(path(name), bytes).unwrap();
        refuses(&empty, &["verify", &path(name)], why);
    }
}
