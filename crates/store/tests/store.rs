//! What a node does with its store, on a real disk.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::model::{Act, Model};
use common::{
    BOSTON, DENVER, agreed, confirmed, conflict, deferred, entry, fork, log, meta, notice, owed,
    owed_no_more, subscribed, watched,
};
use fasti_core::notice::Topic;
use fasti_core::outbox::{DeliveryState, SubscriptionId};
use fasti_core::{Incarnation, Write};
use fasti_store::{CommitError, CreateError, FORMAT, OpenError, ReadError, Snapshot, Store};
use redb::{Database, ReadableDatabase as _, TableDefinition};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const SNAPSHOT: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("snapshot");

fn denver(folder: &Path) -> Store {
    Store::create(folder, &meta(), &[], &[]).unwrap()
}

fn indices(rows: fasti_store::Rows) -> Vec<u64> {
    rows.map(|item| item.unwrap().0).collect()
}

/// Changes a closed store behind its back.
fn tamper(folder: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(folder.join("fasti.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

#[test]
fn denver_founds_a_network_and_finds_all_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("not/yet/there");
    let first = [Write::Incarnation(Incarnation(7)), entry(0, DENVER, 1, 100)];
    let settings = [("bootstrap", &b"lima"[..])];
    let store = Store::create(&folder, &meta(), &settings, &first).unwrap();
    let mut model = Model { bootstrap: Some(b"lima".to_vec()), ..Model::default() };
    model.play(&Act::Commit(first.to_vec()));
    assert!(Model::of(&store).unwrap() == model);

    let acts = [
        Act::Commit(vec![
            entry(1, BOSTON, 1, 100),
            deferred(entry(2, BOSTON, 2, 100)),
            notice(1, Topic::Presence, 1),
            notice(1, Topic::Acknowledgement, 1),
            notice(2, Topic::Presence, 1),
            conflict("monday", "title", true),
            conflict("monday", "start", true),
            fork(BOSTON, 2),
        ]),
        Act::Snapshot(3_000_000),
        Act::Commit(vec![
            // What couldn't be understood now is, in the transaction that adds the next.
            entry(2, BOSTON, 2, 100),
            entry(3, BOSTON, 3, 100),
            notice(1, Topic::Presence, 2),
            conflict("monday", "title", false),
            fork(BOSTON, 3),
            Write::JudgeAgain(true),
        ]),
        Act::Snapshot(1000),
        Act::Commit(vec![Write::JudgeAgain(false)]),
        Act::Snapshot(2000),
        Act::Commit(vec![Write::JudgeAgain(true)]),
        Act::Commit(vec![
            subscribed(1, "CRM"),
            subscribed(2, "Rooms"),
            owed(1, "monday", 7),
            owed(2, "monday", 7),
            owed(2, "tuesday", 8),
            watched("monday", Some(DeliveryState::Tentative)),
            Write::Held(log(BOSTON), 4),
            Write::Version(8),
        ]),
        Act::Commit(vec![
            confirmed(1, "monday", 7),
            agreed(1, "monday", b"etag"),
            owed_no_more(1, "monday"),
            confirmed(2, "tuesday", 8),
            agreed(2, "tuesday", b"etag"),
            owed(2, "tuesday", 9),
            watched("monday", None),
            watched("tuesday", Some(DeliveryState::Displaced)),
            Write::Held(log(BOSTON), 5),
            Write::Version(9),
        ]),
        Act::Commit(vec![owed(2, "wednesday", 10), Write::Unsubscribed(SubscriptionId(2))]),
        Act::Commit(vec![subscribed(2, "Rooms again")]),
        Act::Bootstrap(b"lima and boston"),
    ];
    for act in &acts {
        model.play_on(&store, act).unwrap();
        model.play(act);
        assert!(Model::of(&store).unwrap() == model);
    }
    drop(store);
    let store = Store::open(&folder).unwrap();
    assert_eq!(store.meta(), &meta());
    assert!(Model::of(&store).unwrap() == model);
    assert_eq!(store.reader().forks().unwrap(), vec![(log(BOSTON), 2), (log(BOSTON), 3)]);
    // No other file is left behind.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_folder_with_an_office_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    drop(denver(folder.path()));
    let error = Store::create(folder.path(), &meta(), &[], &[]).unwrap_err();
    assert!(matches!(error, CreateError::Exists { .. }), "{error:?}");
}

#[test]
fn an_empty_folder_says_to_join_first() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("fasti join"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "and is left empty");
}

#[test]
fn other_programs_files_are_refused_and_left_alone() {
    for bytes in [&b""[..], b"shopping list", &[0; 70_000], &[0xff; 9000]] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fasti.redb");
        std::fs::write(&file, bytes).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        let error = Store::create(folder.path(), &meta(), &[], &[]).unwrap_err();
        assert!(matches!(error, CreateError::Exists { .. }), "{error:?}");
    }
    // Another program's redb file.
    let folder = tempfile::tempdir().unwrap();
    drop(Database::create(folder.path().join("fasti.redb")).unwrap());
    assert!(matches!(Store::open(folder.path()), Err(OpenError::Foreign { .. })));
    tamper(folder.path(), |txn| {
        txn.open_table(TableDefinition::<u8, u8>::new("meta")).unwrap();
    });
    assert!(matches!(Store::open(folder.path()), Err(OpenError::Foreign { .. })));
}

