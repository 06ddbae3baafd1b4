//! A folder of iCalendar files, one for each event, for programs that read nothing else. A file is there as a whole or
//! not at all, whatever breaks, and an older state never takes the place of a newer one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use fasti_calendar::ical;
use fasti_core::outbox::{Attempt, Delivery, Outcome, Target};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::TargetError;
use crate::envelope;
use crate::reach::Reach;

pub(crate) const EXAMPLE: &str = "file:///srv/calendars/fasti";

/// Longest part of a name that is taken from the uid; file systems allow 255 bytes for all of it.
const NAME_BYTES_MAX: usize = 120;
/// How far into a file our own lines are looked for: they are at its beginning.
const LINES_MAX: usize = 16;
const VERSION: &str = "X-FASTI-VERSION:";
const SOURCE: &str = "X-FASTI-SOURCE:";

/// None so far.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {}

pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(target: &Target, reach: Reach) -> Result<Self, TargetError> {
        let Options {} = serde_json::from_str(&target.options)
            .map_err(|error| TargetError::new("options", error.to_string()))?;
        if reach == Reach::Public {
            let problem = "this node delivers to public addresses alone (fasti run \
                           --public-targets-only), and to no folders";
            return Err(TargetError::url(problem));
        }
        let wrong = || TargetError::url(format!("expected a folder of this machine, as {EXAMPLE}"));
        let (_, rest) = target.url.split_once("://").ok_or_else(wrong)?;
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(wrong());
        }
        let path = percent_decode_str(path).decode_utf8().map_err(|_| wrong())?;
        if path.contains('\0') {
            return Err(wrong());
        }
        Ok(Self { path: PathBuf::from(&*path) })
    }

    pub(crate) fn shown(&self) -> Value {
        json!({})
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt) -> Outcome {
        let (path, delivery) = (self.path.clone(), attempt.delivery.clone());
        match blocking(move || put(&path, &delivery)).await {
            Ok(version) => {
                let applied = Some(version.to_string());
                Outcome::Confirmed { applied, receipt: Vec::new() }
            }
            Err(reason) => Outcome::Failed { reason, retry_after: None },
        }
    }

    /// Whether a file can be written there.
    pub(crate) async fn test(&self) -> Result<String, String> {
        let path = self.path.clone();
        blocking(move || {
            let folder = open(&path)?;
            let name = path.join(".fasti.test");
            write(&name, b"").and_then(|()| fs::remove_file(&name)).map_err(failed(&name))?;
            drop(folder);
            Ok(format!("files can be written to {}", path.display()))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// The folder, to ourselves for as long as it is open: others who deliver to it, of this process or another, wait.
fn open(path: &Path) -> Result<File, String> {
    let folder = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no folder {}: create it, or mount it", path.display())
        }
        _ => failed(path)(error),
    })?;
    if !folder.metadata().map_err(failed(path))?.is_dir() {
        return Err(format!("{} is no folder: subscribe with one", path.display()));
    }
    folder.lock().map_err(failed(path))?;
    Ok(folder)
}

/// Puts an event's file there, unless a newer one is; gives the version that is there then.
fn put(path: &Path, delivery: &Delivery) -> Result<u64, String> {
    let folder = open(path)?;
    let name = file_name(&delivery.uid);
    let file = path.join(&name);
    let source = source(delivery);
    if let Some(there) = there(&file).map_err(failed(&file))? {
        if there.source.as_deref() != Some(&*source) {
            return Err(format!(
                "{} was written by somebody else: give each office a folder of its own, or remove the file",
                file.display()
            ));
        }
        // The same once more is written: somebody may have edited it, and asks for a replay.
        if let Some(version) = there.version.filter(|it| *it > delivery.version) {
            return Ok(version);
        }
    }
    let new = path.join(format!(".{name}.new"));
    write(&new, written(delivery).as_bytes()).map_err(failed(&new))?;
    fs::rename(&new, &file).map_err(failed(&file))?;
    // The name is safe only after the folder is.
    folder.sync_all().map_err(failed(path))?;
    Ok(delivery.version)
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left, or somebody's link to another place.
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = OpenOptions::new().write(true).create_new(true).open(file)?;
    new.write_all(bytes)?;
    new.sync_all()
}

