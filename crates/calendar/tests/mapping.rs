//! What properties mean, in both directions, and what becomes of the rest.
#![allow(missing_docs, clippy::unwrap_used)]

use fasti_calendar::{Object, ical};
use serde_json::{Value, json};

/// A calendar around the lines of one event.
fn file(lines: &str) -> String {
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let inside = lines.join("\r\n");
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:e1\r\nDTSTAMP:20240101T000000Z\r\n{inside}\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

#[track_caller]
fn read(text: &str) -> Object {
    let contents = ical::read(text.as_bytes());
    assert_eq!(contents.problems, [], "{text}");
    assert_eq!(contents.events.len(), 1, "{text}");
    contents.events.into_iter().next().unwrap().1
}

/// The lines of a file, unfolded.
fn lines(text: &str) -> Vec<String> {
    text.replace("\r\n ", "").split("\r\n").map(str::to_owned).collect()
}

fn without_what_came(mut event: Object) -> Object {
    event.shift_remove("fasti:icalendar");
    event
}

/// What is written of an event reads as the event.
#[track_caller]
fn assert_comes_back(event: &Value) -> Vec<String> {
    let event = event.as_object().unwrap().clone();
    let text = ical::write(std::slice::from_ref(&event));
    assert_eq!(Value::Object(without_what_came(read(&text))), Value::Object(event), "{text}");
    lines(&text)
}

#[test]
fn a_place_and_its_coordinates_are_one_location() {
    let event = read(&file("DTSTART:20240401T090000Z\nLOCATION:Room\\, 2\nGEO:39.7;-104.9"));
    assert_eq!(
        event["locations"],
        json!({"1": {"@type": "Location", "name": "Room, 2", "coordinates": "geo:39.7,-104.9"}})
    );
    let written = lines(&ical::write(&[event]));
    assert!(written.contains(&"LOCATION:Room\\, 2".to_owned()), "{written:?}");
    assert!(written.contains(&"GEO:39.7;-104.9".to_owned()));
}

#[test]
fn rules_ends_and_who_is_asked_are_those_of_rfc_8984() {
    let event = read(&file(
        "DTSTART;TZID=America/Denver:20240401T090000
         DTEND;TZID=America/Denver:20240401T103000
         RRULE:FREQ=MONTHLY;BYDAY=1MO,-1FR;UNTIL=20241231T160000Z
         EXDATE;TZID=America/Denver:20240506T090000
         RDATE;TZID=America/Denver:20240410T090000
         ORGANIZER;CN=Ann:mailto:ann@example.com
         ATTENDEE;CN=Bo;PARTSTAT=ACCEPTED;ROLE=OPT-PARTICIPANT;RSVP=TRUE:mailto:bo@example.com",
    ));
    assert_eq!(event["timeZone"], "America/Denver");
    assert_eq!(event["duration"], "PT1H30M");
    assert_eq!(
        event["recurrenceRules"],
        json!([{"@type": "RecurrenceRule", "frequency": "monthly", "until": "2024-12-31T09:00:00",
            "byDay": [{"@type": "NDay", "day": "mo", "nthOfPeriod": 1},
                {"@type": "NDay", "day": "fr", "nthOfPeriod": -1}]}])
    );
    assert_eq!(
        event["recurrenceOverrides"],
        json!({"2024-05-06T09:00:00": {"excluded": true}, "2024-04-10T09:00:00": {}})
    );
    assert_eq!(event["replyTo"], json!({"imip": "mailto:ann@example.com"}));
    let participants = event["participants"].as_object().unwrap();
    let by_name = |name: &str| participants.values().find(|it| it["name"] == name).unwrap();
    assert_eq!(by_name("Ann")["roles"], json!({"owner": true}));
    assert_eq!(by_name("Bo")["roles"], json!({"attendee": true, "optional": true}));
    assert_eq!(by_name("Bo")["participationStatus"], "accepted");
    assert_eq!(by_name("Bo")["expectReply"], true);
    assert_eq!(by_name("Bo")["sendTo"], json!({"imip": "mailto:bo@example.com"}));
}

#[test]
fn an_occurrence_that_lacks_a_property_does_not_inherit_it() {
    let text = file(
        "DTSTART;VALUE=DATE:20240401
         RRULE:FREQ=DAILY;COUNT=5
         SUMMARY:Fair
         LOCATION:Hall
         END:VEVENT
         BEGIN:VEVENT
         UID:e1
         RECURRENCE-ID;VALUE=DATE:20240403
         DTSTART;VALUE=DATE:20240404
         SUMMARY:Late fair",
    );
    let event = read(&text);
    assert_eq!(event["showWithoutTime"], true);
    assert_eq!(
        event["recurrenceOverrides"],
        json!({"2024-04-03T00:00:00": {"start": "2024-04-04T00:00:00", "title": "Late fair", "locations": null}})
    );
    let written = ical::write(&[event]);
    assert_eq!(lines(&written).iter().filter(|line| *line == "LOCATION:Hall").count(), 1);
    assert!(written.contains("RECURRENCE-ID;VALUE=DATE:20240403\r\n"), "{written}");
}

/// One that says nothing new is still a component, with all that it needs.
#[test]
fn a_minimal_override_is_written_as_a_whole_event() {
    let written = assert_comes_back(&json!({
        "uid": "e1", "@type": "Event", "start": "2024-04-01T09:00:00", "timeZone": "Europe/Berlin",
        "duration": "PT1H", "title": "Round",
        "recurrenceRules": [{"@type": "RecurrenceRule", "frequency": "weekly"}],
        "recurrenceOverrides": {"2024-04-08T09:00:00": {"title": "Round, with guests"}},
    }));
    let from = written.iter().position(|line| line.starts_with("RECURRENCE-ID")).unwrap();
    for wanted in [
        "RECURRENCE-ID;TZID=Europe/Berlin:20240408T090000",
        "DTSTART;TZID=Europe/Berlin:20240408T090000",
        "DTEND;TZID=Europe/Berlin:20240408T100000",
        "SUMMARY:Round\\, with guests",
    ] {
        assert!(written[from - 1..].iter().any(|line| line == wanted), "{wanted}: {written:?}");
    }
}

#[test]
fn a_zone_of_its_own_comes_with_its_definition() {
    let text = "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:Our Zone\r\nBEGIN:STANDARD\r\nDTSTART:20001029T030000\r\n\
        TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\nEND:STANDARD\r\n\
        BEGIN:DAYLIGHT\r\nDTSTART:20000326T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n\
        RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:e1\r\n\
        DTSTAMP:20240101T000000Z\r\nDTSTART;TZID=Our Zone:20240401T090000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let event = read(text);
    assert_eq!(event["timeZone"], "/Our Zone");
    assert_eq!(event["timeZones"]["/Our Zone"]["daylight"][0]["offsetTo"], "+02:00");
    let written = lines(&ical::write(&[event]));
    for line in lines(text).iter().filter(|line| !line.is_empty()) {
        assert!(written.contains(line), "{line} is missing: {written:?}");
    }
}

#[test]
fn iana_zones_are_defined_as_their_clocks_go() {
    let written = assert_comes_back(&json!({
        "uid": "e1", "@type": "Event", "start": "2024-04-01T09:00:00", "timeZone": "America/New_York",
    }))
    .join("\n");
    for wanted in [
        "TZID:America/New_York",
        "BEGIN:DAYLIGHT\nDTSTART:20240310T020000\nTZOFFSETFROM:-0500\nTZOFFSETTO:-0400\nTZNAME:EDT\n\
         RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU",
        "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU",
    ] {
        assert!(written.contains(wanted), "{wanted} is missing:\n{written}");
    }
}

#[test]
fn an_hour_that_comes_twice_is_a_time_like_any_other() {
    let event = read(&file("DTSTART;TZID=Europe/Berlin:20241027T023000\nDURATION:PT1H"));
    assert_eq!(event["start"], "2024-10-27T02:30:00");
    assert!(ical::write(&[event]).contains("DTSTART;TZID=Europe/Berlin:20241027T023000"));
}

#[test]
fn days_and_hours_are_told_apart_where_clocks_change() {
    for (duration, line) in [
        ("P1D", "DTEND;TZID=Europe/Berlin:20240331T120000"),
        ("PT24H", "DURATION:PT24H"),
        ("P1W", "DURATION:P1W"),
    ] {
        let written = assert_comes_back(&json!({
            "uid": "e1", "@type": "Event", "start": "2024-03-30T12:00:00", "timeZone": "Europe/Berlin",
            "duration": duration,
        }));
        assert!(written.contains(&line.to_owned()), "{duration}: {written:?}");
    }
}

#[test]
fn what_icalendar_has_no_words_for_comes_back() {
    let event = json!({
        "uid": "policy-A", "@type": "Event", "start": "2024-04-01T00:00:00", "showWithoutTime": true,
        "duration": "P1D", "title": "A; b, c\nd\\e", "fasti:policy": {"id": "A", "type": "policy_start"},
        "locations": {"x": {"@type": "Location", "name": "Hall", "description": "up, then left"},
            "y": {"@type": "Location", "name": "Annex"}},
        "keywords": {"a,b": true, "c": true},
        "localizations": {"de": {"title": "Ä"}},
        "links": {"1": {"@type": "Link", "href": "https://example.com/a", "rel": "enclosure"}},
        "alerts": {"al-1": {"@type": "Alert", "trigger": {"@type": "OffsetTrigger", "offset": "-PT15M"}}},
        "virtualLocations": {"v": {"@type": "VirtualLocation", "uri": "https://example.com/x", "name": "Call, daily",
            "features": {"video": true}}},
    });
    assert_comes_back(&event);
}

/// Another program changed what is told twice: what it wrote counts.
#[test]
fn what_is_told_in_json_gives_way_to_a_line_that_was_changed() {
    let event = json!({
        "uid": "e1", "@type": "Event", "start": "2024-04-01T00:00:00",
        "locations": {"1": {"@type": "Location", "name": "Hall", "description": "up, then left"}},
    });
    let text = ical::write(&[event.as_object().unwrap().clone()]);
    assert_eq!(read(&text)["locations"], event["locations"]);
    let changed = read(&text.replace("LOCATION:Hall", "LOCATION:Annex"));
    assert_eq!(changed["locations"], json!({"1": {"@type": "Location", "name": "Annex"}}));
}

#[test]
fn an_edit_rewrites_only_its_lines() {
    let text = file(
        "DTSTART;VALUE=DATE-TIME;TZID=\"Europe/Berlin\":20240401T090000
         DURATION:PT60M
         SUMMARY;LANGUAGE=en:Round
         X-ROOM;X-A=1:seven
         ATTENDEE;X-NUM-GUESTS=0;CN=Bo:mailto:bo@example.com
         ATTENDEE;X-NUM-GUESTS=2;CN=Cy:mailto:cy@example.com
         BEGIN:VALARM
         TRIGGER:-PT15M
         ACTION:AUDIO
         X-SOUND:bell
         END:VALARM
         BEGIN:X-PART
         NOTE:kept
         END:X-PART",
    );
    let mut event = read(&text);
    let id = event["participants"].as_object().unwrap().iter().find(|(_, it)| it["name"] == "Bo");
    let id = id.unwrap().0.clone();
    event["participants"][&id]["participationStatus"] = json!("declined");
    event.insert("updated".into(), json!("2024-05-01T10:00:00Z"));
    let (before, after) = (lines(&text), lines(&ical::write(&[event])));
    let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    assert_eq!(
        gone,
        ["DTSTAMP:20240101T000000Z", "ATTENDEE;X-NUM-GUESTS=0;CN=Bo:mailto:bo@example.com"]
    );
    assert!(after.contains(&"ATTENDEE;PARTSTAT=DECLINED;CN=Bo:mailto:bo@example.com".to_owned()));
    assert!(after.contains(&"DTSTAMP:20240501T100000Z".to_owned()));
}

#[test]
fn what_can_not_be_read_is_named_and_the_rest_is_there() {
    let text = "BEGIN:VCALENDAR\nBEGIN:VJOURNAL\nUID:j\nEND:VJOURNAL\nBEGIN:VEVENT\nUID:a\nDTSTART:yesterday\nEND:VEVENT\n\
        no line\nBEGIN:VEVENT\nUID:b\nDTSTART:20240401T090000\nRRULE:FREQ=SOMETIMES\nEND:VEVENT\nBEGIN:VEVENT\nUID:c\n";
    let contents = ical::read(text.as_bytes());
    let problems: Vec<String> = contents.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "line 1: BEGIN:VCALENDAR without its END",
            "line 2: VJOURNAL is neither an event nor a task, and is not kept",
            "line 5: DTSTART is no date: \"yesterday\"",
            "line 9: expected NAME:VALUE, found \"no line\"",
            "line 10: RRULE is no rule: \"FREQ=SOMETIMES\"",
            "line 15: BEGIN:VEVENT without its END",
        ]
    );
    assert_eq!(contents.events.len(), 1);
    let event = &contents.events[0].1;
    assert_eq!((contents.events[0].0, &event["uid"]), (10, &json!("b")));
    assert!(ical::write(std::slice::from_ref(event)).contains("RRULE:FREQ=SOMETIMES\r\n"));
}

