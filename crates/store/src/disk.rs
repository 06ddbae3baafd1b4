//! The open database: opening it with all that can be wrong told apart, and closing and reopening it
//! under its readers after a disk failed. What is in it is left to `store` and `reader`.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use fasti_core::row::Row;
use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _,
    StorageBackend, StorageError, WriteTransaction,
};

use crate::error::{CommitError, OpenError, ReadError, is_full};
use crate::places::Places;
use crate::tables::{self, ENTRIES, FORMAT, FORMAT_OLDEST};

/// Bytes of pages that redb keeps in memory, of which up to half is for writing. The pages above a
/// million entries' leaves fit into it, and a saved document of that size is written through it.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Opens the database anew each time it is called.
type Opener<T = Database> = Box<dyn Fn() -> Result<T, OpenError> + Send + Sync>;

/// A database that can be closed and reopened while readers hold on to it.
pub(crate) struct Disk {
    open: RwLock<Option<Open>>,
    opener: Opener,
    /// Run before reopening.
    settle: Opener<()>,
    path: PathBuf,
}

struct Open {
    database: Database,
    /// Of the entries that are durable. Locked for writing only to add a few.
    places: RwLock<Places>,
    /// Held by whoever writes. True once a commit failed: redb refuses most of what would follow, but
    /// not all (a write that it can do without may fail unnoticed), and the places are behind. So
    /// nothing passes until the database is opened anew.
    failed: Mutex<bool>,
}

impl Disk {
    /// Opens the file at `path`.
    pub(crate) fn open_file(path: PathBuf) -> Result<Self, OpenError> {
        let (file, same) = (path.clone(), path.clone());
        let settle = move || rewrite(&same);
        Self::open(path, Box::new(move || open_file(&file)), Box::new(settle))
    }

    /// Opens whatever `make` gives, under a name for messages.
    pub(crate) fn open_backend<B: StorageBackend>(
        path: PathBuf,
        make: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let name = path.clone();
        let opener = move || {
            let backend = make().map_err(|source| io_error(&name, source))?;
            if backend.len().map_err(|source| io_error(&name, source))? == 0 {
                return Err(OpenError::Missing { path: name.clone() });
            }
            builder().create_with_backend(backend).map_err(|error| open_error(&name, error))
        };
        Self::open(path, Box::new(opener), Box::new(|| Ok(())))
    }

    fn open(path: PathBuf, opener: Opener, settle: Opener<()>) -> Result<Self, OpenError> {
        let open = Open::new(opener()?, &path)?;
        Ok(Self { open: RwLock::new(Some(open)), opener, settle, path })
    }

