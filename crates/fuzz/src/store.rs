//! Values in a store's file that this program didn't write, though redb's checksums are right.

use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arbitrary::{Arbitrary, Unstructured};
use fasti_core::Write;
use fasti_store::{Meta, Store};
use redb::{Database, Key, StorageBackend, TableDefinition, Value};

use crate::network::{Network, office};

/// As in the drawing of `fasti_store`.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const SETTINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("settings");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const NOTICES: TableDefinition<'_, &[u8; 33], &[u8]> = TableDefinition::new("notices");
const CONFLICTS: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("conflicts");
const FORKS: TableDefinition<'_, &[u8; 48], ()> = TableDefinition::new("forks");
const SNAPSHOT: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("snapshot");

const META_KEYS: [&str; 6] = ["format", "network", "office", "name", "incarnation", "judge again"];

#[derive(Arbitrary, Debug)]
enum Put {
    Meta { key: u8, value: Vec<u8> },
    Setting { name: String, value: Vec<u8> },
    Entry { index: u8, value: Vec<u8> },
    NoEntry { index: u8 },
    Notice { key: [u8; 33], value: Vec<u8> },
    Conflict { uid: String, path: String },
    Fork { key: [u8; 48] },
    Snapshot { piece: u8, value: Vec<u8> },
}

pub(crate) fn store(bytes: &[u8]) {
    let Ok(puts) = Vec::<Put>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let disk = Disk::with_store();
    disk.change(puts);
    let Ok(store) = Store::open_on(move || Ok(disk.clone())) else { return };
    let reader = store.reader();
    let rows = reader.rows(0).map(|rows| rows.map_while(Result::ok).collect::<Vec<_>>());
    let rows = rows.unwrap_or_default();
    for ((index, row), place) in rows.iter().zip(0..) {
        assert_eq!(*index, place);
        let of_log = reader.rows_of(&[(row.entry.log, row.entry.seq)], u64::MAX).expect("places");
        assert!(of_log.flatten().any(|(at, _)| at == place), "a row that is not in its log");
    }
    let _ = (reader.notices(), reader.conflicts(), reader.incarnation(), reader.forks());
    let _ = (reader.judge_again(), reader.snapshot(), reader.setting("bootstrap"));
    // Writing goes on where the rows end.
    if let (Ok(entries), Some((_, row))) = (reader.entries(), rows.last()) {
        let row = row.clone();
        let _ = store.commit(&[Write::Entry { index: entries, row }]);
    }
}

/// A disk in memory, shared by all that is opened on it.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Disk {
    /// With the store of the network's founder.
    fn with_store() -> Self {
        static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let network = Network::get();
            let disk = Disk(Arc::default());
            let made = disk.clone();
            let meta = Meta { network: network.id, office: office(1), name: "Core".into() };
            let rows = (0..).zip(network.disk.rows.iter().take(4).cloned());
            let writes: Vec<_> = rows.map(|(index, row)| Write::Entry { index, row }).collect();
            drop(Store::create_on(move || Ok(made.clone()), &meta, &[], &writes).expect("a store"));
            disk.bytes().clone()
        });
        Self(Arc::new(Mutex::new(IMAGE.clone())))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes values behind the store's back.
    fn change(&self, puts: Vec<Put>) {
        let database =
            Database::builder().create_with_backend(self.clone()).expect("opens as it was");
        let txn = database.begin_write().expect("the only writer");
        for put in puts {
            match put {
                Put::Meta { key, value } => {
                    let key = META_KEYS[usize::from(key) % META_KEYS.len()];
                    insert(&txn, META, key, value.as_slice());
                }
                Put::Setting { name, value } => {
                    insert(&txn, SETTINGS, name.as_str(), value.as_slice());
                }
                Put::Entry { index, value } => {
                    insert(&txn, ENTRIES, u64::from(index % 8), value.as_slice());
                }
                Put::NoEntry { index } => {
                    let mut table = txn.open_table(ENTRIES).expect("the store's table");
                    table.remove(u64::from(index % 8)).expect("memory doesn't fail");
                }
                Put::Notice { key, value } => insert(&txn, NOTICES, &key, value.as_slice()),
                Put::Conflict { uid, path } => {
                    insert(&txn, CONFLICTS, (uid.as_str(), path.as_str()), ());
                }
                Put::Fork { key } => insert(&txn, FORKS, &key, ()),
                Put::Snapshot { piece, value } => {
                    insert(&txn, SNAPSHOT, u32::from(piece % 4), value.as_slice());
                }
            }
        }
        txn.commit().expect("memory doesn't fail");
    }
}

fn insert<K: Key + 'static, V: Value + 'static>(
    txn: &redb::WriteTransaction,
    table: TableDefinition<'_, K, V>,
    key: K::SelfType<'_>,
    value: V::SelfType<'_>,
) {
    let mut table = txn.open_table(table).expect("the store's table");
    table.insert(key, value).expect("memory doesn't fail");
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let found = bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.bytes()[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
}
