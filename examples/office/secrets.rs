//! The secrets that deliveries may be signed with.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, ensure};
use axum::http::HeaderMap;
use fasti_receiver::{Message, Receiver, Refused, Secret};

pub(crate) struct Secrets {
    given: Vec<Secret>,
    file: Option<PathBuf>,
    receiver: RwLock<Arc<Receiver>>,
}

impl Secrets {
    /// The file needn't be there yet: a secret is known only once somebody has subscribed.
    pub(crate) fn new(given: Vec<Secret>, file: Option<PathBuf>) -> anyhow::Result<Self> {
        ensure!(
            !given.is_empty() || file.is_some(),
            "no delivery can be verified without a secret: set FASTI_SECRET to the one that `fasti subscribe` printed"
        );
        let secrets = Self { given, file, receiver: RwLock::new(Arc::new(Receiver::new([]))) };
        if secrets.file.as_ref().is_none_or(|file| file.exists()) {
            secrets.load()?;
        } else {
            secrets.take(Vec::new());
        }
        Ok(secrets)
    }

    fn load(&self) -> anyhow::Result<()> {
        let Some(file) = &self.file else {
            self.take(Vec::new());
            return Ok(());
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} can't be read", file.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Result<_, _> = lines.map(Secret::from_text).collect();
        self.take(secrets.with_context(|| file.display().to_string())?);
        Ok(())
    }

    fn take(&self, mut secrets: Vec<Secret>) {
        secrets.extend(self.given.iter().cloned());
        *self.receiver.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Receiver::new(secrets));
    }

    /// Reads a delivery. One that is signed with an unknown secret makes the file be read again, so that a secret can be
    /// replaced while this runs.
    pub(crate) fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: i64,
    ) -> Result<Message, Refused> {
        let read = || {
            let receiver =
                Arc::clone(&self.receiver.read().unwrap_or_else(PoisonError::into_inner));
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            receiver.read(header, body, now)
        };
        match read() {
            Err(Refused::Signature) if self.file.is_some() => match self.load() {
                Ok(()) => read(),
                Err(error) => {
                    anstream::eprintln!("warning: {error:#}");
                    Err(Refused::Signature)
                }
            },
            answer => answer,
        }
    }
}
