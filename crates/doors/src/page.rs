//! The web page: a few files, built from `crates/doors/page` and kept there in `dist`, so that a node has its
//! page without a tool chain for JavaScript. All else that the page shows it asks of the API, as any program.
//!
//! The files keep their names from build to build, and browsers ask each time whether they have changed: that
//! is a round trip to the office's own node, and no page ever mixes files of two versions.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::conditions;
use crate::problem::Problem;
use crate::routes::{Door, Id};

struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! file {
    ($name:literal, $content_type:literal) => {
        File {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../page/dist/", $name)),
        }
    };
}

const INDEX: File = file!("index.html", "text/html; charset=utf-8");

const ASSETS: [File; 4] = [
    file!("assets/page.js", "text/javascript; charset=utf-8"),
    file!("assets/page.css", "text/css; charset=utf-8"),
    file!("assets/icon.svg", "image/svg+xml"),
    file!("assets/licenses.txt", "text/plain; charset=utf-8"),
];

/// A file as it is sent.
struct Sent {
    file: File,
    /// Gzip, made when it is first asked for.
    packed: Vec<u8>,
    etag: String,
}

static PAGE: LazyLock<io::Result<Vec<Sent>>> =
    LazyLock::new(|| [INDEX].into_iter().chain(ASSETS).map(Sent::new).collect());

impl Sent {
    fn new(file: File) -> io::Result<Self> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(file.bytes)?;
        let etag = hex::encode(&Sha256::digest(file.bytes)[..8]);
        Ok(Self { file, packed: packed.finish()?, etag })
    }
}

pub(crate) async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    sent(INDEX.name, &headers)
}

pub(crate) async fn asset(
    State(_): State<Door>,
    Id(name): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sent(&format!("assets/{name}"), &headers)
}

fn sent(name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let page = PAGE.as_ref().map_err(|_| Problem::unexpected())?;
    let Some(Sent { file, packed, etag }) = page.iter().find(|sent| sent.file.name == name) else {
        let detail = format!("the page has no file {name}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-path", detail));
    };
    let mut headers = HeaderMap::from_iter(conditions::etag(etag)?);
    // Kept, but asked for each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if conditions::is_fresh(asked, etag)? {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    if takes_gzip(asked) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok((headers, packed.as_slice()).into_response());
    }
    Ok((headers, file.bytes).into_response())
}

/// As far as browsers say it (RFC 9110, section 12.5.3): who gives weights gets it unpacked.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.split(',').any(|coding| coding.trim() == "gzip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is built anew may have other files, of which the list here has to know.
    #[test]
    fn the_list_is_what_was_built() {
        let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/page/dist");
        let names = |folder: &str| -> Vec<String> {
            let entries =
                std::fs::read_dir(format!("{dist}/{folder}")).unwrap().map(Result::unwrap);
            let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
            files.map(|it| format!("{folder}{}", it.file_name().to_str().unwrap())).collect()
        };
        let mut built = [names(""), names("assets/")].concat();
        let mut listed: Vec<&str> = [INDEX].iter().chain(&ASSETS).map(|file| file.name).collect();
        built.sort();
        listed.sort_unstable();
        assert_eq!(built, listed);
    }

    #[test]
    fn the_page_is_small() {
        let page = PAGE.as_ref().unwrap();
        let bytes: usize = page.iter().map(|sent| sent.packed.len()).sum();
        assert!(bytes < 300_000, "{bytes} bytes, compressed");
    }
}
