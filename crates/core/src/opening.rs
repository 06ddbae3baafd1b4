//! Opening: what a node finds on its disk, and making a ledger of it, as it was judged before or judged anew.

use std::collections::BTreeSet;

use crate::document::Document;
use crate::ids::{Incarnation, LogId};
use crate::ledger::Ledger;
use crate::notice::SignedNotice;
use crate::outbox::StoredOutbox;
use crate::removal::Survey;
use crate::row::Row;
use crate::step::Kept;

/// What a node finds on its disk.
#[derive(Debug, Default)]
pub struct Stored {
    /// The document and how many entries it covers.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// The latest notices.
    pub notices: Vec<SignedNotice>,
    /// Fields in conflict: uid and path.
    pub conflicts: Vec<(String, String)>,
    /// The incarnation in which it was writing.
    pub incarnation: Option<Incarnation>,
    /// Places of logs at which histories part.
    pub forks: Vec<(LogId, u64)>,
    /// Whether all entries are to be judged again: see [`Write::JudgeAgain`].
    pub judge_again: bool,
    /// See [`Write::Numbering`].
    pub numbering: Option<u64>,
    /// Subscriptions and what is owed to them.
    pub outbox: StoredOutbox,
    /// Not from the disk: what [`Effect::Reopen`] said, when the node goes on with the same disk.
    ///
    /// [`Effect::Reopen`]: crate::Effect::Reopen
    pub kept: Kept,
}

/// Why a node can't be opened from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum OpenError<E: std::error::Error + 'static> {
    /// The store could not read a row.
    #[error(transparent)]
    Store(E),
    /// The rows don't fit together.
    #[error(
        "the log on this disk is damaged: {0}; restore a backup, or move the folder away and join again"
    )]
    Damaged(String),
}

/// Loads what was judged before; false if all has to be judged again: something was not understood then and is now,
/// or the document can't be built so.
pub(crate) fn reload<E: std::error::Error + 'static>(
    ledger: &mut Ledger,
    snapshot: &Option<(u64, Vec<u8>)>,
    rows: impl Iterator<Item = Result<Row, E>>,
) -> Result<bool, OpenError<E>> {
    let covered = match snapshot {
        Some((covered, bytes)) => match Document::load(bytes) {
            Ok(document) => {
                ledger.document = document;
                *covered
            }
            Err(error) => {
                ledger.alarms.push(format!("{error}; it is built anew from the log"));
                0
            }
        },
        None => 0,
    };
    for (index, row) in rows.enumerate() {
        let row = row.map_err(OpenError::Store)?;
        if ledger.understands(&row) {
            return Ok(false);
        }
        ledger.reload(row, (index as u64) < covered).map_err(OpenError::Damaged)?;
        if ledger.stale {
            return Ok(false);
        }
    }
    if covered > u64::from(ledger.graph.len()) {
        let held = ledger.graph.len();
        let problem = format!("the snapshot covers {covered} entries and only {held} are there");
        return Err(OpenError::Damaged(problem));
    }
    ledger.flush();
    Ok(!ledger.stale)
}

/// Judges all anew: first all together, then one by one.
pub(crate) fn judge_again<E, I>(
    new_ledger: impl Fn() -> Ledger,
    stored: &Stored,
    rows: &impl Fn() -> Result<I, E>,
) -> Result<Ledger, OpenError<E>>
where
    E: std::error::Error + 'static,
    I: Iterator<Item = Result<Row, E>>,
{
    let mut survey = Survey::new(stored.forks.iter().copied());
    for (index, row) in rows().map_err(OpenError::Store)?.enumerate() {
        let row = row.map_err(OpenError::Store)?;
        survey.add(&row).ok_or_else(|| {
            OpenError::Damaged(format!(
                "the entry with index {index} has parents that are not there"
            ))
        })?;
    }
    let verdict = {
        let ledger = new_ledger();
        survey.verdict(&ledger.network, &*ledger.verifier)
    };
    drop(survey);
    // As a rule once. Where the document breaks, once more to find the entry at which it does, and once more
    // without that.
    let (mut carefully, mut quarantined, mut alarms) = (false, BTreeSet::new(), Vec::new());
    loop {
        let known = quarantined.len();
        let mut ledger = new_ledger();
        ledger.expect(verdict.clone());
        ledger.carefully = carefully;
        ledger.quarantined = quarantined;
        ledger.alarms = alarms;
        for row in rows().map_err(OpenError::Store)? {
            if ledger.stale {
                break;
            }
            ledger.judge_again(row.map_err(OpenError::Store)?).map_err(OpenError::Damaged)?;
        }
        ledger.settle_all();
        if !ledger.stale {
            ledger.judged_again(&stored.conflicts);
            return Ok(ledger);
        }
        if carefully && ledger.quarantined.len() == known {
            return Err(OpenError::Damaged(ledger.alarms.join("; ")));
        }
        carefully = true;
        quarantined = ledger.quarantined;
        alarms = ledger.alarms;
    }
}
