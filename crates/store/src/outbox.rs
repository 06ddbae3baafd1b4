//! Subscriptions and deliveries: what is owed, which is read when a node starts, and what was confirmed, which is read
//! when somebody asks.

use std::ops::Bound;

use fasti_core::Write;
use fasti_core::outbox::{
    Agreed, Backlog, Confirmed, DeliveryState, Owed, StoredOutbox, Subscription, SubscriptionId,
};
use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

use crate::error::ReadError;
use crate::reader::Reader;
use crate::tables::{self, META, PlaceKey};

type DeliveryKey = (u64, &'static str);

const SUBSCRIPTIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("subscriptions");
const OWED: TableDefinition<'_, DeliveryKey, &[u8]> = TableDefinition::new("owed");
const CONFIRMED: TableDefinition<'_, DeliveryKey, &[u8]> = TableDefinition::new("confirmed");
const AGREED: TableDefinition<'_, DeliveryKey, &[u8]> = TableDefinition::new("agreed");
const WATCHED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("watched");
const HELD: TableDefinition<'_, &PlaceKey, u64> = TableDefinition::new("held");
const META_VERSION: &str = "version";

/// Makes the tables.
pub(crate) fn lay_out(txn: &WriteTransaction) -> Result<(), TableError> {
    txn.open_table(SUBSCRIPTIONS)?;
    txn.open_table(OWED)?;
    txn.open_table(CONFIRMED)?;
    txn.open_table(AGREED)?;
    txn.open_table(WATCHED)?;
    txn.open_table(HELD)?;
    Ok(())
}

/// Stores what of these is about deliveries. They come by the hundred, so each table is opened once.
pub(crate) fn apply(txn: &WriteTransaction, writes: &[Write]) -> Result<(), redb::Error> {
    let (mut owed_table, mut confirmed_table) = (None, None);
    for write in writes {
        match write {
            Write::Owed(id, uid, owed) => {
                let table = match &mut owed_table {
                    Some(table) => table,
                    none => none.insert(txn.open_table(OWED)?),
                };
                match owed {
                    Some(owed) => table.insert((id.0, uid.as_str()), owed.encode().as_slice())?,
                    None => table.remove((id.0, uid.as_str()))?,
                };
            }
            Write::Confirmed(id, uid, row) => {
                let table = match &mut confirmed_table {
                    Some(table) => table,
                    none => none.insert(txn.open_table(CONFIRMED)?),
                };
                table.insert((id.0, uid.as_str()), row.encode().as_slice())?;
            }
            Write::Agreed(id, uid, agreed) => {
                let mut table = txn.open_table(AGREED)?;
                table.insert((id.0, uid.as_str()), agreed.encode().as_slice())?;
            }
            Write::Unsubscribed(id) => {
                (owed_table, confirmed_table) = (None, None);
                txn.open_table(SUBSCRIPTIONS)?.remove(id.0)?;
                for table in [OWED, CONFIRMED, AGREED] {
                    let of_it = (id.0, "")..(id.0 + 1, "");
                    txn.open_table(table)?.retain_in(of_it, |_, _| false)?;
                }
            }
            Write::Subscription(it) => {
                txn.open_table(SUBSCRIPTIONS)?.insert(it.id.0, it.encode().as_slice())?;
            }
            Write::Watched(uid, Some(state)) => {
                let state = postcard::to_stdvec(state).unwrap_or_default();
                txn.open_table(WATCHED)?.insert(uid.as_str(), state.as_slice())?;
            }
            Write::Watched(uid, None) => drop(txn.open_table(WATCHED)?.remove(uid.as_str())?),
            Write::Held(log, seq) => {
                txn.open_table(HELD)?.insert(&tables::place_key(log, 0), seq)?;
            }
            Write::Version(version) => {
                let bytes = version.to_be_bytes();
                txn.open_table(META)?.insert(META_VERSION, &bytes[..])?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// An event of which a system confirmed a state.
pub type ConfirmedRow = (SubscriptionId, String, Confirmed);

impl Reader {
    /// What the core needs of it when it is opened.
    ///
    /// # Errors
    /// See [`ReadError`]; likewise for all that follow.
    pub fn outbox(&self) -> Result<StoredOutbox, ReadError> {
        let txn = self.read()?;
        let subscriptions = subscriptions(&txn)?.into_iter().map(|it| (it.id, it)).collect();
        let mut outbox = StoredOutbox { subscriptions, ..Default::default() };
        let table = txn.open_table(OWED).map_err(ReadError::storage)?;
        for item in table.range::<(u64, &str)>(..).map_err(ReadError::storage)? {
            let (key, bytes) = item.map_err(ReadError::storage)?;
            let (id, uid) = key.value();
            let owed = Owed::decode(bytes.value()).map_err(|_| damaged("what is owed"))?;
            outbox.owed.insert((SubscriptionId(id), uid.to_owned()), owed);
        }
        let table = txn.open_table(WATCHED).map_err(ReadError::storage)?;
        for item in table.range::<&str>(..).map_err(ReadError::storage)? {
            let (uid, state) = item.map_err(ReadError::storage)?;
            let state: DeliveryState =
                postcard::from_bytes(state.value()).map_err(|_| damaged("what is watched"))?;
            outbox.watched.insert(uid.value().to_owned(), state);
        }
        let table = txn.open_table(HELD).map_err(ReadError::storage)?;
        for item in table.range::<&PlaceKey>(..).map_err(ReadError::storage)? {
            let (key, seq) = item.map_err(ReadError::storage)?;
            outbox.held.insert(tables::place_of(key.value()).0, seq.value());
        }
        let table = txn.open_table(META).map_err(ReadError::storage)?;
        if let Some(version) = table.get(META_VERSION).map_err(ReadError::storage)? {
            let version = version.value().try_into().map_err(|_| damaged("the last version"))?;
            outbox.version = u64::from_be_bytes(version);
        }
        Ok(outbox)
    }

    /// The newest state of an event that a system confirmed.
    pub fn confirmed(
        &self,
        subscription: SubscriptionId,
        uid: &str,
    ) -> Result<Option<Confirmed>, ReadError> {
        let table = self.read()?.open_table(CONFIRMED).map_err(ReadError::storage)?;
        let row = table.get((subscription.0, uid)).map_err(ReadError::storage)?;
        row.map(|it| Confirmed::decode(it.value()).map_err(|_| damaged("what was confirmed")))
            .transpose()
    }

    /// How a system and this node had an event both, last.
    pub fn agreed(
        &self,
        subscription: SubscriptionId,
        uid: &str,
    ) -> Result<Option<Agreed>, ReadError> {
        let table = self.read()?.open_table(AGREED).map_err(ReadError::storage)?;
        let row = table.get((subscription.0, uid)).map_err(ReadError::storage)?;
        row.map(|it| Agreed::decode(it.value()).map_err(|_| damaged("what was agreed"))).transpose()
    }

    /// The same of all events, one by one.
    pub fn all_agreed(
        &self,
        subscription: SubscriptionId,
        mut each: impl FnMut(&str, Agreed),
    ) -> Result<(), ReadError> {
        let table = self.read()?.open_table(AGREED).map_err(ReadError::storage)?;
        let of_it = (subscription.0, "")..(subscription.0.saturating_add(1), "");
        for item in table.range::<(u64, &str)>(of_it).map_err(ReadError::storage)? {
            let (key, bytes) = item.map_err(ReadError::storage)?;
            let agreed = Agreed::decode(bytes.value()).map_err(|_| damaged("what was agreed"))?;
            each(key.value().1, agreed);
        }
        Ok(())
    }

    /// What a system confirmed, by event, after this one; at most so many.
    pub fn confirmed_after(
        &self,
        subscription: SubscriptionId,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ConfirmedRow>, ReadError> {
        let table = self.read()?.open_table(CONFIRMED).map_err(ReadError::storage)?;
        let of_it = (
            Bound::Excluded((subscription.0, after)),
            Bound::Excluded((subscription.0.saturating_add(1), "")),
        );
        let mut rows = Vec::new();
        for item in table.range::<(u64, &str)>(of_it).map_err(ReadError::storage)?.take(limit) {
            let (key, bytes) = item.map_err(ReadError::storage)?;
            let row =
                Confirmed::decode(bytes.value()).map_err(|_| damaged("what was confirmed"))?;
            rows.push((subscription, key.value().1.to_owned(), row));
        }
        Ok(rows)
    }
}

pub(crate) fn subscriptions(txn: &ReadTransaction) -> Result<Vec<Subscription>, ReadError> {
    let table = txn.open_table(SUBSCRIPTIONS).map_err(ReadError::storage)?;
    let mut subscriptions = Vec::new();
    for item in table.range::<u64>(..).map_err(ReadError::storage)? {
        let (_, bytes) = item.map_err(ReadError::storage)?;
        let subscription = Subscription::decode(bytes.value());
        subscriptions.push(subscription.map_err(|_| damaged("a subscription"))?);
    }
    Ok(subscriptions)
}

/// A subscription as it is taken up from a backup. What was delivered since that was made nobody knows here, nor what
/// came of it: so the system is told everything again.
pub(crate) fn taken_up(subscription: Subscription) -> Write {
    let backlog = Some(Backlog { after: String::new(), since: subscription.since });
    Write::Subscription(Box::new(Subscription { backlog, ..subscription }))
}

fn damaged(what: &str) -> ReadError {
    ReadError::Damaged { what: format!("{what} can't be read") }
}
