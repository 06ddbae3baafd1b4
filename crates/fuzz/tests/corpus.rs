//! All inputs that were kept, given to their targets again: without libFuzzer, on any toolchain.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Small enough to be read by people, and to be run with every change.
const FILES_MAX: usize = 64;
const BYTES_MAX: u64 = 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let mut inputs: Vec<_> =
        fs::read_dir(corpus().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

#[test]
fn every_input_that_was_kept_is_taken() {
    for (target, run) in fasti_fuzz::TARGETS {
        for input in inputs(target) {
            // What fails is named by what was printed last.
            eprintln!("{}", input.display());
            run(&fs::read(input).unwrap());
        }
    }
}

#[test]
fn there_are_inputs_for_every_target_and_they_are_small() {
    let targets = fasti_fuzz::TARGETS.iter().map(|(name, _)| *name);
    for target in targets {
        let inputs = inputs(target);
        assert!((3..=FILES_MAX).contains(&inputs.len()), "{target} has {}", inputs.len());
        for input in inputs {
            let bytes = fs::metadata(&input).unwrap().len();
            assert!(bytes <= BYTES_MAX, "{} has {bytes} bytes", input.display());
        }
        let libfuzzer = format!("fuzz_targets/{target}.rs");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(libfuzzer).exists(), "{target}");
    }
}
