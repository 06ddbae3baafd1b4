// Where dragging, resizing and the form's times end: as changes of the event itself.

import { duration, momentIn, readersZone, rezoned, wall } from '../lib/time';
import type { CalendarEvent, JsonObject, Occurrence } from '../lib/types';
import { shifted } from './recurrence';

/** A time as the reader sees it: local in the reader's zone; of whole days the end is the day after the last. */
export interface Span {
  start: string;
  end: string;
  isWholeDays: boolean;
}

export type Scope = 'one' | 'all';

export const isWholeDays = (event: CalendarEvent): boolean => event.showWithoutTime === true;

/** The event's own zone: times without one are the same everywhere, and so are whole days. */
const zoneOf = (event: CalendarEvent): string | null =>
  isWholeDays(event) ? null : (event.timeZone ?? null);

/** The times of a new event. */
export function timesOf(span: Span, zone: string | null = readersZone): JsonObject {
  if (span.isWholeDays) {
    const start = `${span.start.slice(0, 10)}T00:00:00`;
    const end = `${span.end.slice(0, 10)}T00:00:00`;
    return { start, duration: duration(wall(end) - wall(start), true), showWithoutTime: true };
  }
  const start = zone === null ? span.start : rezoned(span.start, readersZone, zone);
  return { start, duration: duration(length(span, zone)), timeZone: zone };
}

/** How long it takes: as clocks run, not as they show, where they are set in between. */
const length = (span: Span, zone: string | null) =>
  zone === null
    ? wall(span.end) - wall(span.start)
    : momentIn(readersZone, span.end) - momentIn(readersZone, span.start);

/** What has to change so that the occurrence, or its whole series, is at that time. */
export function moveTo(master: CalendarEvent, occurrence: Occurrence, span: Span, scope: Scope): JsonObject {
  const wasWholeDays = isWholeDays(master);
  // What was at an hour and becomes a matter of days has no zone any more; the other way it gets the reader's.
  const zone = wasWholeDays && !span.isWholeDays ? readersZone : zoneOf(master);
  const times = timesOf(span, zone);
  const patch: JsonObject = { duration: times.duration! };
  if (wasWholeDays !== span.isWholeDays) {
    patch.showWithoutTime = span.isWholeDays ? true : null;
    patch.timeZone = span.isWholeDays ? null : zone;
  }
  if (scope === 'one' && occurrence.recurrence_id !== null) {
    const override = { start: times.start!, ...patch };
    return { recurrenceOverrides: { [occurrence.recurrence_id]: override } };
  }
  const was = occurrence.event.start ?? master.start ?? '';
  Object.assign(patch, shifted(master, wall(String(times.start)) - wall(was)));
  const policy = master['fasti:policy'];
  if (policy !== undefined) {
    // The days as their publisher said them go along.
    const last = new Date(wall(span.end) - 1).toISOString().slice(0, 10);
    patch['fasti:policy'] = { start: span.start.slice(0, 10), ...(policy.end ? { end: last } : {}) };
  }
  return patch;
}
