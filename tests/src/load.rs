//! Publishers that publish as fast as one node answers, and remember what it answered: that must
//! never be lost.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::Api;

/// A write that was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The event.
    pub uid: String,
    /// The entry.
    pub entry: String,
}

/// Publishers at work.
#[derive(Debug)]
pub struct Load {
    answered: Arc<Mutex<Vec<Answered>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many; the name keeps their policies apart from other loads'. Each stops by itself
    /// when the node doesn't answer any more.
    pub fn start(api: &Api, name: &str, threads: usize) -> Self {
        let (answered, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let publisher = |thread| {
            let (api, answered, stop) = (api.clone(), Arc::clone(&answered), Arc::clone(&stop));
            let name = format!("{name}-{thread}");
            std::thread::spawn(move || {
                for n in 0.. {
                    // Every third one is an edit of the one before.
                    let policy = format!("{name}-{}", n - n % 3 / 2);
                    if stop.load(Relaxed) {
                        break;
                    }
                    let Ok(written) = api.publish(&policy, "2024-04-01", &format!("{n}")) else {
                        break;
                    };
                    let text = |field: &str| written[field].as_str().unwrap_or_default().to_owned();
                    let done = Answered { uid: text("uid"), entry: text("entry") };
                    answered.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                }
            })
        };
        let threads = (0..threads).map(publisher).collect();
        Self { answered, stop, threads }
    }

    /// How many writes have been answered so far.
    pub fn count(&self) -> usize {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What has been answered so far.
    pub fn answered(&self) -> Vec<Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it, and gives what has been answered.
    pub fn end(self) -> Vec<Answered> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        std::mem::take(&mut self.answered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
