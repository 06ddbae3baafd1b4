//! The receiver of docs/receiving.md, as it stands there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use fasti_delivery::{Deliverer, Reach};
use serde_json::json;

use crate::common::{free_port, python, wait_for};
use crate::sent::{UID, confirmed, deliver, failure, secret, subscription};
use crate::server::PATIENCE;

/// The program, running.
struct Python {
    _child: Ended,
    lines: Receiver<String>,
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Python {
    fn start(program: &Path, secrets: &str) -> Self {
        let mut child = Command::new("python3")
            .arg(program)
            .env("FASTI_SECRET", secrets)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which .ci/test installs");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { _child: Ended(child), lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of the receiver")
    }
}

/// A block of Python in the docs, counted from 0.
fn code(at: usize) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/receiving.md");
    let docs = fs::read_to_string(docs).unwrap();
    let mut parts = docs.split("```python\n").skip(1);
    parts.nth(at).expect("a block of Python").split("```").next().unwrap().to_owned()
}

fn text(byte: u8) -> String {
    fasti_receiver::Secret::new(secret(byte).0).to_text()
}

#[tokio::test]
async fn the_short_receiver_in_the_docs_works() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("receiver.py");
    fs::write(&program, code(0)).unwrap();
    let port = free_port();
    let python = Command::new(python().await.join("bin/python"))
        .arg(&program)
        .env("FASTI_SECRET", text(1))
        .env("PORT", port.to_string())
        .spawn()
        .unwrap();
    let _ended = Ended(python);
    let url = format!("http://127.0.0.1:{port}/");
    let (deliverer, _reports) = Deliverer::new(Reach::Any, Arc::new(()));
    let up = async || deliverer.test(&subscription(&url, json!({}))).await.is_ok();
    wait_for("the receiver", &program, up).await;
    for (version, applied) in [(7, "7"), (7, "7"), (6, "7"), (9, "9")] {
        let outcome = deliver(subscription(&url, json!({})), version).await;
        assert_eq!(outcome, confirmed(Some(applied)));
    }
    let mut other = subscription(&url, json!({}));
    other.secrets = vec![secret(3)];
    assert!(failure(other).await.0.contains("500"));
}

#[tokio::test]
async fn the_receiver_in_the_docs_works() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("receiver.py");
    fs::write(&program, code(1)).unwrap();
    let python = Python::start(&program, &[text(2), text(1)].join(","));
    let url = python.line();

    let (deliverer, _tried) = Deliverer::new(Reach::Any, Arc::new(()));
    let tested = deliverer.test(&subscription(&url, json!({}))).await;
    assert_eq!(tested.unwrap(), "200 OK: a test");
    // New, repeated, stale, and new again.
    for (version, applied) in [(7, "7"), (7, "7"), (6, "7"), (9, "9")] {
        let outcome = deliver(subscription(&url, json!({})), version).await;
        assert_eq!(outcome, confirmed(Some(applied)));
    }
    let mut other = subscription(&url, json!({}));
    other.secrets = vec![secret(3)];
    let (reason, _) = failure(other).await;
    assert!(reason.contains("401") && reason.contains("check secret and clock"), "{reason}");
    // The other secret that it knows.
    let mut rotated = subscription(&url, json!({}));
    rotated.secrets = vec![secret(2)];
    assert_eq!(deliver(rotated, 10).await, confirmed(Some("10")));

    // Each was applied once, and none that was older.
    for version in [7, 9, 10] {
        assert_eq!(python.line(), format!("applied {UID} {version} settled"));
    }
}
