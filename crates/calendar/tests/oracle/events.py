"""Tells with recurring-ical-events what iCalendar objects have in a range: for each line of JSON a list of
[start, end, title], with moments in seconds since 1970.
"""

import datetime
import json
import sys

import icalendar
import recurring_ical_events

for line in sys.stdin:
    case = json.loads(line)
    span = [datetime.datetime.fromisoformat(case[name].replace("Z", "+00:00")) for name in ("from", "to")]
    found = recurring_ical_events.of(icalendar.Calendar.from_ical(case["ics"])).between(*span)
    print(json.dumps(sorted(
        [int(event.start.timestamp()), int(event.end.timestamp()), str(event["SUMMARY"])]
        for event in found
    )))
