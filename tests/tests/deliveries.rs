//! External systems at real nodes: they get every change, whoever fails meanwhile, and everyone sees who has it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use fasti_tests::{Cluster, Fasti, Node, System, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

fn subscribe(node: &Node, name: &str, system: &System) {
    let args = ["subscribe", name, &system.url, "--secret", system.secret()];
    fasti().prints(node.dir(), &args);
}

fn told(dir: &Path, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    serde_json::from_str(&fasti().prints(dir, &args)).unwrap()
}

fn owed(node: &Node) -> u64 {
    let status = told(node.dir(), &["status"]);
    status["deliveries"]["pending"].as_u64().unwrap()
}

#[test]
fn each_office_s_system_gets_a_policy_and_every_office_sees_that() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    let systems: Vec<System> = (0..3).map(|_| System::start(0).unwrap()).collect();
    for (node, system) in cluster.nodes.iter().zip(&systems) {
        subscribe(node, "Schedule", system);
    }
    let core = &cluster.nodes[0];
    core.api().publish("YSP-2024", "2024-04-01", "Youth sports").unwrap();
    let uid = "policy-YSP-2024";
    for system in &systems {
        let is_settled = || {
            let taken = system.taken();
            Ok(taken.events.get(uid).is_some_and(|it| it.1 == "settled"))
        };
        wait_for("a settled delivery", is_settled).unwrap();
        let taken = system.taken();
        assert_eq!(taken.events[uid].2["start"], "2024-04-01T00:00:00");
        assert_eq!((taken.failed, taken.repeats, taken.stale, taken.refused), (0, 0, 0, 0));
    }
    let reach = |node: &Node| {
        let reach = told(node.dir(), &["status", "--policy", "YSP-2024"]);
        (reach["held_by"].clone(), reach["confirmed_by"].clone(), reach["systems"].clone())
    };
    for node in &cluster.nodes {
        let all = || Ok(reach(node) == (json!(3), json!(3), json!(3)));
        wait_for("every office to hear of it", all).unwrap();
        assert_eq!(told(node.dir(), &["status"])["systems"].as_array().unwrap().len(), 3);
    }
    // One system goes down: it is owed what comes, and everyone sees who is missing.
    systems[2].fail(1000);
    core.api().publish("YSP-2024", "2024-05-01", "Youth sports").unwrap();
    let missing = |node: &Node| {
        let reach = told(node.dir(), &["status", "--policy", "YSP-2024"]);
        let offices = reach["offices"].as_array().unwrap().clone();
        let pending = |it: &Value| it["systems"][0]["status"] == "pending";
        let names = offices.iter().filter(|it| pending(it)).map(|it| it["name"].clone());
        names.collect::<Vec<_>>()
    };
    for node in &cluster.nodes {
        let seen = || Ok(missing(node) == ["Boston"] && reach(node).1 == json!(2));
        wait_for("who is missing", seen).unwrap();
    }
    let shown = fasti().prints(core.dir(), &["status", "--policy", "YSP-2024"]);
    assert!(shown.contains("held by 3 of 3 offices, confirmed by 2 of 3 systems"), "{shown}");
    assert!(shown.contains("not yet, due "), "{shown}");
    let boston = &cluster.nodes[2];
    let listed = fasti().prints(boston.dir(), &["deliveries"]);
    assert!(listed.contains("503 Service Unavailable: as it was told to"), "{listed}");
    let args = ["deliveries", "--system", "Schedule", "--event", uid, "--body"];
    let body: Value = serde_json::from_str(&fasti().prints(boston.dir(), &args)).unwrap();
    assert_eq!(
        (&body["type"], &body["data"]["start_date"]),
        (&json!("policy_start"), &json!("2024-05-01"))
    );
    // Every office can tell what it is that Boston's system lacks.
    for node in &cluster.nodes {
        let listed = fasti().prints(node.dir(), &["deliveries", "--office", "Boston"]);
        assert!(listed.contains("Schedule") && listed.contains(uid), "{listed}");
    }
    systems[2].fail(0);
    fasti().prints(boston.dir(), &["subscriptions", "resume", "Schedule"]);
    let has_it = || Ok(systems[2].taken().events[uid].2["start"] == "2024-05-01T00:00:00");
    wait_for("what it was owed", has_it).unwrap();
    wait_for("nothing to be owed", || Ok(owed(boston) == 0)).unwrap();
    let body = fasti().says(boston.dir(), &args).unwrap();
    assert!(body.status == 1 && body.err.contains("nothing of event"), "{body:?}");
    let listed = told(boston.dir(), &["deliveries", "--event", uid]);
    let delivery = &listed["deliveries"][0];
    assert_eq!(delivery["status"], "confirmed");
    assert_eq!(delivery["applied"], delivery["version"].to_string());
}

