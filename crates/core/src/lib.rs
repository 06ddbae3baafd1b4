//! The deterministic core of a Fasti node.
pub mod ids;
pub use ids::{Digest, DocumentId, EntryHash, Incarnation, LogId, NetworkId, OfficeId, TicketId};
