//! What the package brings along fits the program: its files are there, systemd takes the unit, and the program takes the
//! arguments that it has.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use fasti_node::cli::{Call, Cli};

const UNIT: &str = include_str!("../packaging/systemd/fasti.service");
const DEFAULT: &str = include_str!("../packaging/default");

fn setting(name: &str) -> &'static str {
    let of_it = |line: &'static str| line.strip_prefix(name)?.strip_prefix('=');
    UNIT.lines().find_map(of_it).unwrap_or_else(|| panic!("the unit has no {name}"))
}

#[test]
fn the_program_takes_the_arguments_of_the_unit() {
    let start = setting("ExecStart");
    // All that the file suggests, commented out or not.
    let suggested: Vec<&str> =
        DEFAULT.lines().filter_map(|line| line.split_once("FASTI_ARGS=")).map(|it| it.1).collect();
    assert!(suggested.len() >= 2, "{DEFAULT}");
    for args in suggested {
        let line = start.replace("$FASTI_ARGS", args.trim_matches('"'));
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert!(matches!(cli.call, Call::Run(_)), "{line}");
        assert_eq!(cli.dir.as_deref(), Some(Path::new("/var/lib/fasti")), "{line}");
    }
}

#[test]
fn the_unit_waits_for_what_init_makes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("fasti");
    let awaited = Path::new(setting("ConditionPathExists"));
    let awaited = dir.join(awaited.strip_prefix("/var/lib/fasti").unwrap());
    assert!(!awaited.exists());
    let made = Command::new(env!("CARGO_BIN_EXE_fasti"))
        .args(["init", "--office", "Denver", "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(awaited.exists());
}

#[test]
fn systemd_takes_the_unit() {
    let ask = |args: &[&str]| Command::new("systemd-analyze").args(args).output();
    if ask(&["--version"]).is_err() {
        eprintln!("SKIPPED: there is no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("fasti.service");
    // The program and its manual page are looked for.
    let here = UNIT
        .replace("/usr/bin/fasti", env!("CARGO_BIN_EXE_fasti"))
        .replace("Documentation=man:fasti-run(1) ", "Documentation=");
    fs::write(&unit, here).unwrap();
    let said = ask(&["verify", unit.to_str().unwrap()]).unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.trim().is_empty(), "{text}");
}

#[test]
fn what_is_packed_is_there() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let mut sources: Vec<&str> =
        deb["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap()).collect();
    sources.push(deb["license-file"][0].as_str().unwrap());
    sources.push(deb["maintainer-scripts"].as_str().unwrap());
    sources.push(deb["systemd-units"]["unit-scripts"].as_str().unwrap());
    // What is built first: see packaging/deb.
    sources.retain(|source| !source.starts_with("target/release/"));
    assert!(sources.len() > 5, "{sources:?}");
    for source in sources {
        let path = source.split('*').next().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{source}");
    }
}
