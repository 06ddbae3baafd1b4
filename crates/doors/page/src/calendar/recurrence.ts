// Series, as far as the form can say them: every so many days, weeks, months or years, perhaps until a day. What
// other rules say is kept, and shown as such.

import { DAY, unwall, wall } from '../lib/time';
import type { CalendarEvent, Json, JsonObject } from '../lib/types';

export type Frequency = 'daily' | 'weekly' | 'monthly' | 'yearly';

export interface Repeat {
  frequency: Frequency | 'never' | 'other';
  interval: number;
  /** A day, or empty. */
  until: string;
}

const FREQUENCIES: readonly string[] = ['daily', 'weekly', 'monthly', 'yearly'];
const DAYS = ['su', 'mo', 'tu', 'we', 'th', 'fr', 'sa'];

export const isSeries = (event: CalendarEvent): boolean => (event.recurrenceRules ?? []).length > 0;

export function repeatOf(event: CalendarEvent): Repeat {
  const rules = event.recurrenceRules ?? [];
  const [rule] = rules;
  if (!rule) return { frequency: 'never', interval: 1, until: '' };
  const simple = new Set(['@type', 'frequency', 'interval', 'until']);
  const isSimple = rules.length === 1 && Object.keys(rule).every((name) => simple.has(name));
  if (!isSimple || !FREQUENCIES.includes(String(rule.frequency))) {
    return { frequency: 'other', interval: 1, until: '' };
  }
  return {
    frequency: rule.frequency as Frequency,
    interval: Number(rule.interval ?? 1),
    until: String(rule.until ?? '').slice(0, 10),
  };
}

/** The rules to write; null for none. */
export function rulesOf(repeat: Repeat): JsonObject[] | null {
  if (repeat.frequency === 'never' || repeat.frequency === 'other') return null;
  const rule: JsonObject = { '@type': 'RecurrenceRule', frequency: repeat.frequency };
  if (repeat.interval > 1) rule.interval = repeat.interval;
  if (repeat.until !== '') rule.until = `${repeat.until}T23:59:59`;
  return [rule];
}

/** A move that the rules can't follow. */
export class UnmovableSeries extends Error {
  constructor() {
    super('This series repeats on days that its rules name. Move one occurrence only, or change the rules with fasti event edit.');
  }
}

/**
 * What moves a whole series by so many milliseconds: its start, the days and ends that its rules name, and what
 * was said of single occurrences, which goes by when they begin.
 */
export function shifted(event: CalendarEvent, by: number): JsonObject {
  const patch: JsonObject = { start: moved(event.start ?? '', by) };
  if (by === 0 || !isSeries(event)) return patch;
  const days = Math.floor(wall(String(patch.start)) / DAY) - Math.floor(wall(event.start ?? '') / DAY);
  const rules = (event.recurrenceRules ?? []).map((rule) => shiftedRule(rule, by, days));
  if (JSON.stringify(rules) !== JSON.stringify(event.recurrenceRules)) patch.recurrenceRules = rules;
  const overrides = Object.entries(event.recurrenceOverrides ?? {});
  if (overrides.length > 0) {
    const changes: JsonObject = {};
    for (const [id] of overrides) changes[id] = null;
    for (const [id, override] of overrides) {
      const changed = { ...override };
      if (typeof override.start === 'string') changed.start = moved(override.start, by);
      changes[moved(id, by)] = changed;
    }
    patch.recurrenceOverrides = changes;
  }
  return patch;
}

function shiftedRule(rule: JsonObject, by: number, days: number): JsonObject {
  const changed = { ...rule };
  if (typeof rule.until === 'string' && rule.until.includes('T')) changed.until = moved(rule.until, by);
  if (days === 0) return changed;
  const fixed = Object.keys(rule).filter((name) => name.startsWith('by') && name !== 'byDay');
  if (fixed.length > 0) throw new UnmovableSeries();
  if (rule.byDay !== undefined) {
    if (rule.frequency !== 'weekly') throw new UnmovableSeries();
    changed.byDay = (rule.byDay as Json[]).map((it) => {
      const day = it as JsonObject;
      return { ...day, day: DAYS[(DAYS.indexOf(String(day.day)) + days + 7 * 53) % 7]! };
    });
  }
  return changed;
}

const moved = (local: string, by: number) => unwall(wall(local) + by);
