//! A report that proves itself to whoever is no member: with all entries under its heads, the signatures by which
//! they were authenticated, and offices' signed words of what they hold. Whoever makes one and whoever checks it do
//! the same: take the entries into an empty ledger, judge them by the same rules as a node does that opens its folder,
//! and make the report of that. So what else a node holds can't show in it. The file around it is the store's.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::board::Board;
use crate::codec::exactly;
use crate::command::{AsOf, CommandError, ReportView};
use crate::entry::{Ed25519, Run, Signature, Signer, Verifier};
use crate::event::canonical;
use crate::ids::{EntryHash, NetworkId, OfficeId};
use crate::ledger::{Ledger, Refused};
use crate::log::Chunks;
use crate::notice::{SignedNotice, Topic};
use crate::opening::{OpenError, Stored, judge_again};
use crate::report::report_of_all;
use crate::row::Row;

/// Most bytes of entries, by a count that is above what they need in memory: some 400,000 changes of an event. What a
/// stranger gives us to check must not take more, and what we make must be taken elsewhere.
pub const PROOF_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What an entry counts for besides twice its body and its parents: it lies in memory before it is judged and after.
const ENTRY_BYTES: usize = 1536;

/// Bytes of a piece of the report.
pub const PIECE_BYTES: usize = 64 * 1024;

/// What a notice counts for besides its body.
const NOTICE_BYTES: usize = 512;

/// What a report is about, and who says that this is all that it held of it. The office signs that, so that whoever
/// leaves something out has signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The network.
    pub network: NetworkId,
    /// The office whose node made it.
    pub office: OfficeId,
    /// Its name, as it was then.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// When, by its clock (milliseconds since 1970).
    pub made: i64,
    /// One policy, by its number or its event's uid; or all of them.
    pub policy: Option<String>,
    /// As of when.
    pub as_of: AsOf,
    /// The entries that lie under no other one; sorted.
    pub heads: Vec<EntryHash>,
    /// SHA-256 over the notices, encoded, by office.
    pub notices: [u8; 32],
}

impl Question {
    fn digest(&self) -> [u8; 32] {
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        Sha256::new().chain_update(b"fasti/report/1\0").chain_update(bytes).finalize().into()
    }
}

/// All that a report is made of, but the entries, which are on the disk of who answers with it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What is asked.
    pub question: Question,
    /// By that office.
    pub signature: Signature,
    /// By offices.
    pub notices: Vec<SignedNotice>,
    /// For each entry of the local log whether it lies under the heads.
    inside: Vec<bool>,
}

impl Evidence {
    pub(crate) fn new(
        question: Question,
        inside: Vec<bool>,
        notices: Vec<SignedNotice>,
        signer: &Signer,
    ) -> Self {
        let question = Question { notices: digest(&notices), ..question };
        let signature = signer.sign(&question.digest());
        Self { question, signature, notices, inside }
    }

    /// Cuts what belongs to it out of the local log.
    pub fn sealing(&self) -> Sealing {
        Sealing {
            inside: self.inside.clone(),
            next: 0,
            open: BTreeSet::new(),
            beyond: BTreeSet::new(),
            chunks: Chunks::new(),
        }
    }
}

fn digest(notices: &[SignedNotice]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for notice in notices {
        sha.update(notice.encode());
    }
    sha.finalize().into()
}

/// A run of which the last entries may lie beyond the heads: they are there because only the last one is signed, and
/// are not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// All of it.
    pub run: Run,
    /// How many of its entries lie beyond.
    pub beyond: u32,
}

/// One thing in a bundle. The order of the variants is the format, and also the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The first, and its signature.
    Question(Question, Signature),
    /// Entries, after all that they build upon.
    Entries(Vec<Sealed>),
    /// By office.
    Notice(SignedNotice),
    /// The next piece of the report: canonical JSON, as of [`Verified::report`].
    Report(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Record {
    /// Takes the first of the records that these bytes hold.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn take(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        postcard::take_from_bytes(bytes)
    }

    /// As [`Record::take`] reads it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// As [`Record::take`], of bytes that hold nothing else.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        exactly(bytes)
    }
}

/// Takes the local log row by row, and gives what belongs to a bundle of it.
#[derive(Debug)]
pub struct Sealing {
    inside: Vec<bool>,
    next: usize,
    /// Entries that are not signed, and on which none of their log has followed.
    open: BTreeSet<EntryHash>,
    beyond: BTreeSet<EntryHash>,
    chunks: Chunks,
}