fn source(delivery: &Delivery) -> String {
    let (network, office) = delivery.source;
    format!("/fasti/{network}/{office}")
}

pub(crate) fn written(delivery: &Delivery) -> String {
    let source = source(delivery);
    let text = ical::write(&[envelope::as_told(delivery)]);
    let (version, state) = (delivery.version, delivery.state.as_str());
    let id = envelope::id(delivery);
    let ours = format!(
        "{VERSION}{version}\r\n{}X-FASTI-STATE:{state}\r\nX-FASTI-ID:{id}\r\n",
        folded(&format!("{SOURCE}{source}"))
    );
    // After the first line, BEGIN:VCALENDAR, so that little has to be read to find them.
    match text.split_once("\r\n") {
        Some((first, rest)) => format!("{first}\r\n{ours}{rest}"),
        None => text,
    }
}

/// A line of ASCII in pieces of 75 bytes (RFC 5545, 3.1).
fn folded(line: &str) -> String {
    let mut folded = String::new();
    for (index, byte) in line.chars().enumerate() {
        if index > 0 && index % 74 == 0 {
            folded.push_str("\r\n ");
        }
        folded.push(byte);
    }
    folded + "\r\n"
}

struct There {
    version: Option<u64>,
    source: Option<String>,
}

/// What an earlier delivery wrote.
fn there(file: &Path) -> io::Result<Option<There>> {
    let file = match File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines: Vec<String> = Vec::new();
    for line in BufReader::new(io::Read::take(file, 4096)).lines().take(LINES_MAX) {
        // Others may have written anything.
        let Ok(line) = line else { break };
        match (line.strip_prefix(' '), lines.last_mut()) {
            (Some(more), Some(last)) => last.push_str(more),
            _ => lines.push(line),
        }
    }
    let find = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    let version = find(VERSION).and_then(|it| it.parse().ok());
    Ok(Some(There { version, source: find(SOURCE).map(str::to_owned) }))
}

/// What stays as it is in a name.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'@');

/// An event's file: always the same, never another event's, and never elsewhere.
fn file_name(uid: &str) -> String {
    let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_.@".contains(&it);
    if (1..=NAME_BYTES_MAX).contains(&uid.len())
        && uid.bytes().all(is_plain)
        && !uid.starts_with(['.', '-'])
    {
        return format!("{uid}.ics");
    }
    // Some file systems don't tell capitals from small letters, and all have a limit: the hash tells them apart.
    let mut name = String::new();
    for piece in utf8_percent_encode(uid, PLAIN) {
        for part in piece.split_inclusive(|it: char| !piece.starts_with('%') && it.is_ascii()) {
            if name.len() + part.len() > NAME_BYTES_MAX {
                break;
            }
            name.push_str(part);
        }
    }
    let name = name.trim_start_matches(['.', '-']);
    let hash = HEXLOWER.encode(&Sha256::digest(uid.as_bytes())[..16]);
    format!("{name}~{hash}.ics")
}

/// For people.
fn failed(path: &Path) -> impl Fn(io::Error) -> String {
    let path = path.display().to_string();
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{path}: {error}; permit the user that the node runs as to write to the folder")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("{path}: {error}; make room")
        }
        _ => format!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_safe_and_tell_events_apart() {
        assert_eq!(file_name("0a1b-c_d.e@x"), "0a1b-c_d.e@x.ics");
        let long = "x".repeat(5000);
        let umlauts = "ä".repeat(200);
        let odd = [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a\0b",
            "A",
            "a",
            ".a",
            "-rf",
            "a%2Fb",
            "con:",
            "a~b",
            "a\nb",
            "Ä",
            &long,
            &umlauts,
            &long[1..],
        ];
        let names: BTreeSet<String> =
            odd.iter().map(|uid| file_name(uid).to_ascii_lowercase()).collect();
        assert_eq!(names.len(), odd.len());
        for name in names {
            assert!(name.len() <= 200 && name.ends_with(".ics"), "{name}");
            assert!(!name.starts_with(['.', '-']) && !name.contains(['/', '\\', '\0']), "{name}");
            assert!(name.chars().all(|it| it.is_ascii_graphic()), "{name}");
        }
    }
}
