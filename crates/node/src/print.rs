//! How facts look to people: tables, cards, colours. Colours are dropped at the edge (see `lib.rs`)
//! where the output is no terminal or `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const BOLD_RED: Style = AnsiColor::Red.on_default().bold();

/// A text with its look.
pub(crate) struct Cell {
    text: String,
    style: Style,
}

pub(crate) fn cell(text: impl AsRef<str>) -> Cell {
    styled(text, PLAIN)
}

pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Cell {
    Cell { text: clean(text.as_ref()).replace('\n', " "), style }
}

/// Columns under their names.
pub(crate) fn table<const N: usize>(names: [&str; N], rows: Vec<[Cell; N]>) -> String {
    let rows: Vec<[Cell; N]> =
        std::iter::once(names.map(|name| styled(name, BOLD))).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        for (column, Cell { text, style }) in row.iter().enumerate() {
            // The padding is outside of the style, and nothing pads the last column.
            let pad = if column + 1 < N { widths[column] - text.chars().count() + 2 } else { 0 };
            out.push_str(&format!("{style}{text}{style:#}{:pad$}", ""));
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

/// A title, and facts with their names below it.
pub(crate) fn card(title: &str, facts: Vec<(&str, Cell)>) -> String {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut out = format!("{BOLD}{}{BOLD:#}\n", styled(title, PLAIN).text);
    for (name, Cell { text, style }) in facts {
        let name = styled(name, PLAIN).text;
        out.push_str(&format!("  {DIM}{name:width$}{DIM:#}  {style}{text}{style:#}\n"));
    }
    out
}

/// JSON for programs that people can read too.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// One fact: alone on its line, or as JSON under its name.
pub(crate) fn fact(name: &str, value: &str, json: bool) -> String {
    if json { pretty(&json!({ name: value })) } else { format!("{value}\n") }
}

/// A value for people: strings without quotes.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Who signed something: an office, and who of its people.
pub(crate) fn signer(by: &Value) -> String {
    match by["person"].as_str() {
        Some(person) => format!("{} ({person})", plain(&by["name"])),
        None => plain(&by["name"]),
    }
}

/// What became of a write.
pub(crate) fn written(written: &Value, json: bool) -> String {
    if json {
        return pretty(written);
    }
    format!("{} written in entry {}\n", clean(&plain(&written["uid"])), plain(&written["entry"]))
}

/// Without control characters: titles come from other offices, and must not steer the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// A time (milliseconds since 1970) in UTC.
pub(crate) fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// How long ago a time (milliseconds since 1970) was, in its largest unit.
pub(crate) fn ago(milliseconds: i64, now: Timestamp) -> String {
    let Ok(then) = Timestamp::from_millisecond(milliseconds) else { return "?".into() };
    let seconds = now.duration_since(then).as_secs().max(0);
    let (count, unit) = match seconds {
        ..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        86_400.. => (seconds / 86_400, "d"),
    };
    format!("{count} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_cannot_steer_the_terminal() {
        let rows = vec![
            [cell("Zürich"), styled("ok", GREEN), cell("1")],
            [cell("A\u{1b}[2J\nB"), cell(""), cell("")],
        ];
        let text = anstream::adapter::strip_str(&table(["NAME", "STATE", "N"], rows)).to_string();
        assert_eq!(text, "NAME     STATE  N\nZürich   ok     1\nA\u{fffd}[2J B\n");
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| ago((1_000_000 - seconds) * 1000, now);
        assert_eq!(ago(-5), "0 s ago");
        assert_eq!(ago(59), "59 s ago");
        assert_eq!(ago(3600), "1 h ago");
        assert_eq!(ago(200_000), "2 d ago");
        assert_eq!(time(1_711_929_600_000), "2024-04-01 00:00:00Z");
    }
}