impl Sealing {
    /// Whether the rest of the log has nothing for it.
    pub fn is_done(&self) -> bool {
        self.next >= self.inside.len() && self.open.is_empty()
    }

    /// Takes the next row.
    pub fn add(&mut self, row: Row) -> Option<Record> {
        let inside = self.inside.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        if !self.open.remove(&row.entry.prev) && !inside {
            return None;
        }
        if !inside {
            self.beyond.insert(row.hash);
        }
        if row.signature.is_none() {
            self.open.insert(row.hash);
        }
        let bundle = self.chunks.add(row)?;
        Some(seal(bundle, &self.beyond))
    }

    /// Gives the rest.
    pub fn finish(self) -> Record {
        seal(self.chunks.finish(), &self.beyond)
    }
}

fn seal(bundle: Vec<Run>, beyond: &BTreeSet<EntryHash>) -> Record {
    let sealed = |run: Run| {
        let hashes = if beyond.is_empty() { Vec::new() } else { run.hashes() };
        let beyond = hashes.iter().rev().take_while(|hash| beyond.contains(*hash)).count() as u32;
        Sealed { run, beyond }
    };
    Record::Entries(bundle.into_iter().map(sealed).collect())
}

/// Why a report isn't proved by what came with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The records are not in their order.
    #[error("its parts are not in their order: {0}")]
    Order(&'static str),
    /// More than is taken.
    #[error(
        "it holds more than fits into the memory that is meant for it; ask for an earlier moment"
    )]
    TooLarge,
    /// The office's signature over the question.
    #[error(
        "its signature is not by the office that it says made it ({office}): somebody else made it, or changed what \
         was asked, when, or as of which entries"
    )]
    NotSigned {
        /// Who is said to have made it.
        office: OfficeId,
    },
    /// Over a run.
    #[error(
        "entry {entry} (number {seq} of office {office}) is not signed with that office's key, or one of the entries \
         before it was changed or left out"
    )]
    EntryNotSigned {
        /// The run's last.
        entry: EntryHash,
        /// Its author.
        office: OfficeId,
        /// Its place in its log.
        seq: u64,
    },
    /// The bundle's entries don't fit together.
    #[error("entries of office {office} from number {seq} on are not sound: {problem}")]
    Unsound {
        /// An author.
        office: OfficeId,
        /// The first place of the run.
        seq: u64,
        /// What is wrong.
        problem: String,
    },
    /// Something that others build upon.
    #[error("entry {0} is missing, though others in it build upon that one")]
    Missing(EntryHash),
    /// Something that the report is as of.
    #[error("entry {0} is missing, though the report says that it lies under that one")]
    HeadMissing(EntryHash),
    /// Something on top of it.
    #[error("it holds entry {0}, which is not among what the report says that it is as of")]
    Beyond(EntryHash),
    /// The founding entry.
    #[error("the founding entry of network {0} is missing")]
    NoFounding(NetworkId),
    /// An acknowledgement.
    #[error("what office {0} is said to have acknowledged is not signed with that office's key")]
    NoticeNotSigned(OfficeId),
    /// The acknowledgements don't match what the office signed.
    #[error("an acknowledgement was left out or put in since it was made")]
    Notices,
    /// The document or the rows.
    #[error("its entries can't be judged: {0}")]
    NotJudged(String),
    /// The core's answer.
    #[error("no report can be made of its entries: {0}")]
    NoReport(CommandError),
    /// The report isn't the one.
    #[error(
        "the report does not follow from the entries: from byte {at} on it says {said:?}, and {follows:?} follows{hint}"
    )]
    Differs {
        /// Where.
        at: usize,
        /// A little of what is there.
        said: String,
        /// A little of what should be.
        follows: String,
        /// Another version made it.
        hint: String,
    },
}

/// Takes a bundle record by record. Needs memory for the entries, up to [`PROOF_BYTES_MAX`].
pub struct Check {
    verifier: Arc<dyn Verifier>,
    state: State,
}

enum State {
    Beginning,
    Gathering(Box<Gathering>),
    Comparing(Box<Verified>),
}

struct Gathering {
    question: Question,
    ledger: Ledger,
    rows: Vec<Row>,
    bytes: usize,
    notices: Vec<SignedNotice>,
}

