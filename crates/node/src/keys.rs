//! The office's secret key: a file beside the store, for its owner's eyes only.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::node_file::create_private;

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
pub(crate) fn find_or_draw(dir: &Path) -> anyhow::Result<[u8; 32]> {
    fs::create_dir_all(dir)
        .with_context(|| format!("the folder {} can't be made", dir.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The store holds the offices' calendars: nobody else's business.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    if path(dir).exists() {
        return read(dir);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    keep(dir, &seed)?;
    Ok(seed)
}

/// Puts the key into a folder.
pub(crate) fn keep(dir: &Path, seed: &[u8; 32]) -> anyhow::Result<()> {
    write(dir, "office.key", &hex::encode(seed))
        .with_context(|| format!("the office's key can't be written to {}", dir.display()))
}

/// The token that callers show, or a new one: kept, so that programs on this machine go on after a
/// restart.
pub(crate) fn find_or_draw_token(dir: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(dir.join("http.token")) {
        Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
        Ok(_) => bail!(
            "http.token in {} is too short to be safe: remove it for a new one",
            dir.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).context(format!("http.token in {} can't be read", dir.display()));
        }
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let token = hex::encode(bytes);
    write(dir, "http.token", &token)
        .with_context(|| format!("http.token can't be written to {}", dir.display()))?;
    Ok(token)
}

/// Writes a secret: wholly or not at all, for its owner's eyes only.
fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(unfinished, dir.join(name))?;
    fs::File::open(dir)?.sync_all()
}

/// The key in the folder.
pub(crate) fn read(dir: &Path) -> anyhow::Result<[u8; 32]> {
    let path = path(dir);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "the office's key {} can't be read: restore it from a backup; without it this folder can't be used, and the office must join again from a new one",
            path.display()
        )
    })?;
    let mut seed = [0; 32];
    if hex::decode_to_slice(text.trim(), &mut seed).is_err() {
        bail!(
            "{} is not an office's key (64 hex digits): restore it from a backup",
            path.display()
        );
    }
    Ok(seed)
}

fn path(dir: &Path) -> PathBuf {
    dir.join("office.key")
}
