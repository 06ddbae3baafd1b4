//! From a store into a backup and back.

use std::io::{Read, Write};
use std::path::Path;

use fasti_core::Write as Stored;
use fasti_core::outbox::Subscription;
use fasti_core::row::Row;
use redb::ReadableTableMetadata as _;

use super::pack::Packer;
use super::unpack::Unpacker;
use super::{BackupError, Contents, Head, Record, RestoreError};
use crate::error::ReadError;
use crate::outbox;
use crate::reader::{self, Reader};
use crate::store::Store;
use crate::tables::{self, ENTRIES, Meta, SETTINGS};

/// Writes that share a transaction when a store is filled.
const BATCH: usize = 1000;

impl Reader {
    /// Writes a backup of the store as it is now, whatever is committed meanwhile, which waits for nothing. Until
    /// it is done the pages that commits free can't be used again: the file grows by what is written.
    ///
    /// The office's key isn't in the store, and so not in the backup: see [`super::seal`]. Settings in
    /// `leave_out` are of this machine, and stay here.
    ///
    /// # Errors
    /// See [`BackupError`]. What was written until then is no backup.
    pub fn back_up(
        &self,
        sink: impl Write,
        time: i64,
        version: &str,
        leave_out: &[&str],
    ) -> Result<Contents, BackupError> {
        let txn = self.read()?;
        let entries = txn.open_table(ENTRIES).map_err(ReadError::storage)?;
        let Meta { network, office, name } = tables::read_meta(&txn)?;
        let head = Head {
            network,
            office,
            name,
            incarnation: reader::incarnation(&txn)?,
            entries: entries.len().map_err(ReadError::storage)?,
            time,
            version: version.into(),
        };
        let mut packer = Packer::begin(sink, &head)?;
        let settings = txn.open_table(SETTINGS).map_err(ReadError::storage)?;
        for item in settings.range::<&str>(..).map_err(ReadError::storage)? {
            let (name, value) = item.map_err(ReadError::storage)?;
            if !leave_out.contains(&name.value()) {
                let (name, value) = (name.value().to_owned(), value.value().to_vec());
                packer.add(&Record::Setting { name, value })?;
            }
        }
        for notice in reader::notices(&txn)? {
            packer.add(&Record::Notice(notice))?;
        }
        for (uid, path) in reader::conflicts(&txn)? {
            packer.add(&Record::Conflict { uid, path })?;
        }
        for (log, seq) in reader::forks(&txn)? {
            packer.add(&Record::Fork { log, seq })?;
        }
        for subscription in outbox::subscriptions(&txn)? {
            packer.add(&Record::Subscription(subscription.encode()))?;
        }
        if reader::judge_again(&txn)? {
            packer.add(&Record::JudgeAgain)?;
        }
        for item in entries.range::<u64>(..).map_err(ReadError::storage)? {
            let (_, row) = item.map_err(ReadError::storage)?;
            packer.add(&Record::Entry(row.value().to_vec()))?;
        }
        packer.finish()
    }
}

impl Store {
    /// Makes a store in a folder from a backup. It has no incarnation: its node begins a new one with its first
    /// write, since the old one may have gone on after the backup was taken.
    ///
    /// # Errors
    /// See [`RestoreError`]. Then there may be half a store in the folder: it is for the caller to make one that
    /// doesn't matter, and to check the backup first.
    pub fn restore(folder: &Path, source: impl Read) -> Result<(Self, Contents), RestoreError> {
        let mut unpacker = Unpacker::open(source)?;
        let Head { network, office, name, .. } = unpacker.head.clone();
        let store = Self::create(folder, &Meta { network, office, name }, &[], &[])?;
        let (mut index, mut batch) = (0, Vec::new());
        while let Some(block) = unpacker.next_block()? {
            for record in block.records {
                batch.push(match record {
                    Record::Setting { name, value } => {
                        store.set(&name, &value)?;
                        continue;
                    }
                    Record::Key(_) => continue,
                    Record::Notice(notice) => Stored::Notice(notice),
                    Record::Conflict { uid, path } => Stored::Conflict { uid, path, open: true },
                    Record::Fork { log, seq } => Stored::Fork { log, seq },
                    Record::Subscription(it) => {
                        let it = Subscription::decode(&it).map_err(|_| ReadError::Damaged {
                            what: "a subscription can't be read".into(),
                        });
                        outbox::taken_up(it.map_err(BackupError::Store)?)
                    }
                    Record::JudgeAgain => Stored::JudgeAgain(true),
                    Record::Entry(row) => {
                        let row = Row::decode(&row)
                            .map_err(|_| ReadError::Entry { index, problem: "can't be read" });
                        index += 1;
                        Stored::Entry { index: index - 1, row: row.map_err(BackupError::Store)? }
                    }
                });
                if batch.len() == BATCH {
                    store.commit(&std::mem::take(&mut batch))?;
                }
            }
        }
        store.commit(&batch)?;
        Ok((store, unpacker.finish()?))
    }
}
