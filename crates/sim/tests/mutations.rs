//! The oracles bite: each bug made on purpose is found within a few seeds, as the invariant that it breaks.
//! (`Mutation::HashOrder` breaks none; `determinism.rs` finds it.)
#![allow(clippy::unwrap_used)]

use std::path::Path;

use fasti_sim::{Invariant, Mutation, Options, Scenario, run};

/// Runs with a bug until a seed fails; says as what.
fn found(name: &str, mutation: Mutation, seeds: u64) -> Option<Invariant> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let scenario = Scenario::load(&path).unwrap();
    let options = Options { mutation, ..Options::default() };
    (1..=seeds).find_map(|seed| run(&scenario, seed, options).result.err()).map(|f| f.invariant)
}

#[test]
fn an_answer_before_the_write_is_durable_is_found() {
    let found = found("crashes.toml", Mutation::AckBeforeDurable, 3);
    assert_eq!(found, Some(Invariant::AnsweredIsKept));
}

#[test]
fn a_write_that_is_called_durable_and_is_not_is_found() {
    let found = found("crashes.toml", Mutation::LyingDisk, 10);
    assert_eq!(found, Some(Invariant::AnsweredIsKept));
}

#[test]
fn a_missing_range_that_is_skipped_is_found() {
    let found = found("partitions.toml", Mutation::SkipRange, 10);
    assert_eq!(found, Some(Invariant::AllAgreeInTheEnd));
}

#[test]
fn conflicts_that_a_restart_forgets_are_found() {
    let found = found("crashes.toml", Mutation::ForgetConflicts, 20);
    assert_eq!(found, Some(Invariant::EqualFrontiersShowTheSame));
}

#[test]
fn forks_that_a_restart_forgets_are_found() {
    let found = found("forks.toml", Mutation::ForgetForks, 20);
    assert_eq!(found, Some(Invariant::EqualFrontiersShowTheSame));
}

#[test]
fn a_node_that_panics_over_garbage_is_found() {
    let found = found("garbage.toml", Mutation::PanicOnGarbage, 3);
    assert_eq!(found, Some(Invariant::NothingStopsANode));
}

#[test]
fn a_network_that_never_falls_silent_is_found() {
    let found = found("calm.toml", Mutation::Chatter, 3);
    assert_eq!(found, Some(Invariant::NothingStopsANode));
}

#[test]
fn what_a_removed_member_wrote_and_came_first_is_found_if_it_counts() {
    let found = found("members.toml", Mutation::RemovedCount, 20);
    assert_eq!(found, Some(Invariant::RemovedCountsForNothing));
}

#[test]
fn work_that_loses_its_ground_to_a_removal_is_found() {
    let found = found("members.toml", Mutation::NoVouching, 20);
    assert_eq!(found, Some(Invariant::RemovedCountsForNothing));
}

#[test]
fn a_junior_admin_who_stays_is_found() {
    let found = found("members.toml", Mutation::NoSeniority, 40);
    assert_eq!(found, Some(Invariant::RemovedCountsForNothing));
}

#[test]
fn a_fetch_that_is_trusted_to_have_brought_all_is_found() {
    let found = found("liars.toml", Mutation::TrustLast, 20);
    assert_eq!(found, Some(Invariant::AllAgreeInTheEnd));
}

#[test]
fn a_booking_that_is_settled_over_a_gap_is_found() {
    let found = found("lossy.toml", Mutation::SettleOverGap, 40);
    assert_eq!(found, Some(Invariant::SettledIsKept));
}

#[test]
fn a_booking_that_is_settled_without_what_freed_its_place_is_found() {
    let found = found("bookings.toml", Mutation::SettleWithoutDecider, 40);
    assert_eq!(found, Some(Invariant::SettledIsKept));
}

#[test]
fn a_new_stakeholder_that_is_waited_for_too_late_is_found() {
    let found = found("bookings.toml", Mutation::NewcomerTooLate, 120);
    assert_eq!(found, Some(Invariant::SettledIsKept));
}

#[test]
fn a_new_stakeholder_that_counts_too_early_is_found() {
    let found = found("bookings.toml", Mutation::NewcomerTooEarly, 60);
    assert_eq!(found, Some(Invariant::SettledIsKept));
}

#[test]
fn a_booking_that_waits_and_pushes_out_another_is_found() {
    let found = found("bookings.toml", Mutation::ReviveBeforeHeld, 10);
    assert_eq!(found, Some(Invariant::SettledIsKept));
}

#[test]
fn what_is_owed_and_a_restart_forgets_is_found() {
    let found = found("deliveries.toml", Mutation::ForgetOwed, 5);
    assert_eq!(found, Some(Invariant::NothingOwedVanishes));
}

#[test]
fn what_was_told_to_be_tentative_and_a_restart_forgets_is_found() {
    let found = found("deliveries.toml", Mutation::ForgetWatched, 5);
    assert_eq!(found, Some(Invariant::NothingOwedVanishes));
}

#[test]
fn versions_that_fall_back_in_a_restart_are_found() {
    let found = found("deliveries.toml", Mutation::VersionsFallBack, 5);
    assert_eq!(found, Some(Invariant::NothingOwedVanishes));
}

#[test]
fn a_confirmation_that_ends_what_is_newer_is_found() {
    let found = found("deliveries.toml", Mutation::ConfirmOld, 5);
    assert_eq!(found, Some(Invariant::NothingOwedVanishes));
}

#[test]
fn a_delivery_that_overtakes_another_is_found() {
    let found = found("deliveries.toml", Mutation::Overtake, 5);
    assert_eq!(found, Some(Invariant::NothingOwedVanishes));
}
