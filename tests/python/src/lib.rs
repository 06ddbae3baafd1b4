//! A Python with packages, for tests against programs that are not ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The folder of a Python environment that has the packages of a file of requirements. It is made where there is
/// none, beneath `home`: the `CARGO_TARGET_TMPDIR` of who asks.
///
/// # Panics
/// If it can't be made: what needs it is not tested then.
pub fn environment(home: &Path, requirements: &Path) -> PathBuf {
    let wanted = fs::read_to_string(requirements).expect("the requirements are there");
    let home = home.join("python");
    fs::create_dir_all(&home).expect("the target directory can be written");
    // Tests run in processes of their own, at once.
    let lock = File::create(home.join("lock")).expect("the target directory can be written");
    lock.lock().expect("files can be locked");
    let environment = home.join("environment");
    let mark = environment.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
        return environment;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    run(Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements));
    // Last: what was installed halfway is begun anew.
    fs::write(&mark, wanted).expect("the target directory can be written");
    environment
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(ExitStatus::success),
        "NOT TESTED: {command:?} gave {status:?}. These tests need python3 with its venv module (Debian: \
         python3-venv), which .ci/test installs, and a package index that pip reaches."
    );
}