    /// Closes the database and opens it again. Waits for commits that are under way; readers' next
    /// step sees the reopened one.
    pub(crate) fn reopen(&self) -> Result<(), OpenError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        drop(open.take());
        (self.settle)()?;
        *open = Some(Open::new((self.opener)()?, &self.path)?);
        Ok(())
    }

    /// Closes the database, and with it the lock on the file, whoever still holds a reader.
    pub(crate) fn close(&self) {
        drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction, ReadError> {
        let open = self.share();
        let open = open.as_ref().ok_or(ReadError::Closed)?;
        open.database.begin_read().map_err(ReadError::storage)
    }

    pub(crate) fn places<T>(&self, look: impl FnOnce(&Places) -> T) -> Result<T, ReadError> {
        let open = self.share();
        let open = open.as_ref().ok_or(ReadError::Closed)?;
        Ok(look(&open.places.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Runs `change` in a transaction and makes it durable, and then known where its entries are.
    pub(crate) fn write(
        &self,
        change: impl FnOnce(&WriteTransaction, &Places, &mut Places) -> Result<(), CommitError>,
    ) -> Result<(), CommitError> {
        let open = self.share();
        let Some(open) = open.as_ref() else { return Err(CommitError::NotReopened) };
        let mut failed = open.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(CommitError::NotReopened);
        }
        // Until it is known to have gone well, which a panic is not.
        *failed = true;
        let mut added = Places::default();
        let result = {
            let places = open.places.read().unwrap_or_else(PoisonError::into_inner);
            transact(&open.database, |txn| change(txn, &places, &mut added))
        };
        if result.is_ok() {
            open.places.write().unwrap_or_else(PoisonError::into_inner).extend(added);
        }
        *failed = result.as_ref().is_err_and(CommitError::needs_reopen);
        result
    }

    fn share(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn new(database: Database, path: &Path) -> Result<Self, OpenError> {
        let load = || {
            let txn = database.begin_read().map_err(ReadError::storage)?;
            let format = tables::read_format(&txn)?;
            // The tables of other formats are none of ours to read.
            if !format.is_some_and(|it| (FORMAT_OLDEST..=FORMAT).contains(&it)) {
                return Ok((format, Places::default()));
            }
            Ok((format, read_places(&txn)?))
        };
        let (format, places) = load().map_err(|error| read_error(path, error))?;
        match format {
            None => Err(OpenError::Foreign { path: path.to_owned() }),
            Some(found) if found > FORMAT => Err(OpenError::Newer { found, newest: FORMAT }),
            Some(found) if found < FORMAT_OLDEST => {
                Err(OpenError::Older { found, oldest: FORMAT_OLDEST })
            }
            Some(_) => {
                Ok(Self { database, places: RwLock::new(places), failed: Mutex::new(false) })
            }
        }
    }
}

fn read_places(txn: &ReadTransaction) -> Result<Places, ReadError> {
    let table = txn.open_table(ENTRIES).map_err(ReadError::storage)?;
    let (none, mut places) = (Places::default(), Places::default());
    for item in table.range::<u64>(..).map_err(ReadError::storage)? {
        let (index, bytes) = item.map_err(ReadError::storage)?;
        let (index, expected) = (index.value(), places.next());
        if index != expected {
            return Err(ReadError::Entry { index: expected, problem: "is missing" });
        }
        let row = Row::decode(bytes.value())
            .map_err(|_| ReadError::Entry { index, problem: "can't be read" })?;
        none.admit(&mut places, index, &row)
            .map_err(|_| ReadError::Entry { index, problem: "is out of its log's order" })?;
    }
    Ok(places)
}

/// One durable transaction. redb's own default is what fits: `Durability::Immediate`, one phase, one
/// sync. Two phases would cost a second sync against peers who can forge 128-bit checksums of
/// pages that they never see; quick repair would cost it for skipping a scan that [`builder`] asks
/// for anyway.
pub(crate) fn transact(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    let txn = database.begin_write().map_err(CommitError::storage)?;
    change(&txn)?;
    txn.commit().map_err(CommitError::storage)
}

/// How every database is opened. Opening checks all pages' checksums, as redb trusts the pages of a
/// file that was closed in good order, and may panic on one that was damaged since. The node reads
/// the whole log at start anyway.
pub(crate) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Writes a file's blocks over themselves and syncs. After a failed sync Linux may forget that pages
/// are not on the disk and go on showing them, so that a database could be read, found whole, built
/// upon, and be lost with the power. After this, what can be read is on the disk. (See Rebello et al.,
/// "Can Applications Recover from fsync Failures?", 2020.) A crash halfway leaves nothing that
/// a crash in the failed commit could not have left. Blocks of zeros are skipped: they hold nothing,
/// and those that were never written would need room.
fn rewrite(path: &Path) -> Result<(), OpenError> {
    let open = File::options().read(true).write(true).open(path);
    let file = open.map_err(|source| io_error(path, source))?;
    let backend = FileBackend::new(file).map_err(|error| open_error(path, error))?;
    // In the way of whoever would open it now, as blocks of before must not end up over theirs.
    match backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) | Err(BackendError::Unsupported) => {}
        Ok(false) => return Err(OpenError::InUse { path: path.to_owned() }),
        Err(error) => return Err(io_error(path, error.into())),
    }
    let result = rewrite_blocks(&backend);
    result.and(backend.close()).map_err(|source| io_error(path, source))
}

fn rewrite_blocks(backend: &FileBackend) -> io::Result<()> {
    const BLOCK: u64 = 4096;
    let length = backend.len()?;
    let mut buffer = vec![0; 256 * BLOCK as usize];
    for offset in (0..length).step_by(buffer.len()) {
        let piece = &mut buffer[..(length - offset).min(256 * BLOCK) as usize];
        backend.read(offset, piece)?;
        for (at, block) in (offset..).step_by(BLOCK as usize).zip(piece.chunks(BLOCK as usize)) {
            if block.iter().any(|byte| *byte != 0) {
                backend.write(at, block)?;
            }
        }
    }
    backend.sync_data()
}

fn open_file(path: &Path) -> Result<Database, OpenError> {
    let length = std::fs::metadata(path).map_err(|source| io_error(path, source))?.len();
    if length == 0 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    builder().open(path).map_err(|error| open_error(path, error))
}

pub(crate) fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    let path_buf = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::InUse { path: path_buf }
        }
        DatabaseError::UpgradeRequired(_) => OpenError::Older { found: 0, oldest: FORMAT_OLDEST },
        DatabaseError::Storage(StorageError::Io(source)) => io_error(path, source),
        error => OpenError::Damaged { path: path_buf, what: error.to_string() },
    }
}

pub(crate) fn read_error(path: &Path, error: ReadError) -> OpenError {
    let path_buf = path.to_owned();
    match error {
        ReadError::Damaged { what } => OpenError::Damaged { path: path_buf, what },
        ReadError::Failed(error) => match *error {
            redb::Error::Io(source) => io_error(path, source),
            error => OpenError::Damaged { path: path_buf, what: error.to_string() },
        },
        ReadError::Entry { index, problem } => {
            let what = format!("entry {index} of the local log {problem}");
            OpenError::Damaged { path: path_buf, what }
        }
        ReadError::Closed => OpenError::Damaged { path: path_buf, what: "closed".into() },
    }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        _ if is_full(&source) => OpenError::Full { path, source },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::Missing { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::Denied { path, source }
        }
        // What redb says of a file without its magic number.
        io::ErrorKind::InvalidData => OpenError::Foreign { path },
        // A file that ends before its header says.
        io::ErrorKind::UnexpectedEof => OpenError::Damaged { path, what: "cut short".into() },
        _ => OpenError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_rewritten_only_where_nobody_else_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.redb");
        let database = builder().create(&path).unwrap();
        assert!(matches!(rewrite(&path), Err(OpenError::InUse { .. })));
        drop(database);

        let before = std::fs::read(&path).unwrap();
        rewrite(&path).unwrap();
        assert!(std::fs::read(&path).unwrap() == before);
        drop(builder().open(&path).unwrap());
    }
}
