//! Scenarios: what a run is like, read from the TOML files in `scenarios/`. Everything that is left out is
//! off or as in a small, healthy network. Rates are mean intervals; 0 means never.

use std::path::Path;

use serde::Deserialize;

/// What a run is like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is there to find; for people.
    pub about: String,
    /// Members at the start.
    pub offices: usize,
    /// How many of them are admins: the first ones.
    #[serde(default = "one")]
    pub admins: usize,
    /// How many of them approve policies: the last ones.
    #[serde(default)]
    pub approvers: usize,
    /// For how long there are edits and faults, in simulated seconds.
    pub seconds: u64,
    /// Within how many simulated seconds after that all must agree and know it. Three minutes: a
    /// handful of heartbeats, after the slowest disk has caught up.
    #[serde(default = "heal_seconds")]
    pub heal_seconds: u64,
    /// How links are.
    #[serde(default)]
    pub network: Network,
    /// How disks are.
    #[serde(default)]
    pub disk: Disk,
    /// How wall clocks are.
    #[serde(default)]
    pub clock: Clock,
    /// What people do.
    #[serde(default)]
    pub clients: Clients,
    /// The external systems.
    #[serde(default)]
    pub systems: Systems,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Faults,
}

/// Links. What a frame meets while it is under way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// One way, for each link drawn once from this range.
    pub latency_ms: [u64; 2],
    /// Added to each frame, up to this; streams keep their order.
    pub jitter_ms: u64,
    /// Bytes a second in each direction of a link; 0 for no limit.
    pub bandwidth: u64,
    /// Probability that a frame vanishes and nobody is told. TCP and QUIC don't do that; a bug may.
    pub loss: f64,
    /// Probability that a frame comes twice.
    pub duplicate: f64,
    /// Probability that a frame is overtaken by later ones.
    pub reorder: f64,
    /// Probability that a pushed frame is dropped by a full queue, of which the core is told.
    pub congestion: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency_ms: [10, 100],
            jitter_ms: 2,
            bandwidth: 0,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            congestion: 0.0,
        }
    }
}

/// Disks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// How long a commit takes, in microseconds.
    pub commit_us: [u64; 2],
    /// Probability that an office has a slow disk.
    pub slow: f64,
    /// How long a commit takes on a slow disk, in microseconds.
    pub slow_us: [u64; 2],
    /// Mean interval of snapshots, in seconds.
    pub snapshot_seconds: u64,
}

impl Default for Disk {
    /// An SSD that syncs in 1 to 4 ms.
    fn default() -> Self {
        Self {
            commit_us: [1_000, 4_000],
            slow: 0.0,
            slow_us: [200_000, 2_000_000],
            snapshot_seconds: 0,
        }
    }
}

/// Wall clocks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    /// How far each is off at the start, at most, in seconds either way.
    pub skew_seconds: u64,
    /// Mean interval of jumps, over all offices, in seconds.
    pub jump_every_seconds: u64,
    /// How far one jumps at most, in seconds either way.
    pub jump_seconds: u64,
}

/// The people who edit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Mean interval of edits, over all offices, in milliseconds.
    pub edit_every_ms: u64,
    /// Of how many events; few of them make for more concurrency.
    pub events: u64,
    /// Don't begin before this second.
    pub from_second: u64,
    /// Stop after so many edits; 0 for no limit.
    pub edits_max: u64,
    /// Publish new policies only, as the measurements do.
    pub publish_only: bool,
    /// Mean interval of bookings, and of changes of what can be booked, over all offices, in milliseconds.
    pub book_every_ms: u64,
    /// How many resources are in use at a time ...
    pub resources: u64,
    /// ... and how many hours of a day; few of both make for more that overlaps.
    pub hours: u64,
    /// Mean interval of proposals, approvals and withdrawals of policies, over all offices, in milliseconds.
    pub decide_every_ms: u64,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            edit_every_ms: 500,
            events: 5,
            from_second: 0,
            edits_max: 0,
            publish_only: false,
            book_every_ms: 0,
            resources: 3,
            hours: 4,
            decide_every_ms: 0,
        }
    }
}

/// External systems, and the people who subscribe them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Systems {
    /// Mean interval of what operators do about them, over all offices, in milliseconds.
    pub operate_every_ms: u64,
    /// Each office has one from the start, which wants all.
    pub from_start: bool,
    /// So many an office has at least, once its operator came to it.
    pub per_office: u64,
    /// Probability that one is unwell for the next seconds.
    pub unwell: f64,
}

impl Default for Systems {
    fn default() -> Self {
        Self { operate_every_ms: 0, from_start: false, per_office: 2, unwell: 0.5 }
    }
}

/// What goes wrong. Intervals are means, over all offices, in seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Crashes.
    pub crash_every_seconds: u64,
    /// How long an office stays down, in milliseconds.
    pub down_ms: [u64; 2],
    /// Probability that an office comes back from a crash with an older disk: a backup.
    pub restore: f64,
    /// Members that sign another entry for a place of their log, and tell one peer.
    pub equivocate_every_seconds: u64,
    /// Partitions.
    pub partition_every_seconds: u64,
    /// How long each lasts, in milliseconds.
    pub partition_ms: [u64; 2],
    /// Probability that a partition is one-way.
    pub one_way: f64,
    /// One partition from this second on ...
    pub divide_at_second: u64,
    /// ... for so many seconds.
    pub divide_seconds: u64,
    /// Frames that no honest peer would send.
    pub garbage_every_ms: u64,
    /// Offices that join in the course of the run.
    pub joins: usize,
    /// An admin removes somebody, or two of them each other; or an office leaves.
    pub remove_every_seconds: u64,
    /// No more removals than this.
    pub removals_max: u64,
    /// An office goes on under a new key.
    pub rotate_every_seconds: u64,
    /// Members at the start that lie; never the founder.
    pub liars: usize,
    /// How often one of them does, in milliseconds, besides what it does when it is asked: see `liars`.
    pub lie_every_ms: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            crash_every_seconds: 0,
            down_ms: [100, 15_000],
            restore: 0.0,
            equivocate_every_seconds: 0,
            partition_every_seconds: 0,
            partition_ms: [500, 30_000],
            one_way: 0.4,
            divide_at_second: 0,
            divide_seconds: 0,
            garbage_every_ms: 0,
            joins: 0,
            remove_every_seconds: 0,
            removals_max: 3,
            rotate_every_seconds: 0,
            liars: 0,
            lie_every_ms: 0,
        }
    }
}

impl Faults {
    /// Whether members may be removed.
    pub(crate) fn removes(&self) -> bool {
        self.remove_every_seconds > 0 || self.rotate_every_seconds > 0
    }

    /// Whether an author may come to have two histories.
    pub(crate) fn forks(&self) -> bool {
        self.restore > 0.0 || self.equivocate_every_seconds > 0
    }
}

fn heal_seconds() -> u64 {
    180
}

fn one() -> usize {
    1
}

/// Why a scenario can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file can't be read.
    #[error("{path} can't be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no scenario.
    #[error("{path} is no scenario")]
    Parse {
        /// The file.
        path: String,
        /// Why.
        source: Box<toml::de::Error>,
    },
}

impl Scenario {
    /// From a file.
    ///
    /// # Errors
    /// [`ScenarioError`]
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: name(), source })?;
        toml::from_str(&text)
            .map_err(|source| ScenarioError::Parse { path: name(), source: Box::new(source) })
    }
}
