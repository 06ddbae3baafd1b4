// Values of fields, as people read them.

import { atMoment, atWall } from '../lib/time';
import type { Json, JsonObject } from '../lib/types';

const LOCAL = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/;
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/** The time that a text is; null if it is none. */
export function asTime(value: Json): string | null {
  if (typeof value !== 'string') return null;
  if (LOCAL.test(value)) return atWall(value);
  return MOMENT.test(value) ? atMoment(value) : null;
}

/** Who signed something: an office, and who of its people if it says so. */
export const signer = ({ name, person }: { name: string; person?: string }): string =>
  person === undefined ? name : `${name} (${person})`;

/** One value in one line. */
export function said(value: Json): string {
  if (value === null) return 'nothing';
  if (typeof value === 'string') return asTime(value) ?? (value === '' ? 'an empty text' : value);
  if (isBooking(value)) return `${value.title}, ${said(value.start)} to ${said(value.end)}`;
  return JSON.stringify(value);
}

interface Booked {
  title: string;
  start: string;
  end: string;
}

function isBooking(value: Json): value is Json & Booked {
  return isFields(value) && typeof value.title === 'string' && typeof value.start === 'string' && typeof value.end === 'string';
}

/** Several fields at once: each has a name and a value. */
export const fieldsOf = (value: Json): [string, Json][] | null =>
  isFields(value) && !isBooking(value) ? Object.entries(value) : null;

const isFields = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
