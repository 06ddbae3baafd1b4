//! Every scenario under some seeds: what runs on each change of the program. The suite as a whole is some
//! hundreds of seeds; `fasti-sim run` runs as many as there is time for.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use fasti_sim::{Mutation, Options, Scenario, Sweep, sweep};

fn holds(name: &str, seeds: u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let scenario = Scenario::load(&path).unwrap();
    let plan = Sweep { scenarios: vec![(path, scenario)], from: 1, seeds, jobs: 1 };
    let failures = sweep(&plan, Options::default(), || false, |_, _, _| {});
    let told: Vec<String> = failures
        .iter()
        .map(|(path, failure)| {
            let file: PathBuf = path.components().rev().take(4).collect();
            let file: PathBuf = file.components().rev().collect();
            format!("{failure}\nreplay: {}", failure.replay(&file, Mutation::None))
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// A test for each scenario file, so that they run side by side and none is forgotten.
macro_rules! scenarios {
    ($($name:ident: $seeds:literal,)*) => {
        $(
            #[test]
            fn $name() {
                holds(concat!(stringify!($name), ".toml"), $seeds);
            }
        )*

        #[test]
        fn every_scenario_file_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
            let named = [$(concat!(stringify!($name), ".toml")),*];
            for file in std::fs::read_dir(folder).unwrap() {
                let file = file.unwrap().file_name().into_string().unwrap();
                let is_scenario = Path::new(&file).extension().is_some_and(|e| e == "toml");
                assert!(!is_scenario || named.contains(&file.as_str()), "{file} is not run");
            }
        }
    };
}

scenarios! {
    all_faults: 40,
    bookings: 25,
    calm: 10,
    clocks: 20,
    crashes: 12,
    deliveries: 10,
    everything: 25,
    forks: 20,
    garbage: 20,
    joins: 25,
    liars: 12,
    lossy: 20,
    members: 40,
    partitions: 20,
    rings: 10,
    slow_disks: 15,
}
