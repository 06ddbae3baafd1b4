//! A harness for real nodes: processes with folders of their own, linked over loopback, spoken to as a
//! program would. Used by the tests here and by the examples.

mod api;
mod cluster;
mod dav;
mod load;
#[cfg(target_os = "linux")]
pub mod netns;
mod node;
mod radicale;
mod system;

pub use api::{Api, Stream, StreamEvent};
pub use cluster::Cluster;
pub use dav::{Dav, DavAnswer};
pub use load::{Answered, Load};
pub use node::{Fasti, Node, Said};
pub use radicale::Radicale;
pub use system::{System, Taken};

use std::time::{Duration, Instant};

use anyhow::bail;

/// Waits for a condition; fails after a time that only a broken node takes.
///
/// # Errors
/// If the condition fails, or doesn't come true within a minute.
pub fn wait_for(
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > Duration::from_secs(60) {
            bail!("waited a minute for {what}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(start.elapsed())
}
