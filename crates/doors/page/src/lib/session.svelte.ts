// Who is logged in.

import { ask, get, whenLoggedOut } from './api';
import type { Session } from './types';

class Login {
  /** Null until the node has said it. */
  now = $state<Session | null>(null);

  get isKnown(): boolean {
    return this.now?.caller != null;
  }

  get isOperator(): boolean {
    return this.now?.caller === 'operator';
  }

  /** What was asked before the last log-in or log-out is answered too late. */
  #asked = 0;

  async look() {
    const asked = ++this.#asked;
    const now = await get<Session>('/v1/session');
    if (asked === this.#asked) this.now = now;
  }

  async begin(shown: { name: string; password: string } | { token: string } | { code: string }) {
    ++this.#asked;
    const { body } = await ask<Session>('POST', '/v1/session', shown);
    ++this.#asked;
    this.now = body;
  }

  async end() {
    await ask('DELETE', '/v1/session');
    this.forget();
  }

  forget() {
    if (this.now) this.now = { ...this.now, caller: null, name: null };
  }
}

export const login = new Login();
whenLoggedOut(() => login.forget());
