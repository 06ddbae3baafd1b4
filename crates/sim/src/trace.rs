//! What happened, as a running SHA-256 and, if somebody wants to read it, as lines.

use sha2::{Digest as _, Sha256};

/// The trace of a run.
#[derive(Default)]
pub(crate) struct Trace {
    sha: Sha256,
    /// Prints each line on stdout.
    pub(crate) print: bool,
}

impl Trace {
    /// Takes something that happened at an office. `text` is asked for only if lines are printed.
    pub(crate) fn note(
        &mut self,
        now: u64,
        office: usize,
        kind: &str,
        bytes: &[u8],
        text: impl FnOnce() -> String,
    ) {
        self.sha.update(now.to_le_bytes());
        self.sha.update((office as u32).to_le_bytes());
        self.sha.update(kind);
        self.sha.update((bytes.len() as u64).to_le_bytes());
        self.sha.update(bytes);
        if self.print {
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            println!("{seconds:>5}.{micros:06} office {office:<4} {kind:<10} {}", text());
        }
    }

    /// The hash over everything so far.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.sha.clone().finalize().into()
    }
}