/// What was found right.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What was asked, and who vouches for it that nothing was left out.
    pub question: Question,
    /// The report, made anew.
    pub report: ReportView,
    /// The same as canonical JSON.
    pub json: Vec<u8>,
    /// How many entries were judged.
    pub entries: u64,
    /// Of these count for nothing.
    pub void: u64,
    /// Of these this version of the program doesn't understand: a later one may find another report.
    pub deferred: u64,
    compared: usize,
}

impl Default for Check {
    fn default() -> Self {
        Self { verifier: Arc::new(Ed25519), state: State::Beginning }
    }
}

impl Check {
    /// Takes the next record.
    ///
    /// # Errors
    /// [`ProofError`]; nothing more is to be given then.
    pub fn take(&mut self, record: Record) -> Result<(), ProofError> {
        match (&mut self.state, record) {
            (State::Beginning, Record::Question(question, signature)) => {
                if !self.verifier.verify(&question.office, &question.digest(), &signature) {
                    return Err(ProofError::NotSigned { office: question.office });
                }
                let ledger = new_ledger(question.network, &self.verifier);
                let (rows, notices) = (Vec::new(), Vec::new());
                let gathering = Gathering { question, ledger, rows, bytes: 0, notices };
                self.state = State::Gathering(Box::new(gathering));
                Ok(())
            }
            (State::Beginning, _) => Err(ProofError::Order("it doesn't begin with what was asked")),
            (State::Gathering(_) | State::Comparing(_), Record::Question(..)) => {
                Err(ProofError::Order("it asks twice"))
            }
            (State::Gathering(it), Record::Entries(sealed)) if it.notices.is_empty() => {
                it.entries(sealed, &*self.verifier)
            }
            (State::Gathering(it), Record::Notice(notice)) => it.notice(notice, &*self.verifier),
            (State::Gathering(_), Record::Report(piece)) => self.judge()?.compare(&piece),
            (State::Comparing(it), Record::Report(piece)) => it.compare(&piece),
            (_, Record::Entries(_)) => Err(ProofError::Order("an entry comes too late")),
            (_, Record::Notice(_)) => Err(ProofError::Order("an acknowledgement comes too late")),
        }
    }

    /// Judges what has come, and makes the report of it; what comes now is compared with that.
    ///
    /// # Errors
    /// [`ProofError`]
    pub fn judge(&mut self) -> Result<&mut Verified, ProofError> {
        if let State::Gathering(_) = &self.state
            && let State::Gathering(it) = std::mem::replace(&mut self.state, State::Beginning)
        {
            let verified = it.judge(&self.verifier)?;
            self.state = State::Comparing(Box::new(verified));
        }
        match &mut self.state {
            State::Comparing(verified) => Ok(verified),
            _ => Err(ProofError::Order("it has nothing in it")),
        }
    }

    /// After the last record.
    ///
    /// # Errors
    /// [`ProofError`]
    pub fn finish(mut self) -> Result<Verified, ProofError> {
        let verified = self.judge()?;
        if verified.compared < verified.json.len() {
            return Err(verified.differs(&[]));
        }
        match self.state {
            State::Comparing(verified) => Ok(*verified),
            _ => Err(ProofError::Order("it has nothing in it")),
        }
    }
}

/// Of nobody: it writes nothing.
fn new_ledger(network: NetworkId, verifier: &Arc<dyn Verifier>) -> Ledger {
    Ledger::new(network, Signer::from_seed(&[0; 32]), Arc::clone(verifier))
}

