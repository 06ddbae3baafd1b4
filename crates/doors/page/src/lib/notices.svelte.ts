// Short words on what has just happened: shown, and read out.

import { explain } from './api';

export interface Notice {
  id: number;
  text: string;
  isError: boolean;
}

const SHOWN_MS = 6000;

class Notices {
  all = $state<Notice[]>([]);
  #next = 0;

  tell(text: string) {
    const id = this.#add(text, false);
    setTimeout(() => this.dismiss(id), SHOWN_MS);
  }

  /** Stays until it is dismissed: what went wrong must not pass unseen. */
  fail(error: unknown) {
    this.#add(explain(error), true);
  }

  #add(text: string, isError: boolean): number {
    const id = this.#next++;
    this.all = [...this.all.filter((notice) => notice.text !== text).slice(-3), { id, text, isError }];
    return id;
  }

  dismiss(id: number) {
    this.all = this.all.filter((notice) => notice.id !== id);
  }
}

export const notices = new Notices();