/// A member of the network may put anything into an event that iCalendar's lines are made of.
#[test]
fn nothing_in_an_event_gets_out_of_its_component() {
    let event = json!({
        "uid": "e1\r\nEND:VEVENT", "@type": "Event", "start": "2024-04-01T00:00:00",
        "title": "a\r\nEND:VEVENT\r\nBEGIN:VEVENT",
        "timeZone": "Europe/Berlin\r\nX:1",
        "links": {"1": {"href": "x\nEND:VCALENDAR", "contentType": "a\";\nEND:VEVENT"}},
        "fasti:icalendar": {"#X-A": [["END:VEVENT"], []], "#X-B": [["X-B:1\r\nEND:VEVENT"], []],
            "#BEGIN:X": [["BEGIN:X", "END:X", "END:VEVENT"], []]},
    });
    let text = ical::write(&[event.as_object().unwrap().clone()]);
    let count = |wanted: &str| lines(&text).iter().filter(|line| *line == wanted).count();
    assert_eq!(
        (count("BEGIN:VEVENT"), count("END:VEVENT"), count("END:VCALENDAR")),
        (1, 1, 1),
        "{text}"
    );
}

/// In iCalendar they are those of all months, in JSCalendar those of the start's.
#[test]
fn days_of_the_month_in_a_yearly_rule_are_of_all_months() {
    let event = read(&file("DTSTART:20240110T090000\nRRULE:FREQ=YEARLY;BYMONTHDAY=10"));
    assert_eq!(event["recurrenceRules"][0]["byMonth"].as_array().unwrap().len(), 12);
    assert!(ical::write(&[event]).contains("RRULE:FREQ=YEARLY;BYMONTHDAY=10\r\n"));
}

