//! Content lines and components (RFC 5545, 3.1 and 3.6): the syntax, with every line kept as it came.

use std::borrow::Cow;
use std::fmt::Write as _;

use vparser::{ParamIter, Parser};

/// How deep components may be nested.
const DEPTH_MAX: usize = 8;
/// Longest content line in bytes: an attachment inside of an event would make it too large for an entry anyway.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A content line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it stands, unfolded.
    pub text: String,
    /// In capitals.
    pub name: String,
    /// Names in capitals; values without their quotes.
    params: Vec<(String, Vec<String>)>,
    /// As it stands.
    pub value: String,
}

/// What stands between BEGIN and END.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// In capitals.
    pub name: String,
    /// Its own content lines.
    pub lines: Vec<Line>,
    /// Those inside of it.
    pub components: Vec<Component>,
    /// Where it begins in the file, counted from 1.
    pub(crate) at: usize,
}

/// What is wrong with the syntax, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

/// Whether a line has a value, be it empty: a colon that is not in a quoted parameter.
fn has_value(text: &str) -> bool {
    let mut is_quoted = false;
    text.chars().any(|c| {
        is_quoted ^= c == '"';
        c == ':' && !is_quoted
    })
}

impl Line {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = Parser::new(text).next()?;
        let params = line.params();
        let params = ParamIter::new(&params)
            .map(|param| (param.name().to_ascii_uppercase(), values_of(param.value())))
            .collect();
        let (name, value) = (line.name().to_ascii_uppercase(), line.value().into_owned());
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_line = has_value(text) && !name.is_empty() && name.chars().all(is_name);
        is_line.then(|| Self { text: text.to_owned(), name, params, value })
    }

    /// A line to be written. Parameters without values are left out.
    pub fn new(name: &str, params: &[(&str, &str)], value: &str) -> Self {
        let params: Vec<(String, Vec<String>)> = params
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
            .collect();
        let mut text = name.to_owned();
        for (name, values) in &params {
            let _ = write!(text, ";{name}={}", quoted(&values[0]));
        }
        let value: String = value.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        let _ = write!(text, ":{value}");
        Self { text, name: name.to_owned(), params, value }
    }

    /// The first value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params_of(name).next()
    }

    /// The values of a parameter.
    pub fn params_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.params.iter().filter(move |(own, _)| own == name);
        found.flat_map(|(_, values)| values).map(String::as_str)
    }
}

impl Component {
    /// An empty one.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: Vec::new(), components: Vec::new(), at: 0 }
    }

    /// The first line of this name.
    pub fn line(&self, name: &str) -> Option<&Line> {
        self.lines_of(name).next()
    }

    /// Its lines of this name.
    pub fn lines_of(&self, name: &str) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.name == name)
    }

    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.lines.push(Line::new(name, &[], value));
    }

    /// All its lines, with BEGIN and END.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = vec![format!("BEGIN:{}", self.name)];
        texts.extend(self.lines.iter().map(|line| line.text.clone()));
        texts.extend(self.components.iter().flat_map(Self::texts));
        texts.push(format!("END:{}", self.name));
        texts
    }

    /// As text: folded, with the line ends of the standard.
    pub fn write(&self, out: &mut String) {
        for text in self.texts() {
            fold(&text, out);
        }
    }
}

/// Lines longer than 75 bytes go on in the next one, after a space.
fn fold(text: &str, out: &mut String) {
    let mut room = 75;
    for c in text.chars() {
        if c.len_utf8() > room {
            out.push_str("\r\n ");
            room = 74;
        }
        out.push(c);
        room -= c.len_utf8();
    }
    out.push_str("\r\n");
}

/// The values of a parameter, which commas part; those with commas inside stand in quotes.
fn values_of(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let (mut value, mut in_quotes) = (String::new(), false);
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => values.push(std::mem::take(&mut value)),
            c => value.push(c),
        }
    }
    values.push(value);
    values.into_iter().map(|value| unescaped(&value).into_owned()).collect()
}

