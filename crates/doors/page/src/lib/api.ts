// The one way to the node: same origin, JSON, and problems as errors whose message says what to do.

import type { JsonObject } from './types';

/** What the node says of a request that it doesn't do (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    detail: string,
  ) {
    super(detail);
  }

  /** Somebody else was faster: what was edited is not what is there any more. */
  get isStale(): boolean {
    return this.status === 412;
  }
}

let onLoggedOut = () => {};

/** Called whenever the node says that nobody is logged in. */
export function whenLoggedOut(then: () => void) {
  onLoggedOut = then;
}

export interface Answer<T> {
  body: T;
  /** Without quotes; empty if there is none. */
  etag: string;
}

export async function ask<T = unknown>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer<T>> {
  const init: RequestInit = { method, headers: { 'x-requested-with': 'fasti', ...headers } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'content-type': 'application/json', ...init.headers };
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Problem(0, 'unreachable', 'The node does not answer. Is it running, and are you online?');
  }
  const etag = (response.headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '');
  const text = await response.text();
  let answer: unknown = null;
  try {
    answer = text === '' ? null : JSON.parse(text);
  } catch {
    answer = text;
  }
  if (response.ok) return { body: answer as T, etag };
  const problem = (answer ?? {}) as { type?: string; detail?: string };
  const kind = (problem.type ?? '').replace('urn:fasti:problem:', '');
  if (response.status === 401 && path !== '/v1/session') onLoggedOut();
  throw new Problem(response.status, kind, problem.detail ?? `The node answers ${response.status}.`);
}

export const get = async <T>(path: string): Promise<T> => (await ask<T>('GET', path)).body;
export const post = async <T>(path: string, body: unknown = {}): Promise<T> =>
  (await ask<T>('POST', path, body)).body;

/** Changes an event only if it still is what the caller saw. */
export const patchEvent = (uid: string, patch: JsonObject, etag: string) =>
  ask('PATCH', `/v1/events/${segment(uid)}`, patch, { 'if-match': `"${etag}"` });

export const segment = encodeURIComponent;

/** A path with a query; what is undefined or empty is left out. */
export function withQuery(path: string, parameters: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== '') query.set(name, String(value));
  }
  return query.size > 0 ? `${path}?${query}` : path;
}

export const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));
