// The node's answers, as far as the page uses them: /v1/openapi.json describes all of them.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

/** An event in JSCalendar (RFC 8984); what this page doesn't know of it is left as it is. */
export interface CalendarEvent {
  '@type'?: string;
  uid?: string;
  title?: string;
  description?: string;
  start?: string;
  due?: string;
  duration?: string;
  timeZone?: string | null;
  showWithoutTime?: boolean;
  status?: string;
  recurrenceRules?: JsonObject[];
  recurrenceOverrides?: { [id: string]: JsonObject };
  locations?: { [id: string]: { name?: string } };
  'fasti:calendar'?: string;
  'fasti:policy'?: { id?: string; start?: string; end?: string; type?: string };
  [more: string]: unknown;
}

export interface Occurrence {
  uid: string;
  etag: string;
  recurrence_id: string | null;
  start: string;
  end: string;
  starts_at: string;
  ends_at: string;
  event: CalendarEvent;
}

export type BookingState = 'tentative' | 'settled' | 'displaced' | 'cancelled';

export interface Booking {
  id: string;
  resource: string;
  resource_name: string;
  uid: string;
  title: string;
  occurrence: string;
  start: string;
  end: string;
  office: string;
  name: string;
  state: BookingState;
  waits_for: string[];
  displaced_by: { title?: string; name?: string }[];
  reason: string;
}

/** A calendar of the network. */
export interface CalendarInfo {
  id: string;
  title: string;
  color: string | null;
}

export interface Resource {
  id: string;
  name: string;
  kind: 'room' | 'person' | 'vehicle';
  terms: { capacity: number; before: number; after: number };
  stakeholders: { office: string; name: string }[];
}

export interface Conflict {
  id: string;
  kind: 'field' | 'cancelled' | 'booking' | 'approval' | 'dispute' | 'fork';
  problem: string;
  uid?: string;
  title?: string;
  path?: string;
  values: { value: Json; what?: string; office: string; name: string; person?: string; time: number; entry: string }[];
  choices: { keep: Json; does: string }[];
}

export interface Member {
  office: string;
  name: string;
  roles: string[];
  self: boolean;
  connected: boolean;
  link: 'direct' | 'relayed' | null;
  acknowledged: boolean;
  behind: number;
  last_seen: number | null;
  addresses: string[];
  relay: boolean;
  version: string | null;
  shared_ticket: boolean;
}

export type SystemState = 'active' | 'failing' | 'paused' | 'gone';

export interface Status {
  office: string;
  name: string;
  network: string;
  frontier: string;
  events: number;
  entries: number;
  members: Member[];
  conflicts: number;
  deferred: number;
  void: number;
  forks: number;
  elsewhere: number;
  deliveries: { pending: number; dead: number };
  systems: {
    office: string;
    office_name: string;
    name: string;
    kind: string;
    state: SystemState;
    pending: number;
    dead: number;
  }[];
  policy?: Reach;
}

export interface Reach {
  held_by: number;
  confirmed_by: number;
  systems: number;
  offices: {
    office: string;
    name: string;
    auditor: boolean;
    holds: boolean;
    more_systems: number;
    systems: { name: string; state: SystemState; status: 'confirmed' | 'pending' | 'unknown' }[];
  }[];
}

export interface Version {
  version: string;
  content: CalendarEvent;
  by: { office: string; name: string; person?: string; time: number; entry: string }[];
}

export interface Policy {
  policy: string;
  uid: string;
  title: string;
  etag: string;
  content: CalendarEvent;
  version: string;
  state: 'draft' | 'proposed' | 'approved' | 'superseded' | 'withdrawn';
  changed: boolean;
  disputed: boolean;
  approved: Version[];
  proposed: Version[];
  superseded_by: string | null;
}

/** An edit of an event, and who wrote it. */
export interface Edit {
  office: string;
  name: string;
  person?: string;
  time: number;
  entry: string;
  fields: string[];
}

export interface PolicyReport extends Policy {
  written: { office: string; name: string; time: number; entry: string; fields: string[] }[];
  holders: { office: string; name: string; since: number | null; entry: string | null }[];
}

export interface Report {
  network: string;
  name: string;
  made: number;
  heads: string[];
  policies: PolicyReport[];
}

export interface Subscription {
  id: string;
  name: string;
  url: string;
  state: SystemState;
  problem: string | null;
  pending: number;
  dead: number;
  approved: boolean;
  types: string[];
  calendars: string[];
  confirmed: number;
  failed: number;
  secret?: string;
}

export interface Delivery {
  system: string;
  uid: string;
  version: number;
  type: string;
  status: 'pending' | 'confirmed' | 'dead';
  attempts: number;
  next: number | null;
  problem: string | null;
}

export interface Session {
  caller: 'operator' | 'person' | null;
  name?: string | null;
}
