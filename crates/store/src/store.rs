//! The store: making it, opening it, writing to it. Reading is left to [`Reader`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fasti_core::{OfficeId, Write};
use redb::backends::FileBackend;
use redb::{Database, StorageBackend, WriteTransaction};

use crate::disk::{self, Disk};
use crate::error::{CommitError, CreateError, OpenError};
use crate::outbox;
use crate::places::Places;
use crate::reader::Reader;
use crate::snapshot;
use crate::tables::{
    self, CONFLICTS, ENTRIES, FORKS, META, META_INCARNATION, META_JUDGE_AGAIN, META_NUMBERING,
    Meta, NOTICES, SETTINGS, SNAPSHOT,
};

/// The file in the node's folder.
const FILE: &str = "fasti.redb";

/// What a node keeps on disk. Dropping it closes the file, and readers of it then fail with
/// [`crate::ReadError::Closed`].
///
/// Calls block on the disk: an asynchronous program makes them on a thread of their own.
pub struct Store {
    disk: Arc<Disk>,
    meta: Meta,
}

impl Store {
    /// Makes a store in a folder, which is made too if need be, with settings and first entries in
    /// it: after a crash it is there with all of them or not there.
    ///
    /// # Errors
    /// A folder that has a store already, or a disk that doesn't take it.
    pub fn create(
        folder: &Path,
        meta: &Meta,
        settings: &[(&str, &[u8])],
        writes: &[Write],
    ) -> Result<Self, CreateError> {
        let path = folder.join(FILE);
        let io_error = |source| CreateError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io_error)?;
        if path.try_exists().map_err(io_error)? {
            return Err(CreateError::Exists { path });
        }
        // Filled under another name, so that no crash leaves half a store. Only its owner may read it.
        let file =
            tempfile::Builder::new().prefix("fasti.redb.").tempfile_in(folder).map_err(io_error)?;
        let backend = file.reopen().map_err(io_error).and_then(|file| {
            FileBackend::new(file).map_err(|error| disk::open_error(&path, error).into())
        })?;
        fill(backend, &path, meta, settings, writes)?;
        file.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => CreateError::Exists { path: path.clone() },
            _ => io_error(error.error),
        })?;
        // A name is durable once its folder is. Windows can't open folders, and needn't.
        if cfg!(unix) {
            let sync = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all());
            sync(folder).map_err(io_error)?;
            // The one above may not be ours to open; if the folder is new, it is.
            let _ = folder.parent().map(sync);
        }
        Ok(Self::open(folder)?)
    }

    /// Opens the store in a folder, and repairs it if it was not closed in good order. Reads the whole
    /// file once to check it.
    ///
    /// # Errors
    /// See [`OpenError`]: each says what to do.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::over(Disk::open_file(folder.join(FILE))?)
    }

    /// [`Store::create`] over any backend: what `make` gives is filled, and what it gives the next time
    /// is opened. For tests with disks that fail.
    ///
    /// # Errors
    /// As for [`Store::create`], but a backend that isn't empty is not refused.
    pub fn create_on<B: StorageBackend>(
        make: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        meta: &Meta,
        settings: &[(&str, &[u8])],
        writes: &[Write],
    ) -> Result<Self, CreateError> {
        let path = PathBuf::from("(backend)");
        let backend = make().map_err(|source| CreateError::Io { path: path.clone(), source })?;
        fill(backend, &path, meta, settings, writes)?;
        Ok(Self::open_on(make)?)
    }

    /// [`Store::open`] over any backend. `make` is called again by [`Store::reopen`].
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_on<B: StorageBackend>(
        make: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        Self::over(Disk::open_backend(PathBuf::from("(backend)"), make)?)
    }

    fn over(disk: Disk) -> Result<Self, OpenError> {
        let meta = disk
            .read()
            .and_then(|txn| tables::read_meta(&txn))
            .map_err(|error| disk::read_error(disk.path(), error))?;
        Ok(Self { disk: Arc::new(disk), meta })
    }

    /// What the store is of.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// For reading, on any thread and beside commits.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.disk))
    }

    /// Stores all writes in one durable transaction, wholly or not at all. Costs one sync of the disk,
    /// so steps that wait for it should be merged into one call.
    ///
    /// # Errors
    /// See [`CommitError`]. If the disk failed, [`Store::reopen`] it and open the core again from it.
    pub fn commit(&self, writes: &[Write]) -> Result<(), CommitError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.disk.write(|txn, places, added| apply(txn, writes, places, added))
    }

    /// Saves the document as it is after the first `entries` entries of the local log, in place of the
    /// one saved before. The file grows by its size the first two times, as the old one is freed only
    /// when the new one is safe. Commits wait meanwhile, some 2 ms for each megabyte.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub fn save_snapshot(&self, entries: u64, bytes: &[u8]) -> Result<(), CommitError> {
        let head = snapshot::Head::new(entries, bytes);
        self.disk.write(|txn, _, _| {
            // The document was made before all had to be judged again.
            if tables::is_to_be_judged_again(txn)? {
                return Ok(());
            }
            snapshot::write(txn, &head, bytes)
        })
    }

    /// Keeps a setting of this node under a name, in place of the one before.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub fn set(&self, name: &str, value: &[u8]) -> Result<(), CommitError> {
        self.disk.write(|txn, _, _| put_setting(txn, name, value))
    }

    /// Makes it the store of the office's new key, which has written nothing yet, with these settings.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub fn succeed(
        &mut self,
        office: OfficeId,
        settings: &[(&str, &[u8])],
    ) -> Result<(), CommitError> {
        let meta = Meta { office, ..self.meta.clone() };
        self.disk.write(|txn, _, _| {
            tables::put_meta(txn, &meta)?;
            let mut table = txn.open_table(META).map_err(CommitError::storage)?;
            table.remove(META_INCARNATION).map_err(CommitError::storage)?;
            table.remove(META_NUMBERING).map_err(CommitError::storage)?;
            settings.iter().try_for_each(|(name, value)| put_setting(txn, name, value))
        })?;
        self.meta = meta;
        Ok(())
    }

    /// Forgets in which incarnation this node wrote: it will begin another one.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub fn forget_incarnation(&self) -> Result<(), CommitError> {
        self.disk.write(|txn, _, _| {
            let mut table = txn.open_table(META).map_err(CommitError::storage)?;
            table.remove(META_INCARNATION).map_err(CommitError::storage)?;
            Ok(())
        })
    }

    /// Closes the file and opens it again: the way on after a failed commit. Whether the failed
    /// transaction is there afterwards is for the readers to say; it is wholly there or not at all.
    /// Readers stay valid.
    ///
    /// # Errors
    /// As for [`Store::open`]; the store is closed then, and this can be called again.
    pub fn reopen(&self) -> Result<(), OpenError> {
        self.disk.reopen()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.disk.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.disk.path()).field("meta", &self.meta).finish()
    }
}

