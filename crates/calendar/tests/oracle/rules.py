"""Expands the JSCalendar rules that come as JSON lines, in two ways that share nothing with the crate:
with dateutil, and by the steps of RFC 8984, 4.3.3.1, as they are written there, candidate by candidate.

Answers a line for each: `dateutil` and `literal`, lists of [local time, start, end] with moments in
seconds since 1970.
"""

import calendar
import datetime
import functools
import itertools
import json
import sys
import zoneinfo
from datetime import date, timedelta

from dateutil import rrule

FREQUENCIES = ["yearly", "monthly", "weekly", "daily", "hourly", "minutely", "secondly"]
WEEKDAYS = ["mo", "tu", "we", "th", "fr", "sa", "su"]


def with_implied_parts(rule, start):
    """RFC 8984, 4.3.3.1: what is taken from the start."""
    rule = dict(rule)
    level = FREQUENCIES.index(rule["frequency"])
    if level < 6:
        rule.setdefault("bySecond", [start.second])
    if level < 5:
        rule.setdefault("byMinute", [start.minute])
    if level < 4:
        rule.setdefault("byHour", [start.hour])
    weekday = [{"day": WEEKDAYS[start.weekday()]}]
    if level == 2:
        rule.setdefault("byDay", weekday)
    if level == 1 and "byDay" not in rule:
        rule.setdefault("byMonthDay", [start.day])
    if level == 0 and "byYearDay" not in rule:
        had = set(rule)
        if not had & {"byMonth", "byWeekNo"} and ("byMonthDay" in had or "byDay" not in had):
            rule["byMonth"] = [str(start.month)]
            rule["monthIsImplied"] = True
        if not had & {"byMonthDay", "byWeekNo", "byDay"}:
            rule["byMonthDay"] = [start.day]
        if "byWeekNo" in had and not had & {"byMonthDay", "byDay"}:
            rule["byDay"] = weekday
    return rule


# The literal way.