#[test]
fn this_and_future_is_read_and_written_and_holds_until_the_next_one() {
    let part =
        |more: &str| format!("BEGIN:VEVENT\r\nUID:a\r\nDURATION:PT1H\r\n{more}END:VEVENT\r\n");
    let file = [
        part("SUMMARY:all\r\nDTSTART:20240101T090000Z\r\nRRULE:FREQ=DAILY;COUNT=6\r\n"),
        part(
            "SUMMARY:later\r\nDTSTART:20240103T110000Z\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20240103T090000Z\r\n",
        ),
        part("SUMMARY:once\r\nDTSTART:20240104T080000Z\r\nRECURRENCE-ID:20240104T090000Z\r\n"),
        part(
            "SUMMARY:last\r\nDTSTART:20240106T070000Z\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20240106T090000Z\r\n",
        ),
    ];
    let mut event = fasti_calendar::ical::read(file.concat().as_bytes()).events.remove(0).1;
    let series = fasti_calendar::Series::new(std::sync::Arc::new(event.clone())).unwrap();
    let all = jiff::Timestamp::MIN..jiff::Timestamp::MAX;
    let found = series.occurrences(all, &fasti_calendar::Zone::utc(), 10).occurrences;
    let told = found.iter().map(|it| {
        let title = series.instance(it.recurrence_id)["title"].as_str().unwrap().to_owned();
        format!("{} {title}", it.start.strftime("%d %H"))
    });
    let told: Vec<String> = told.collect();
    assert_eq!(
        told,
        ["01 09 all", "02 09 all", "03 11 later", "04 08 once", "05 11 later", "06 07 last"]
    );
    // Also where nothing is kept of how it was written.
    event.shift_remove("fasti:icalendar");
    let written = fasti_calendar::ical::write(&[event]);
    assert!(written.contains("RECURRENCE-ID;RANGE=THISANDFUTURE:20240103T090000Z"), "{written}");
    assert!(!written.contains("JSPROP"), "{written}");
}

