//! Stories: runs that are about one thing, told with the numbers that matter.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use fasti_sim::{Options, Outcome, Scenario, Stats, run};

fn live(scenario: &str, seed: u64) -> Outcome {
    let scenario: Scenario = toml::from_str(scenario).unwrap();
    let outcome = run(&scenario, seed, Options { measure: true, ..Options::default() });
    if let Err(failure) = &outcome.result {
        panic!("{failure}");
    }
    outcome
}

#[test]
fn two_halves_edit_through_a_long_partition_and_agree_within_a_minute_of_its_end() {
    let outcome = live(
        r#"
        about = "half against half for a minute"
        offices = 8
        seconds = 75
        clients = { edit_every_ms = 200 }
        faults = { divide_at_second = 5, divide_seconds = 65 }
        "#,
        1,
    );
    assert!(outcome.stats.edits > 100);
    assert!(outcome.stats.healed_us < 60_000_000, "{:?}", outcome.stats);
}

#[test]
fn twenty_newcomers_join_a_busy_network() {
    let outcome = live(
        r#"
        about = "joins"
        offices = 3
        seconds = 60
        clients = { edit_every_ms = 300 }
        faults = { joins = 20 }
        "#,
        1,
    );
    assert_eq!(outcome.stats.joined, 20);
}

#[test]
fn in_a_mesh_every_office_gets_a_change_in_one_hop_and_once() {
    let outcome = live(
        r#"
        about = "a mesh"
        offices = 30
        seconds = 15
        clients = { edit_every_ms = 200, from_second = 2, edits_max = 50, publish_only = true }
        "#,
        1,
    );
    let figures = outcome.figures.unwrap();
    assert_eq!(figures.copies_max, 1, "{figures:?}");
    // A link of at most 100 ms, 2 ms of jitter, two commits and what else they waited for.
    assert!(figures.p99_ms < 115.0, "{figures:?}");
}

#[test]
fn on_rings_every_office_gets_a_change_at_most_four_times() {
    let outcome = live(
        r#"
        about = "rings"
        offices = 100
        seconds = 10
        clients = { edit_every_ms = 100, from_second = 3, edits_max = 30, publish_only = true }
        "#,
        1,
    );
    let figures = outcome.figures.unwrap();
    assert!(figures.copies_max <= 4, "{figures:?}");
    assert_eq!(figures.reached, figures.changes * 99);
    assert!(figures.p99_ms < 350.0, "{figures:?}");
}

/// That the oracles of removals and lies have something to look at.
#[test]
fn in_the_scenario_of_removals_all_of_it_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/members.toml");
    let scenario = Scenario::load(&path).unwrap();
    let (mut removals, mut cut, mut stayed, mut rotated, mut lies) = (0, 0, 0, 0, 0);
    for seed in 1..=8 {
        let outcome = run(&scenario, seed, Options::default());
        if let Err(failure) = &outcome.result {
            panic!("{failure}");
        }
        removals += outcome.stats.removals;
        cut += outcome.stats.cut;
        stayed += outcome.stats.stayed;
        rotated += outcome.stats.rotated;
        lies += outcome.stats.lies;
    }
    assert!(removals > 8 && cut > 8 && stayed > 8 && rotated > 2 && lies > 100);
}

/// That the oracle of bookings has something to look at, where promises are kept and where some are broken.
#[test]
fn in_the_scenarios_of_bookings_most_that_is_settled_is_looked_for() {
    let of = |name: &str, seeds: u64| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
        let scenario = Scenario::load(&path).unwrap();
        let mut totals = [0; 4];
        for seed in 1..=seeds {
            let outcome = run(&scenario, seed, Options::default());
            if let Err(failure) = &outcome.result {
                panic!("{failure}");
            }
            let Stats { decided, settled, kept, excused, .. } = outcome.stats;
            for (total, count) in totals.iter_mut().zip([decided, settled, kept, excused]) {
                *total += count;
            }
        }
        totals
    };
    let [decided, settled, kept, excused] = of("bookings.toml", 8);
    let counted = format!("{decided} decided, {settled} settled, {kept} kept, {excused} excused");
    assert!(decided > 20 && settled > 300, "{counted}");
    assert!(kept > 20 * settled && 2 * excused < settled, "{counted}");
    let [decided, settled, kept, excused] = of("all_faults.toml", 16);
    let counted = format!("{decided} decided, {settled} settled, {kept} kept, {excused} excused");
    assert!(decided > 10 && settled > 100, "{counted}");
    assert!(kept > 2 * settled && 4 * excused < 3 * settled, "{counted}");
}

/// That the oracle of deliveries has something to look at.
#[test]
fn in_the_scenario_of_deliveries_all_of_it_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/deliveries.toml");
    let scenario = Scenario::load(&path).unwrap();
    let mut totals = [0; 6];
    for seed in 17..=22 {
        let outcome = run(&scenario, seed, Options::default());
        if let Err(failure) = &outcome.result {
            panic!("{failure}");
        }
        let Stats { systems, deliveries, confirmed, dead, replayed, stale, .. } = outcome.stats;
        let counts = [systems, deliveries, confirmed, dead, replayed, stale];
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    let [systems, deliveries, confirmed, dead, replayed, stale] = totals;
    let counted = format!(
        "{systems} systems, {deliveries} tried, {confirmed} confirmed, {dead} dead, {replayed} replayed, {stale} stale"
    );
    assert!(systems > 60 && deliveries > 5000 && confirmed > 3000, "{counted}");
    assert!(deliveries > confirmed + 500, "{counted}");
    assert!(dead > 10 && replayed > 50 && stale > 50, "{counted}");
}
