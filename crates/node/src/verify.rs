//! `fasti verify`: checks a report that proves itself. Needs nothing but the file.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use fasti_core::command::AsOf;
use fasti_core::proof::Verified;
use fasti_doors::report_text;
use fasti_store::check_bundle;
use serde_json::json;

use crate::cli::VerifyArgs;
use crate::print::{self, cell};

pub(crate) fn verify(args: &VerifyArgs, json: bool) -> anyhow::Result<String> {
    let stdin = args.file == Path::new("-");
    let name = if stdin { "standard input".into() } else { args.file.display().to_string() };
    let source: Box<dyn Read> = match stdin {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(
            File::open(&args.file).with_context(|| format!("{name} can't be read"))?,
        )),
    };
    let verified = check_bundle(source).with_context(|| name.clone())?;
    let network = verified.question.network.to_string();
    if let Some(wanted) = &args.network
        && !wanted.eq_ignore_ascii_case(&network)
    {
        bail!("{name} is about another network: {network}, where {wanted} is wanted");
    }
    Ok(if json { print::pretty(&facts(&verified)) } else { told(&name, &verified, args) })
}

/// For programs.
fn facts(verified: &Verified) -> serde_json::Value {
    let Verified { question, report, entries, void, deferred, .. } = verified;
    json!({
        "network": question.network,
        "made_by": { "office": question.office, "name": question.name, "version": question.version },
        "entries": entries,
        "void": void,
        "deferred": deferred,
        "report": report,
    })
}

/// For people.
fn told(name: &str, verified: &Verified, args: &VerifyArgs) -> String {
    let Verified { question, report, entries, void, deferred, .. } = verified;
    let mut cells = vec![("network", cell(question.network.to_string()))];
    if args.network.is_none() {
        cells.push((
            "",
            cell("whoever founded it is named by this id: compare it with the one that you know"),
        ));
    }
    let made = format!("at {} by {}", print::time(question.made), question.name);
    cells.push(("made", cell(made)));
    cells.push(("signed", cell(format!("key {}", question.office))));
    let void = if *void == 0 { String::new() } else { format!("; {void} count for nothing") };
    cells.push(("entries", cell(format!("{entries}, all signed and judged anew{void}"))));
    if *deferred > 0 {
        let problem = format!(
            "{deferred} entries are not understood by this version of fasti: a later one may find more"
        );
        cells.push(("", cell(problem)));
    }
    cells.push(("report", cell("follows from the entries, to the byte")));
    if !matches!(question.as_of, AsOf::Entries(_)) {
        // What nobody can prove, so that nobody takes it for proved.
        let vouched = format!("that nothing was left out is the word of {}, signed", question.name);
        cells.push(("", cell(vouched)));
    }
    print::card(&format!("{name} proves what it says"), cells) + "\n" + &report_text(report)
}
