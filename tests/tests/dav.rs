//! The CalDAV door, by the letter of the RFCs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use fasti_tests::{Cluster, Dav, DavAnswer, Fasti};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

struct Office {
    cluster: Cluster,
    dav: Dav,
}

impl Office {
    fn new() -> Self {
        let cluster = Cluster::found(&fasti(), "Denver").unwrap();
        let dav = cluster.nodes[0].dav("ann").unwrap();
        Self { cluster, dav }
    }

    fn calendar(&self, id: &str) -> Dav {
        self.dav.at(&format!("/dav/calendars/{id}/"))
    }
}

fn event(uid: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Test//EN\nBEGIN:VEVENT\nUID:{uid}\nDTSTAMP:20240101T000000Z\n{lines}\n\
         END:VEVENT\nEND:VCALENDAR\n"
    )
}

fn talk(uid: &str) -> String {
    event(uid, "DTSTART:20240401T090000Z\nDURATION:PT1H\nSUMMARY:Talk")
}

fn put(dav: &Dav, name: &str, text: &str, headers: &[(&str, &str)]) -> DavAnswer {
    let mut all = vec![("content-type", "text/calendar; charset=utf-8")];
    all.extend(headers);
    dav.request("PUT", name, &all, text).unwrap()
}

fn query(dav: &Dav, filter: &str) -> DavAnswer {
    let inner = format!(
        "<d:prop><d:getetag/></d:prop><c:filter><c:comp-filter name=\"VCALENDAR\">{filter}</c:comp-filter></c:filter>"
    );
    dav.ask("REPORT", "1", "c:calendar-query", &inner).unwrap()
}

fn sync(dav: &Dav, token: &str, limit: Option<usize>) -> DavAnswer {
    let limit = limit.map(|it| format!("<d:limit><d:nresults>{it}</d:nresults></d:limit>"));
    let inner = format!(
        "<d:sync-token>{token}</d:sync-token><d:sync-level>1</d:sync-level>{}<d:prop><d:getetag/></d:prop>",
        limit.unwrap_or_default()
    );
    dav.ask("REPORT", "1", "d:sync-collection", &inner).unwrap()
}

fn token(answer: &DavAnswer) -> String {
    let (_, token) =
        answer.body.rsplit_once("<d:sync-token>").unwrap_or_else(|| panic!("{answer:?}"));
    token.split('<').next().unwrap().to_owned()
}