@functools.cache
def days_of_year(year, wkst):
    """Each day of a year with all that rules ask of days."""
    length = 366 if calendar.isleap(year) else 365
    days = []
    for n in range(length):
        day = date(year, 1, 1) + timedelta(n)
        in_month = calendar.monthrange(year, day.month)[1]
        days.append({
            "date": day,
            "month": day.month,
            "monthDay": {day.day, day.day - in_month - 1},
            "yearDay": {n + 1, n - length},
            "weekday": day.weekday(),
            "nthInMonth": {(day.day - 1) // 7 + 1, -((in_month - day.day) // 7 + 1)},
            "nthInYear": {n // 7 + 1, -((length - 1 - n) // 7 + 1)},
            "week": set(week_numbers(day, wkst)),
        })
    return days


def first_week(year, wkst):
    """The first day of the first week with at least four days in the year."""
    new_year = date(year, 1, 1)
    monday = new_year - timedelta((new_year.weekday() - wkst) % 7)
    return monday if (new_year - monday).days <= 3 else monday + timedelta(7)


def week_numbers(day, wkst):
    year = day.year + 1
    while first_week(year, wkst) > day:
        year -= 1
    n = (day - first_week(year, wkst)).days // 7
    return n + 1, n - (first_week(year + 1, wkst) - first_week(year, wkst)).days // 7


def day_passes(rule, day, month_day_is_moved=False):
    if "byMonth" in rule and not month_day_is_moved and str(day["month"]) not in rule["byMonth"]:
        return False
    if "byWeekNo" in rule and not day["week"] & set(rule["byWeekNo"]):
        return False
    if "byYearDay" in rule and not day["yearDay"] & set(rule["byYearDay"]):
        return False
    if "byMonthDay" in rule and not month_day_is_moved and not day["monthDay"] & set(rule["byMonthDay"]):
        return False
    if "byDay" in rule:
        in_month = rule["frequency"] == "monthly" or ("byMonth" in rule and "monthIsImplied" not in rule)
        nth = day["nthInMonth" if in_month else "nthInYear"]
        return any(
            WEEKDAYS[day["weekday"]] == item["day"] and item.get("nthOfPeriod", min(nth)) in nth
            for item in rule["byDay"]
        )
    return True


def lookup(day, wkst):
    return days_of_year(day.year, wkst)[day.timetuple().tm_yday - 1]


def month_days(rule, year, month, wkst):
    start = date(year, month, 1).timetuple().tm_yday - 1
    length = calendar.monthrange(year, month)[1]
    found = {d["date"] for d in days_of_year(year, wkst)[start : start + length] if day_passes(rule, d)}
    skip = rule.get("skip", "omit")
    asked = "byMonth" not in rule or str(month) in rule["byMonth"]
    if skip != "omit" and asked and not {"byWeekNo", "byYearDay"} & set(rule):
        # Candidates that are no dates: they are moved after the filter by days of the month.
        if any(d > length for d in rule.get("byMonthDay", [])):
            last = date(year, month, length)
            moved = last if skip == "backward" else last + timedelta(1)
            if day_passes(rule, lookup(moved, wkst), True):
                found.add(moved)
    return found


def periods(rule, start, wkst):
    """The candidates of each period that remain after the filters, with the period's start."""
    step = rule.get("interval", 1)
    frequency = rule["frequency"]
    times = [
        datetime.time(*t)
        for t in itertools.product(*(sorted(set(rule.get(p, range(n)))) for p, n in
                                     [("byHour", 24), ("byMinute", 60), ("bySecond", 60)]))
    ] if frequency in FREQUENCIES[:4] else []

    def at(days):
        return [datetime.datetime.combine(d, t) for d in sorted(days) for t in times]

    if frequency == "yearly":
        for year in itertools.count(start.year, step):
            days = set()
            for month in range(1, 13):
                days |= month_days(rule, year, month, wkst)
            yield datetime.datetime(year, 1, 1), at(days)
    elif frequency == "monthly":
        for n in itertools.count(start.year * 12 + start.month - 1, step):
            yield datetime.datetime(n // 12, n % 12 + 1, 1), at(month_days(rule, n // 12, n % 12 + 1, wkst))
    elif frequency in ("weekly", "daily"):
        length = 7 if frequency == "weekly" else 1
        day = start.date() - timedelta((start.weekday() - wkst) % 7 if length == 7 else 0)
        while True:
            days = [day + timedelta(n) for n in range(length)]
            yield (datetime.datetime.combine(day, datetime.time()),
                   at(d for d in days if day_passes(rule, lookup(d, wkst))))
            day += timedelta(length * step)
    else:
        unit = {"hourly": 3600, "minutely": 60, "secondly": 1}[frequency]
        moment = start - timedelta(seconds=(start.minute * 60 + start.second) % unit)
        while True:
            found = []
            if (moment.hour in rule.get("byHour", range(24)) and day_passes(rule, lookup(moment.date(), wkst))):
                minutes = range(60) if unit == 3600 else [moment.minute]
                seconds = range(60) if unit >= 60 else [moment.second]
                found = [
                    moment.replace(minute=m, second=s)
                    for m in minutes if m in rule.get("byMinute", range(60))
                    for s in seconds if s in rule.get("bySecond", range(60))
                ]
            yield moment, found
            moment += timedelta(seconds=unit * step)


def literal(rule, start, horizon, most):
    wkst = WEEKDAYS.index(rule.get("firstDayOfWeek", "mo"))
    rule = with_implied_parts(rule, start)
    until = rule.get("until", horizon)
    most = min(most, rule.get("count", most))
    found = {start}
    for begins, candidates in periods(rule, start, wkst):
        if begins > until or sum(f < begins for f in found) >= most:
            break
        if "bySetPosition" in rule:
            size = len(candidates)
            places = {p - 1 if p > 0 else size + p for p in rule["bySetPosition"]}
            candidates = [c for n, c in enumerate(candidates) if n in places]
        found.update(c for c in candidates if start <= c <= until)
    return [f for f in sorted(found) if f <= horizon][:most]


# With dateutil.


def by_dateutil(rule, start, horizon, most):
    rule = with_implied_parts(rule, start)
    frequency = rule["frequency"]
    first = start
    if frequency == "weekly" and "bySetPosition" in rule:
        # dateutil counts positions in the first week from the start, not from the first day of the week.
        # So it is given the whole week.
        wkst = WEEKDAYS.index(rule.get("firstDayOfWeek", "mo"))
        first = start - timedelta((start.weekday() - wkst) % 7)
    days = rule.get("byDay")
    months = [int(m) for m in rule.get("byMonth", [])] or None
    month_after = None
    if "monthIsImplied" in rule and any("nthOfPeriod" in d for d in days or []):
        # dateutil would count these days within the month, but the rule itself has none.
        month_after, months = months, None
        if "bySetPosition" in rule:
            return None
    most_nth = max((abs(d.get("nthOfPeriod", 0)) for d in days or []), default=0)
    if most_nth > (5 if months else 52):
        return None  # It looks for such a day past the end of its table for the year: IndexError.
    if 0 < sum("nthOfPeriod" in d for d in days or []) < len(days or []):
        return None  # It wants a day to be both in the list without numbers and in the one with them.
    if {52, 53, -52, -53} & set(rule.get("byWeekNo", [])):
        # Whether the first days of January are in week 52 or 53 it tells by the length of their own year,
        # not of the one before; and week 1 at the end of December it knows as 1 alone.
        return None
    try:
        expansion = rrule.rrule(
            getattr(rrule, frequency.upper()),
            dtstart=first,
            interval=rule.get("interval", 1),
            wkst=WEEKDAYS.index(rule.get("firstDayOfWeek", "mo")),
            until=rule.get("until", horizon),
            bysetpos=rule.get("bySetPosition"),
            bymonth=months,
            bymonthday=rule.get("byMonthDay"),
            byyearday=rule.get("byYearDay"),
            byweekno=rule.get("byWeekNo"),
            byweekday=days and [
                rrule.weekday(WEEKDAYS.index(d["day"]), d.get("nthOfPeriod")) for d in days
            ],
            byhour=rule.get("byHour"),
            byminute=rule.get("byMinute"),
            bysecond=rule.get("bySecond"),
        )
    except ValueError:
        # An interval that never meets the times of the day that the rule names.
        expansion = []
    # RFC 8984 has the start as first occurrence and counts it; dateutil only where it matches.
    found = [start]
    for moment in expansion:
        if len(found) > most or moment > horizon:
            break
        if moment > start and (month_after is None or moment.month in month_after):
            found.append(moment)
    return found[: min(most, rule.get("count", most))]


def placed(times, zone, days, seconds):
    """Local times as moments: Python too takes the first of two, and the offset before a gap."""
    placed = []
    for local in times:
        start = local.replace(tzinfo=zone).timestamp()
        nominal = (local + timedelta(days)).replace(tzinfo=zone).timestamp()
        placed.append([local.isoformat(), int(start), int(max(start, nominal + seconds))])
    return placed


def main():
    for line in sys.stdin:
        case = json.loads(line)
        start = datetime.datetime.fromisoformat(case["start"])
        horizon = datetime.datetime.fromisoformat(case["horizon"])
        rule = case["rule"]
        if "until" in rule:
            rule["until"] = datetime.datetime.fromisoformat(rule["until"])
        zone = zoneinfo.ZoneInfo(case["zone"])
        # dateutil searches until this year for a rule that has no more occurrences.
        datetime.MAXYEAR = horizon.year
        answer = {}
        for name, expand in (("literal", literal), ("dateutil", by_dateutil)):
            if name == "dateutil" and rule.get("skip", "omit") != "omit":
                times = None  # It has no skip.
            else:
                times = expand(rule, start, horizon, case["most"])
            answer[name] = times and placed(times, zone, case["days"], case["seconds"])
        print(json.dumps(answer))


main()
