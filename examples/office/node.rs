//! The office's Fasti node, which its own changes are posted to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fasti_node::NodeFile;
use ureq::Agent;

/// Bytes of an answer that are passed on.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Where the node is.
pub(crate) enum Node {
    /// Wherever the file in its folder says: its port and its token may be others after a restart.
    Folder(PathBuf),
    At {
        url: String,
        token_file: PathBuf,
    },
    None,
}

impl Node {
    pub(crate) fn new(dir: Option<PathBuf>, at: Option<(String, PathBuf)>) -> Self {
        match (dir, at) {
            (Some(dir), _) => Self::Folder(dir),
            (None, Some((url, token_file))) => Self::At { url, token_file },
            (None, None) => Self::None,
        }
    }

    fn file(&self) -> anyhow::Result<NodeFile> {
        match self {
            Self::Folder(dir) => {
                NodeFile::read(dir).with_context(|| format!("no node runs in {}", dir.display()))
            }
            Self::At { url, token_file } => Ok(NodeFile {
                http: url.trim_end_matches('/').to_owned(),
                certificate: None,
                token: std::fs::read_to_string(token_file)
                    .with_context(|| format!("{} can't be read", token_file.display()))?
                    .trim()
                    .to_owned(),
                listen: Vec::new(),
                pid: 0,
            }),
            Self::None => bail!(
                "this office was started without a node: use --dir, or --node and --token-file"
            ),
        }
    }

    /// Edits an event by a merge patch (RFC 7396); gives the status and the body that the node answers. Blocks.
    pub(crate) fn patch(&self, uid: &str, patch: String) -> anyhow::Result<(u16, String)> {
        let file = self.file()?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(30)));
        let request =
            ureq::http::Request::patch(format!("{}/v1/events/{}", file.http, escaped(uid)))
                .header("authorization", format!("Bearer {}", file.token))
                .header("content-type", "application/merge-patch+json");
        let mut response = file.agent(config.build())?.run(request.body(patch)?)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        Ok((status, body))
    }
}

/// As a segment of a path.
fn escaped(uid: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    uid.bytes()
        .map(|it| if plain(it) { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}