/// With `FASTI_DELIVERIES` as many as it says instead.
#[test]
fn none_is_lost_though_the_system_fails_half_the_time_and_the_node_is_killed_again_and_again() {
    let count: usize =
        std::env::var("FASTI_DELIVERIES").map_or(600, |count| count.parse().unwrap());
    let mut cluster = Cluster::found(&fasti(), "Denver").unwrap();
    let system = System::start(500).unwrap();
    subscribe(&cluster.nodes[0], "Schedule", &system);
    let mut published = 0;
    for kill in 0..10 {
        let node = &mut cluster.nodes[0];
        let until = count * (kill + 1) / 10;
        while published < until {
            let end = until.min(published + 100);
            let batch: Vec<Value> = (published..end)
                .map(|at| {
                    json!({"specversion": "1.0", "id": at.to_string(), "source": "/test", "type": "policy_start",
                        "data": {"policy_id": format!("P{at}"), "start_date": "2024-04-01"}})
                })
                .collect();
            node.api().publish_batch(&batch).unwrap();
            published = end;
        }
        // In the middle of delivering, wherever that is.
        let before = system.taken().requests;
        let some_came = || Ok(system.taken().requests > before + 20 || owed(node) == 0);
        wait_for("some deliveries", some_came).unwrap();
        node.kill().unwrap();
        node.start().unwrap();
    }
    let node = &cluster.nodes[0];
    let began = std::time::Instant::now();
    while owed(node) > 0 {
        // What waits for its next attempt needn't: that it is tried at all is what counts here.
        fasti().prints(node.dir(), &["subscriptions", "resume", "Schedule"]);
        assert!(began.elapsed().as_secs() < 600, "{} are still owed", owed(node));
    }
    let taken = system.taken();
    assert_eq!(taken.events.len(), count);
    assert!(taken.failed as usize > count / 3, "{}", taken.failed);
    assert_eq!(taken.refused, 0);
    let confirmed = told(node.dir(), &["deliveries", "--status", "confirmed", "--limit", "1000"]);
    assert_eq!(confirmed["deliveries"].as_array().unwrap().len(), count.min(1000));
    println!(
        "{count} events: {} requests, {} failed, {} repeats, {} stale",
        taken.requests, taken.failed, taken.repeats, taken.stale
    );
}

#[test]
fn a_node_that_was_restored_tells_its_systems_everything_again() {
    let mut cluster = Cluster::found(&fasti(), "Denver").unwrap();
    let system = System::start(0).unwrap();
    let file = cluster.root().join("denver.backup");
    let again = cluster.root().join("again");
    let node = &mut cluster.nodes[0];
    subscribe(node, "Schedule", &system);
    node.api().publish("A", "2024-04-01", "A").unwrap();
    wait_for("the delivery", || Ok(system.count().1 == 1)).unwrap();
    fasti().prints(node.dir(), &["backup", file.to_str().unwrap()]);
    let before = system.taken().events["policy-A"].clone();
    node.stop().unwrap();
    fasti().prints(&again, &["restore", file.to_str().unwrap()]);
    let mut node = Node::new(&fasti(), "Denver", &again);
    node.start().unwrap();
    let is_told = || Ok(system.taken().events["policy-A"].0 > before.0);
    wait_for("to be told again", is_told).unwrap();
    assert_eq!(system.taken().events["policy-A"].2, before.2);
    node.stop().unwrap();
}

#[test]
fn subscriptions_are_the_operator_s_and_keep_their_secrets() {
    let cluster = Cluster::found(&fasti(), "Denver").unwrap();
    let node = &cluster.nodes[0];
    // The shortest that there is, as the API takes it.
    let wanted = json!({ "name": "NMB-Office-1", "callback_url": "https://nobody.invalid/fasti" });
    let made = node.api().send("POST", "/v1/subscriptions", &wanted).unwrap();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let secret = made["secret"].as_str().unwrap();
    let shown = node.api().get("/v1/subscriptions/NMB-Office-1").unwrap();
    assert_eq!(shown["state"], "active");
    for shown in
        [shown, node.api().get("/v1/status").unwrap(), node.api().get("/v1/subscriptions").unwrap()]
    {
        assert!(!shown.to_string().contains(secret), "{shown}");
    }
    let all = fasti().prints(node.dir(), &["subscriptions"]);
    assert!(all.contains("NMB-Office-1") && all.contains("https://nobody.invalid/fasti"), "{all}");
    let said = fasti().says(node.dir(), &["subscriptions", "test", "NMB-Office-1"]).unwrap();
    assert!(said.status == 1 && said.err.contains("not delivered"), "{said:?}");
    let said = fasti().says(node.dir(), &["subscribe", "x", "gopher://x"]).unwrap();
    assert!(said.status == 1 && said.err.contains("https://"), "{said:?}");
    let said =
        fasti().says(node.dir(), &["subscribe", "NMB-Office-1", "https://x.example/"]).unwrap();
    assert!(said.status == 1 && said.err.contains("already"), "{said:?}");
    let rotated = told(node.dir(), &["subscriptions", "rotate", "NMB-Office-1"]);
    assert_ne!(rotated["secret"], made["secret"]);
    fasti().prints(node.dir(), &["subscriptions", "pause", "NMB-Office-1"]);
    assert_eq!(told(node.dir(), &["subscriptions", "show", "NMB-Office-1"])["state"], "paused");
    fasti().prints(
        node.dir(),
        &[
            "subscriptions",
            "edit",
            "NMB-Office-1",
            "--name",
            "CRM",
            "--types",
            "policy_start,policy_end",
        ],
    );
    let shown = told(node.dir(), &["subscriptions", "show", "CRM"]);
    assert_eq!(shown["types"], json!(["policy_end", "policy_start"]));
    fasti().prints(node.dir(), &["subscriptions", "remove", "CRM"]);
    assert_eq!(node.api().get("/v1/subscriptions").unwrap(), json!({ "subscriptions": [] }));
    let numbers = node.api().text("/metrics").unwrap();
    assert!(
        numbers.contains("fasti_member_connected") || numbers.contains("fasti_events 0"),
        "{numbers}"
    );
}
