//! tmp
use std::collections::BTreeMap;
fn unfold(b: &[u8]) -> Vec<String> {
    let mut v: Vec<Vec<u8>> = vec![];
    let b = b.strip_prefix(b"\xef\xbb\xbf").unwrap_or(b);
    for l in b.split(|c| *c == b'\n') {
        let l = l.strip_suffix(b"\r").unwrap_or(l);
        if let ([b' ' | b'\t', r @ ..], Some(p)) = (l, v.last_mut()) {
            p.extend_from_slice(r);
        } else {
            v.push(l.to_vec());
        }
    }
    v.into_iter()
        .map(|l| {
            String::from_utf8(l)
                .unwrap_or_else(|e| e.as_bytes().iter().map(|b| char::from(*b)).collect())
        })
        .collect()
}
fn comps(lines: &[String]) -> Vec<Vec<String>> {
    let mut out = vec![];
    let (mut depth, mut cur): (usize, Vec<String>) = (0, vec![]);
    for l in lines {
        let u = l.trim_end().to_ascii_uppercase();
        if depth == 0 {
            if u == "BEGIN:VEVENT" || u == "BEGIN:VTODO" {
                depth = 1;
                cur = vec![];
            }
            continue;
        }
        if u.starts_with("BEGIN:") {
            depth += 1;
        }
        if u.starts_with("END:") {
            depth -= 1;
            if depth == 0 {
                cur.retain(|l| !l.trim().is_empty());
                cur.sort();
                out.push(std::mem::take(&mut cur));
                continue;
            }
        }
        cur.push(l.clone());
    }
    out
}
fn main() {
    let verbose = std::env::args().nth(1).as_deref() == Some("-v");
    let (mut events, mut exact, mut same, mut problems, mut files) = (0, 0, 0, 0, 0);
    for f in std::io::stdin().lines() {
        let f = f.unwrap();
        files += 1;
        let b = std::fs::read(&f).unwrap();
        let c = fasti_calendar::ical::read(&b);
        for p in &c.problems {
            problems += 1;
            if verbose {
                println!("PROBLEM {f}: {p}");
            }
        }
        let orig = comps(&unfold(&b));
        for e in &c.events {
            events += 1;
            let t = fasti_calendar::ical::write(std::slice::from_ref(e));
            let back = fasti_calendar::ical::read(t.as_bytes());
            let ok = back.events.len() == 1 && {
                let mut x = back.events[0].clone();
                let mut y = e.clone();
                x.shift_remove("fasti:icalendar");
                y.shift_remove("fasti:icalendar");
                x == y
            };
            if ok {
                same += 1;
            } else if verbose {
                println!(
                    "DIFF {f}\n  {}\n  {}",
                    serde_json::to_string(e).unwrap(),
                    back.events
                        .first()
                        .map(|e| serde_json::to_string(e).unwrap())
                        .unwrap_or_default()
                );
            }
            let new = comps(&unfold(t.as_bytes()));
            let uid = e["uid"].as_str().unwrap();
            let mut all = true;
            for c in &new {
                let best = orig
                    .iter()
                    .map(|o| {
                        (
                            o.iter().filter(|l| !c.contains(l)).count()
                                + c.iter().filter(|l| !o.contains(l)).count(),
                            o,
                        )
                    })
                    .min_by_key(|x| x.0);
                let Some((_, o)) = best else { continue };
                let missing: Vec<_> = o.iter().filter(|l| !c.contains(l)).collect();
                let extra: Vec<_> = c
                    .iter()
                    .filter(|l| {
                        !o.contains(l) && !l.starts_with("DTSTAMP") && !l.starts_with("UID")
                    })
                    .collect();
                if !missing.is_empty() || !extra.is_empty() {
                    all = false;
                    if verbose {
                        println!(
                            "LINES {f} {uid}: -{:?} +{:?}",
                            &missing[..missing.len().min(4)],
                            &extra[..extra.len().min(4)]
                        );
                    }
                }
            }
            if all {
                exact += 1;
            }
        }
    }
    println!(
        "{files} files, {events} events, {exact} exact, {same} same again, {problems} problems"
    );
}