impl Gathering {
    fn entries(&mut self, sealed: Vec<Sealed>, verifier: &dyn Verifier) -> Result<(), ProofError> {
        let mut runs = Vec::new();
        for Sealed { mut run, beyond } in sealed {
            let (office, seq) = (run.log.author, run.first);
            let unsound =
                |problem: &str| ProofError::Unsound { office, seq, problem: problem.into() };
            run.check_shape().map_err(unsound)?;
            let last = run.last();
            if let Some(entry) = run.hashes().last()
                && !verifier.verify(&office, &entry.0, &run.signature)
            {
                return Err(ProofError::EntryNotSigned { entry: *entry, office, seq: last });
            }
            let inside = run.links.len().saturating_sub(beyond as usize);
            run.links.truncate(inside);
            if inside > 0 {
                runs.push(run);
            }
        }
        let bytes = runs
            .iter()
            .flat_map(|run| &run.links)
            .map(|link| 2 * (link.body.len() + 32 * link.parents.len()) + ENTRY_BYTES);
        self.bytes = bytes.fold(self.bytes, usize::saturating_add);
        if self.bytes > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge);
        }
        let first = runs.first().map(|run| (run.log.author, run.first));
        let rows = self.ledger.gather(runs).map_err(|refused| {
            let (office, seq) = first.unwrap_or((self.question.office, 0));
            match refused {
                Refused::Missing(entries) if !entries.is_empty() => ProofError::Missing(entries[0]),
                Refused::Bad(problem) => {
                    ProofError::Unsound { office, seq, problem: problem.into() }
                }
                other => ProofError::Unsound { office, seq, problem: format!("{other:?}") },
            }
        })?;
        self.rows.extend(rows);
        Ok(())
    }

    fn notice(&mut self, notice: SignedNotice, verifier: &dyn Verifier) -> Result<(), ProofError> {
        if self.notices.last().is_some_and(|last| last.office >= notice.office) {
            return Err(ProofError::Order("acknowledgements are not sorted by office"));
        }
        if notice.topic != Topic::Acknowledgement || !notice.is_genuine(verifier) {
            return Err(ProofError::NoticeNotSigned(notice.office));
        }
        self.bytes += notice.body.len() + NOTICE_BYTES;
        if self.bytes > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge);
        }
        self.notices.push(notice);
        Ok(())
    }

    fn judge(self, verifier: &Arc<dyn Verifier>) -> Result<Verified, ProofError> {
        let Self { question, ledger, rows, notices, .. } = self;
        let network = question.network;
        if ledger.graph.index(&EntryHash(network.0)).is_none() {
            return Err(ProofError::NoFounding(network));
        }
        let heads: BTreeSet<EntryHash> = ledger.graph.heads().into_iter().collect();
        let asked: BTreeSet<EntryHash> = question.heads.iter().copied().collect();
        if let Some(head) = asked.difference(&heads).next() {
            return Err(ProofError::HeadMissing(*head));
        }
        if let Some(head) = heads.difference(&asked).next() {
            return Err(ProofError::Beyond(*head));
        }
        if digest(&notices) != question.notices {
            return Err(ProofError::Notices);
        }
        let forks = ledger.graph.forks().iter();
        let forks = forks.flat_map(|(log, all)| all.iter().map(|seq| (*log, *seq))).collect();
        drop(ledger);
        let stored = Stored { forks, ..Stored::default() };
        let empty = || {
            let mut ledger = new_ledger(network, verifier);
            ledger.graph.know_forks(stored.forks.iter().copied());
            ledger
        };
        let rows = || Ok(rows.iter().cloned().map(Ok::<_, std::convert::Infallible>));
        let mut ledger = judge_again(empty, &stored, &rows).map_err(|error| match error {
            OpenError::Damaged(problem) => ProofError::NotJudged(problem),
        })?;
        let mut board = Board::default();
        notices.into_iter().for_each(|notice| board.reload(notice));
        let report = report_of_all(&mut ledger, &board, &question).map_err(ProofError::NoReport)?;
        let json = serde_json::to_value(&report).map(canonical).unwrap_or_default();
        Ok(Verified {
            question,
            report,
            json,
            entries: u64::from(ledger.graph.len()),
            void: ledger.graph.void,
            deferred: ledger.graph.deferred,
            compared: 0,
        })
    }
}

impl Verified {
    /// The report in pieces, as a bundle has it.
    pub fn pieces(&self) -> impl Iterator<Item = Record> {
        self.json.chunks(PIECE_BYTES).map(|piece| Record::Report(piece.to_vec()))
    }

    fn compare(&mut self, piece: &[u8]) -> Result<(), ProofError> {
        let rest = &self.json[self.compared..];
        if !rest.starts_with(piece) {
            return Err(self.differs(piece));
        }
        self.compared += piece.len();
        Ok(())
    }

    fn differs(&self, piece: &[u8]) -> ProofError {
        const SHOWN: usize = 60;
        let rest = &self.json[self.compared..];
        let same = rest.iter().zip(piece).take_while(|(a, b)| a == b).count();
        let shown = |bytes: &[u8]| {
            let from = same.saturating_sub(SHOWN / 2);
            let bytes = bytes.get(from..).unwrap_or_default();
            String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned()
        };
        let this = env!("CARGO_PKG_VERSION");
        let hint = match self.question.version.as_str() {
            made if made == this => String::new(),
            made => format!(
                " (it was made by version {made}, and this is {this}: check it with that one)"
            ),
        };
        ProofError::Differs {
            at: self.compared + same,
            said: shown(piece),
            follows: shown(rest),
            hint,
        }
    }
}
