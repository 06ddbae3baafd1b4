//! `fasti backup`: all that an office needs to go on elsewhere, in one file. The running node gives what it has
//! stored, or else the store is read here; the key comes from the folder, and never goes over HTTP.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use fasti_store::{Contents, OpenError, Store, seal};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::cli::BackupArgs;
use crate::client::Client;
use crate::{keys, node, print};

/// Writes the backup; says what is in it, on stderr if the backup goes to stdout.
pub(crate) fn backup(dir: &Path, args: &BackupArgs, json: bool) -> anyhow::Result<String> {
    node::check_folder(dir)?;
    let key = keys::read(dir)?;
    let file = &args.file;
    if file == Path::new("-") {
        let contents = take(dir, *key, io::stdout().lock())?;
        anstream::eprint!("{}", told("standard output", &contents, json));
        return Ok(String::new());
    }
    if !args.force && file.symlink_metadata().is_ok() {
        bail!(
            "{} is there already: choose another name, or replace it with --force",
            file.display()
        );
    }
    // Under its name there is only ever a whole one.
    let unfinished = begin(file)
        .with_context(|| format!("{} can't be written: check its folder", file.display()))?;
    let contents = take(dir, *key, io::BufWriter::new(unfinished.as_file()))?;
    finish(unfinished, file, args.force)
        .with_context(|| format!("{} can't be written", file.display()))?;
    Ok(told(&file.display().to_string(), &contents, json))
}

/// A file beside it, for its owner only, that goes if it isn't finished.
fn begin(file: &Path) -> io::Result<NamedTempFile> {
    let mut prefix = OsString::from(".");
    prefix.push(file.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    prefix.push(".");
    tempfile::Builder::new().prefix(&prefix).suffix(".unfinished").tempfile_in(folder_of(file))
}

fn finish(unfinished: NamedTempFile, file: &Path, force: bool) -> io::Result<()> {
    unfinished.as_file().sync_all()?;
    let done = if force { unfinished.persist(file) } else { unfinished.persist_noclobber(file) };
    done.map_err(|error| error.error)?;
    File::open(folder_of(file))?.sync_all()
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn take(dir: &Path, key: [u8; 32], sink: impl Write) -> anyhow::Result<Contents> {
    let failed = "no backup was made";
    if let Some(client) = Client::find(dir)?
        && let Some(stream) = client.stream("/v1/backup").context(failed)?
    {
        return seal(stream, key, sink).context(failed);
    }
    // Nobody else has it open: that nobody writes to it meanwhile is the lock's part.
    let store = Store::open(dir).map_err(|error| match error {
        OpenError::InUse { .. } => anyhow::anyhow!(
            "a node that runs in {} is starting or stopping: try again in a moment",
            dir.display()
        ),
        error => error.into(),
    })?;
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| node::take_backup(&store.reader(), writer));
        let sealed = seal(reader, key, sink);
        // What failed first is what is to be told: the other end sees a stream that is cut short.
        match taking.join() {
            Ok(Err(error)) if sealed.is_err() => Err(error).context(failed),
            _ => sealed.context(failed),
        }
    })
}

fn told(file: &str, contents: &Contents, json: bool) -> String {
    if json {
        let mut facts = facts(contents);
        facts["file"] = json!(file);
        return print::pretty(&facts);
    }
    print::card(file, cells(contents))
        + "it holds the office's secret key: whoever has it is the office, so keep it as you keep the key\n"
}

/// What is in a backup, for programs.
pub(crate) fn facts(contents: &Contents) -> Value {
    let head = &contents.head;
    json!({
        "office": head.office,
        "name": head.name,
        "network": head.network,
        "entries": head.entries,
        "time": head.time,
        "version": head.version,
        "key": contents.key.is_some(),
        "bytes": contents.bytes,
        "sha256": hex::encode(contents.sha256),
    })
}

/// What is in a backup, for people.
pub(crate) fn cells(contents: &Contents) -> Vec<(&'static str, print::Cell)> {
    let head = &contents.head;
    vec![
        ("office", print::cell(format!("{} ({})", head.name, head.office))),
        ("network", print::cell(head.network.to_string())),
        ("taken", print::cell(format!("{} by fasti {}", print::time(head.time), head.version))),
        ("holds", {
            let entries = if head.entries == 1 { "entry" } else { "entries" };
            print::cell(format!("{} {entries} in {} bytes", head.entries, contents.bytes))
        }),
        ("checksum", print::cell(hex::encode(contents.sha256))),
    ]
}
