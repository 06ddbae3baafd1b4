// What the calendar component shows: occurrences, with what is known of their bookings and approvals.

import type { Calendar } from '@event-calendar/core';
import { coloursOf } from '../lib/colours';
import type { Booking, CalendarInfo, Occurrence, Policy } from '../lib/types';
import type { Rest } from './crowded';
import { isWholeDays } from './moving';

/** The calendar of events that name none. */
export const DEFAULT_CALENDAR = 'default';

/** What colours and filters go by. */
export const calendarOf = (event: { 'fasti:calendar'?: string }): string => event['fasti:calendar'] ?? DEFAULT_CALENDAR;

export interface Known {
  bookings: Booking[];
  policies: Policy[];
  /** By id. */
  calendars: Map<string, CalendarInfo>;
}

export interface Entry extends Calendar.EventInput {
  extendedProps: (Shown | { rest: Rest; occurrence: undefined; policy: undefined }) & { bookings: Booking[]; states: string[] };
}

// Types and no interfaces: the component takes what has any other fields.
export type Shown = { occurrence: Occurrence; policy: Policy | undefined };

const WORST_FIRST = ['displaced', 'tentative', 'settled'] as const;

export function entriesOf(occurrences: Occurrence[], known: Known, hidden: Set<string>): Entry[] {
  const bookings = new Map<string, Booking[]>();
  for (const booking of known.bookings) {
    if (booking.state === 'cancelled') continue;
    const key = `${booking.uid} ${booking.occurrence}`;
    const others = bookings.get(key);
    if (others) others.push(booking);
    else bookings.set(key, [booking]);
  }
  const policies = new Map(known.policies.map((policy) => [policy.uid, policy]));
  return occurrences
    .filter((it) => !hidden.has(calendarOf(it.event)))
    .map((it) => {
      const booked = bookings.get(`${it.uid} ${it.recurrence_id ?? ''}`) ?? [];
      return entryOf(it, booked, policies.get(it.uid), known.calendars);
    });
}

function entryOf(
  occurrence: Occurrence,
  bookings: Booking[],
  policy: Policy | undefined,
  calendars: Known['calendars'],
): Entry {
  const { event } = occurrence;
  const calendar = calendarOf(event);
  const colours = coloursOf(calendar, calendars.get(calendar)?.color);
  const isCancelled = event.status === 'cancelled';
  const states = statesOf(occurrence, bookings, policy);
  return {
    id: `${occurrence.uid} ${occurrence.recurrence_id ?? ''}`,
    title: event.title ?? '',
    start: occurrence.start,
    end: occurrence.end,
    allDay: isWholeDays(event),
    resourceIds: bookings.map((booking) => booking.resource),
    backgroundColor: isCancelled ? 'var(--quiet)' : colours.background,
    textColor: isCancelled ? '#fff' : colours.text,
    editable: !isCancelled && event['@type'] !== 'Task',
    classNames: states.map((state) => `is-${state.replaceAll(' ', '-')}`),
    extendedProps: { occurrence, bookings, policy, states },
  };
}

/** Whether two lists show the same, so that nothing has to be made anew. */
export const isSame = (some: Entry[], others: Entry[]): boolean =>
  some.length === others.length && some.every((it, place) => looks(it) === looks(others[place]!));

const looks = ({ id, start, end, backgroundColor, classNames, extendedProps: { occurrence, bookings } }: Entry): string =>
  [id, occurrence?.etag, start, end, backgroundColor, classNames, ...bookings.map((it) => it.id + it.state)].join('\n');

/** In words that are shown and read out. What is all right needs none. */
function statesOf({ event }: Occurrence, bookings: Booking[], policy: Policy | undefined): string[] {
  if (event.status === 'cancelled') return ['cancelled'];
  const states: string[] = [];
  const worst = WORST_FIRST.find((state) => bookings.some((booking) => booking.state === state));
  if (worst) states.push(worst);
  else if (event.status === 'tentative') states.push('tentative');
  if (policy?.changed) states.push('changed since approval');
  else if (policy && policy.state !== 'draft') states.push(policy.state);
  return states;
}