/// RFC 6868.
fn unescaped(value: &str) -> Cow<'_, str> {
    match value.contains('^') {
        true => {
            let mut plain = String::new();
            let mut chars = value.chars().peekable();
            while let Some(c) = chars.next() {
                let known = match (c, chars.peek()) {
                    ('^', Some('n' | 'N')) => Some('\n'),
                    ('^', Some('^')) => Some('^'),
                    ('^', Some('\'')) => Some('"'),
                    _ => None,
                };
                plain.push(known.unwrap_or(c));
                if known.is_some() {
                    chars.next();
                }
            }
            plain.into()
        }
        false => value.into(),
    }
}

/// A parameter's value as it is written: RFC 6868, and quotes where they are needed.
fn quoted(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '^' => text.push_str("^^"),
            '\n' => text.push_str("^n"),
            '"' => text.push_str("^'"),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    if text.contains([',', ';', ':']) { format!("\"{text}\"") } else { text }
}

/// Reads what stands in a file: its components, and what is no part of any.
pub(crate) fn components(bytes: &[u8]) -> (Vec<Component>, Vec<BadLine>) {
    let mut done = Vec::new();
    let mut bad = Vec::new();
    let mut open: Vec<Component> = Vec::new();
    for (at, text) in unfolded(bytes) {
        let Some(line) = text.as_deref().and_then(Line::parse) else {
            let is_blank = text.as_ref().is_some_and(|text| text.trim().is_empty());
            if !is_blank {
                bad.push(BadLine { at, reason: reason(text.as_deref()) });
            }
            continue;
        };
        match &*line.name {
            "BEGIN" if open.len() >= DEPTH_MAX => {
                bad.push(BadLine {
                    at,
                    reason: format!("components nested deeper than {DEPTH_MAX}"),
                });
            }
            "BEGIN" => {
                let name = line.value.trim().to_ascii_uppercase();
                open.push(Component { at, ..Component::new(&name) });
            }
            "END" => {
                let name = line.value.trim().to_ascii_uppercase();
                let Some(place) = open.iter().rposition(|it| it.name == name) else {
                    bad.push(BadLine { at, reason: format!("END:{name} without its BEGIN") });
                    continue;
                };
                for unfinished in open.drain(place + 1..).collect::<Vec<_>>() {
                    bad.push(BadLine {
                        at: unfinished.at,
                        reason: format!("BEGIN:{} without its END", unfinished.name),
                    });
                }
                let Some(finished) = open.pop() else { continue };
                match open.last_mut() {
                    Some(parent) => parent.components.push(finished),
                    None => done.push(finished),
                }
            }
            _ => match open.last_mut() {
                Some(component) => component.lines.push(line),
                None => bad.push(BadLine { at, reason: "a line outside of any component".into() }),
            },
        }
    }
    for unfinished in open {
        bad.push(BadLine {
            at: unfinished.at,
            reason: format!("BEGIN:{} without its END", unfinished.name),
        });
        // A file that was cut off: what is whole in it counts.
        done.extend(unfinished.components);
    }
    (done, bad)
}

fn reason(text: Option<&str>) -> String {
    match text {
        None => format!("a line of more than {LINE_BYTES_MAX} bytes"),
        Some(text) => {
            let start: String = text.chars().take(40).collect();
            format!("expected NAME:VALUE, found {start:?}")
        }
    }
}

/// The lines of a file, put together where they were folded, with the number of the first; none where one is too
/// long. Folding counts bytes, and may part a character's: so it comes before decoding.
fn unfolded(bytes: &[u8]) -> Vec<(usize, Option<String>)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line, lines.last_mut()) {
            ([b' ' | b'\t', rest @ ..], Some((_, last))) => {
                if last.len() <= LINE_BYTES_MAX {
                    last.extend_from_slice(rest);
                }
            }
            _ => lines.push((at + 1, line.to_vec())),
        }
    }
    let decode = |line: Vec<u8>| match String::from_utf8(line) {
        Ok(text) => text,
        // Older programs wrote Latin-1.
        Err(error) => error.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    };
    let decode = |line: Vec<u8>| (line.len() <= LINE_BYTES_MAX).then(|| decode(line));
    lines.into_iter().map(|(at, line)| (at, decode(line))).collect()
}
