// What happens elsewhere, as it happens: the node's stream of changes. Views say what they want to be told,
// and read again what they show; bursts are told once.

import { untrack } from 'svelte';

export interface Change {
  /** Entries that came, also such as touch no event. */
  entries: number;
  /** Uids of events that were touched. */
  uids: Set<string>;
  /** Something may have been missed: read everything again. */
  whole: boolean;
}

type Listener = (change: Change) => void;

/** How long a burst is collected: too short to be noticed. */
const BURST_MS = 80;

const RETRY_MS = 2000;

class Live {
  state = $state<'off' | 'connecting' | 'live' | 'lost'>('off');
  /** How many conflicts are open, as the stream last said; null until then. */
  conflicts = $state<number | null>(null);

  #source: EventSource | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #listeners = new Set<Listener>();
  #burst: Change = nothing();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    // A stream through a network that is gone may stay silent for minutes.
    addEventListener('offline', () => {
      if (this.state === 'off') return;
      this.#source?.close();
      this.#lost();
    });
    addEventListener('online', () => {
      if (this.state === 'lost') this.#open();
    });
  }

  start() {
    this.stop();
    this.state = 'connecting';
    this.#open();
  }

  stop() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    this.state = 'off';
  }

  #open() {
    clearTimeout(this.#retry);
    this.#source?.close();
    const source = new EventSource('/v1/stream');
    this.#source = source;
    source.onopen = () => {
      // The stream goes on where it was, unless it is a new one.
      if (this.state === 'lost') this.#tell({ ...nothing(), whole: true });
      this.state = 'live';
    };
    source.onerror = () => this.#lost();
    source.addEventListener('entry', (message) => {
      const entry = JSON.parse((message as MessageEvent<string>).data) as { uids: string[] };
      this.#tell({ entries: 1, uids: new Set(entry.uids), whole: false });
    });
    source.addEventListener('conflicts', (message) => {
      const { open } = JSON.parse((message as MessageEvent<string>).data) as { open: string[] };
      this.conflicts = open.length;
      this.#tell(nothing());
    });
  }

  #lost() {
    this.state = 'lost';
    // Whoever is logged out meanwhile learns it by asking.
    this.#tell({ ...nothing(), whole: true });
    // A browser gives up for good when it is refused: the session may have ended, or the node be starting.
    if (this.#source?.readyState !== EventSource.CLOSED) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), RETRY_MS);
  }

  #tell(change: Change) {
    for (const uid of change.uids) this.#burst.uids.add(uid);
    this.#burst.entries += change.entries;
    this.#burst.whole ||= change.whole;
    this.#timer ??= setTimeout(() => {
      const burst = this.#burst;
      this.#burst = nothing();
      this.#timer = undefined;
      for (const listener of this.#listeners) listener(burst);
    }, BURST_MS);
  }

  /** For an effect: tells until the effect ends. */
  listen(listener: Listener): () => void {
    untrack(() => this.#listeners.add(listener));
    return () => this.#listeners.delete(listener);
  }
}

const nothing = (): Change => ({ entries: 0, uids: new Set(), whole: false });

export const live = new Live();