#[test]
fn a_line_without_a_colon_is_none() {
    let text = "BEGIN:VEVENT\r\nUID:a\r\nDTSTART:20240101T090000Z\r\nSUMMARY;X-A=\"b:c\"\r\nEND:VEVENT\r\n";
    let found = fasti_calendar::ical::read(text.as_bytes());
    assert_eq!(found.problems.iter().map(|it| it.line).collect::<Vec<_>>(), [4]);
    assert_eq!(found.events[0].1.get("title"), None);
}

#[test]
fn what_another_program_changed_is_told_apart_from_what_it_lost() {
    let mut event = read(&file("DTSTART:20240101T090000Z\nSUMMARY:Round\nX-APP:1\nLOCATION:Hall"));
    // Members that calendar programs have no place for.
    event.insert("fasti:policy".into(), json!({"id": "YSP"}));
    event.insert("freeBusyStatus".into(), json!("busy"));
    let written = ical::write(&[event.clone()]);
    assert!(written.contains("JSPROP"), "{written}");
    let before = read(&written);
    let changed = |text: &str| -> Vec<String> {
        ical::changed(&before, &read(text)).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(changed(&written), [""; 0]);
    assert_eq!(changed(&written.replace("DTSTAMP:20240101", "DTSTAMP:20240505")), [""; 0]);
    // It drops all lines that it doesn't know.
    let lost: Vec<&str> = written.split("\r\n").filter(|it| !it.contains("JSPROP")).collect();
    let lost = lost.join("\r\n");
    assert!(read(&lost).get("fasti:policy").is_none());
    assert_eq!(changed(&lost.replace("SUMMARY:Round", "SUMMARY:Circle")), ["title"]);
    assert_eq!(changed(&written.replace("LOCATION:Hall", "LOCATION:Room 1")), ["locations"]);
    // What was added and has no meaning in JSCalendar is kept with what was there.
    let added = written.replace("X-APP:1", "X-APP:1\r\nX-OTHER:2");
    assert_eq!(changed(&added), [ical::KEPT]);
    // What is taken out of one occurrence.
    let weekly = written.replace("SUMMARY:Round", "RRULE:FREQ=WEEKLY\r\nSUMMARY:Round");
    let once = weekly.replace(
        "END:VCALENDAR",
        "BEGIN:VEVENT\r\nUID:e1\r\nRECURRENCE-ID:20240108T090000Z\r\nDTSTART:20240108T090000Z\r\n\
         SUMMARY:Round\r\nEND:VEVENT\r\nEND:VCALENDAR",
    );
    let (weekly, once) = (read(&weekly), read(&once));
    let names = ical::changed(&weekly, &once);
    assert!(names.contains("recurrenceOverrides"), "{names:?}");
    assert_eq!(once["recurrenceOverrides"]["2024-01-08T09:00:00"]["locations"], Value::Null);
    assert_eq!(ical::as_read(&before), before);
}