fn fill(
    backend: impl StorageBackend,
    path: &Path,
    meta: &Meta,
    settings: &[(&str, &[u8])],
    writes: &[Write],
) -> Result<(), CreateError> {
    let database: Database = disk::builder()
        .create_with_backend(backend)
        .map_err(|error| disk::open_error(path, error))?;
    disk::transact(&database, |txn| {
        tables::lay_out(txn, meta)?;
        for (name, value) in settings {
            put_setting(txn, name, value)?;
        }
        apply(txn, writes, &Places::default(), &mut Places::default())
    })?;
    // Closing writes too, so that the next open needs no repair; if it fails, that one repairs.
    drop(database);
    Ok(())
}

fn put_setting(txn: &WriteTransaction, name: &str, value: &[u8]) -> Result<(), CommitError> {
    let mut table = txn.open_table(SETTINGS).map_err(CommitError::storage)?;
    table.insert(name, value).map_err(CommitError::storage)?;
    Ok(())
}

/// Opens the tables that it changes and no others, as each costs a page or two.
fn apply(
    txn: &WriteTransaction,
    writes: &[Write],
    places: &Places,
    added: &mut Places,
) -> Result<(), CommitError> {
    // Entries come by the hundred, so their table is opened once.
    if writes.iter().any(|write| matches!(write, Write::Entry { .. })) {
        let mut entries = txn.open_table(ENTRIES).map_err(CommitError::storage)?;
        for write in writes {
            if let Write::Entry { index, row } = write {
                places.admit(added, *index, row)?;
                entries.insert(index, row.encode().as_slice()).map_err(CommitError::storage)?;
            }
        }
    }
    for write in writes {
        apply_other(txn, write).map_err(CommitError::storage)?;
    }
    outbox::apply(txn, writes).map_err(CommitError::storage)
}

fn apply_other(txn: &WriteTransaction, write: &Write) -> Result<(), redb::Error> {
    match write {
        Write::Entry { .. }
        | Write::Subscription(_)
        | Write::Unsubscribed(_)
        | Write::Owed(..)
        | Write::Confirmed(..)
        | Write::Agreed(..)
        | Write::Watched(..)
        | Write::Held(..)
        | Write::Version(_) => {}
        Write::Notice(notice) => {
            let bytes = postcard::to_stdvec(notice).unwrap_or_default();
            txn.open_table(NOTICES)?.insert(&tables::notice_key(notice), bytes.as_slice())?;
        }
        Write::Conflict { uid, path, open: true } => {
            txn.open_table(CONFLICTS)?.insert((uid.as_str(), path.as_str()), ())?;
        }
        Write::Conflict { uid, path, open: false } => {
            txn.open_table(CONFLICTS)?.remove((uid.as_str(), path.as_str()))?;
        }
        Write::Incarnation(incarnation) => {
            let value = incarnation.0.to_be_bytes();
            txn.open_table(META)?.insert(META_INCARNATION, &value[..])?;
        }
        Write::Numbering(numbering) => {
            txn.open_table(META)?.insert(META_NUMBERING, &numbering.to_be_bytes()[..])?;
        }
        Write::Fork { log, seq } => {
            txn.open_table(FORKS)?.insert(&tables::place_key(log, *seq), ())?;
        }
        Write::JudgeAgain(again) => {
            // Until all is judged again a snapshot would be of what no longer counts.
            if *again {
                txn.open_table(SNAPSHOT)?.retain(|_, _| false)?;
            }
            txn.open_table(META)?.insert(META_JUDGE_AGAIN, &[u8::from(*again)][..])?;
        }
    }
    Ok(())
}
