//! The same seed gives the same trace, in one process and in two.

use std::path::{Path, PathBuf};
use std::process::Command;

use fasti_sim::{Options, Scenario, run};

fn everything() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/everything.toml")
}

/// The trace of a run in a process of its own.
fn trace_of_another_process(seed: u64, mutation: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_fasti-sim"))
        .args(["replay", "--quiet", "--seed", &seed.to_string(), "--mutation", mutation])
        .arg("--scenario")
        .arg(everything())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find(|line| line.starts_with("trace ")).unwrap_or(&text).to_owned()
}

#[test]
fn two_processes_live_through_the_same() {
    for seed in [1, 2, 3] {
        let first = trace_of_another_process(seed, "none");
        assert_eq!(first, trace_of_another_process(seed, "none"), "seed {seed}");
        let here = run(&Scenario::load(&everything()).unwrap(), seed, Options::default());
        assert_eq!(first, format!("trace {}", hex::encode(here.trace)), "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_life() {
    let scenario = Scenario::load(&everything()).unwrap();
    let trace = |seed| run(&scenario, seed, Options::default()).trace;
    assert_ne!(trace(1), trace(2));
}

/// The mutation that no invariant sees: what is decided by the order of a hash map.
#[test]
fn the_order_of_a_hash_map_shows_in_the_trace() {
    let differs = |seed| {
        trace_of_another_process(seed, "hash-order") != trace_of_another_process(seed, "hash-order")
    };
    assert!((1..=3).any(differs), "a decision by hash order went unnoticed");
}
