//! The durable half of a node: one redb file, `fasti.redb`, in the node's folder.
//!
//! The core decides what is to be written and the store writes it: [`Store::commit`] takes the
//! writes of one or more of the core's steps and makes them durable in one transaction, wholly or not
//! at all. The log of entries is the truth; the saved document beside it only spares a node from
//! replaying the log when it starts. The store knows nothing of Automerge (the document is opaque
//! bytes), of the network or of HTTP, and the office's secret key is not in it.
//!
//! ```
//! use fasti_core::{NetworkId, OfficeId};
//! use fasti_store::{Meta, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let meta = Meta { network: NetworkId([1; 32]), office: OfficeId([2; 32]), name: "Denver".into() };
//! let store = Store::create(folder.path(), &meta, &[("bootstrap", b"/dns/boston/tcp/4001")], &[])?;
//! assert_eq!(store.meta(), &meta);
//!
//! let reader = store.reader();
//! for row in reader.rows(0)? {
//!     let (index, row) = row?;
//!     println!("{index}: {}", row.hash);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What lies where
//!
//! Numbers inside keys are big-endian, so that redb's byte order is theirs; `|` joins fields.
//!
//! ```text
//! table      key                                               value
//! ---------  ------------------------------------------------  ----------------------------------
//! meta       "format"                                          u32: see FORMAT
//!            "network", "office"                               32 bytes each
//!            "name"                                            UTF-8
//!            "incarnation"                                     u64
//!            "version"                                         u64: the last of a delivery
//!            "judge again"                                     u8: 1 if all entries are to be
//! settings   name                                              any bytes
//! entries    u64: the local index, from 0 without gaps         Row::encode()
//! notices    office 32 | topic 1                   33 bytes    postcard of SignedNotice
//! conflicts  (uid, path)                                       nothing: being there is the fact
//! forks      author 32 | incarnation 8 | seq 8     48 bytes    nothing: being there is the fact
//! subscriptions  u64: its id                                   Subscription::encode()
//! owed       (u64: a subscription's id, uid)                   Owed::encode()
//! confirmed  (u64: a subscription's id, uid)                   Confirmed::encode()
//! agreed     (u64: a subscription's id, uid)                   Agreed::encode()
//! held       author 32 | incarnation 8 | 0 8       48 bytes    u64: a sequence number
//! watched    uid                                               postcard of DeliveryState
//! snapshot   u32: 0                                            entries 8 | length 8 | SHA-256 32
//!            u32: 1, 2, ...                                    the document in pieces
//! ```
//!
//! Where each log's entries lie is not stored but found from the rows when the file is opened.
//!
//! `meta` keeps its name and its types in every format version, so that any version of this program
//! can say which version a file is of.
//!
//! # What is promised
//!
//! * What a commit returned `Ok` for is there after any crash. A commit that was under way is there
//!   wholly or not at all; the tests crash a disk at every write and every sync to see it.
//! * One process at a time has the folder open.
//! * A damaged file is refused when it is opened: every page has a checksum, and all are checked.

mod backup;
mod blocks;
mod bundle;
mod disk;
mod error;
mod outbox;
mod places;
mod reader;
mod snapshot;
mod store;
mod tables;

pub use backup::{BACKUP_FORMAT, BackupError, Contents, Head, RestoreError, check, seal};
pub use bundle::{BUNDLE_FORMAT, BundleError, check_bundle};
pub use error::{CommitError, CreateError, OpenError, ReadError};
pub use outbox::ConfirmedRow;
pub use reader::{Conflicts, Forks, Notices, Reader, Rows};
pub use snapshot::Snapshot;
pub use store::Store;
pub use tables::{FORMAT, FORMAT_OLDEST, Meta};
