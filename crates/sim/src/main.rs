//! `fasti-sim`: runs seeds, replays one, measures.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use fasti_sim::{Mutation, Options, Outcome, Scenario, ScenarioError, Stats, Sweep, run, sweep};
use serde_json::json;

/// A thousand offices are millions of small allocations: with the C library's allocator they take a
/// third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fasti's simulator.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Run scenarios under many seeds; prints seeds per minute.
    Run {
        /// How many seeds for each scenario; without --minutes, 100.
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Scenario files; without any, all small ones of this crate.
        #[arg(long)]
        scenario: Vec<PathBuf>,
        /// Stop after so many minutes.
        #[arg(long)]
        minutes: Option<f64>,
        /// How many runs at a time; without it, one for each core of the machine.
        #[arg(long)]
        jobs: Option<usize>,
        /// A bug to run with.
        #[arg(long, default_value = "none")]
        mutation: Mutation,
    },
    /// Run one seed again and print all that happens.
    Replay {
        /// Which seed.
        #[arg(long)]
        seed: u64,
        /// Which scenario.
        #[arg(long)]
        scenario: PathBuf,
        /// Print only the trace's hash and the result.
        #[arg(long)]
        quiet: bool,
        /// A bug to run with.
        #[arg(long, default_value = "none")]
        mutation: Mutation,
    },
    /// Measure a scenario; prints JSON.
    Bench {
        /// Which seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Which scenario; without it, how changes spread over 1,000 offices.
        #[arg(long)]
        scenario: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match Args::parse().command {
        Mode::Run { seeds, from, scenario, minutes, jobs, mutation } => {
            let seeds = seeds.unwrap_or(if minutes.is_some() { u64::MAX } else { 100 });
            run_many(seeds, from, scenario, minutes, jobs, mutation)
        }
        Mode::Replay { seed, scenario, quiet, mutation } => {
            replay(seed, &scenario, quiet, mutation)
        }
        Mode::Bench { seed, scenario } => {
            let scenario = scenario.unwrap_or_else(|| folder().join("large/spread.toml"));
            bench(seed, &scenario)
        }
    }
    .unwrap_or_else(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        eprintln!("{text}");
        ExitCode::from(2)
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// The scenario files of a folder, sorted.
fn all() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut files: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is for people, outside of any run"
)]
fn wall() -> Instant {
    Instant::now()
}

fn run_many(
    seeds: u64,
    from: u64,
    files: Vec<PathBuf>,
    minutes: Option<f64>,
    jobs: Option<usize>,
    mutation: Mutation,
) -> Result<ExitCode, ScenarioError> {
    let files = if files.is_empty() { all() } else { files };
    let scenarios: Result<Vec<_>, _> =
        files.into_iter().map(|path| Ok((path.clone(), Scenario::load(&path)?))).collect();
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let plan = Sweep { scenarios: scenarios?, from, seeds, jobs };
    let start = wall();
    let end = minutes.map(|minutes| start + Duration::from_secs_f64(minutes * 60.0));
    let runs = AtomicU64::new(0);
    let totals = Mutex::new([0; 10]);
    let done = |_: &Path, _: u64, outcome: &Outcome| {
        let Stats { booked, settled, kept, excused, displaced, .. } = outcome.stats;
        let Stats { deliveries, confirmed, dead, replayed, taken_over, .. } = outcome.stats;
        let of_bookings = [booked, settled, kept, excused, displaced];
        let counts =
            of_bookings.into_iter().chain([deliveries, confirmed, dead, replayed, taken_over]);
        let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
        let count = runs.fetch_add(1, Ordering::Relaxed) + 1;
        if outcome.result.is_ok() && count.is_multiple_of(20) {
            print!("\r{count} seeds, {:.0} a minute", per_minute(count, start));
            let _ = std::io::stdout().flush();
        }
    };
    let options = Options { mutation, ..Options::default() };
    let failures = sweep(&plan, options, || end.is_some_and(|end| wall() >= end), done);
    let count = runs.into_inner();
    println!("\r{count} seeds, {:.0} a minute", per_minute(count, start));
    let [
        booked,
        settled,
        kept,
        excused,
        displaced,
        deliveries,
        confirmed,
        dead,
        replayed,
        taken_over,
    ] = totals.into_inner().unwrap_or_default();
    println!(
        "{booked} bookings; {settled} claims settled and looked for {kept} times; {excused} excused, of which {displaced} displaced"
    );
    println!(
        "{deliveries} deliveries tried, {confirmed} confirmed; {dead} given up, {replayed} replayed; {taken_over} edits at systems taken over"
    );
    for (path, failure) in &failures {
        println!("{failure}\nreplay: {}", failure.replay(path, mutation));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn per_minute(runs: u64, start: Instant) -> f64 {
    runs as f64 * 60.0 / start.elapsed().as_secs_f64().max(0.001)
}

fn replay(
    seed: u64,
    path: &Path,
    quiet: bool,
    mutation: Mutation,
) -> Result<ExitCode, ScenarioError> {
    let scenario = Scenario::load(path)?;
    let options = Options { mutation, print: !quiet, ..Options::default() };
    let outcome = run(&scenario, seed, options);
    println!("trace {}", hex::encode(outcome.trace));
    match outcome.result {
        Ok(()) => {
            println!("all invariants held");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            println!("{failure}\nreplay: {}", failure.replay(path, mutation));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn bench(seed: u64, path: &Path) -> Result<ExitCode, ScenarioError> {
    let scenario = Scenario::load(path)?;
    let start = wall();
    let outcome = run(&scenario, seed, Options { measure: true, ..Options::default() });
    let report = json!({
        "scenario": path.file_stem().map(|name| name.to_string_lossy().into_owned()),
        "seed": seed,
        "offices": scenario.offices,
        "ok": outcome.result.is_ok(),
        "failure": outcome.result.as_ref().err().map(ToString::to_string),
        "wall_seconds": start.elapsed().as_secs_f64(),
        "simulated_seconds": outcome.stats.simulated_us as f64 / 1e6,
        "propagation": outcome.figures,
        "stats": outcome.stats,
        "trace": hex::encode(outcome.trace),
    });
    println!("{report:#}");
    Ok(if outcome.result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
