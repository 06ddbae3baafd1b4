//! The deterministic core of a Fasti node.
pub mod command;
pub mod entry;
pub mod ids;
pub mod log;
pub mod message;
pub mod notice;
pub mod policy;
pub mod row;
pub mod statement;
pub mod step;
pub mod ticket;

pub use command::{Answer, Command, CommandError, Reply};
pub use ids::{Digest, DocumentId, EntryHash, Incarnation, LogId, NetworkId, OfficeId, TicketId};
pub use step::{Effect, RequestId, Step, Write};
