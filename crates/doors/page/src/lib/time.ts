// Times as people read them, and as JSCalendar writes them: local date-times `2026-11-30T09:00:00` without a
// zone. Arithmetic on those is done as if they were UTC, where no hour is missing or twice.

export const readersZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
export const readersLocale = navigator.languages[0] ?? 'en';

export const MINUTE = 60_000;
export const DAY = 24 * 60 * MINUTE;

const pad = (number: number, digits = 2) => String(number).padStart(digits, '0');

/** A local date-time as milliseconds, for arithmetic. */
export function wall(local: string): number {
  const [date, time = '00:00:00'] = local.split('T');
  return Date.parse(`${date}T${time.length === 5 ? `${time}:00` : time}Z`);
}

/** The way back. */
export const unwall = (milliseconds: number): string => new Date(milliseconds).toISOString().slice(0, 19);

/** What the browser's zone says of a moment that the calendar component gives. */
export const localOf = (date: Date): string =>
  `${pad(date.getFullYear(), 4)}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}` +
  `T${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;

const formats = new Map<string, Intl.DateTimeFormat>();

/** The local date-time of a moment in a zone, as milliseconds for arithmetic. */
function wallIn(zone: string, moment: number): number {
  let format = formats.get(zone);
  if (!format) {
    const digits = { year: 'numeric', month: '2-digit', day: '2-digit' } as const;
    const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const;
    format = new Intl.DateTimeFormat('en-US', { timeZone: zone, calendar: 'gregory', ...digits, ...time });
    formats.set(zone, format);
  }
  const part = Object.fromEntries(format.formatToParts(moment).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year!, part.month! - 1, part.day!, part.hour!, part.minute!, part.second!);
}

/** The moment of a local date-time in a zone; of an hour that is skipped or comes twice, as with the offset before. */
export function momentIn(zone: string, local: string): number {
  const aim = wall(local);
  const before = wallIn(zone, aim - DAY) - (aim - DAY);
  const after = wallIn(zone, aim + DAY) - (aim + DAY);
  const first = aim - before;
  return wallIn(zone, first) === aim || before === after ? first : fits(zone, aim - after, aim) ?? first;
}

const fits = (zone: string, moment: number, aim: number) => (wallIn(zone, moment) === aim ? moment : undefined);

/** A local date-time of one zone as one of another. */
export function rezoned(local: string, from: string, to: string): string {
  return from === to ? local : unwall(wallIn(to, momentIn(from, local)));
}

/** Milliseconds as an ISO 8601 duration; whole days stay days. */
export function duration(milliseconds: number, inDays = false): string {
  if (inDays) return `P${Math.max(1, Math.round(milliseconds / DAY))}D`;
  const minutes = Math.max(0, Math.round(milliseconds / MINUTE));
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  if (minutes === 0) return 'PT0S';
  return `PT${hours > 0 ? `${hours}H` : ''}${rest > 0 ? `${rest}M` : ''}`;
}

const moment = new Intl.DateTimeFormat(readersLocale, { dateStyle: 'medium', timeStyle: 'short' });
const day = new Intl.DateTimeFormat(readersLocale, { dateStyle: 'medium', timeZone: 'UTC' });
const wallMoment = new Intl.DateTimeFormat(readersLocale, {
  dateStyle: 'medium',
  timeStyle: 'short',
  timeZone: 'UTC',
});

/** A moment (milliseconds since 1970, or RFC 3339) in the reader's zone. */
export const atMoment = (at: number | string): string => moment.format(new Date(at));

/** A local date-time, or its day, as it is. */
export const atWall = (local: string, isDay = false): string =>
  (isDay || local.length === 10 ? day : wallMoment).format(wall(local));

const relative = new Intl.RelativeTimeFormat(readersLocale, { numeric: 'auto' });

/** How long ago, or in what time. */
export function ago(at: number, now = Date.now()): string {
  const seconds = Math.round((at - now) / 1000);
  for (const [unit, size] of [['day', 86_400], ['hour', 3600], ['minute', 60]] as const) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return relative.format(Math.min(0, seconds), 'second');
}

/** When a week begins where the reader lives: 0 is Sunday. */
export function firstDayOfWeek(): 0 | 1 | 2 | 3 | 4 | 5 | 6 {
  type WithWeek = Intl.Locale & { getWeekInfo?: () => { firstDay: number }; weekInfo?: { firstDay: number } };
  const locale = new Intl.Locale(readersLocale) as WithWeek;
  const first = (locale.getWeekInfo?.() ?? locale.weekInfo)?.firstDay ?? 1;
  return (first % 7) as 0 | 1 | 2 | 3 | 4 | 5 | 6;
}
