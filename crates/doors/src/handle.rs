//! The handle through which doors reach the node: commands go to the thread that runs the core,
//! entries come back as they are appended, and [`Node`] answers what needs neither.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use fasti_core::command::ReportView;
use fasti_core::outbox::{Confirmed, Delivery, Subscription, SubscriptionId, Target};
use fasti_core::proof::Evidence;
use fasti_core::step::Appended;
use fasti_core::{Answer, Command, CommandError, OfficeId, Reply};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::auth;

/// Commands that wait for the core before callers have to: enough to fill a group commit many times
/// over, and few enough that the last one waits for less than a second.
const REQUESTS_MAX: usize = 1024;

/// Batches that a follower may lag before it has to read the history: a few seconds under load.
const BATCHES_MAX: usize = 1024;

/// An answer to come.
pub type Tested = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What the node provides besides the core.
pub trait Node: Send + Sync + 'static {
    /// This office.
    fn office(&self) -> OfficeId;

    /// Multiaddresses at which newcomers can reach this node, most useful first.
    fn addresses(&self) -> Vec<String>;

    /// The offices to which links last led through a relay.
    fn relayed(&self) -> BTreeSet<OfficeId>;

    /// Why the node can't serve yet, for people; none if it can.
    fn unready(&self) -> Option<String>;

    /// Numbers for operators; those with the same name stand together.
    fn metrics(&self) -> Vec<Metric>;

    /// The index that the next entry of the local log will have. Entries count here before they are
    /// sent to [`CoreEnd::appended`].
    fn log_end(&self) -> u64;

    /// Cuts the links with these offices until told otherwise, in place of those before; false if
    /// this node was not started for such faults.
    fn cut(&self, offices: BTreeSet<OfficeId>) -> bool;

    /// Makes the node's next step fail as a fault in the program would; false as for [`Node::cut`].
    fn panic_once(&self) -> bool;

    /// What was kept last with [`Node::keep_users`]; none if nothing was. Called once.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn users(&self) -> io::Result<Option<Vec<u8>>>;

    /// Keeps the people with an app password, durably, in place of those before. Nothing in it is a
    /// secret in clear. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn keep_users(&self, users: &[u8]) -> io::Result<()>;

    /// What was kept last with [`Node::keep_feeds`]; none if nothing was. Called once.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn feeds(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Keeps the feeds, as [`Node::keep_users`] does people.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn keep_feeds(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// Entries of the local log from this index on, at most `limit`, without gaps; empty only if there
    /// are none. May read the disk: it is called where blocking is allowed.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn history(&self, from: u64, limit: usize) -> io::Result<Vec<Appended>>;

    /// Begins a backup of all that the node has stored, without the office's key: its bytes, piece by piece, as
    /// fast as they are taken. A piece that is an error is the last one.
    ///
    /// # Errors
    /// Why not now, for people.
    fn back_up(&self) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String>;

    /// Makes a report of entries in the store, judged anew. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says, or what is wrong with the entries.
    fn report(&self, evidence: &Evidence) -> io::Result<ReportView>;

    /// Why a target can't be delivered to, if so: a field, and what is wrong with it.
    fn target_fault(&self, _: &Target) -> Option<(String, String)> {
        None
    }

    /// How a target is reached, without what is secret in that.
    fn target_shown(&self, _: &Target) -> Value {
        Value::Null
    }

    /// A delivery as the system would get it: the type of its content, and that.
    fn delivery_shown(&self, _: &Target, _: &Delivery) -> (&'static str, String) {
        ("text/plain", String::new())
    }

    /// Why a system can't be read, of those that are read as well.
    fn target_problem(&self, _: SubscriptionId) -> Option<String> {
        None
    }

    /// Asks a system whether it could be delivered to; gives what it answered, or why it could not.
    fn target_tested(&self, _: Arc<Subscription>) -> Tested {
        Box::pin(async { Err("nobody is there".into()) })
    }

    /// What a system confirmed: of one event, or of those after a uid; at most so many. May read the disk, as
    /// [`Node::history`].
    ///
    /// # Errors
    /// Whatever the disk says.
    fn confirmed(
        &self,
        _: SubscriptionId,
        _: Option<&str>,
        _after: &str,
        _limit: usize,
    ) -> io::Result<Vec<(String, Confirmed)>> {
        Ok(Vec::new())
    }

    /// Begins a bundle: the same, and all that proves it, piece by piece as for [`Node::back_up`].
    ///
    /// # Errors
    /// Why not now, for people.
    fn bundle(
        &self,
        evidence: Box<Evidence>,
    ) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String>;
}

/// A number for operators, in Prometheus' terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Such as `fasti_events`; `[a-z_]` only.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// What tells it from others with the same name.
    pub labels: Vec<(&'static str, String)>,
    /// The number, in base units (seconds, bytes).
    pub value: f64,
}

/// How a [`Metric`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// A command on its way to the core.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Where the answer goes; whoever asked may be gone.
    pub reply: oneshot::Sender<Reply>,
}

