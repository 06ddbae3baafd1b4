//! What storing and loading entries costs on this machine's disk, beside what the disk takes for a
//! bare sync.
//!
//! ```text
//! cargo run --release -p fasti-store --example commit_cost [entries] [folder]
//! ```

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use fasti_core::entry::{Entry, Link, Signature};
use fasti_core::row::{Row, Standing};
use fasti_core::{EntryHash, Incarnation, LogId, NetworkId, OfficeId, Write};
use fasti_store::{Meta, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let entries: u64 = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let sync = bare_sync(&parent)?;
    println!("one write of 4 KiB and its sync: {sync:.1?}");

    for batch in [1, 50, 500] {
        let folder = tempfile::tempdir_in(&parent)?;
        let meta =
            Meta { network: NetworkId([0; 32]), office: OfficeId([0; 32]), name: "-".into() };
        let store = Store::create(folder.path(), &meta, &[], &[])?;
        // One sync a commit is the floor, so single entries take long: a tenth of them will do.
        let entries = if batch == 1 { entries.div_ceil(10) } else { entries };
        let writes: Vec<Write> = (0..entries).map(write).collect();

        let start = Instant::now();
        let mut slowest = Duration::ZERO;
        for writes in writes.chunks(batch) {
            let start = Instant::now();
            store.commit(writes)?;
            slowest = slowest.max(start.elapsed());
        }
        let total = start.elapsed();
        let commits = writes.chunks(batch).len();
        let each = total / u32::try_from(commits)?;
        let above = each.saturating_sub(sync) / u32::try_from(batch)?;
        println!(
            "{entries} entries by {batch}: {total:.1?}, {each:.1?} a commit (slowest {slowest:.1?}), \
             {above:.1?} an entry above the sync"
        );
        let snapshot = vec![7; 30_000_000];
        let start = Instant::now();
        store.save_snapshot(entries, &snapshot)?;
        print!("    snapshot of 30 MB {:.1?}", start.elapsed());
        drop(store);
        print!(", file {} kB", std::fs::metadata(folder.path().join("fasti.redb"))?.len() / 1000);

        let start = Instant::now();
        let store = Store::open(folder.path())?;
        print!(", open {:.1?}", start.elapsed());
        let start = Instant::now();
        let rows = store.reader().rows(0)?.collect::<Result<Vec<_>, _>>()?;
        print!(", load {} rows {:.1?}", rows.len(), start.elapsed());
        let start = Instant::now();
        let from: Vec<_> = (0..30).map(|author| (log(author), entries / 60)).collect();
        let served = store.reader().rows_of(&from, u64::MAX)?.filter_map(Result::ok).count();
        println!(", serve {served} rows of 30 logs {:.1?}", start.elapsed());
    }
    Ok(())
}

fn bare_sync(folder: &std::path::Path) -> std::io::Result<Duration> {
    const TIMES: u32 = 200;
    let mut file: File = tempfile::tempfile_in(folder)?;
    file.write_all(&vec![0; 4096 * TIMES as usize])?;
    file.sync_all()?;
    std::io::Seek::rewind(&mut file)?;
    let start = Instant::now();
    for _ in 0..TIMES {
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
    }
    Ok(start.elapsed() / TIMES)
}

fn log(author: u8) -> LogId {
    LogId { author: OfficeId([author.wrapping_mul(37); 32]), incarnation: Incarnation(7) }
}

/// Some 600 bytes, by 30 authors in turn.
fn write(index: u64) -> Write {
    let body: Vec<u8> = (0..450_u64).map(|at| (at * index % 251) as u8).collect();
    let link = Link {
        rules: 1,
        parents: vec![EntryHash([3; 32])],
        time: 0,
        person: "".into(),
        kind: 1,
        body,
    };
    let (log, seq) = (log((index % 30) as u8), index / 30 + 1);
    let entry = Entry { log, seq, prev: EntryHash([2; 32]), link };
    let hash = EntryHash([1; 32]);
    let signature = Some(Signature::from_bytes(&[4; 64]));
    let row = Row { hash, signature, standing: Standing::Applied, applied: None, entry };
    Write::Entry { index, row }
}
