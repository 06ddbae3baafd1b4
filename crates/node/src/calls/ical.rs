//! `fasti import` and `fasti export`: iCalendar files. The node speaks JSCalendar alone; what is read and written
//! here is `fasti_calendar`'s.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use fasti_calendar::ical;
use fasti_core::command::Object;
use serde_json::{Value, json};

use super::event;
use crate::cli::{ExportArgs, ImportArgs};
use crate::client::{Client, Refused};
use crate::print;

/// Largest file, in bytes: some hundred thousand events.
const FILE_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn import(
    client: impl FnOnce() -> anyhow::Result<Client>,
    args: &ImportArgs,
    json: bool,
) -> anyhow::Result<String> {
    let name = args.file.display().to_string();
    let contents = ical::read(&read(&args.file)?);
    let mut problems: Vec<(usize, String)> =
        contents.problems.into_iter().map(|it| (it.line, it.reason)).collect();
    let found = contents.events.len();
    let (mut created, mut there) = (0, 0);
    if !args.dry_run && found > 0 {
        let client = client()?;
        for (line, event) in contents.events {
            match put(&client, event, args.calendar.as_deref()) {
                Ok(true) => created += 1,
                Ok(false) => there += 1,
                Err(error) if error.is::<Refused>() => problems.push((line, error.to_string())),
                Err(error) => return Err(error),
            }
        }
    }
    problems.sort();
    let failed = found == 0 || !args.dry_run && created + there == 0;
    if json {
        let told: Vec<Value> = problems
            .iter()
            .map(|(line, reason)| json!({ "file": name, "line": line, "reason": reason }))
            .collect();
        if !failed {
            let facts =
                json!({ "found": found, "created": created, "updated": there, "problems": told });
            return Ok(print::pretty(&facts));
        }
    }
    for (line, reason) in &problems {
        anstream::eprintln!("{name}:{line}: {}", print::clean(reason));
    }
    if failed {
        bail!("{name} has no event or task that could be imported");
    }
    Ok(match args.dry_run {
        true => format!("{} can be imported\n", events(found)),
        false => {
            format!("{} imported: {created} new, {there} known before\n", events(created + there))
        }
    })
}

fn events(count: usize) -> String {
    if count == 1 { "1 event".into() } else { format!("{count} events") }
}

/// Writes an event; whether it is new. What only Fasti knows of it stays.
fn put(client: &Client, mut event: Object, calendar: Option<&str>) -> anyhow::Result<bool> {
    let uid = event.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = event::path(&uid);
    let mut is_new = false;
    match client.get(&path) {
        Ok(Value::Object(present)) => {
            let own = present.into_iter().filter(|(name, _)| name.starts_with("fasti:"));
            for (name, value) in own {
                event.entry(name).or_insert(value);
            }
        }
        Ok(_) => {}
        Err(error) if error.downcast_ref::<Refused>().is_some_and(|it| it.status == 404) => {
            is_new = true;
        }
        Err(error) => return Err(error),
    }
    if let Some(calendar) = calendar {
        event.insert("fasti:calendar".into(), json!(calendar));
    }
    client.ask("PUT", &path, None, Some(&Value::Object(event)))?;
    Ok(is_new)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let open = std::fs::File::open(file);
        open.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("{} can't be read", file.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes: import it in parts", file.display());
    }
    Ok(bytes)
}

pub(crate) fn export(client: &Client, args: &ExportArgs, json: bool) -> anyhow::Result<String> {
    let is_wanted = |event: &Object| {
        let calendar = event.get("fasti:calendar").and_then(Value::as_str);
        args.calendar.is_none() || calendar == args.calendar.as_deref()
    };
    let all = event::all(client, None, None)?.into_iter();
    let events: Vec<Object> = all
        .filter_map(|mut view| match view["event"].take() {
            Value::Object(event) if is_wanted(&event) => Some(event),
            _ => None,
        })
        .collect();
    let text = ical::write(&events);
    let Some(file) = &args.output else { return Ok(text) };
    std::fs::write(file, &text).with_context(|| format!("{} can't be written", file.display()))?;
    let (count, file) = (events.len(), file.display().to_string());
    Ok(match json {
        true => print::pretty(&json!({ "exported": count, "file": file })),
        false => format!("{} exported to {file}\n", self::events(count)),
    })
}
