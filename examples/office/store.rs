//! The office's calendar, in SQLite. One thread writes: whatever came while the disk was busy shares the next
//! transaction, and nobody is answered before it is durable.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use fasti_receiver::{Delivery, News};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Most deliveries of a transaction: it should end while whoever waits still does.
const BATCH_MAX: usize = 1000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    -- A commit is on the disk when it returns: what is confirmed is never delivered again.
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS events (
        uid TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        title TEXT,
        start TEXT,
        event TEXT NOT NULL
    );";
const VERSION: &str = "SELECT version FROM events WHERE uid = ?1";
const APPLY: &str = "INSERT INTO events (uid, version, kind, state, title, start, event)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (uid) DO UPDATE SET version = ?2, kind = ?3, state = ?4, title = ?5, start = ?6, event = ?7";
const ALL: &str = "SELECT uid, version, kind, state, event FROM events ORDER BY start, uid";

/// What became of a delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) news: News,
    /// The version that is in the calendar now.
    pub(crate) version: u64,
}

type Answer = Result<Stored, Arc<anyhow::Error>>;

struct Order {
    delivery: Box<Delivery>,
    answer: oneshot::Sender<Answer>,
}

pub(crate) struct Store {
    orders: mpsc::Sender<Order>,
    reader: Mutex<Connection>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let writer = Connection::open(path)?;
        writer.execute_batch(SCHEMA)?;
        let reader = Connection::open(path)?;
        reader.busy_timeout(Duration::from_secs(5))?;
        let (orders, taken) = mpsc::channel();
        let thread = std::thread::Builder::new().name("writer".into());
        thread.spawn(move || write(writer, &taken)).context("no thread for the database")?;
        Ok(Self { orders, reader: Mutex::new(reader) })
    }

    /// Applies a delivery unless that version of the event, or a newer one, is there; answers once that is durable.
    pub(crate) async fn apply(&self, delivery: Box<Delivery>) -> Answer {
        let gone =
            || Arc::new(anyhow::anyhow!("the database's thread has ended; restart the office"));
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { delivery, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The calendar: a JSON array. Blocks.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<Value>> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = reader.prepare_cached(ALL)?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let event: Value = serde_json::from_str(row.get_ref(4)?.as_str()?)?;
            all.push(json!({
                "uid": row.get_ref(0)?.as_str()?,
                "version": row.get::<_, i64>(1)?,
                "type": row.get_ref(2)?.as_str()?,
                "state": row.get_ref(3)?.as_str()?,
                "event": event,
            }));
        }
        Ok(all)
    }
}

fn write(mut database: Connection, orders: &mpsc::Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let mut batch = vec![first];
        batch.extend(orders.try_iter().take(BATCH_MAX - 1));
        let stored = apply(&mut database, &batch).map_err(Arc::new);
        for (at, order) in batch.into_iter().enumerate() {
            let answer = stored.as_ref().map(|stored| stored[at]).map_err(Arc::clone);
            // Whoever hung up is delivered to again.
            let _ = order.answer.send(answer);
        }
    }
}

/// All of them, in one transaction.
fn apply(database: &mut Connection, batch: &[Order]) -> anyhow::Result<Vec<Stored>> {
    let transaction = database.transaction()?;
    let stored: anyhow::Result<Vec<Stored>> =
        batch.iter().map(|order| apply_one(&transaction, &order.delivery)).collect();
    let stored = stored?;
    transaction.commit()?;
    Ok(stored)
}

fn apply_one(database: &Connection, delivery: &Delivery) -> anyhow::Result<Stored> {
    let data = &delivery.data;
    let known: Option<i64> =
        database.prepare_cached(VERSION)?.query_row([&data.uid], |row| row.get(0)).optional()?;
    let known = known.map(u64::try_from).transpose()?;
    let news = data.news(known);
    if news == News::New {
        let text = |name: &str| data.event.get(name).and_then(Value::as_str);
        database.prepare_cached(APPLY)?.execute(params![
            data.uid,
            i64::try_from(data.version)?,
            delivery.kind,
            data.state.as_str(),
            text("title"),
            text("start"),
            serde_json::to_string(&data.event)?,
        ])?;
    }
    Ok(Stored { news, version: data.version.max(known.unwrap_or(0)) })
}
