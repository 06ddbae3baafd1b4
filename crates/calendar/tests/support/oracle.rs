//! The Python that other implementations run in.

use std::fs::{self, File};
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

/// A Python that has the packages of requirements.txt.
fn python(scripts: &Path) -> PathBuf {
    let wanted =
        fs::read_to_string(scripts.join("requirements.txt")).expect("it is beside the tests");
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calendar-oracle");
    fs::create_dir_all(&home).expect("the target directory can be written");
    // Tests run in processes of their own, at once.
    let lock = File::create(home.join("lock")).expect("the target directory can be written");
    lock.lock().expect("files can be locked");
    let environment = home.join("environment");
    let python = environment.join("bin/python");
    let installed = environment.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return python;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(scripts.join("requirements.txt")));
    // Last: what was installed halfway is begun anew.
    fs::write(&installed, wanted).expect("the target directory can be written");
    python
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "NOT COMPARED with other implementations: {command:?} gave {status:?}. These tests need \
         python3 with its venv module (Debian: python3-venv) and a package index that pip reaches."
    );
}
