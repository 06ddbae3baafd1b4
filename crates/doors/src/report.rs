//! The compliance report, in four shapes: for programs, for spreadsheets, for the terminal, and for paper.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fasti_core::command::{
    AsOf, HolderView, Object, PolicyReport, ReportQuery, ReportView, SignatureView,
};
use fasti_core::{Answer, Command, EntryHash};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use crate::backup;
use crate::problem::Problem;
use crate::routes::{Door, query};

/// Most entries that a report may be as of: as many as an acknowledgement names, several times.
const ENTRIES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    policy: Option<String>,
    as_of: Option<String>,
    format: Option<Format>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Csv,
    Text,
    Html,
    Bundle,
}

pub(crate) async fn report(State(door): State<Door>, uri: Uri) -> Result<Response, Problem> {
    let asked: Asked = query(&uri)?;
    let as_of = asked.as_of.map_or(Ok(AsOf::Now), |text| as_of(&text))?;
    let query = ReportQuery { policy: asked.policy, as_of };
    if let Some(Format::Bundle) = asked.format {
        let Answer::Evidence(evidence) = door.handle.ask(Command::Evidence(query)).await? else {
            return Err(Problem::unexpected());
        };
        return backup::pieces(door.handle.node().bundle(evidence)).await;
    }
    let report = match door.handle.ask(Command::Report(query)).await? {
        Answer::Report(report) => report,
        // What is held besides may have changed what those entries count for.
        Answer::Evidence(evidence) => door.handle.report(evidence).await.map_err(|error| {
            let detail = format!("the report could not be made: {error}");
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage", detail)
        })?,
        _ => return Err(Problem::unexpected()),
    };
    let typed = |kind, body: String| ([(header::CONTENT_TYPE, kind)], body).into_response();
    Ok(match asked.format.unwrap_or(Format::Json) {
        Format::Json => Json(report).into_response(),
        Format::Csv => typed("text/csv; charset=utf-8; header=present", csv(&report)),
        Format::Text => typed("text/plain; charset=utf-8", text(&report)),
        Format::Html => {
            let policy = [(header::CONTENT_SECURITY_POLICY, CSP)];
            (policy, typed("text/html; charset=utf-8", html(&report))).into_response()
        }
        Format::Bundle => return Err(Problem::unexpected()),
    })
}

/// A moment; a day, whose end is meant, in UTC; or entries.
fn as_of(text: &str) -> Result<AsOf, Problem> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(AsOf::Time(at.as_millisecond()));
    }
    if let Some(day) = text.parse::<Date>().ok().filter(|_| text.len() == 10) {
        let end = day.to_datetime(Time::constant(23, 59, 59, 999_999_999));
        if let Ok(at) = TimeZone::UTC.to_timestamp(end) {
            return Ok(AsOf::Time(at.as_millisecond()));
        }
    }
    let entry = |text: &str| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok().map(|()| EntryHash(hash))
    };
    match text.split(',').map(entry).collect::<Option<Vec<_>>>() {
        Some(entries) if entries.len() <= ENTRIES_MAX => Ok(AsOf::Entries(entries)),
        _ => Err(Problem::malformed(
            "as_of is a day (2024-04-01), a moment (2024-04-01T09:00:00Z), or entries: their hashes, with commas \
             between them, such as \"heads\" of another report",
        )),
    }
}

/// A time (milliseconds since 1970) in UTC.
fn utc(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .map_or_else(|_| "?".into(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// Where there is nothing to report.
const NO_POLICY: &str = "No policy had been published or proposed.";

/// As people say it.
fn as_of_words(report: &ReportView) -> String {
    match &report.as_of {
        AsOf::Now => format!("all that {} held at {}", report.name, utc(report.made)),
        AsOf::Time(at) => format!("what was written until {}", utc(*at)),
        AsOf::Entries(_) => "what lies under the entries named below".into(),
    }
}

/// Where a policy stands, in words.
fn state(policy: &PolicyReport) -> String {
    let state = serde_json::to_value(policy.policy.state).unwrap_or_default();
    let mut words = state.as_str().unwrap_or_default().to_owned();
    if policy.policy.disputed {
        words.push_str(", disputed");
    }
    if policy.policy.changed {
        words.push_str(", changed since");
    }
    words
}

/// What is reported of a policy: the version that was approved, or as it stands where none was.
fn content<'a>(policy: &'a PolicyReport, name: &str) -> &'a str {
    let approved = policy.policy.approved.first().map(|it| &it.content);
    let content = approved.unwrap_or(&policy.policy.content);
    content.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The days of a policy: as its publisher said them.
fn day<'a>(policy: &'a PolicyReport, name: &str) -> &'a str {
    let approved = policy.policy.approved.first().map(|it| &it.content);
    let content = approved.unwrap_or(&policy.policy.content);
    let said = content.get("fasti:policy").and_then(|it| it.get(name)).and_then(Value::as_str);
    said.unwrap_or_default()
}

