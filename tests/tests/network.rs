//! Real nodes, linked over loopback.
#![allow(missing_docs, clippy::unwrap_used)]

use fasti_tests::{Cluster, Fasti, wait_for};
use serde_json::json;

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

#[test]
fn a_policy_published_at_the_core_stands_in_every_office() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    let written = cluster.nodes[0].api().publish("YSP-2024", "2024-04-01", "Youth Sports").unwrap();
    for node in &cluster.nodes {
        wait_for("the policy", || Ok(node.api().event("policy-YSP-2024")?.is_some())).unwrap();
        let event = node.api().event("policy-YSP-2024").unwrap().unwrap();
        assert_eq!(event["start"], "2024-04-01T00:00:00");
    }
    assert_eq!(written["uid"], "policy-YSP-2024");
    cluster.wait_until_equal().unwrap();
    wait_for("everyone to know that everyone has it", || {
        let status = cluster.nodes[1].api().get("/v1/status")?;
        let members = status["members"].as_array().unwrap();
        Ok(members.len() == 3 && members.iter().all(|member| member["acknowledged"] == json!(true)))
    })
    .unwrap();
}