#[test]
fn a_store_of_the_next_version_is_refused_and_one_of_this_version_is_not() {
    let folder = tempfile::tempdir().unwrap();
    drop(denver(folder.path()));
    let set = |format: u32| {
        tamper(folder.path(), |txn| {
            let mut meta = txn.open_table(META).unwrap();
            meta.insert("format", &format.to_be_bytes()[..]).unwrap();
        });
    };
    set(FORMAT + 1);
    // Its other tables may be of any kind.
    tamper(folder.path(), |txn| {
        txn.delete_table(ENTRIES).unwrap();
        txn.open_table(TableDefinition::<u8, u8>::new("entries")).unwrap();
    });
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { newest: FORMAT, .. }), "{error:?}");
    assert!(error.to_string().contains("upgrade the program"), "{error}");
    set(0);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Older { found: 0, oldest: 3 }), "{error:?}");
    tamper(folder.path(), |txn| {
        txn.delete_table(TableDefinition::<u8, u8>::new("entries")).unwrap();
        txn.open_table(ENTRIES).unwrap();
    });
    set(FORMAT);
    Store::open(folder.path()).unwrap();
}

#[test]
fn two_stores_can_t_have_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");

    // A reader that outlives its store doesn't keep the folder.
    let reader = store.reader();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(reader.rows(0), Err(ReadError::Closed)));
    store.commit(&[entry(0, DENVER, 1, 10)]).unwrap();
}

#[test]
fn two_processes_can_t_have_one_folder() {
    const FOLDER: &str = "FASTI_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // This is the other process.
        let error = Store::open(Path::new(&folder)).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_can_t_have_one_folder"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    assert!(String::from_utf8_lossy(&other.stdout).contains("1 passed"));
    store.commit(&[entry(0, DENVER, 1, 10)]).unwrap();
}

#[test]
fn gaps_and_mix_ups_are_refused_and_cost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    store.commit(&[entry(0, DENVER, 1, 10), entry(1, BOSTON, 1, 10)]).unwrap();
    for (writes, what) in [
        (vec![entry(3, DENVER, 2, 10)], "a gap"),
        (vec![entry(2, DENVER, 2, 10), entry(4, DENVER, 3, 10)], "a gap after a good one"),
        (vec![entry(0, BOSTON, 1, 10)], "a row in another's place"),
        (vec![entry(1, BOSTON, 2, 10)], "a row in place of the one before it"),
        (vec![entry(2, DENVER, 2, 10), entry(2, BOSTON, 2, 10)], "two in one place"),
    ] {
        let error = store.commit(&writes).expect_err(what);
        assert!(matches!(error, CommitError::Gap { .. } | CommitError::Misplaced { .. }), "{what}");
        assert!(!error.needs_reopen());
        assert_eq!(store.reader().entries().unwrap(), 2, "{what}");
    }
    let twice = [deferred(entry(2, DENVER, 2, 10)), entry(2, DENVER, 2, 10)];
    store.commit(&twice).unwrap();
    assert_eq!(indices(store.reader().rows(0).unwrap()), [0, 1, 2]);
}

#[test]
fn a_log_with_two_histories_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    let places = [(DENVER, 1), (DENVER, 2), (DENVER, 3), (DENVER, 2), (BOSTON, 1), (DENVER, 3)];
    for (at, (author, seq)) in places.into_iter().enumerate() {
        // Another size, another entry.
        store.commit(&[entry(at as u64, author, seq, 10 + at)]).unwrap();
    }
    let ask = |seq, end| indices(store.reader().rows_of(&[(log(DENVER), seq)], end).unwrap());
    assert_eq!(ask(1, u64::MAX), [0, 1, 2, 3, 5]);
    assert_eq!(ask(3, u64::MAX), [2, 5]);
    assert_eq!(ask(2, 5), [1, 2, 3]);
}

#[test]
fn boston_asks_for_what_it_misses() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    // Denver's and Boston's entries lie interleaved: 0 is Denver's first, 1 Boston's first, and so on.
    let writes: Vec<_> =
        (0..1000).map(|at| entry(at, [DENVER, BOSTON][at as usize % 2], at / 2 + 1, 10)).collect();
    store.commit(&writes).unwrap();
    let reader = store.reader();
    let ask = |from: &[_], end| indices(reader.rows_of(from, end).unwrap());
    assert_eq!(ask(&[(log(DENVER), 499), (log(BOSTON), 500)], u64::MAX), [996, 998, 999]);
    assert_eq!(ask(&[(log(BOSTON), 500), (log(DENVER), 499)], 998), [996]);
    assert_eq!(ask(&[(log(DENVER), 501)], u64::MAX), [0; 0]);
    assert_eq!(ask(&[(log(fasti_core::OfficeId([5; 32])), 0)], u64::MAX), [0; 0]);
    assert_eq!(ask(&[], u64::MAX), [0; 0]);
    // Naming a log often brings its rows once.
    let often = [(log(DENVER), 498), (log(DENVER), 499), (log(DENVER), 0)].repeat(1000);
    assert_eq!(ask(&often, u64::MAX).len(), 500);
    assert_eq!(ask(&[(log(DENVER), 0), (log(BOSTON), 0)], u64::MAX), Vec::from_iter(0..1000));
}

