//! `node.json`: how clients on this machine find the running node. It holds the token, so it is for
//! its owner's eyes only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the node's folder says about the running node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    /// Where its HTTP doors are: `http://127.0.0.1:8377`.
    pub http: String,
    /// If that is HTTPS: SHA-256 of the only certificate to be trusted there, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What callers have to show there.
    pub token: String,
    /// Multiaddresses at which other offices reach it.
    pub listen: Vec<String>,
    /// Its process.
    pub pid: u32,
}

impl NodeFile {
    /// Reads it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if no node runs in this folder.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path(dir))?)?)
    }

    /// Writes it, readable for its owner only. A reader sees either the old one or the new one.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("node.json.new");
        // What a crash left there may be readable for others: permissions are set for new files only.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_private(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(temporary, path(dir))
    }

    /// Removes it, when the node stops.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn remove(dir: &Path) -> io::Result<()> {
        fs::remove_file(path(dir))
    }
}

impl std::fmt::Debug for NodeFile {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFile")
            .field("http", &self.http)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("node.json")
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_replaced_at_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let absent = NodeFile::read(dir.path()).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        fs::write(dir.path().join("node.json.new"), "left by a crash").unwrap();
        let mut file = NodeFile {
            http: "http://127.0.0.1:1".into(),
            certificate: None,
            token: "t".into(),
            listen: Vec::new(),
            pid: 1,
        };
        for pid in [1, 2] {
            file.pid = pid;
            file.write(dir.path()).unwrap();
            assert_eq!(NodeFile::read(dir.path()).unwrap(), file);
        }
        #[cfg(unix)]
        {
            let metadata = fs::metadata(dir.path().join("node.json")).unwrap();
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777,
                0o600
            );
        }
        assert!(!format!("{file:?}").contains("token"));
        NodeFile::remove(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
