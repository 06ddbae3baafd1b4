//! The receiver of docs/receiving.md, as it stands there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use fasti_delivery::{Deliverer, Reach};
use serde_json::json;

use crate::sent::{UID, confirmed, deliver, failure, secret, subscription};
use crate::server::PATIENCE;

/// The program, running.
struct Python {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of the receiver")
    }
}

/// The only block of Python.
fn code() -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/receiving.md");
    let docs = fs::read_to_string(docs).unwrap();
    let mut parts = docs.split("```python\n").skip(1);
    let code = parts.next().expect("a block of Python").split("```").next().unwrap();
    assert!(parts.next().is_none());
    code.to_owned()
}

#[tokio::test]
async fn the_receiver_in_the_docs_works() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("receiver.py");
    fs::write(&program, code()).unwrap();
    let text = |byte: u8| fasti_receiver::Secret::new(secret(byte).0).to_text();
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
