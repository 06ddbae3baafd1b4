//! `fasti restore`: makes a node's folder from a backup.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Seek as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use fasti_store::{Contents, Store, check};

use crate::backup::{cells, facts, folder_of};
use crate::cli::RestoreArgs;
use crate::node::SETTING_RESTORED;
use crate::{keys, print};

/// Checks the backup, and makes the folder if that is asked.
pub(crate) fn restore(dir: &Path, args: &RestoreArgs, json: bool) -> anyhow::Result<String> {
    let name = args.file.display().to_string();
    let mut file = File::open(&args.file).with_context(|| format!("{name} can't be read"))?;
    if !args.check {
        refuse_if_taken(dir)?;
    }
    // To its end before anything is written.
    let contents = check(BufReader::new(&file)).with_context(|| name.clone())?;
    let Some(key) = contents.key else {
        bail!(
            "{name} has no key in it, as it was not made by `fasti backup`: take one with that, or put the office's \
             key into an empty folder and join again"
        );
    };
    if args.check {
        let whole = "it is whole\n";
        return Ok(if json {
            print::pretty(&facts(&contents))
        } else {
            told(&name, &contents) + whole
        });
    }
    file.rewind()?;
    make(dir, &file, &contents, &key).with_context(|| format!("{} was not made", dir.display()))?;
    if json {
        return Ok(print::pretty(&facts(&contents)));
    }
    Ok(format!(
        "{}restored to {dir}; nothing runs yet\n\
         1. if the node that the backup is of still runs anywhere, stop it for good: two nodes with one key disturb \
         each other\n\
         2. start this one: fasti run --dir {dir}\n\
         it fetches from the other offices what came after the backup, and goes on in a new log\n",
        told(&name, &contents),
        dir = dir.display()
    ))
}

fn told(name: &str, contents: &Contents) -> String {
    print::card(name, cells(contents))
}

fn refuse_if_taken(dir: &Path) -> anyhow::Result<()> {
    if dir.join("fasti.redb").exists() {
        bail!(
            "{0} holds a node already: choose another folder with --dir, or stop that node and move {0} away first",
            dir.display()
        );
    }
    let empty = match fs::read_dir(dir) {
        Ok(mut files) => files.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).context(format!("{} can't be read", dir.display())),
    };
    if !empty {
        bail!(
            "{} is not empty: choose a folder with --dir that is, or that isn't there yet",
            dir.display()
        );
    }
    Ok(())
}

/// Makes it under another name beside it, so that it is there whole or not at all.
fn make(dir: &Path, backup: &File, checked: &Contents, key: &[u8; 32]) -> anyhow::Result<()> {
    let Some(name) = dir.file_name() else {
        bail!("say which folder with its name, not with . or ..")
    };
    let parent = folder_of(dir);
    fs::create_dir_all(parent)
        .with_context(|| format!("the folder {} can't be made", parent.display()))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let unfinished = builder
        .prefix(&prefix)
        .suffix(".unfinished")
        .tempdir_in(parent)
        .with_context(|| format!("{} can't be written to", parent.display()))?;
    let (store, contents) = Store::restore(unfinished.path(), BufReader::new(backup))?;
    if contents != *checked {
        bail!("the backup changed while it was read: try again");
    }
    store.set(SETTING_RESTORED, contents.head.time.to_string().as_bytes())?;
    drop(store);
    // The last one, and with it a sync of the folder.
    keys::keep(unfinished.path(), key)?;
    fs::rename(unfinished.path(), dir).with_context(|| {
        format!(
            "the finished folder can't be renamed to {}: it has to be an empty folder on the same file system as \
             the folder that it is in, and no mount point",
            dir.display()
        )
    })?;
    let _ = unfinished.keep();
    Ok(File::open(parent)?.sync_all()?)
}
