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

  async look() {
    this.now = await get<Session>('/v1/session');
  }

  async begin(shown: { name: string; password: string } | { token: string } | { code: string }) {
    this.now = (await ask<Session>('POST', '/v1/session', shown)).body;
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
