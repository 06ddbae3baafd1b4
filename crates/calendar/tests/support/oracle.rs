//! The Python that other implementations run in.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Gives lines of JSON to a script beside the tests, and returns its answers, one for each.
pub(crate) fn ask(script: &str, lines: impl Iterator<Item = Value>) -> Vec<Value> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let mut child = Command::new(python(&scripts))
        .arg(scripts.join(script))
        // Zones from the package that is pinned, and not from the machine.
        .env("PYTHONTZPATH", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Python that was installed starts");
    let mut input = child.stdin.take().expect("it is piped");
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    let count = lines.len();
    // The script may answer before it has read all.
    let writer = std::thread::spawn(move || input.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = child.wait_with_output().expect("it can be waited for");
    writer.join().expect("writing does not panic").expect("it reads all lines");
    assert!(output.status.success(), "{script} failed: see above");
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .expect("it answers in UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("it answers in JSON"))
        .collect();
    assert_eq!(answers.len(), count, "{script} answers each line");
    answers
}

fn python(scripts: &Path) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calendar-oracle");
    fasti_python::environment(&home, &scripts.join("requirements.txt")).join("bin/python")
}
