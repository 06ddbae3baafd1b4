// Days with more events than a month can show. The component lays out everything that it is given, which takes
// it about a millisecond each; so of each day it is given as many as can be seen, and how many there are besides.

import { DAY, unwall, wall } from '../lib/time';
import type { Entry } from './entries';

/** As many as are seen on the tallest of windows. */
const EACH_DAY_MAX = 8;

/** Stands for the rest of a day. */
export type Rest = { day: string; count: number };

export function thinned(entries: Entry[]): Entry[] {
  const counts = new Map<string, number>();
  const rests = new Map<string, number>();
  const shown = entries.filter((entry) => {
    const days = daysOf(entry);
    const isFull = days.some((day) => (counts.get(day) ?? 0) >= EACH_DAY_MAX);
    const counted = isFull ? rests : counts;
    for (const day of days) counted.set(day, (counted.get(day) ?? 0) + 1);
    return !isFull;
  });
  return rests.size === 0 ? entries : [...shown, ...[...rests].map(([day, count]) => restOf(day, count))];
}

function daysOf({ start, end }: Entry): string[] {
  const days: string[] = [];
  const first = wall(String(start).slice(0, 10));
  // What takes no time is of its day as well.
  for (let at = first; at === first || at < wall(String(end)); at += DAY) days.push(unwall(at).slice(0, 10));
  return days;
}

/** The last of its day. */
function restOf(day: string, count: number): Entry {
  return {
    id: `rest ${day} ${count}`,
    title: `${count} more`,
    start: `${day}T23:59:00`,
    end: `${day}T23:59:59`,
    editable: false,
    backgroundColor: 'transparent',
    textColor: 'var(--text)',
    classNames: ['is-rest'],
    extendedProps: { rest: { day, count }, states: [], bookings: [], occurrence: undefined, policy: undefined },
  };
}
