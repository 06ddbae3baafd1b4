//! Signed mutations of entries by the thousand; by the million with `FASTI_MUTATIONS=1000000`, beginning with another
//! batch with `FASTI_MUTATIONS_SEED`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Instant;

use fasti_fuzz::mutations::{BATCH, Found, batch};

/// Far above what the nodes of one batch need, and far below what one that leaks would.
const MEMORY_MAX_KB: u64 = 64 * 1024;

/// The most memory that this process ever had, in kB; none where there is no /proc.
fn memory_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Says which batch failed.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: FASTI_MUTATIONS_SEED={}", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn no_signed_mutation_panics_a_node_divides_two_or_keeps_one_from_loading() {
    let seed = number("FASTI_MUTATIONS_SEED");
    let few = if seed.is_some() { 1 } else { 20_000 };
    let mutations = number("FASTI_MUTATIONS").unwrap_or(few);
    let first = seed.unwrap_or(0);
    let begun = Instant::now();
    let mut all = Found::default();
    for seed in first..first + mutations.div_ceil(BATCH as u64) {
        let running = Running(seed);
        all += batch(seed);
        drop(running);
    }
    let memory = memory_peak();
    println!("{all}; {} s, {memory:?} kB at its peak", begun.elapsed().as_secs());
    if let Some(memory) = memory {
        assert!(memory < MEMORY_MAX_KB, "{memory} kB");
    } else {
        println!("SKIPPED: no /proc here that would tell the memory's peak");
    }
    if seed.is_none() && mutations >= 20_000 {
        // That they get as far as they should.
        let Found { mutations, refused, applied, malformed, void, deferred, judged_again } = all;
        for (part, of) in [(applied, 8), (malformed, 5), (void, 50), (refused, 100)] {
            assert!(part > mutations / of, "{part} of {mutations} are less than 1 in {of}");
        }
        assert!(deferred > 0 && judged_again > 0, "{deferred} {judged_again}");
    }
}