/// What a field is to people; none for those that say how an event is written and not what it says.
fn field_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix("fasti:policy/payload/").or(path.strip_prefix("fasti:policy/"));
    let is_form = matches!(
        path,
        "@type" | "showWithoutTime" | "fasti:calendar" | "fasti:policy/id" | "fasti:policy/type"
    );
    (!is_form).then(|| name.unwrap_or(path))
}

fn field_names<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = paths.filter_map(field_name).collect();
    match names.is_empty() {
        true => "its form".into(),
        false => names.into_iter().collect::<Vec<_>>().join(", "),
    }
}

/// What else the event says now than what was approved, field by field.
fn changes(policy: &PolicyReport) -> Vec<String> {
    fn all(content: &Object) -> BTreeMap<String, &Value> {
        let mut found = BTreeMap::new();
        content.iter().for_each(|(name, value)| leaves(name, value, &mut found));
        found
    }
    fn leaves<'a>(path: &str, value: &'a Value, found: &mut BTreeMap<String, &'a Value>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    let path =
                        if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    leaves(&path, value, found);
                }
            }
            leaf => drop(found.insert(path.to_owned(), leaf)),
        }
    }
    let view = &policy.policy;
    let Some(approved) = view.approved.first().filter(|_| view.changed) else { return Vec::new() };
    let (then, now) = (all(&approved.content), all(&view.content));
    let said = |value: Option<&&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "nothing".into(),
    };
    let paths: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let mut differ: Vec<&String> =
        paths.into_iter().filter(|path| then.get(*path) != now.get(*path)).collect();
    if differ.iter().any(|path| field_name(path).is_some()) {
        differ.retain(|path| field_name(path).is_some());
    }
    differ
        .into_iter()
        .map(|path| {
            let name = field_name(path).unwrap_or(path);
            format!(
                "{name}: {} was approved, {} is there now",
                said(then.get(path)),
                said(now.get(path))
            )
        })
        .collect()
}

/// An office, and who of its people.
fn signer(by: &SignatureView) -> String {
    match &by.person {
        Some(person) => format!("{} ({person})", by.name),
        None => by.name.clone(),
    }
}

/// Those whose proposals wait for a decision.
fn proposals(policy: &PolicyReport) -> impl Iterator<Item = &SignatureView> {
    policy.policy.proposed.iter().flat_map(|version| &version.by)
}

fn missing(policy: &PolicyReport) -> impl Iterator<Item = &HolderView> {
    policy.holders.iter().filter(|it| it.since.is_none())
}

// ---- Text ----

/// As wide as the narrowest terminal that people use.
const COLUMNS: usize = 80;

/// The report for the terminal.
pub fn text(report: &ReportView) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Policies of network\n  {}", report.network);
    wrap(&mut out, "", &format!("as of {}", as_of_words(report)));
    wrap(&mut out, "", &format!("made at {} by {}", utc(report.made), report.name));
    for policy in &report.policies {
        let view = &policy.policy;
        let title = format!("{}  {}  ({})", view.policy, content(policy, "title"), state(policy));
        out.push('\n');
        wrap(&mut out, "", &title);
        let (start, end) = (day(policy, "start"), day(policy, "end"));
        if !start.is_empty() {
            let end = if end.is_empty() { String::new() } else { format!(" to {end}") };
            let _ = writeln!(out, "  when      {start}{end}");
        }
        for version in &view.approved {
            for by in &version.by {
                let _ = writeln!(
                    out,
                    "  approved  version {} by {} at {}",
                    version.version,
                    signer(by),
                    utc(by.time)
                );
                let _ = writeln!(out, "  key       {}", by.office);
                let _ = writeln!(out, "  entry     {}", by.entry);
            }
        }
        if let Some(by) = &view.superseded_by {
            wrap(&mut out, "  replaced  ", &format!("by {by}"));
        }
        for by in proposals(policy) {
            wrap(&mut out, "  proposed  ", &format!("by {} at {}", signer(by), utc(by.time)));
        }
        for change in changes(policy) {
            wrap(&mut out, "  changed   ", &change);
        }
        for written in &policy.written {
            let (by, fields) =
                (&written.by, field_names(written.fields.iter().map(String::as_str)));
            let line = format!("by {} at {}: {fields}", signer(by), utc(by.time));
            wrap(&mut out, "  written   ", &line);
        }
        if policy.holders.is_empty() {
            continue;
        }
        let held = policy.holders.len() - missing(policy).count();
        let _ = writeln!(out, "  held by   {held} of {} offices", policy.holders.len());
        for holder in &policy.holders {
            let since = match (holder.since, holder.entry) {
                (Some(since), Some(_)) => {
                    format!("since {} at the latest, by what it wrote", utc(since))
                }
                (Some(since), None) => format!("since {} at the latest, by its word", utc(since)),
                (None, _) => "NOT KNOWN TO HOLD IT".into(),
            };
            wrap(&mut out, "            ", &format!("{}: {since}", holder.name));
        }
    }
    if report.policies.is_empty() {
        let _ = writeln!(out, "\n{NO_POLICY}");
    }
    if !report.heads.is_empty() {
        out.push_str("\nunder the entries\n");
    }
    report.heads.iter().for_each(|head| wrap(&mut out, "  ", &head.to_string()));
    clean(&out)
}