/// The core's end of a [`Handle`]. When it is dropped, callers are told that the node is unavailable,
/// and event streams end.
#[derive(Debug)]
pub struct CoreEnd {
    /// What is asked, in order.
    pub requests: mpsc::Receiver<Request>,
    /// Where entries go as soon as they are durable, in the order of the log.
    pub appended: broadcast::Sender<Arc<[Appended]>>,
}

/// The doors' end; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    appended: broadcast::WeakSender<Arc<[Appended]>>,
    node: Arc<dyn Node>,
}

impl Handle {
    /// Both ends.
    pub fn new(node: Arc<dyn Node>) -> (Self, CoreEnd) {
        let (request_sender, requests) = mpsc::channel(REQUESTS_MAX);
        let appended = broadcast::Sender::new(BATCHES_MAX);
        let handle = Self { requests: request_sender, appended: appended.downgrade(), node };
        (handle, CoreEnd { requests, appended })
    }

    /// Asks the core, on behalf of the person whose request is being answered, waiting for room in its queue if need be.
    ///
    /// # Errors
    /// The core's, or [`CommandError::Unavailable`] if it is gone.
    pub async fn ask(&self, command: Command) -> Result<Answer, CommandError> {
        let command = match auth::person() {
            Some(person) => Command::By { person: (*person).into(), command: Box::new(command) },
            None => command,
        };
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request { command, reply }).await.is_err() {
            return Err(CommandError::Unavailable("it is stopping; nothing was done".into()));
        }
        answer.await.unwrap_or_else(|_| {
            Err(CommandError::Unavailable(
                "it stopped before it answered; a write may or may not have been done".into(),
            ))
        })
    }

    /// Entries from now on, in batches as they become durable. A follower that lags reads what it
    /// missed from [`Handle::history`].
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] if the core is gone.
    pub fn follow(&self) -> Result<broadcast::Receiver<Arc<[Appended]>>, CommandError> {
        match self.appended.upgrade() {
            Some(appended) => Ok(appended.subscribe()),
            None => Err(CommandError::Unavailable("it is stopping".into())),
        }
    }

    /// See [`Node::history`].
    ///
    /// # Errors
    /// See [`Node::history`].
    pub async fn history(&self, from: u64, limit: usize) -> io::Result<Vec<Appended>> {
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || node.history(from, limit)).await?
    }

    /// See [`Node::report`].
    ///
    /// # Errors
    /// See [`Node::report`].
    pub async fn report(&self, evidence: Box<Evidence>) -> io::Result<ReportView> {
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || node.report(&evidence)).await?
    }

    /// See [`Node::confirmed`].
    ///
    /// # Errors
    /// See [`Node::confirmed`].
    pub async fn confirmed(
        &self,
        subscription: SubscriptionId,
        uid: Option<String>,
        after: String,
        limit: usize,
    ) -> io::Result<Vec<(String, Confirmed)>> {
        let node = Arc::clone(&self.node);
        let read = move || node.confirmed(subscription, uid.as_deref(), &after, limit);
        tokio::task::spawn_blocking(read).await?
    }

    /// What needs neither the core nor the disk.
    pub fn node(&self) -> &dyn Node {
        &*self.node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Node for Nobody {
        fn office(&self) -> OfficeId {
            OfficeId([0; 32])
        }

        fn addresses(&self) -> Vec<String> {
            Vec::new()
        }

        fn relayed(&self) -> BTreeSet<OfficeId> {
            BTreeSet::new()
        }

        fn unready(&self) -> Option<String> {
            None
        }

        fn metrics(&self) -> Vec<Metric> {
            Vec::new()
        }

        fn panic_once(&self) -> bool {
            false
        }

        fn cut(&self, _: BTreeSet<OfficeId>) -> bool {
            false
        }

        fn log_end(&self) -> u64 {
            0
        }

        fn users(&self) -> io::Result<Option<Vec<u8>>> {
            Ok(None)
        }

        fn keep_users(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn history(&self, _: u64, _: usize) -> io::Result<Vec<Appended>> {
            Ok(Vec::new())
        }

        fn back_up(&self) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
            Err("nobody has anything".into())
        }

        fn report(&self, _: &Evidence) -> io::Result<ReportView> {
            Err(io::Error::other("nobody has anything"))
        }

        fn bundle(&self, _: Box<Evidence>) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
            Err("nobody has anything".into())
        }
    }

    #[tokio::test]
    async fn a_caller_learns_that_the_core_is_gone() {
        let (handle, mut core) = Handle::new(Arc::new(Nobody));
        let mut follower = handle.follow().unwrap();
        let asking = tokio::spawn({
            let handle = handle.clone();
            async move { handle.ask(Command::Status).await }
        });
        drop(core.requests.recv().await);
        let unanswered = asking.await.unwrap().unwrap_err();
        assert!(unanswered.to_string().contains("may or may not"), "{unanswered}");
        drop(core);
        let unasked = handle.ask(Command::Status).await.unwrap_err();
        assert!(unasked.to_string().contains("nothing was done"), "{unasked}");
        assert!(handle.follow().is_err());
        assert!(follower.recv().await.is_err());
    }
}
