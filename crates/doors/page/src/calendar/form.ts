// What the form holds of an event, and what it changes of it.

import { DAY, readersZone, unwall, wall } from '../lib/time';
import type { CalendarEvent, JsonObject, Occurrence } from '../lib/types';
import { calendarOf } from './entries';
import { moveTo, timesOf, type Scope, type Span } from './moving';
import { repeatOf, rulesOf, type Repeat } from './recurrence';

export interface Form {
  title: string;
  calendar: string;
  isWholeDays: boolean;
  /** Days and times as the inputs have them; of whole days the last one. */
  startDay: string;
  startTime: string;
  endDay: string;
  endTime: string;
  place: string;
  notes: string;
  isTentative: boolean;
  repeat: Repeat;
}

export function formOf(span: Span, event: CalendarEvent): Form {
  const end = span.isWholeDays ? unwall(wall(span.end) - DAY) : span.end;
  const time = (local: string, otherwise: string) => (span.isWholeDays ? otherwise : local.slice(11, 16));
  return {
    title: event.title ?? '',
    calendar: event['fasti:calendar'] ?? '',
    isWholeDays: span.isWholeDays,
    startDay: span.start.slice(0, 10),
    startTime: time(span.start, '09:00'),
    endDay: end.slice(0, 10),
    endTime: time(span.end, '10:00'),
    place: firstPlace(event)?.[1].name ?? '',
    notes: event.description ?? '',
    isTentative: event.status === 'tentative',
    repeat: repeatOf(event),
  };
}

const firstPlace = (event: CalendarEvent) => Object.entries(event.locations ?? {})[0];

export function spanOf(form: Form): Span {
  if (form.isWholeDays) {
    const end = unwall(wall(form.endDay) + DAY);
    return { start: `${form.startDay}T00:00:00`, end, isWholeDays: true };
  }
  const [start, end] = [`${form.startDay}T${form.startTime}:00`, `${form.endDay}T${form.endTime}:00`];
  return { start, end, isWholeDays: false };
}

/** What is wrong with it, in words; null if nothing is. */
export function wrongWith(form: Form): string | null {
  if (form.title.trim() === '') return 'Give it a title.';
  const { start, end, isWholeDays } = spanOf(form);
  if (Number.isNaN(wall(start)) || Number.isNaN(wall(end))) return 'Say when it begins and ends.';
  if (wall(end) < wall(start) || (isWholeDays && wall(end) <= wall(start))) return 'It ends before it begins.';
  if (form.repeat.until !== '' && form.repeat.until < form.startDay) return 'The series ends before it begins.';
  return null;
}

/** A new event. */
export function newEvent(form: Form): JsonObject {
  const rules = rulesOf(form.repeat);
  return {
    '@type': 'Event',
    title: form.title.trim(),
    ...timesOf(spanOf(form), readersZone),
    ...(form.calendar.trim() === '' ? {} : { 'fasti:calendar': form.calendar.trim() }),
    ...(form.place.trim() === '' ? {} : { locations: { '1': { '@type': 'Location', name: form.place.trim() } } }),
    ...(form.notes.trim() === '' ? {} : { description: form.notes }),
    ...(form.isTentative ? { status: 'tentative' } : {}),
    ...(rules === null ? {} : { recurrenceRules: rules }),
  };
}

/** What the form changes of an event, and nothing else: what others changed meanwhile stays. */
export function changes(
  form: Form,
  before: Form,
  master: CalendarEvent,
  occurrence: Occurrence,
  scope: Scope,
): JsonObject {
  const fields: JsonObject = {};
  if (form.title !== before.title) fields.title = form.title.trim();
  if (form.notes !== before.notes) fields.description = form.notes === '' ? null : form.notes;
  if (form.place !== before.place) {
    const [id, place] = firstPlace(master) ?? ['1', undefined];
    const name = form.place.trim();
    if (scope === 'one') fields.locations = { ...(master.locations as JsonObject), [id]: { '@type': 'Location', ...place, name } };
    else fields.locations = { [id]: name === '' ? null : place ? { name } : { '@type': 'Location', name } };
  }
  if (form.isTentative !== before.isTentative) fields.status = form.isTentative ? 'tentative' : 'confirmed';
  const isMoved = JSON.stringify(spanOf(form)) !== JSON.stringify(spanOf(before));
  const moves = isMoved ? moveTo(master, occurrence, spanOf(form), scope) : {};
  if (scope === 'one' && occurrence.recurrence_id !== null) {
    const moved = (moves.recurrenceOverrides as JsonObject | undefined)?.[occurrence.recurrence_id] ?? {};
    const override = { ...fields, ...(moved as JsonObject) };
    if (Object.keys(override).length === 0) return {};
    return { recurrenceOverrides: { [occurrence.recurrence_id]: override } };
  }
  if (form.calendar.trim() !== before.calendar) fields['fasti:calendar'] = form.calendar.trim() || null;
  const repeats = JSON.stringify(form.repeat) !== JSON.stringify(before.repeat) && form.repeat.frequency !== 'other';
  // Rules that were changed by hand take the place of moved ones.
  return { ...fields, ...moves, ...(repeats ? { recurrenceRules: rulesOf(form.repeat) } : {}) };
}

/** All calendars that are shown, for suggestions. */
export const calendarsOf = (occurrences: Occurrence[]): string[] =>
  [...new Set(occurrences.map((it) => calendarOf(it.event)))].sort((a, b) => a.localeCompare(b));
