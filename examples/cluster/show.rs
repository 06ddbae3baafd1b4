//! What people see: headings, lines, tables; or, for programs, one JSON object in the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};

const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

pub(crate) struct Show {
    json: bool,
    facts: Map<String, Value>,
    act: u32,
}

impl Show {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, facts: Map::new(), act: 0 }
    }

    /// A fact for the JSON object.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// A new act.
    pub(crate) fn act(&mut self, title: &str) {
        self.act += 1;
        if !self.json {
            anstream::println!("\n{HEADING}{}. {title}{HEADING:#}", self.act);
        }
    }

    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            anstream::println!("   {text}");
        }
    }

    /// What happened behind the scenes.
    pub(crate) fn aside(&self, text: &str) {
        self.say(&format!("{DIM}{text}{DIM:#}"));
    }

    pub(crate) fn verdict(&self, good: bool, text: &str) {
        let (style, mark) = if good { (GOOD, "✔") } else { (BAD, "✘") };
        self.say(&format!("{style}{mark} {text}{style:#}"));
    }

    /// A table; the first row is its heading.
    pub(crate) fn table(&self, rows: &[Vec<String>]) {
        let columns = rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (at, row) in rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let line = cells.join("  ");
            let line = line.trim_end();
            if at == 0 { self.say(&format!("{BOLD}{line}{BOLD:#}")) } else { self.say(line) }
        }
    }

    pub(crate) fn kept(&mut self, root: &Path, nodes: &[(String, PathBuf, Option<u32>)]) {
        self.fact("kept", root.display().to_string());
        self.act("The nodes are left running");
        self.say("Talk to them with the same binary, for example:");
        for (name, dir, pid) in nodes {
            let pid = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            self.aside(&format!("# {name}{pid}"));
            self.say(&format!(
                "cargo run --release -p fasti-node -- status --dir {}",
                dir.display()
            ));
        }
        let pids: Vec<String> =
            nodes.iter().filter_map(|(_, _, pid)| Some((*pid)?.to_string())).collect();
        self.say(&format!(
            "Stop them with: kill {}; their folders are in {}",
            pids.join(" "),
            root.display()
        ));
    }

    pub(crate) fn done(self) {
        if self.json {
            anstream::println!("{}", Value::Object(self.facts));
        }
    }
}

/// Milliseconds, as exact as they were measured.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

pub(crate) fn millis_fact(time: Duration) -> Value {
    ((time.as_secs_f64() * 1e4).round() / 10.0).into()
}