/// Writes a line behind its label, in as many as it takes in 80 columns.
fn wrap(out: &mut String, label: &str, text: &str) {
    // What goes on below a name stands further in than the next name.
    let hanging = if label.trim().is_empty() { 2 } else { 0 };
    let mut column = label.chars().count();
    let indent = column + hanging;
    out.push_str(label);
    for (at, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > COLUMNS {
            out.truncate(out.trim_end_matches(' ').len());
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}

/// Without control characters: names and titles come from other offices.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

// ---- CSV ----

/// RFC 4180: a line for each policy and office.
fn csv(report: &ReportView) -> String {
    let mut out = String::from(
        "policy,state,changed,version,title,start,end,approved_by,approved_key,approved_at,approved_entry,\
         office,office_key,holds,holds_since,proof_entry\r\n",
    );
    for policy in &report.policies {
        let view = &policy.policy;
        let approved = view.approved.first();
        let by = approved.and_then(|it| it.by.first());
        let of_policy = [
            view.policy.clone(),
            state(policy),
            view.changed.to_string(),
            approved.map_or_else(|| view.version.clone(), |it| it.version.clone()),
            content(policy, "title").to_owned(),
            day(policy, "start").to_owned(),
            day(policy, "end").to_owned(),
            by.map(signer).unwrap_or_default(),
            by.map(|by| by.office.to_string()).unwrap_or_default(),
            by.map(|by| utc(by.time)).unwrap_or_default(),
            by.map(|by| by.entry.to_string()).unwrap_or_default(),
        ];
        let of_office = |holder: &HolderView| {
            [
                holder.name.clone(),
                holder.office.to_string(),
                holder.since.is_some().to_string(),
                holder.since.map(utc).unwrap_or_default(),
                holder.entry.map(|it| it.to_string()).unwrap_or_default(),
            ]
        };
        let none = std::array::from_fn(|_| String::new());
        let offices: Vec<[String; 5]> = match policy.holders.is_empty() {
            true => vec![none],
            false => policy.holders.iter().map(of_office).collect(),
        };
        for office in offices {
            let cells: Vec<String> =
                of_policy.iter().chain(&office).map(|cell| quoted(cell)).collect();
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        }
    }
    out
}

/// A cell of CSV. One that a spreadsheet would take for a formula is made a text: names and titles come from
/// other offices.
fn quoted(cell: &str) -> String {
    let cell = clean(cell);
    let cell = if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell };
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

// ---- HTML ----

/// What the page may load: nothing.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "body{font:11pt/1.4 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;max-width:60rem;overflow-wrap:anywhere;color:#111;background:#fff}\
    h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .25rem;border-bottom:1px solid #999}\
    table{border-collapse:collapse;width:100%;margin:.5rem 0}th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0}\
    th{font-weight:600}code{font-size:.8em;overflow-wrap:anywhere}caption{text-align:left;font-weight:600}tr{break-inside:avoid}h2{break-after:avoid}.missing{color:#a00;font-weight:600}\
    .state{font-weight:400;color:#444}p{margin:.25rem 0}section{break-inside:avoid}td{min-width:6em}@page{margin:18mm}@media print{body{margin:0;padding:0}}";

/// A page without scripts and without anything from elsewhere, to be printed.
fn html(report: &ReportView) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Policies as of {as_of}</title>\
         <style>{STYLE}</style></head>\n<body><h1>Policies</h1>\n<p>As of {as_of}. Made at {made} by {name}.</p>\n\
         <p>Network <code>{network}</code></p>\n",
        as_of = escaped(&as_of_words(report)),
        made = utc(report.made),
        name = escaped(&report.name),
        network = report.network,
    );
    for policy in &report.policies {
        html_policy(&mut out, policy);
    }
    if report.policies.is_empty() {
        let _ = writeln!(out, "<p>{NO_POLICY}</p>");
    }
    if !report.heads.is_empty() {
        let heads: Vec<String> = report.heads.iter().map(ToString::to_string).collect();
        let under = heads.join(" ");
        let _ =
            writeln!(out, "<h2>Entries</h2>\n<p>All of this lies under <code>{under}</code></p>");
    }
    out.push_str("</body></html>\n");
    out
}

fn html_policy(out: &mut String, policy: &PolicyReport) {
    let view = &policy.policy;
    let _ = writeln!(
        out,
        "<section><h2>{} · {} <span class=\"state\">{}</span></h2>",
        escaped(&view.policy),
        escaped(content(policy, "title")),
        state(policy)
    );
    let (start, end) = (day(policy, "start"), day(policy, "end"));
    if !start.is_empty() {
        let end = if end.is_empty() { String::new() } else { format!(" to {}", escaped(end)) };
        let _ = writeln!(out, "<p>{}{end}</p>", escaped(start));
    }
    for version in &view.approved {
        for by in &version.by {
            let _ = writeln!(
                out,
                "<p>Approved by {} at {}, version {}<br><code>key {}</code><br><code>entry {}</code></p>",
                escaped(&signer(by)),
                utc(by.time),
                version.version,
                by.office,
                by.entry
            );
        }
    }
    if let Some(by) = &view.superseded_by {
        let _ = writeln!(out, "<p>Superseded by {}</p>", escaped(by));
    }
    for by in proposals(policy) {
        let _ = writeln!(out, "<p>Proposed by {} at {}</p>", escaped(&signer(by)), utc(by.time));
    }
    for change in changes(policy) {
        let _ = writeln!(out, "<p class=\"missing\">Changed since: {}</p>", escaped(&change));
    }
    for written in &policy.written {
        let fields = escaped(&field_names(written.fields.iter().map(String::as_str)));
        let (name, at) = (escaped(&signer(&written.by)), utc(written.by.time));
        let _ = writeln!(out, "<p>Written by {name} at {at}: {fields}</p>");
    }
    if !policy.holders.is_empty() {
        let held = policy.holders.len() - missing(policy).count();
        let _ = writeln!(
            out,
            "<table><caption>Held by {held} of {} offices</caption><thead><tr><th>Office</th><th>Holds it since, at the \
             latest</th><th>Known by</th></tr></thead><tbody>",
            policy.holders.len()
        );
        for holder in &policy.holders {
            let (since, known_by) = match (holder.since, holder.entry) {
                (Some(since), Some(entry)) => (utc(since), format!("<code>entry {entry}</code>")),
                (Some(since), None) => (utc(since), "its signed word".into()),
                (None, _) => ("<span class=\"missing\">not known</span>".into(), String::new()),
            };
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{since}</td><td>{known_by}</td></tr>",
                escaped(&holder.name)
            );
        }
        out.push_str("</tbody></table>");
    }
    out.push_str("</section>\n");
}

