//! What calendar apps wait for: writing events, a month, what changed, all entity tags; here, and at Radicale on the same
//! machine in the same run.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fasti_tests::{Cluster, Dav, DavAnswer, Fasti, Radicale};
use serde_json::{Map, Value, json};

const SIZES: [usize; 2] = [1_000, 10_000];
/// Connections that write at once.
const WRITERS: usize = 4;
/// New events that are written to a calendar of each size.
const NEW: usize = 2_000;
/// The same at Radicale, which takes its time.
const NEW_THERE: usize = 40;
const ROUNDS: usize = 20;
const ROUNDS_THERE: usize = 3;

const DATA: &str = "<d:prop><d:getetag/><c:calendar-data/></d:prop>";

pub(crate) fn measure(fasti: &Fasti) -> anyhow::Result<Value> {
    let mut figures = Map::new();
    for size in SIZES {
        eprintln!("caldav: {size} events");
        let here = here(fasti, size)?;
        let there = there(size)?;
        figures.insert(size.to_string(), json!({ "fasti": here, "radicale": there }));
    }
    Ok(figures.into())
}

/// Over a year; each tenth is weekly, without an end.
fn event(at: usize) -> String {
    let (month, day, hour) = (at % 12 + 1, at / 12 % 28 + 1, at / 336 % 9 + 8);
    let rule = if at.is_multiple_of(10) { "RRULE:FREQ=WEEKLY\r\n" } else { "" };
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Bench//EN\r\nBEGIN:VEVENT\r\nUID:bench-{at}\r\n\
         DTSTAMP:20240101T000000Z\r\nDTSTART:2024{month:02}{day:02}T{hour:02}0000Z\r\nDURATION:PT1H\r\n\
         SUMMARY:Event {at}\r\nDESCRIPTION:What it is about\\, in a sentence of a usual length.\r\n\
         LOCATION:Room {}\r\n{rule}END:VEVENT\r\nEND:VCALENDAR\r\n",
        at % 40
    )
}

fn here(fasti: &Fasti, size: usize) -> anyhow::Result<Value> {
    let cluster = Cluster::found(fasti, "Core")?;
    let dav = cluster.nodes[0].dav("ann")?;
    put(&dav, 0..size)?;
    let mut figures = asked(&dav, size, ROUNDS)?;
    figures.insert("put_a_second".into(), json!(put(&dav, size..size + NEW)?));
    Ok(figures.into())
}

fn there(size: usize) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let tmp = std::env::temp_dir().join("fasti-bench");
    fs::create_dir_all(&tmp)?;
    let radicale = Radicale::start(folder.path(), &tmp)?;
    for at in 0..size {
        fs::write(radicale.folder().join(format!("bench-{at}.ics")), event(at))?;
    }
    let dav = radicale.dav();
    // It reads them once, whoever asks first.
    etags(&dav)?;
    let mut figures = asked(&dav, size, ROUNDS_THERE)?;
    figures.insert("put_a_second".into(), json!(put(&dav, size..size + NEW_THERE)?));
    Ok(figures.into())
}

/// Writes new events; how many a second.
fn put(dav: &Dav, range: std::ops::Range<usize>) -> anyhow::Result<f64> {
    let began = Instant::now();
    let count = range.len();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (dav, range) = (dav.apart(), range.clone());
                scope.spawn(move || {
                    for at in range.skip(writer).step_by(WRITERS) {
                        let condition = [("if-none-match", "*")];
                        dav.write_if(&format!("bench-{at}.ics"), &event(at), &condition)?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer.join().map_err(|_| anyhow::anyhow!("a writer failed"))??;
        }
        anyhow::Ok(())
    })?;
    Ok((count as f64 / began.elapsed().as_secs_f64()).round())
}

fn etags(dav: &Dav) -> anyhow::Result<DavAnswer> {
    dav.ask("PROPFIND", "1", "d:propfind", "<d:prop><d:getetag/></d:prop>")
}

/// What is asked, in milliseconds (median).
fn asked(dav: &Dav, size: usize, rounds: usize) -> anyhow::Result<Map<String, Value>> {
    let month = |data: &str| {
        let mut inner = String::new();
        let _ = write!(
            inner,
            "{data}<c:filter><c:comp-filter name=\"VCALENDAR\"><c:comp-filter name=\"VEVENT\">\
             <c:time-range start=\"20240601T000000Z\" end=\"20240701T000000Z\"/></c:comp-filter></c:comp-filter></c:filter>"
        );
        dav.ask("REPORT", "1", "c:calendar-query", &inner)
    };
    let expand = "<d:prop><d:getetag/><c:calendar-data><c:expand start=\"20240601T000000Z\" \
                  end=\"20240701T000000Z\"/></c:calendar-data></d:prop>";
    let sync = |token: &str| {
        let inner = format!(
            "<d:sync-token>{token}</d:sync-token><d:sync-level>1</d:sync-level><d:prop><d:getetag/></d:prop>"
        );
        dav.ask("REPORT", "1", "d:sync-collection", &inner)
    };
    let mut figures = Map::new();
    let (time, answer) = median(rounds, || etags(dav))?;
    let found = answer.count(".ics</");
    if found < size {
        bail!("{found} of {size} events are listed");
    }
    figures.insert("etags_ms".into(), json!(time));
    let (time, answer) = median(rounds, || month(DATA))?;
    figures.insert("month_ms".into(), json!(time));
    figures.insert("month_events".into(), json!(answer.count("BEGIN:VEVENT")));
    figures.insert("month_bytes".into(), json!(answer.body.len()));
    let (time, answer) = median(rounds, || month(expand))?;
    figures.insert("month_expanded_ms".into(), json!(time));
    figures.insert("month_occurrences".into(), json!(answer.count("BEGIN:VEVENT")));
    let first = sync("")?;
    let mut times = Vec::new();
    let mut token = token_of(&first)?;
    for round in 0..rounds {
        for at in 0..3 {
            let text = event(at).replace("SUMMARY:Event", &format!("SUMMARY:Round {round}, event"));
            dav.write(&format!("bench-{at}.ics"), &text)?;
        }
        let began = Instant::now();
        let answer = sync(&token)?;
        times.push(began.elapsed());
        if answer.count(".ics</") != 3 {
            bail!("three events changed: {}", answer.body);
        }
        token = token_of(&answer)?;
    }
    figures.insert("sync_of_3_ms".into(), json!(middle(times)));
    Ok(figures)
}

fn token_of(answer: &DavAnswer) -> anyhow::Result<String> {
    let (_, rest) = answer.body.split_once("sync-token>").context("no sync-token")?;
    Ok(rest.split('<').next().unwrap_or_default().to_owned())
}

fn median(
    rounds: usize,
    ask: impl Fn() -> anyhow::Result<DavAnswer>,
) -> anyhow::Result<(f64, DavAnswer)> {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..rounds {
        let began = Instant::now();
        let answer = ask()?;
        times.push(began.elapsed());
        if answer.status != 207 {
            bail!("{}: {}", answer.status, answer.body);
        }
        last = Some(answer);
    }
    Ok((middle(times), last.context("no rounds")?))
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    (middle.as_secs_f64() * 1e5).round() / 100.0
}