#[test]
fn a_follower_reads_page_by_page_while_denver_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    let total = 2000;
    let follower = std::thread::spawn({
        let reader = store.reader();
        move || {
            let mut next = 0;
            while next < total {
                for item in reader.rows(next).unwrap().take(100) {
                    let (index, row) = item.unwrap();
                    assert_eq!((index, row.entry.seq), (next, next + 1));
                    next += 1;
                }
            }
        }
    });
    for at in (0..total).step_by(50) {
        let writes: Vec<_> = (at..at + 50).map(|at| entry(at, DENVER, at + 1, 100)).collect();
        store.commit(&writes).unwrap();
    }
    follower.join().unwrap();
}

#[test]
fn rows_that_were_asked_for_come_even_if_the_store_is_reopened_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    let writes: Vec<_> = (0..2000).map(|at| entry(at, DENVER, at + 1, 10)).collect();
    store.commit(&writes).unwrap();
    let mut rows = store.reader().rows_of(&[(log(DENVER), 1)], 2000).unwrap();
    assert_eq!(rows.next().unwrap().unwrap().0, 0);
    store.reopen().unwrap();
    assert_eq!(indices(rows), Vec::from_iter(1..2000));
    store.commit(&[entry(2000, DENVER, 2001, 10)]).unwrap();
}

#[test]
fn a_lost_or_unreadable_row_is_named() {
    for (tampering, says) in [
        (None, "entry 5 of the local log is missing"),
        (Some(&b"?"[..]), "entry 5 of the local log can't be read"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = denver(folder.path());
        store.commit(&(0..10).map(|at| entry(at, DENVER, at + 1, 10)).collect::<Vec<_>>()).unwrap();
        drop(store);
        tamper(folder.path(), |txn| {
            let mut entries = txn.open_table(ENTRIES).unwrap();
            match tampering {
                Some(bytes) => drop(entries.insert(5, bytes).unwrap()),
                None => drop(entries.remove(5).unwrap()),
            }
        });
        let error = Store::open(folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("restore the folder from a backup"), "{error}");
    }
}

#[test]
fn a_damaged_snapshot_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    store.commit(&[entry(0, DENVER, 1, 10)]).unwrap();
    store.save_snapshot(1, &vec![7; 2_500_000]).unwrap();
    drop(store);
    tamper(folder.path(), |txn| {
        let mut table = txn.open_table(SNAPSHOT).unwrap();
        assert_eq!(redb::ReadableTableMetadata::len(&table).unwrap(), 4, "a head and three pieces");
        table.remove(2).unwrap();
    });
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.reader().snapshot().unwrap(), None);
    store.save_snapshot(1, b"").unwrap();
    assert_eq!(store.reader().snapshot().unwrap(), Some(Snapshot { entries: 1, bytes: vec![] }));
    // One that claims entries that aren't there is of no use either.
    store.save_snapshot(2, b"from the future").unwrap();
    assert_eq!(store.reader().snapshot().unwrap(), None);
}

#[test]
fn a_damaged_file_is_refused_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let store = denver(folder.path());
    store.commit(&(0..100).map(|at| entry(at, DENVER, at + 1, 500)).collect::<Vec<_>>()).unwrap();
    let model = Model::of(&store).unwrap();
    drop(store);
    let file = folder.path().join("fasti.redb");
    let bytes = std::fs::read(&file).unwrap();
    let mut random = common::disk::Random(1);
    let mut refused = 0;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        let at = random.below(bytes.len() as u64) as usize;
        // A bit, a sector, or all that comes after.
        match random.below(3) {
            0 => damaged[at] ^= 1 << random.below(8),
            1 => {
                let end = (at + 512).min(bytes.len());
                damaged[at..end].fill(random.below(256) as u8);
            }
            _ => damaged.truncate(at),
        }
        std::fs::write(&file, &damaged).unwrap();
        match Store::open(folder.path()) {
            // The damage was where nothing lay.
            Ok(store) => assert!(Model::of(&store).unwrap() == model),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100, "only {refused}");
}

#[test]
fn the_database_itself_can_be_read_by_other_tools() {
    let folder = tempfile::tempdir().unwrap();
    drop(denver(folder.path()));
    let database = Database::open(folder.path().join("fasti.redb")).unwrap();
    let txn = database.begin_read().unwrap();
    let meta = txn.open_table(META).unwrap();
    assert_eq!(meta.get("format").unwrap().unwrap().value(), FORMAT.to_be_bytes());
    assert_eq!(meta.get("name").unwrap().unwrap().value(), b"Denver");
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_a_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    drop(denver(folder.path()));
    let mode = std::fs::metadata(folder.path().join("fasti.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