/// The names of resources that an answer has, with their statuses: 404 or 200.
fn told(answer: &DavAnswer) -> Vec<(String, u16)> {
    let responses = answer.body.split("<d:response>").skip(1);
    let told = responses.map(|it| {
        let href = it.split("<d:href>").nth(1).unwrap().split('<').next().unwrap();
        let status = it.rsplit("HTTP/1.1 ").next().unwrap()[..3].parse().unwrap();
        (href.trim_end_matches('/').rsplit('/').next().unwrap().to_owned(), status)
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

fn of(names: &[(&str, u16)]) -> Vec<(String, u16)> {
    names.iter().map(|(name, status)| ((*name).to_owned(), *status)).collect()
}

#[test]
fn an_event_comes_out_as_it_went_in() {
    let office = Office::new();
    let text = event(
        "ü-1@app",
        "DTSTART;TZID=Europe/Zürich-like:20240401T090000\nDTEND;TZID=Europe/Zürich-like:20240401T100000\n\
         SUMMARY;LANGUAGE=de:Prüfung der Brücke\\, Teil 1\nX-APP-A;X-B=\"c;d\":e\\nf\nCATEGORIES:A,B\n\
         ATTENDEE;PARTSTAT=ACCEPTED;CN=Bob:mailto:bob@example.org\nCOMMENT:One\nCOMMENT:Two",
    )
    .replace(
        "BEGIN:VEVENT",
        "BEGIN:VTIMEZONE\nTZID:Europe/Zürich-like\nBEGIN:STANDARD\nDTSTART:19700101T000000\n\
         TZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT",
    );
    let text =
        text.replace("PRODID:-//Test//EN", "PRODID:-//Test//EN\nX-WR-CALNAME:Mine\nX-A;B=c:d");
    let made = put(&office.dav, "caf%C3%A9.ics", &text, &[("if-none-match", "*")]);
    assert_eq!(made.status, 201, "{made:?}");
    let (etag, read) = office.dav.read("caf%C3%A9.ics").unwrap().unwrap();
    let unfolded = read.replace("\n ", "");
    for line in text.lines().filter(|it| !it.starts_with("PRODID")) {
        assert!(unfolded.contains(line), "{line}: {read}");
    }
    assert!(etag.starts_with('"'), "{etag}");
    // The same again changes nothing: not even the etag.
    assert_eq!(put(&office.dav, "caf%C3%A9.ics", &text, &[]).status, 204);
    assert_eq!(put(&office.dav, "caf%C3%A9.ics", &read.replace('\n', "\r\n"), &[]).status, 204);
    assert_eq!(office.dav.read("caf%C3%A9.ics").unwrap().unwrap().0, etag);
    let fresh =
        office.dav.request("GET", "caf%C3%A9.ics", &[("if-none-match", &etag)], "").unwrap();
    assert_eq!(fresh.status, 304);
    let head = office.dav.request("HEAD", "caf%C3%A9.ics", &[], "").unwrap();
    assert_eq!((head.status, head.header("etag")), (200, &*etag));
    assert!(head.header("content-type").starts_with("text/calendar"), "{head:?}");
}

#[test]
fn conditions_guard_against_lost_updates() {
    let office = Office::new();
    let dav = &office.dav;
    assert_eq!(put(dav, "a.ics", &talk("a"), &[("if-match", "\"x\"")]).status, 412);
    assert_eq!(put(dav, "a.ics", &talk("a"), &[("if-none-match", "*")]).status, 201);
    assert_eq!(put(dav, "a.ics", &talk("a"), &[("if-none-match", "*")]).status, 412);
    let (etag, text) = dav.read("a.ics").unwrap().unwrap();
    let other = text.replace("SUMMARY:Talk", "SUMMARY:Walk");
    assert_eq!(put(dav, "a.ics", &other, &[("if-match", &etag)]).status, 204);
    assert_eq!(put(dav, "a.ics", &other, &[("if-match", &etag)]).status, 412);
    let stale = dav.request("DELETE", "a.ics", &[("if-match", &etag)], "").unwrap();
    assert_eq!(stale.status, 412);
    let preferred = put(dav, "a.ics", &talk("a"), &[("prefer", "return=representation")]);
    assert_eq!(
        (preferred.status, preferred.header("preference-applied")),
        (200, "return=representation")
    );
    let now = dav.read("a.ics").unwrap().unwrap();
    assert_eq!(preferred.header("etag"), now.0);
    // WebDAV's own, which was not looked at.
    for refused in
        ["([\"x\"])", "(<urn:uuid:1>)", &*format!("</dav/calendars/default/b.ics> ([{}])", now.0)]
    {
        assert_eq!(put(dav, "a.ics", &talk("a"), &[("if", refused)]).status, 412, "{refused}");
        assert_eq!(dav.request("DELETE", "a.ics", &[("if", refused)], "").unwrap().status, 412);
    }
    let held = format!("([{}])", now.0);
    assert_eq!(put(dav, "a.ics", &talk("a"), &[("if", &held)]).status, 204);
    let deleted = dav.request("DELETE", "a.ics", &[("if-match", &now.0)], "").unwrap();
    assert_eq!(deleted.status, 204);
    assert_eq!(dav.request("GET", "a.ics", &[], "").unwrap().status, 404);
    assert_eq!(dav.request("DELETE", "a.ics", &[], "").unwrap().status, 404);
    assert_eq!(put(dav, "a.ics", &talk("a"), &[("if-none-match", "*")]).status, 201);
}

/// A MOVE asked nothing of what it was told to guard: it went past If-Match, gave a calendar two events with one UID, or an
/// event to a calendar of tasks. COPY, which is part of class 1, was missing.
#[test]
fn events_are_copied_and_moved_by_the_rules_of_where_they_go() {
    let office = Office::new();
    let dav = &office.dav;
    let (team, tasks) = (office.calendar("team"), office.calendar("tasks"));
    team.ask("MKCALENDAR", "0", "c:mkcalendar", "").unwrap();
    let kinds = "<d:set><d:prop><c:supported-calendar-component-set><c:comp name=\"VTODO\"/>\
                 </c:supported-calendar-component-set></d:prop></d:set>";
    tasks.ask("MKCALENDAR", "0", "c:mkcalendar", kinds).unwrap();
    for uid in ["a", "b"] {
        put(dav, &format!("{uid}.ics"), &talk(uid), &[]);
    }
    put(&team, "copy.ics", &talk("a"), &[]);
    let send = |method: &str, from: &str, to: &str, more: &[(&str, &str)]| {
        let to = format!("/dav/calendars/{to}");
        let headers = [&[("destination", &*to)], more].concat();
        dav.request(method, from, &headers, "").unwrap()
    };
    for method in ["MOVE", "COPY"] {
        let refused = send(method, "a.ics", "default/a.ics", &[]);
        assert_eq!(refused.status, 403, "{method} to itself: {refused:?}");
        let refused = send(method, "a.ics", "default/c.ics", &[("if-match", "\"other\"")]);
        assert_eq!(refused.status, 412, "{method}: {refused:?}");
        let refused = send(method, "a.ics", "default/b.ics", &[("overwrite", "F")]);
        assert_eq!(
            refused.status,
            if method == "MOVE" { 412 } else { 403 },
            "{method}: {refused:?}"
        );
        let refused = send(method, "a.ics", "team/a.ics", &[]);
        assert!(refused.status == 403 && refused.body.contains("no-uid-conflict"), "{refused:?}");
        let refused = send(method, "a.ics", "tasks/a.ics", &[]);
        assert!(refused.body.contains("supported-calendar-component"), "{method}: {refused:?}");
        assert_eq!(send(method, "a.ics", "none/a.ics", &[]).status, 409);
        assert_eq!(send(method, "none.ics", "team/a.ics", &[]).status, 404);
    }
    assert_eq!(send("COPY", "b.ics", "team/b.ics", &[]).status, 201);
    assert_eq!(send("COPY", "b.ics", "team/b.ics", &[]).status, 204);
    assert_eq!(send("COPY", "b.ics", "team/b.ics", &[("overwrite", "F")]).status, 412);
    assert_eq!(send("COPY", "b.ics", "team/copy.ics", &[]).status, 403);
    // They are two, now.
    put(dav, "b.ics", &talk("b").replace("Talk", "Walk"), &[]);
    assert!(team.read("b.ics").unwrap().unwrap().1.contains("UID:b"));
    assert!(team.read("b.ics").unwrap().unwrap().1.contains("SUMMARY:Talk"));
    // One over another, and over its own copy.
    assert_eq!(send("MOVE", "a.ics", "team/copy.ics", &[]).status, 204);
    assert_eq!(send("MOVE", "b.ics", "team/b.ics", &[]).status, 204);
    assert!(team.read("b.ics").unwrap().unwrap().1.contains("SUMMARY:Walk"));
    assert_eq!(told(&sync(dav, "", None)), []);
    assert_eq!(told(&sync(&team, "", None)), of(&[("b.ics", 200), ("copy.ics", 200)]));
    // A third with one UID is none of the others, wherever these went: it took one out of the calendar that it was in.
    let third = office.calendar("third");
    third.ask("MKCALENDAR", "0", "c:mkcalendar", "").unwrap();
    for calendar in [dav, &team] {
        assert_eq!(put(calendar, "x.ics", &talk("x"), &[]).status, 201);
    }
    let headers = [("destination", "/dav/calendars/third/x.ics")];
    assert_eq!(team.request("MOVE", "x.ics", &headers, "").unwrap().status, 201);
    assert_eq!(put(&team, "x.ics", &talk("x"), &[]).status, 201);
    for calendar in [dav, &team, &third] {
        assert!(calendar.read("x.ics").unwrap().is_some());
    }
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let office = Office::new();
    let dav = &office.dav;
    let journal = talk("j").replace("VEVENT", "VJOURNAL");
    let two = talk("a").replace(
        "END:VCALENDAR\n",
        &talk("b").split_once("BEGIN:VEVENT").map(|it| format!("BEGIN:VEVENT{}", it.1)).unwrap(),
    );
    let no_uid = talk("a").replace("UID:a\n", "");
    // RFC 4791, section 4.1.
    let method = talk("a").replace("VERSION:2.0", "VERSION:2.0\nMETHOD:REQUEST");
    let task = talk("a").replace("VEVENT", "VTODO");
    let (_, task) = task.split_once("BEGIN:VTODO").unwrap();
    let mixed = talk("a").replace("END:VCALENDAR\n", &format!("BEGIN:VTODO{task}"));
    let large = talk("a").replace("SUMMARY:Talk", &format!("SUMMARY:{}", "x".repeat(140_000)));
    for (text, precondition) in [
        ("no calendar", "valid-calendar-data"),
        (
            &talk("a").replace("DTSTART:20240401T090000Z", "DTSTART:yesterday"),
            "valid-calendar-data",
        ),
        (&journal, "supported-calendar-component"),
        (&two, "valid-calendar-object-resource"),
        (&no_uid, "valid-calendar-object-resource"),
        (&method, "valid-calendar-object-resource"),
        (&mixed, "valid-calendar-object-resource"),
        (&large, "max-resource-size"),
    ] {
        let refused = put(dav, "a.ics", text, &[]);
        assert_eq!(refused.status, 403, "{precondition}: {refused:?}");
        assert!(
            refused.body.contains(&format!("<c:{precondition}/>")),
            "{precondition}: {refused:?}"
        );
    }
    let json = dav.request("PUT", "a.ics", &[("content-type", "application/json")], "{}").unwrap();
    assert!(json.status == 403 && json.body.contains("supported-calendar-data"), "{json:?}");
    assert_eq!(put(dav, "a.ics", &talk("a"), &[]).status, 201);
    // One UID for an address, and one address for a UID; in a calendar.
    let conflict = put(dav, "b.ics", &talk("a"), &[]);
    assert!(conflict.status == 403 && conflict.body.contains("no-uid-conflict"), "{conflict:?}");
    assert!(conflict.body.contains("/dav/calendars/default/a.ics"), "{conflict:?}");
    assert_eq!(put(dav, "a.ics", &talk("b"), &[]).status, 403);
    let nowhere = put(&office.calendar("nowhere"), "a.ics", &talk("c"), &[]);
    assert_eq!(nowhere.status, 409, "{nowhere:?}");
}

#[test]
fn calendars_are_made_named_and_removed() {
    let office = Office::new();
    let team = office.calendar("team");
    let props = "<d:set><d:prop><d:displayname>The team &amp; Übung</d:displayname>\
                 <ical:calendar-color>#AA00BBFF</ical:calendar-color>\
                 <c:supported-calendar-component-set><c:comp name=\"VEVENT\"/></c:supported-calendar-component-set>\
                 <x:other xmlns:x=\"urn:x\"><x:in>1</x:in></x:other></d:prop></d:set>";
    let made = team.ask("MKCALENDAR", "0", "c:mkcalendar", props).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(team.ask("MKCALENDAR", "0", "c:mkcalendar", props).unwrap().status, 403);
    let asked = "<d:prop><d:displayname/><ical:calendar-color/><x:other xmlns:x=\"urn:x\"/><c:supported-calendar-component-set/>\
                 <d:resourcetype/><d:current-user-privilege-set/><d:supported-report-set/><d:getetag/></d:prop>";
    let found = team.ask("PROPFIND", "0", "d:propfind", asked).unwrap();
    for part in [
        "<d:displayname>The team &amp; Übung</d:displayname>",
        "<ical:calendar-color>#AA00BBFF</ical:calendar-color>",
        ">1</",
        "<c:comp name=\"VEVENT\"/></c:supported",
        "<c:calendar/>",
        "<d:write-content/>",
        "<d:sync-collection/>",
    ] {
        assert!(found.body.contains(part), "{part}: {found:?}");
    }
    let (_, missing) = found.body.split_once("HTTP/1.1 200 OK").unwrap();
    assert!(missing.contains("<d:getetag/>") && missing.contains("404"), "{found:?}");
    let task = put(&team, "t.ics", &talk("t").replace("VEVENT", "VTODO"), &[]);
    assert!(task.body.contains("supported-calendar-component"), "{task:?}");

    // All of a PROPPATCH, or nothing.
    let patch = |inner: &str| team.ask("PROPPATCH", "0", "d:propertyupdate", inner).unwrap();
    let refused = patch(
        "<d:set><d:prop><d:displayname>Other</d:displayname><d:getetag>x</d:getetag></d:prop></d:set>",
    );
    assert!(refused.body.contains("424") && refused.body.contains("403"), "{refused:?}");
    let taken = patch(
        "<d:set><d:prop><ical:calendar-order>3</ical:calendar-order></d:prop></d:set>\
         <d:remove><d:prop><x:other xmlns:x=\"urn:x\"/></d:prop></d:remove>",
    );
    assert!(!taken.body.contains("403") && taken.body.contains("200 OK"), "{taken:?}");
    let asked =
        "<d:prop><d:displayname/><ical:calendar-order/><x:other xmlns:x=\"urn:x\"/></d:prop>";
    let found = team.ask("PROPFIND", "0", "d:propfind", asked).unwrap();
    assert!(found.body.contains("The team") && found.body.contains(">3<"), "{found:?}");
    assert!(found.body.contains("404 Not Found"), "{found:?}");

    // By the extended MKCOL as well; a plain collection is none.
    let other = office.calendar("other");
    assert_eq!(other.request("MKCOL", "", &[], "").unwrap().status, 403);
    let kind = "<d:set><d:prop><d:resourcetype><d:collection/><c:calendar/></d:resourcetype></d:prop></d:set>";
    assert_eq!(other.ask("MKCOL", "0", "d:mkcol", kind).unwrap().status, 201);
    assert_eq!(other.ask("MKCOL", "0", "d:mkcol", kind).unwrap().status, 405);

    // What is in it goes with it, cancelled for all others.
    assert_eq!(put(&team, "a.ics", &talk("a"), &[]).status, 201);
    assert_eq!(team.request("DELETE", "", &[], "").unwrap().status, 204);
    assert_eq!(team.ask("PROPFIND", "0", "d:propfind", "").unwrap().status, 404);
    assert_eq!(put(&team, "a.ics", &talk("a"), &[]).status, 409);
    let event = office.cluster.nodes[0].api().event("a").unwrap().unwrap();
    assert_eq!(event["status"], "cancelled");
    assert_eq!(office.dav.request("DELETE", "", &[], "").unwrap().status, 403);
    assert_eq!(team.ask("MKCALENDAR", "0", "c:mkcalendar", "").unwrap().status, 201);
    let found = team.ask("PROPFIND", "0", "d:propfind", asked).unwrap();
    assert!(!found.body.contains("The team"), "{found:?}");
}

#[test]
fn what_changed_is_told_once_and_survives_a_restart() {
    let mut office = Office::new();
    let node = &mut office.cluster.nodes[0];
    let http = node.api().address().0.replace("http://", "");
    node.run_with(&["--http", &http]);
    let dav = office.dav.clone();
    let first = sync(&dav, "", None);
    assert_eq!(told(&first), []);
    for uid in ["a", "b", "c"] {
        put(&dav, &format!("{uid}.ics"), &talk(uid), &[]);
    }
    let second = sync(&dav, &token(&first), None);
    assert_eq!(told(&second), of(&[("a.ics", 200), ("b.ics", 200), ("c.ics", 200)]));
    office.cluster.nodes[0].stop().unwrap();
    office.cluster.nodes[0].start().unwrap();
    assert_eq!(told(&sync(&dav, &token(&second), None)), []);
    put(&dav, "b.ics", &talk("b").replace("Talk", "Walk"), &[]);
    dav.delete("c.ics").unwrap();
    // It came and went: nobody needs to know.
    put(&dav, "d.ics", &talk("d"), &[]);
    dav.delete("d.ics").unwrap();
    // What happens in other calendars is not told here.
    let team = office.calendar("team");
    team.ask("MKCALENDAR", "0", "c:mkcalendar", "").unwrap();
    put(&team, "x.ics", &talk("x"), &[]);
    let moved = [("destination", "/dav/calendars/team/a.ics")];
    assert_eq!(dav.request("MOVE", "a.ics", &moved, "").unwrap().status, 201);
    let third = sync(&dav, &token(&second), None);
    let mut news = told(&third);
    news.retain(|it| it.0 != "d.ics");
    assert_eq!(news, of(&[("a.ics", 404), ("b.ics", 200), ("c.ics", 404)]));
    assert_eq!(told(&sync(&team, "", None)), of(&[("a.ics", 200), ("x.ics", 200)]));
    assert_eq!(told(&sync(&dav, &token(&third), None)), []);
    for bad in ["data:,0000000000000000-1", "http://example.org/token"] {
        let refused = sync(&dav, bad, None);
        assert!(refused.status == 403 && refused.body.contains("valid-sync-token"), "{refused:?}");
    }
}

#[test]
fn a_limit_cuts_an_answer_and_drops_nothing() {
    let office = Office::new();
    let dav = &office.dav;
    put(dav, "gone.ics", &talk("gone"), &[]);
    let start = token(&sync(dav, "", None));
    dav.delete("gone.ics").unwrap();
    for at in 0..5 {
        put(dav, &format!("e{at}.ics"), &talk(&format!("e{at}")), &[]);
    }
    let (mut at, mut all, mut pages) = (start, Vec::new(), 0);
    loop {
        let page = sync(dav, &at, Some(2));
        assert_eq!(page.status, 207, "{page:?}");
        at = token(&page);
        let cut = page.body.contains("507 Insufficient Storage");
        let mut news = told(&page);
        news.retain(|it| it.1 != 507);
        assert!(news.len() <= 2, "{page:?}");
        all.extend(news);
        pages += 1;
        // Somebody changes what was told already, and what was not.
        if pages == 1 {
            put(dav, "e0.ics", &talk("e0").replace("Talk", "Walk"), &[]);
            dav.delete("e4.ics").unwrap();
        }
        if !cut {
            break;
        }
    }
    all.sort();
    all.dedup();
    // e4 was never told of, so that it need not be now.
    all.retain(|it| it.0 != "e4.ics");
    let expected =
        [("e0.ics", 200), ("e1.ics", 200), ("e2.ics", 200), ("e3.ics", 200), ("gone.ics", 404)];
    assert_eq!(all, of(&expected));
    assert!(pages > 2);
    assert_eq!(told(&sync(dav, &at, Some(2))), []);
    assert_eq!(sync(dav, "", Some(0)).status, 400);
}

const WEEKLY: &str = "DTSTART;TZID=America/Denver:20240401T090000\nDTEND;TZID=America/Denver:20240401T100000\n\
                      RRULE:FREQ=WEEKLY;COUNT=10\nEXDATE;TZID=America/Denver:20240415T090000\nSUMMARY:Weekly";

fn weekly() -> String {
    event("weekly", WEEKLY).replace(
        "END:VEVENT\n",
        "END:VEVENT\nBEGIN:VEVENT\nUID:weekly\nDTSTAMP:20240101T000000Z\n\
         RECURRENCE-ID;TZID=America/Denver:20240422T090000\nDTSTART;TZID=America/Denver:20240423T110000\n\
         DTEND;TZID=America/Denver:20240423T120000\nSUMMARY:Moved\nEND:VEVENT\n",
    )
}

fn times(start: &str, end: &str) -> String {
    format!("<c:time-range start=\"{start}\" end=\"{end}\"/>")
}

#[test]
fn queries_find_by_time_by_property_and_by_what_is_missing() {
    let office = Office::new();
    let dav = &office.dav;
    put(dav, "weekly.ics", &weekly(), &[]);
    put(
        dav,
        "day.ics",
        &event("day", "DTSTART;VALUE=DATE:20240410\nSUMMARY:A day\nCATEGORIES:TRIP"),
        &[],
    );
    let alarm = "DTSTART:20240501T120000Z\nSUMMARY:Größe\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-P1D\nDESCRIPTION:x\nEND:VALARM";
    put(dav, "alarm.ics", &event("alarm", alarm), &[]);
    let task = event("task", "DUE:20240412T000000Z\nSUMMARY:Task").replace("VEVENT", "VTODO");
    put(dav, "task.ics", &task, &[]);
    let undated = event("undated", "SUMMARY:Some day").replace("VEVENT", "VTODO");
    put(dav, "undated.ics", &undated, &[]);
    let events = |inner: &str| {
        let found = query(dav, &format!("<c:comp-filter name=\"VEVENT\">{inner}</c:comp-filter>"));
        assert_eq!(found.status, 207, "{found:?}");
        told(&found).into_iter().map(|it| it.0).collect::<Vec<_>>()
    };
    assert_eq!(events(""), ["alarm.ics", "day.ics", "weekly.ics"]);
    assert_eq!(events(&times("20240410T000000Z", "20240411T000000Z")), ["day.ics"]);
    // Left out, moved away, moved to.
    assert_eq!(events(&times("20240415T000000Z", "20240416T000000Z")), [""; 0]);
    assert_eq!(events(&times("20240422T150000Z", "20240422T160000Z")), [""; 0]);
    assert_eq!(events(&times("20240423T170000Z", "20240423T171000Z")), ["weekly.ics"]);
    assert_eq!(events("<c:time-range start=\"20240501T000000Z\"/>"), ["alarm.ics", "weekly.ics"]);
    assert_eq!(events("<c:time-range end=\"20240402T000000Z\"/>"), ["weekly.ics"]);
    let text = |name: &str, more: &str, text: &str| {
        format!(
            "<c:prop-filter name=\"{name}\"><c:text-match {more}>{text}</c:text-match></c:prop-filter>"
        )
    };
    assert_eq!(events(&text("SUMMARY", "", "WEEK")), ["weekly.ics"]);
    assert_eq!(events(&text("SUMMARY", "collation=\"i;octet\"", "WEEK")), [""; 0]);
    assert_eq!(events(&text("SUMMARY", "collation=\"i;unicode-casemap\"", "GRÖß")), ["alarm.ics"]);
    assert_eq!(
        events(&text("SUMMARY", "negate-condition=\"yes\"", "a")),
        ["alarm.ics", "weekly.ics"]
    );
    assert_eq!(
        events("<c:prop-filter name=\"CATEGORIES\"><c:is-not-defined/></c:prop-filter>"),
        ["alarm.ics", "weekly.ics"]
    );
    assert_eq!(
        events("<c:prop-filter name=\"DTSTART\"><c:param-filter name=\"TZID\"/></c:prop-filter>"),
        ["weekly.ics"]
    );
    let starts = |start, end| {
        events(&format!("<c:prop-filter name=\"DTSTART\">{}</c:prop-filter>", times(start, end)))
    };
    assert_eq!(starts("20240401T150000Z", "20240401T150001Z"), ["weekly.ics"]);
    let zoned = query(dav, "<c:comp-filter name=\"VTIMEZONE\"/>");
    assert_eq!(told(&zoned), of(&[("weekly.ics", 200)]));
    let alarms = |start, end| {
        events(&format!("<c:comp-filter name=\"VALARM\">{}</c:comp-filter>", times(start, end)))
    };
    assert_eq!(alarms("20240430T110000Z", "20240430T130000Z"), ["alarm.ics"]);
    assert_eq!(alarms("20240501T110000Z", "20240501T130000Z"), [""; 0]);
    let tasks = |inner: &str| {
        let found = query(dav, &format!("<c:comp-filter name=\"VTODO\">{inner}</c:comp-filter>"));
        told(&found).into_iter().map(|it| it.0).collect::<Vec<_>>()
    };
    assert_eq!(tasks(""), ["task.ics", "undated.ics"]);
    assert_eq!(tasks(&times("20240411T000000Z", "20240413T000000Z")), ["task.ics", "undated.ics"]);
    for (filter, precondition) in [
        ("<c:time-range start=\"20240401T000000Z\"/>", "valid-filter"),
        ("<c:comp-filter name=\"VEVENT\"><c:time-range/></c:comp-filter>", "valid-filter"),
        (
            "<c:comp-filter name=\"VEVENT\"><c:time-range start=\"tomorrow\"/></c:comp-filter>",
            "valid-filter",
        ),
        (
            &format!(
                "<c:comp-filter name=\"VEVENT\">{}</c:comp-filter>",
                text("SUMMARY", "collation=\"i;x\"", "a")
            ),
            "supported-collation",
        ),
    ] {
        let refused = query(dav, filter);
        assert!(refused.status == 403 && refused.body.contains(precondition), "{refused:?}");
    }
}

/// The table of RFC 4791, section 9.9. It took tasks for events: those that are only due were found after that, not before;
/// and what a node adds, when a task came, for what was said of it.
#[test]
fn tasks_are_found_by_whatever_time_they_have() {
    let office = Office::new();
    let dav = &office.dav;
    for (name, lines) in [
        ("a-takes", "DTSTART:20060605T100000Z\nDURATION:PT1H"),
        ("b-due", "DTSTART:20060605T100000Z\nDUE:20060605T120000Z"),
        ("c-starts", "DTSTART:20060605T100000Z"),
        ("d-only-due", "DUE:20060605T120000Z"),
        ("e-both", "COMPLETED:20060605T100000Z\nCREATED:20060603T100000Z"),
        ("f-completed", "COMPLETED:20060605T100000Z"),
        ("g-created", "CREATED:20060604T100000Z"),
        ("h-nothing", "SUMMARY:Some day"),
    ] {
        let text = event(name, lines).replace("VEVENT", "VTODO");
        assert_eq!(put(dav, &format!("{name}.ics"), &text, &[]).status, 201, "{name}");
    }
    for (start, end, expected) in [
        ("20060605T100000Z", "20060605T120000Z", "abcdefgh"),
        ("20060605T110000Z", "20060605T113000Z", "abgh"),
        ("20060605T113000Z", "20060605T120000Z", "bdgh"),
        ("20060605T120000Z", "20060605T130000Z", "gh"),
        ("20060605T080000Z", "20060605T100000Z", "efgh"),
        ("20060604T000000Z", "20060604T110000Z", "egh"),
        ("20060601T000000Z", "20060602T000000Z", "h"),
    ] {
        let range = times(start, end);
        let found = query(dav, &format!("<c:comp-filter name=\"VTODO\">{range}</c:comp-filter>"));
        let found: String = told(&found).iter().filter_map(|it| it.0.chars().next()).collect();
        assert_eq!(found, expected, "{start} to {end}");
    }
}

/// RFC 4791, section 9.9. The first ring of an alarm was all that counted, those of tasks without a time were not looked at,
/// and an occurrence without an alarm had that of its series.
#[test]
fn alarms_are_found_whenever_they_ring() {
    let office = Office::new();
    let dav = &office.dav;
    let alarm =
        |lines: &str| format!("BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:x\n{lines}\nEND:VALARM");
    let repeated = alarm("TRIGGER:-PT1H\nREPEAT:4\nDURATION:PT30M");
    put(dav, "a.ics", &event("a", &format!("DTSTART:20240501T120000Z\n{repeated}")), &[]);
    let absolute = alarm("TRIGGER;VALUE=DATE-TIME:20240510T000000Z");
    put(dav, "b.ics", &event("b", &absolute).replace("VEVENT", "VTODO"), &[]);
    let daily = event(
        "c",
        &format!("DTSTART:20240503T120000Z\nRRULE:FREQ=DAILY;COUNT=3\n{}", alarm("TRIGGER:-PT1H")),
    );
    let silent = "BEGIN:VEVENT\nUID:c\nRECURRENCE-ID:20240504T120000Z\nDTSTART:20240504T120000Z\nEND:VEVENT\n";
    put(dav, "c.ics", &daily.replace("END:VCALENDAR", &format!("{silent}END:VCALENDAR")), &[]);
    for (kind, start, end, expected) in [
        ("VEVENT", "20240501T110000Z", "20240501T110001Z", &["a.ics"][..]),
        ("VEVENT", "20240501T125000Z", "20240501T131000Z", &["a.ics"]),
        ("VEVENT", "20240501T131000Z", "20240501T140000Z", &[]),
        ("VTODO", "20240509T235900Z", "20240510T000100Z", &["b.ics"]),
        ("VEVENT", "20240503T105900Z", "20240503T110100Z", &["c.ics"]),
        ("VEVENT", "20240504T105900Z", "20240504T110100Z", &[]),
        ("VEVENT", "20240505T105900Z", "20240505T110100Z", &["c.ics"]),
    ] {
        let range = times(start, end);
        let found = query(
            dav,
            &format!(
                "<c:comp-filter name=\"{kind}\"><c:comp-filter name=\"VALARM\">{range}</c:comp-filter></c:comp-filter>"
            ),
        );
        let found: Vec<String> = told(&found).into_iter().map(|it| it.0).collect();
        assert_eq!(found, expected, "{start} to {end}");
    }
}

/// Outlook and others send zones of their own. As a calendar's they were refused, and with it all of a MKCALENDAR; in a
/// query UTC stood in for them, as for what is no zone.
#[test]
fn zones_that_a_client_defines_are_understood() {
    let office = Office::new();
    let zone = "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VTIMEZONE\nTZID:My Own\nBEGIN:STANDARD\nDTSTART:19700101T000000\n\
                TZOFFSETFROM:-0500\nTZOFFSETTO:-0500\nEND:STANDARD\nEND:VTIMEZONE\nEND:VCALENDAR";
    let team = office.calendar("team");
    let props = format!(
        "<d:set><d:prop><c:calendar-timezone>{zone}</c:calendar-timezone></d:prop></d:set>"
    );
    assert_eq!(team.ask("MKCALENDAR", "0", "c:mkcalendar", &props).unwrap().status, 201);
    let day = event("day", "DTSTART;VALUE=DATE:20240401");
    let late = times("20240402T040000Z", "20240402T050000Z");
    let events = format!("<c:comp-filter name=\"VEVENT\">{late}</c:comp-filter>");
    put(&team, "day.ics", &day, &[]);
    assert_eq!(told(&query(&team, &events)), of(&[("day.ics", 200)]));
    put(&office.dav, "day.ics", &day, &[]);
    assert_eq!(told(&query(&office.dav, &events)), []);
    let in_zone = |zone: &str| {
        let inner = format!(
            "<d:prop><d:getetag/></d:prop><c:filter><c:comp-filter name=\"VCALENDAR\">{events}</c:comp-filter></c:filter>\
             <c:timezone>{zone}</c:timezone>"
        );
        office.dav.ask("REPORT", "1", "c:calendar-query", &inner).unwrap()
    };
    assert_eq!(told(&in_zone(zone)), of(&[("day.ics", 200)]));
    let refused = in_zone("Denver");
    assert!(refused.status == 403 && refused.body.contains("valid-calendar-data"), "{refused:?}");
}

#[test]
fn occurrences_are_expanded_and_parts_are_left_out() {
    let office = Office::new();
    let dav = &office.dav;
    put(dav, "weekly.ics", &weekly(), &[]);
    let data = |data: &str| {
        let inner = format!(
            "<d:prop><c:calendar-data>{data}</c:calendar-data></d:prop><d:href>/dav/calendars/default/weekly.ics</d:href>"
        );
        let found = dav.ask("REPORT", "1", "c:calendar-multiget", &inner).unwrap();
        let text = found.element("c:calendar-data").unwrap_or_else(|| panic!("{found:?}"));
        text.replace("&#13;\n", "\n").replace("&#13;", "")
    };
    let expanded = data("<c:expand start=\"20240408T000000Z\" end=\"20240430T000000Z\"/>");
    assert_eq!(expanded.matches("BEGIN:VEVENT").count(), 3, "{expanded}");
    for line in [
        "DTSTART:20240408T150000Z",
        "RECURRENCE-ID:20240408T150000Z",
        "RECURRENCE-ID:20240422T150000Z",
        "DTSTART:20240423T170000Z",
        "SUMMARY:Moved",
        "DTEND:20240429T160000Z",
    ] {
        assert!(expanded.contains(line), "{line}: {expanded}");
    }
    assert!(!expanded.contains("RRULE") && !expanded.contains("VTIMEZONE"), "{expanded}");
    // What changes an occurrence and all that follow says all of them.
    put(
        dav,
        "weekly.ics",
        &weekly().replace("RECURRENCE-ID;TZID", "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID"),
        &[],
    );
    let onwards = data("<c:expand start=\"20240408T000000Z\" end=\"20240501T000000Z\"/>");
    assert!(onwards.contains("DTSTART:20240430T170000Z"), "{onwards}");
    assert_eq!(onwards.matches("SUMMARY:Moved").count(), 2, "{onwards}");
    put(dav, "weekly.ics", &weekly(), &[]);
    let limited =
        data("<c:limit-recurrence-set start=\"20240401T000000Z\" end=\"20240403T000000Z\"/>");
    assert!(limited.contains("RRULE") && !limited.contains("Moved"), "{limited}");
    let part = data(
        "<c:comp name=\"VCALENDAR\"><c:prop name=\"VERSION\"/><c:comp name=\"VEVENT\"><c:prop name=\"UID\"/>\
         <c:prop name=\"SUMMARY\"/></c:comp></c:comp>",
    );
    assert!(part.contains("SUMMARY:Weekly") && !part.contains("DTSTART"), "{part}");
    assert!(!part.contains("PRODID") && !part.contains("VTIMEZONE"), "{part}");
    let gone = "<d:prop><d:getetag/></d:prop><d:href>/dav/calendars/default/none.ics</d:href>";
    let found = dav.ask("REPORT", "1", "c:calendar-multiget", gone).unwrap();
    assert_eq!(told(&found), of(&[("none.ics", 404)]));
}

#[test]
fn free_and_busy_times_are_joined() {
    let office = Office::new();
    let dav = &office.dav;
    put(dav, "weekly.ics", &weekly(), &[]);
    put(dav, "b.ics", &event("b", "DTSTART:20240408T153000Z\nDURATION:PT1H\nSUMMARY:Beside"), &[]);
    put(
        dav,
        "c.ics",
        &event("c", "DTSTART:20240409T100000Z\nDURATION:PT1H\nTRANSP:TRANSPARENT"),
        &[],
    );
    put(
        dav,
        "d.ics",
        &event("d", "DTSTART:20240409T110000Z\nDURATION:PT1H\nSTATUS:CANCELLED"),
        &[],
    );
    put(
        dav,
        "e.ics",
        &event("e", "DTSTART:20240409T120000Z\nDURATION:PT1H\nSTATUS:TENTATIVE"),
        &[],
    );
    let range = times("20240408T000000Z", "20240410T000000Z");
    let busy = dav.ask("REPORT", "1", "c:free-busy-query", &range).unwrap();
    assert_eq!(busy.status, 200, "{busy:?}");
    let lines: Vec<&str> = busy.body.lines().filter(|it| it.starts_with("FREEBUSY")).collect();
    assert_eq!(
        lines,
        [
            "FREEBUSY:20240408T150000Z/20240408T163000Z",
            "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20240409T120000Z/20240409T130000Z"
        ]
    );
}

/// What is asked for and isn't there must not be answered with something else.
#[test]
fn what_is_not_there_is_refused_by_name() {
    let office = Office::new();
    let dav = &office.dav;
    put(dav, "a.ics", &talk("a"), &[]);
    let json = "<d:prop><c:calendar-data content-type=\"application/calendar+json\"/></d:prop>\
                <d:href>/dav/calendars/default/a.ics</d:href>";
    let refused = dav.ask("REPORT", "1", "c:calendar-multiget", json).unwrap();
    assert!(
        refused.status == 403 && refused.body.contains("supported-calendar-data"),
        "{refused:?}"
    );
    for (path, status) in [("none/deep", 409), ("default/deep", 403)] {
        let made = office.calendar(path).ask("MKCALENDAR", "0", "c:mkcalendar", "").unwrap();
        assert_eq!(made.status, status, "{path}: {made:?}");
    }
    let asked = "<d:prop><c:max-resource-size/></d:prop>";
    let found = dav.ask("PROPFIND", "0", "d:propfind", asked).unwrap();
    let max: usize = found.element("c:max-resource-size").unwrap().parse().unwrap();
    for size in [max, 3 * max] {
        let large = talk("large").replace("Talk", &"x".repeat(size));
        let refused = put(dav, "large.ics", &large, &[]);
        assert!(refused.status == 403 && refused.body.contains("max-resource-size"), "{refused:?}");
    }
}

#[test]
fn people_are_found_by_who_they_are() {
    let office = Office::new();
    let people = office.dav.at("/dav/principals/");
    let who = "<d:self/><d:prop><d:displayname/></d:prop>";
    let own = people.ask("REPORT", "0", "d:principal-match", who).unwrap();
    assert_eq!(told(&own), of(&[("ann", 200)]));
    let search = |name: &str| {
        format!(
            "<d:property-search><d:prop><d:displayname/></d:prop><d:match>{name}</d:match></d:property-search>"
        )
    };
    let find = |test: &str| {
        let body = format!(
            "<d:principal-property-search xmlns:d=\"DAV:\" {test}>{}{}<d:prop><d:displayname/></d:prop></d:principal-property-search>",
            search("AN"),
            search("bob")
        );
        told(&people.request("REPORT", "", &[("depth", "0")], &body).unwrap())
    };
    assert_eq!(find(""), []);
    assert_eq!(find("test=\"anyof\""), of(&[("ann", 200)]));
}

#[test]
fn what_can_not_be_read_gets_a_reason() {
    let office = Office::new();
    let dav = &office.dav;
    let ask = |method: &str, headers: &[(&str, &str)], body: &str| {
        dav.request(method, "", headers, body).unwrap().status
    };
    assert_eq!(ask("PROPFIND", &[("depth", "0")], "<propfind"), 400);
    assert_eq!(ask("PROPFIND", &[("depth", "infinity")], ""), 403);
    assert_eq!(ask("PROPFIND", &[("depth", "0")], "<a xmlns=\"DAV:\"/>"), 400);
    assert_eq!(ask("REPORT", &[], ""), 400);
    assert_eq!(ask("REPORT", &[], "<other xmlns=\"DAV:\"/>"), 403);
    assert_eq!(ask("LOCK", &[], ""), 405);
    assert_eq!(ask("PUT", &[], ""), 405);
    let options = dav.request("OPTIONS", "", &[], "").unwrap();
    assert!(options.header("dav").contains("calendar-access"), "{options:?}");
    assert!(options.header("allow").contains("REPORT"), "{options:?}");
    // To those as well who didn't log in yet.
    for path in ["/", "/dav/", "/dav/calendars/default/", "/principals/"] {
        let stranger = Dav::new(office.cluster.nodes[0].api().address().0, "eve", "wrong").at(path);
        let options = stranger.request("OPTIONS", "", &[], "").unwrap();
        assert_eq!(options.status, 401, "{path}: {options:?}");
        assert!(options.header("dav").contains("calendar-access"), "{path}: {options:?}");
    }
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\">]><d:propfind xmlns:d=\"DAV:\"><d:prop>&b;</d:prop></d:propfind>";
    assert_eq!(ask("PROPFIND", &[("depth", "0")], bomb), 400);
    // A short question that is meant to have a long answer.
    let names: String = (0..1001).map(|at| format!("<p{at}/>")).collect();
    let many = format!("<propfind xmlns=\"DAV:\"><prop>{names}</prop></propfind>");
    assert_eq!(ask("PROPFIND", &[("depth", "1")], &many), 400);
    let hrefs = "<d:href>/dav/calendars/default/none.ics</d:href>".repeat(100);
    let inner = format!("<d:prop><d:getetag/></d:prop>{hrefs}");
    let found = dav.ask("REPORT", "1", "c:calendar-multiget", &inner).unwrap();
    assert_eq!(found.count("<d:response>"), 1);
    let minimal = [("depth", "0"), ("prefer", "return=minimal")];
    let body =
        "<d:propfind xmlns:d=\"DAV:\"><d:prop><d:displayname/><d:quota/></d:prop></d:propfind>";
    let answer = dav.request("PROPFIND", "", &minimal, body).unwrap();
    assert!(!answer.body.contains("404"), "{answer:?}");
}

#[test]
fn a_feed_is_read_by_whoever_has_its_address_until_it_ends() {
    let mut office = Office::new();
    let says = |node: &fasti_tests::Node, args: &[&str]| fasti().prints(node.dir(), args);
    put(&office.dav, "a.ics", &talk("a"), &[]);
    let node = &mut office.cluster.nodes[0];
    let http = node.api().address().0.replace("http://", "");
    node.run_with(&["--http", &http]);
    let refused = fasti().says(node.dir(), &["feed", "add", "other"]).unwrap();
    assert!(refused.status == 1 && refused.err.contains("\"default\""), "{refused:?}");
    let made = says(node, &["feed", "add", "default", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let path = made["path"].as_str().unwrap();
    node.stop().unwrap();
    node.start().unwrap();
    let anyone = Dav::new(&format!("http://{http}"), "", "");
    let feed = anyone.request("GET", path, &[], "").unwrap();
    assert!(feed.status == 200 && feed.body.contains("SUMMARY:Talk"), "{feed:?}");
    assert!(feed.body.contains("NAME:Calendar"), "{feed:?}");
    let again = anyone.request("GET", path, &[("if-none-match", feed.header("etag"))], "").unwrap();
    assert_eq!(again.status, 304);
    assert_eq!(anyone.request("PUT", path, &[], "").unwrap().status, 405);
    // It opens nothing else.
    let other = path.replace("default", "policies");
    assert_eq!(anyone.request("GET", &other, &[], "").unwrap().status, 404);
    assert_eq!(anyone.request("GET", "/feeds/default.ics", &[], "").unwrap().status, 404);
    assert!(says(node, &["feed", "list"]).contains("default"));
    says(node, &["feed", "remove", made["id"].as_str().unwrap()]);
    assert_eq!(anyone.request("GET", path, &[], "").unwrap().status, 404);
}

/// A client that only ever syncs, page by page, beside one that does whatever comes to its mind.
#[test]
fn whatever_happens_who_syncs_has_what_is_there() {
    let office = Office::new();
    let calendars = [office.dav.clone(), office.calendar("team")];
    calendars[1].ask("MKCALENDAR", "0", "c:mkcalendar", "").unwrap();
    let seed = std::env::var("FASTI_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(7_u64);
    let mut state = seed;
    let mut below = |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut known: [BTreeMap<String, String>; 2] = Default::default();
    let mut tokens = [String::new(), String::new()];
    for step in 0..300 {
        let (at, name) = (below(2) as usize, format!("e{}.ics", below(6)));
        let dav = &calendars[at];
        match below(6) {
            0 | 1 => {
                let text = talk(&name[..2]).replace("Talk", &format!("Step {step}"));
                let status = put(dav, &name, &text, &[]).status;
                assert!([201, 204].contains(&status), "{status}");
            }
            2 => drop(dav.request("DELETE", &name, &[], "").unwrap()),
            3 => {
                let to = format!("/dav/calendars/{}/{name}", ["default", "team"][1 - at]);
                drop(
                    dav.request("MOVE", &name, &[("destination", &to), ("overwrite", "T")], "")
                        .unwrap(),
                );
            }
            _ => {
                // Now and then it is cut off in the middle of what it has to hear.
                let pages = below(3);
                for _ in 0..=pages {
                    let page = sync(dav, &tokens[at], Some(1 + below(3) as usize));
                    assert_eq!(page.status, 207, "seed {seed}, step {step}: {page:?}");
                    take(&mut known[at], &page);
                    tokens[at] = token(&page);
                }
            }
        }
    }
    for at in 0..2 {
        loop {
            let page = sync(&calendars[at], &tokens[at], Some(2));
            take(&mut known[at], &page);
            tokens[at] = token(&page);
            if !page.body.contains("507") {
                break;
            }
        }
        let mut there = BTreeMap::new();
        let all = calendars[at]
            .ask("PROPFIND", "1", "d:propfind", "<d:prop><d:getetag/></d:prop>")
            .unwrap();
        take(&mut there, &all);
        assert_eq!(known[at], there, "seed {seed}");
    }
}

/// What a client that keeps etags by name makes of an answer.
fn take(known: &mut BTreeMap<String, String>, answer: &DavAnswer) {
    for response in answer.body.split("<d:response>").skip(1) {
        let part = |tag: &str| response.split(&format!("<d:{tag}>")).nth(1)?.split('<').next();
        let href = part("href").unwrap();
        if href.ends_with('/') {
            continue;
        }
        let name = href.rsplit('/').next().unwrap().to_owned();
        match part("getetag") {
            Some(etag) => drop(known.insert(name, etag.to_owned())),
            None => drop(known.remove(&name)),
        }
    }
}