fn escaped(text: &str) -> String {
    let text = clean(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_offices_write_steers_neither_page_nor_spreadsheet() {
        assert_eq!(escaped("<b onclick=\"x\">&"), "&lt;b onclick=&quot;x&quot;&gt;&amp;");
        assert_eq!(quoted("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(quoted("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(clean("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }

    #[test]
    fn text_fits_into_a_terminal_and_names_what_people_know() {
        let mut out = String::new();
        wrap(&mut out, "  written   ", &"word ".repeat(40));
        wrap(&mut out, "", &"x".repeat(90));
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= COLUMNS), "{out}");
        assert!(lines[1].starts_with("            word"), "{out}");
        let paths =
            ["@type", "title", "fasti:policy/payload/budget", "start", "fasti:policy/start"];
        assert_eq!(field_names(paths.into_iter()), "budget, start, title");
        assert_eq!(field_names(["@type"].into_iter()), "its form");
    }

    #[test]
    fn a_report_is_as_of_a_day_a_moment_or_entries() {
        let end = AsOf::Time(1_711_929_599_999 + 86_400_000);
        assert_eq!(as_of("2024-04-01").unwrap(), end);
        assert_eq!(as_of("2024-04-01T00:00:00Z").unwrap(), AsOf::Time(1_711_929_600_000));
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let entries = AsOf::Entries(vec![EntryHash([1; 32]), EntryHash([2; 32])]);
        assert_eq!(as_of(&format!("{one},{two}")).unwrap(), entries);
        for bad in ["", "yesterday", "2024-13-01", "01", &vec![one; 1001].join(",")] {
            assert!(as_of(bad).is_err(), "{bad}");
        }
    }
}
