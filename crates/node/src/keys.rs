//! The office's secret key, and other secrets: files beside the store, for their owner's eyes only.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use zeroize::Zeroizing;

use crate::node_file::create_private;

const OFFICE: &str = "office.key";

/// What nobody else may read: secrets, and the calendar with the hashes of people's passwords.
const PRIVATE: [&str; 7] = [
    OFFICE,
    "office.key.next",
    "office.key.successor",
    "http.token",
    "http.key",
    "node.json",
    "fasti.redb",
];

/// Fails if a node lives in the folder.
pub(crate) fn refuse_if_taken(dir: &Path) -> anyhow::Result<()> {
    if dir.join("fasti.redb").exists() {
        bail!(
            "{} already belongs to an office: `fasti run` starts its node; for another office choose another folder with --dir",
            dir.display()
        );
    }
    Ok(())
}

/// The key in the folder, or a new one. A key without a store is what an interrupted `init` or `join`
/// leaves; using it again lets the second attempt go on where the first ended.
pub(crate) fn find_or_draw(dir: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    make_folder(dir).with_context(|| format!("the folder {} can't be made", dir.display()))?;
    keep_private(dir)?;
    find_or_draw_as(dir, OFFICE)
}

/// The same under another name.
pub(crate) fn find_or_draw_as(dir: &Path, name: &str) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    if dir.join(name).exists() {
        return read_as(dir, name);
    }
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    keep_as(dir, name, &seed)?;
    Ok(seed)
}

/// Puts the key into a folder.
pub(crate) fn keep(dir: &Path, seed: &[u8; 32]) -> anyhow::Result<()> {
    keep_as(dir, OFFICE, seed)
}

fn keep_as(dir: &Path, name: &str, seed: &[u8; 32]) -> anyhow::Result<()> {
    write(dir, name, &Zeroizing::new(hex::encode(seed)))
        .with_context(|| format!("the office's key can't be written to {}", dir.display()))
}

/// Puts another key in the place of the office's.
pub(crate) fn replace(dir: &Path, by: &str) -> anyhow::Result<()> {
    fs::rename(dir.join(by), dir.join(OFFICE))?;
    Ok(fs::File::open(dir)?.sync_all()?)
}

/// Makes the folder, and never so that others can look into it, not even for a moment.
fn make_folder(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// Takes from others what they may do with the folder and what is secret in it: a copy or a backup may
/// have given it to them.
pub(crate) fn keep_private(dir: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let files = PRIVATE.iter().map(|name| (dir.join(name), 0o600));
        for (path, mode) in std::iter::once((dir.to_owned(), 0o700)).chain(files) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_symlink() || metadata.permissions().mode() & 0o077 == 0 {
                continue;
            }
            let shown = path.display();
            tracing::warn!(
                "{shown} could be used by others on this machine: that is mended now; if anyone may have read a key, replace it"
            );
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(|| {
                format!("others may use {shown}, and that can't be changed: chmod {mode:o} {shown}")
            })?;
        }
    }
    Ok(())
}

/// The token that callers show, or a new one: kept, so that programs on this machine go on after a
/// restart.
pub(crate) fn find_or_draw_token(dir: &Path) -> anyhow::Result<Zeroizing<String>> {
    match fs::read_to_string(dir.join("http.token")).map(Zeroizing::new) {
        Ok(text) if text.trim().len() >= 32 => return Ok(Zeroizing::new(text.trim().to_owned())),
        Ok(_) => bail!(
            "http.token in {} is too short to be safe: remove it for a new one",
            dir.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).context(format!("http.token in {} can't be read", dir.display()));
        }
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    let token = Zeroizing::new(hex::encode(*bytes));
    write(dir, "http.token", &token)
        .with_context(|| format!("http.token can't be written to {}", dir.display()))?;
    Ok(token)
}

/// Writes a secret: wholly or not at all, for its owner's eyes only.
pub(crate) fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&unfinished)?;
    writeln!(file, "{}", text.trim_end())?;
    file.sync_all()?;
    fs::rename(unfinished, dir.join(name))?;
    fs::File::open(dir)?.sync_all()
}

/// The key in the folder.
pub(crate) fn read(dir: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    read_as(dir, OFFICE)
}

/// A key under this name.
pub(crate) fn read_as(dir: &Path, name: &str) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let path = dir.join(name);
    let text = fs::read_to_string(&path).map(Zeroizing::new).with_context(|| {
        format!(
            "the office's key {} can't be read: restore it from a backup; without it this folder can't be used, and the office must join again from a new one",
            path.display()
        )
    })?;
    let mut seed = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(text.trim(), &mut *seed).is_err() {
        bail!(
            "{} is not an office's key (64 hex digits): restore it from a backup",
            path.display()
        );
    }
    Ok(seed)
}
