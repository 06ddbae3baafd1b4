//! Runs: one from scenario and seed to outcome, or many.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::measure::{Figures, Meter};
use crate::mutation::Mutation;
use crate::oracle::{Broken, Invariant};
use crate::scenario::Scenario;
use crate::world::{SECOND, Stats, World};

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// With which bug.
    pub mutation: Mutation,
    /// Print all that happens.
    pub print: bool,
    /// Measure how changes get around.
    pub measure: bool,
}

/// That an invariant was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}: after {:.3} s {invariant} is broken: {detail}", *at_us as f64 / 1e6)]
pub struct Failure {
    /// Which seed.
    pub seed: u64,
    /// Which invariant.
    pub invariant: Invariant,
    /// When, in simulated microseconds.
    pub at_us: u64,
    /// How.
    pub detail: String,
}

impl Failure {
    /// The command that shows the failing run again.
    pub fn replay(&self, scenario: &std::path::Path, mutation: Mutation) -> String {
        let features = mutation.features();
        let mutation = match clap::ValueEnum::to_possible_value(&mutation) {
            Some(name) if mutation != Mutation::None => format!(" --mutation {}", name.get_name()),
            _ => String::new(),
        };
        let (seed, scenario) = (self.seed, scenario.display());
        format!(
            "cargo run -p fasti-sim{features} -- replay --seed {seed} --scenario {scenario}{mutation}"
        )
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all held.
    pub result: Result<(), Failure>,
    /// SHA-256 over all that happened.
    pub trace: [u8; 32],
    /// What it amounted to.
    pub stats: Stats,
    /// If asked for.
    pub figures: Option<Figures>,
}

/// Runs a scenario under a seed.
pub fn run(scenario: &Scenario, seed: u64, options: Options) -> Outcome {
    #[cfg(feature = "mutations")]
    fasti_core::outbox_mutation::make(options.mutation.in_deliveries());
    #[cfg(feature = "mutations")]
    fasti_core::booking_mutation::make(options.mutation.in_bookings());
    let mut world = World::new(scenario, seed, options.mutation);
    world.trace.print = options.print;
    world.meter = options.measure.then(Meter::default);
    let result = world.live().map_err(|Broken { invariant, detail }| Failure {
        seed,
        invariant,
        at_us: world.now,
        detail,
    });
    let entries = world.offices.first().map_or(0, |office| office.disk.rows.len());
    world.stats.entries = entries as u64;
    let [settled, excused, displaced] = world.promises.counts();
    world.stats.stale = world.systems.stale;
    world.stats.settled = settled;
    world.stats.excused = excused;
    world.stats.displaced = displaced;
    Outcome {
        result,
        trace: world.trace.hash(),
        stats: world.stats.clone(),
        figures: world.meter.take().map(Meter::figures),
    }
}

impl World {
    fn live(&mut self) -> Result<(), Broken> {
        self.set_up()?;
        self.plan_faults();
        let end = self.scenario.seconds * SECOND;
        self.run_until(end)?;
        self.relent()?;
        self.heal(end)?;
        self.check_everywhere()?;
        self.check_members()?;
        self.check_views()?;
        self.deliver_all()?;
        self.check_quiet()
    }

    /// Waits until all agree and know it, within the bound.
    fn heal(&mut self, since: u64) -> Result<(), Broken> {
        let deadline = since + self.scenario.heal_seconds * SECOND;
        loop {
            let now = self.now;
            self.run_until(now + SECOND)?;
            let problem = match self.disagreement() {
                Some(problem) => problem,
                None => {
                    if self.stats.healed_us == 0 {
                        self.stats.healed_us = self.now - since;
                    }
                    self.ask_acknowledged()?;
                    let now = self.now;
                    self.run_until(now + 4 * SECOND)?;
                    // What only a liar had may have come out meanwhile.
                    match self.unacknowledged().or_else(|| self.disagreement()) {
                        Some(problem) => problem,
                        None => return Ok(()),
                    }
                }
            };
            if self.now >= deadline {
                let seconds = self.scenario.heal_seconds;
                let detail = format!("{seconds} s after the faults: {problem}");
                return Err(Broken::new(Invariant::AllAgreeInTheEnd, detail));
            }
        }
    }

    /// Every office shows what the others show. In large networks some speak for all.
    fn check_views(&mut self) -> Result<(), Broken> {
        let offices = self.offices.len();
        let stride = offices.div_ceil(64);
        for at in (0..offices).step_by(stride) {
            self.ask_view(at)?;
        }
        let deadline = self.now + 30 * SECOND;
        while !self.watch.views.is_empty() && self.now < deadline {
            let now = self.now;
            self.run_until(now + SECOND)?;
        }
        match self.watch.views.keys().next() {
            None => Ok(()),
            Some(at) => {
                let detail = format!("office {at} doesn't answer");
                Err(Broken::new(Invariant::NothingStopsANode, detail))
            }
        }
    }

    /// When all agree, only heartbeats are left: an office greets one neighbour every ten seconds.
    fn check_quiet(&mut self) -> Result<(), Broken> {
        const QUIET_SECONDS: u64 = 30;
        let before = self.honest_frames;
        let now = self.now;
        self.run_until(now + QUIET_SECONDS * SECOND)?;
        let frames = self.honest_frames - before;
        // What liars, or garbage, falsely offered is asked for again, ever more rarely; and each has heard other notices
        // of a liar, and what only that had may come out late.
        let each = match (self.scenario.faults.liars, self.watch.garbage) {
            (0, false) => 1,
            (0, true) => 3,
            _ => 8,
        };
        let allowed = self.offices.len() as u64 * each * (2 + QUIET_SECONDS / 9);
        if frames > allowed {
            let detail = format!(
                "in {QUIET_SECONDS} s after all agreed {frames} frames were sent, expected at most {allowed}"
            );
            return Err(Broken::new(Invariant::NothingStopsANode, detail));
        }
        Ok(())
    }
}

/// Many runs.
#[derive(Debug)]
pub struct Sweep {
    /// The scenarios with their files, each run under each seed.
    pub scenarios: Vec<(PathBuf, Scenario)>,
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How many runs at a time.
    pub jobs: usize,
}

/// Runs every scenario under every seed, until `stop` says enough or a run fails; tells `done` of each.
pub fn sweep(
    sweep: &Sweep,
    options: Options,
    stop: impl Fn() -> bool + Sync,
    done: impl Fn(&std::path::Path, u64, &Outcome) + Sync,
) -> Vec<(PathBuf, Failure)> {
    let scenarios = sweep.scenarios.len() as u64;
    let total = sweep.seeds.saturating_mul(scenarios);
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut failures = Vec::new();
        while !stop() && !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= total {
                break;
            }
            let (path, scenario) = &sweep.scenarios[(at % scenarios) as usize];
            let seed = sweep.from + at / scenarios;
            let outcome = run(scenario, seed, options);
            done(path, seed, &outcome);
            if let Err(failure) = outcome.result {
                failed.store(true, Ordering::Relaxed);
                failures.push((path.clone(), failure));
            }
        }
        failures
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..sweep.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}
