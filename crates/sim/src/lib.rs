//! The simulator: many offices in one process, under one seed. Each runs the real `fasti-core`; the disk,
//! the clock, the network and the people around it are simulated, and unkind. It is Fasti's main test.
//!
//! # What a run is
//! ```text
//!   scenario (TOML) + seed
//!           │
//!           ▼            edits, crashes, partitions,      faults over            all agree
//!   founding, members ──► garbage, joins, clock jumps ──► and everyone up ──► within a bound? ──► quiet?
//!                         (oracles watch all the while)
//! ```
//! A run is a pure function of scenario and seed: one virtual clock, one queue of events ordered by time
//! and number, one source of random numbers, ordered maps. [`Outcome::trace`] is a SHA-256 over all that
//! happened; it is the same in every process.
//!
//! # What must hold (see [`Invariant`])
//! 1. Nodes with equal frontiers show the same, byte for byte.
//! 2. Once faults stop, all members hold the same and know it of each other, within a bound.
//! 3. What a caller was told is written is there after any crash, and at the end everywhere. Nobody
//!    acknowledges what is not durable.
//! 4. What anybody called settled is held, there and wherever as much is known, unless a promise was broken on which
//!    it hangs; and never is more held than fits.
//! 5. What an external system wants is owed to it until it confirmed that version, or somebody ended it; versions rise;
//!    one attempt for an event is under way at a time; in the end each system has what its office shows.
//! 6. Nothing that a peer sends stops a node, makes it keep more than the limits say, or makes the network talk for
//!    ever. Nobody believes of an honest office that it holds what it doesn't.
//! 7. What removals cut off shows nowhere, and what they don't counts; an admin always remains; whom nobody removed
//!    stays. (Honest offices that admit each other must agree: those whom a removal parted need not.)
//!
//! That the oracles bite is a test of its own: see [`Mutation`].
//!
//! # Code map
//! | module | concept |
//! |---|---|
//! | `scenario` | what a run is like: the TOML files in `scenarios/` |
//! | `run` | one run from seed to outcome; many runs |
//! | `world` | clock, queue, and what happens next |
//! | `office` | one simulated node: a core, its inbox, its commits, crash and restart |
//! | `disk` | what is durable |
//! | `network` | links, latency, loss, partitions |
//! | `clients` | the people who edit, and what they were answered |
//! | `bookers` | those who book, and decide about resources and policies |
//! | `operators`, `systems` | those who subscribe external systems; what these do about what they are told |
//! | `faults` | crashes, partitions, garbage, clock jumps, joins |
//! | `members` | removals, leaves, new keys |
//! | `liars`, `forge` | members that lie; what they sign |
//! | `oracle`, `standing` | what must hold; who belongs, and what counts of those who were removed |
//! | `promises`, `reserved` | what follows from a settled booking; what entries say of resources |
//! | `deliveries`, `delivered` | what is owed to external systems; what they must have in the end |
//! | `setup` | the network as a run finds it |
//! | `measure` | how fast changes get around, and how often each |
//! | `mutation` | bugs made on purpose |
//! | `dice`, `entries`, `memo`, `trace` | random numbers, sets of entries, remembered signature checks, the running hash |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bookers;
mod clients;
mod delivered;
mod deliveries;
mod dice;
mod disk;
mod entries;
mod faults;
mod forge;
mod liars;
mod measure;
mod members;
mod memo;
mod mutation;
mod network;
mod office;
mod operators;
mod oracle;
mod promises;
mod reserved;
mod run;
mod scenario;
mod setup;
mod standing;
mod systems;
mod trace;
mod world;

pub use dice::Dice;
pub use measure::Figures;
pub use mutation::Mutation;
pub use oracle::Invariant;
pub use run::{Failure, Options, Outcome, Sweep, run, sweep};
pub use scenario::{Scenario, ScenarioError};
pub use world::Stats;
