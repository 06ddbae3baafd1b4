//! What the machine itself costs, to set the other figures beside.

use std::io::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use crate::network::percentiles;

/// A sync of 4 kB appended to a file in the folder where the nodes are, and the number of processors.
pub(crate) fn measure() -> anyhow::Result<Value> {
    let mut file = tempfile::tempfile()?;
    let mut syncs = Vec::new();
    for _ in 0..200 {
        file.write_all(&[7; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        syncs.push(start.elapsed());
    }
    let processors = std::thread::available_parallelism()?.get();
    Ok(json!({ "processors": processors, "sync_ms": percentiles(&mut syncs) }))
}
