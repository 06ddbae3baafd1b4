//! The disk is full, or was for a moment: what was answered `Ok` stays, and the node goes on once there
//! is room.
#![allow(clippy::unwrap_used)]

mod common;

use common::disk::{Disk, Fault};
use common::model::{Act, Model};
use common::{BOSTON, DENVER, entry, meta, notice};
use fasti_core::notice::Topic;
use fasti_store::{CommitError, OpenError, ReadError, Store};

fn store_on(disk: &Disk) -> Store {
    let disk = disk.clone();
    Store::create_on(move || Ok(disk.clone()), &meta(), &[], &[]).unwrap()
}

fn acts() -> Vec<Act> {
    vec![
        Act::Commit(vec![entry(0, DENVER, 1, 100)]),
        Act::Commit((1..60).map(|index| entry(index, BOSTON, index, 2000)).collect()),
        Act::Snapshot(200_000),
        Act::Commit(vec![entry(60, DENVER, 2, 100), notice(1, Topic::Presence, 1)]),
        Act::Snapshot(400_000),
    ]
}

#[test]
fn denver_runs_out_of_room_and_gets_some() {
    let disk = Disk::default();
    let store = store_on(&disk);
    let reader = store.reader();
    store.commit(&[entry(0, DENVER, 1, 100)]).unwrap();
    disk.set_capacity(Some(disk.len()));

    let mut stored = 1;
    let error = loop {
        match store.commit(&[entry(stored, DENVER, stored + 1, 50_000)]) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CommitError::Full(_)), "{error:?}");
    assert!(error.needs_reopen());
    assert!(error.to_string().contains("make room"), "{error}");

    // Until it is reopened, nothing gets in, even something small that would have room.
    let refused = store.commit(&[entry(stored, DENVER, stored + 1, 1)]).unwrap_err();
    assert!(matches!(refused, CommitError::NotReopened), "{refused:?}");

    // There is still no room; but what there was can be read, by readers from before, too.
    store.reopen().unwrap();
    assert_eq!(reader.rows(0).unwrap().map(Result::unwrap).count() as u64, stored);
    let again = store.commit(&[entry(stored, DENVER, stored + 1, 50_000)]).unwrap_err();
    assert!(matches!(again, CommitError::Full(_)), "{again:?}");

    disk.set_capacity(None);
    store.reopen().unwrap();
    store.commit(&[entry(stored, DENVER, stored + 1, 50_000)]).unwrap();
    assert_eq!(reader.entries().unwrap(), stored + 1);
}

#[test]
fn any_one_write_or_sync_fails_and_the_store_goes_on() {
    let calm = Disk::default();
    let store = store_on(&calm);
    let start = calm.moments();
    for act in acts() {
        Model::of(&store).unwrap().play_on(&store, &act).unwrap();
    }
    let end = calm.moments();
    assert!(end - start > 50);
    drop(store);

    let mut failures = 0;
    for at in start..end {
        let disk = Disk::default();
        let store = store_on(&disk);
        let disk = disk.fail_at(Fault::Full(at));
        let mut model = Model::default();
        for act in acts() {
            let before = model.clone();
            model.play(&act);
            if let Err(error) = before.play_on(&store, &act) {
                assert!(matches!(error, CommitError::Full(_)), "moment {at}: {error:?}");
                failures += 1;
                store.reopen().unwrap();
                let found = Model::of(&store).unwrap();
                assert!(found == before || found == model, "moment {at}: neither old nor new");
                // The same once more: it is either new or replaces itself.
                if found == before {
                    before.play_on(&store, &act).unwrap();
                }
            }
            assert!(Model::of(&store).unwrap() == model, "moment {at}");
        }
        drop(store);
        let image = Disk::with(disk.after_power_cut(at));
        let store = Store::open_on(move || Ok(image.clone())).unwrap();
        assert!(Model::of(&store).unwrap() == model, "moment {at}, after a restart");
    }
    assert!(failures > 50, "only {failures} faults were met");
}

#[test]
fn a_store_that_can_t_be_reopened_is_closed_until_it_can() {
    let disk = Disk::default();
    let store = store_on(&disk);
    store.commit(&[entry(0, DENVER, 1, 100)]).unwrap();
    // Opening checks and writes, and the disk says no once.
    let disk = disk.clone().fail_at(Fault::Full(disk.moments()));
    store.commit(&[entry(1, DENVER, 2, 100)]).unwrap_err();
    let disk = disk.clone().fail_at(Fault::Full(disk.moments()));
    assert!(matches!(store.reopen(), Err(OpenError::Full { .. })));
    assert!(matches!(store.reader().rows(0), Err(ReadError::Closed)));
    assert!(matches!(store.commit(&[entry(1, DENVER, 2, 1)]), Err(CommitError::NotReopened)));

    assert!(disk.had_fault());
    store.reopen().unwrap();
    store.commit(&[entry(1, DENVER, 2, 100)]).unwrap();
    assert_eq!(store.reader().entries().unwrap(), 2);
}
