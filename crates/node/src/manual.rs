//! `fasti completions` and `fasti man`: what shells and `man` are told of the command line. All of it is made of `cli`, so
//! that it can't fall behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, ManArgs};
use crate::print;

/// A shell's script.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fasti", &mut script);
    Ok(String::from_utf8(script)?)
}

/// One page, or all of them in a folder.
pub(crate) fn man(args: &ManArgs, json: bool) -> anyhow::Result<String> {
    match &args.output {
        None => page(find(&args.call)?),
        Some(folder) => {
            let pages = write_all(folder)
                .with_context(|| format!("the pages can't be written to {}", folder.display()))?;
            Ok(if json {
                print::pretty(&serde_json::json!({ "pages": pages }))
            } else {
                format!("{} pages are in {}\n", pages.len(), folder.display())
            })
        }
    }
}

/// What a page that concerns the whole program says beyond what the command line knows: headings, and what stands there under
/// which name.
const OF_THE_PROGRAM: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "What was asked is done."),
            ("1", "It is not; the message says why, and what to do."),
            ("2", "It was called wrongly, and nothing was done."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("FASTI_NO_MDNS", "If it is 1, a node doesn't look for others on the local network."),
            ("NO_COLOR", "If it is set, nothing is printed in colour."),
        ],
    ),
    (
        "FILES",
        &[
            ("~/.local/share/fasti", "The node's folder on Linux, unless --dir names another."),
            ("/var/lib/fasti", "The node's folder where fasti was installed as a package."),
            (
                "office.key",
                "In the node's folder: the office's secret key. Whoever has it is the office.",
            ),
            ("fasti.redb", "In the node's folder: the log, and the calendar."),
            (
                "node.json",
                "In the node's folder while it runs: where it is, and the token for its HTTP API.",
            ),
        ],
    ),
];

fn page(call: clap::Command) -> anyhow::Result<String> {
    let of_the_program = call.get_name() == "fasti";
    // Without a date, so that the same sources give the same page; left out, what follows would stand in its place.
    let man = Man::new(call).date(" ").source(concat!("fasti ", env!("CARGO_PKG_VERSION")));
    let man = man.manual("Fasti");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::default();
    if of_the_program {
        for (heading, list) in OF_THE_PROGRAM {
            more.control("SH", [heading]);
            for (name, text) in list {
                more.control("TP", []);
                more.text([bold(*name)]);
                more.text([roman(*text)]);
            }
        }
    } else {
        more.control("SH", ["SEE ALSO"]);
        more.text([bold("fasti"), roman("(1)")]);
    }
    more.to_writer(&mut page)?;
    Ok(String::from_utf8(page)?)
}

/// The program with all its calls, each of which knows its whole name.
fn program() -> clap::Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn find(call: &[String]) -> anyhow::Result<clap::Command> {
    let mut found = program();
    for name in call {
        found = match found.find_subcommand(name) {
            Some(call) => call.clone(),
            None => bail!(
                "there is no call `fasti {}`; `fasti --help` lists them",
                print::clean(&call.join(" "))
            ),
        };
    }
    Ok(found)
}

/// The program and all its calls, and theirs.
fn all() -> Vec<clap::Command> {
    let mut all = vec![program()];
    let mut next = 0;
    while let Some(call) = all.get(next) {
        let below: Vec<_> = call.get_subcommands().cloned().collect();
        all.extend(below);
        next += 1;
    }
    all
}

fn write_all(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let write = |call: clap::Command| {
        let file = folder.join(Man::new(call.clone()).get_filename());
        fs::write(&file, page(call)?)?;
        Ok(file)
    };
    all().into_iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `fasti`, `fasti init`, …, `fasti event add`, …
    fn names() -> Vec<String> {
        all().iter().map(name_of).collect()
    }

    fn name_of(call: &clap::Command) -> String {
        call.get_bin_name().unwrap_or_else(|| call.get_name()).to_owned()
    }

    #[test]
    fn every_call_has_a_page_that_names_its_options() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/there/yet");
        let args = ManArgs { call: Vec::new(), output: Some(folder.clone()) };
        let said = man(&args, false).unwrap();
        assert!(said.starts_with(&format!("{} pages", names().len())), "{said}");
        let written: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected: BTreeSet<String> =
            names().iter().map(|name| format!("{}.1", name.replace(' ', "-"))).collect();
        assert_eq!(written, expected);
        for call in all() {
            let name = name_of(&call);
            let text = fs::read_to_string(folder.join(format!("{}.1", name.replace(' ', "-"))));
            let text = text.unwrap().replace("\\-", "-");
            assert!(text.contains(".SH DESCRIPTION"), "{text}");
            for option in call.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(text.contains(&format!("--{option}")), "{name} --{option}");
            }
        }
    }

    #[test]
    fn one_page_is_found_by_the_name_of_its_call() {
        let of = |line: &str| {
            let call = line.split_whitespace().map(String::from).collect();
            man(&ManArgs { call, output: None }, false)
        };
        assert!(of("").unwrap().contains("EXIT STATUS"));
        assert!(of("event add").unwrap().contains("fasti\\-event\\-add"));
        let wrong = of("event frob").unwrap_err().to_string();
        assert!(wrong.contains("no call `fasti event frob`"), "{wrong}");
    }

    #[test]
    fn completions_of_every_shell_know_every_call() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = completions(shell).unwrap();
            for name in names() {
                for word in name.split(' ') {
                    assert!(script.contains(word), "{shell}: {name}");
                }
            }
            for option in ["listen", "http-behind-proxy", "log-format", "json"] {
                assert!(script.contains(option), "{shell}: --{option}");
            }
        }
    }
}
