// What a view reads of the node: at first, and again when something has changed.

import { explain } from './api';
import { live, type Change } from './live.svelte';

const SLOW_MS = 250;

export class Read<T> {
  value = $state.raw<T | undefined>(undefined);
  problem = $state<string | null>(null);
  #ask: () => Promise<T>;
  #running: Promise<void> | null = null;
  #isOld = false;

  constructor(ask: () => Promise<T>) {
    this.#ask = ask;
  }

  /** Reads again. One question at a time: however often it is called meanwhile, one more follows. */
  again(): Promise<void> {
    this.#isOld = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #run() {
    while (this.#isOld) {
      this.#isOld = false;
      const begun = performance.now();
      try {
        this.value = await this.#ask();
        this.problem = null;
      } catch (error) {
        this.problem = explain(error);
      }
      // What takes the node long is asked less often: some of its time has to be for others.
      const took = performance.now() - begun;
      if (took > SLOW_MS) await new Promise((resolve) => setTimeout(resolve, 4 * took));
    }
  }
}

/**
 * Reads in a component: at once, whenever what `ask` depends on changes, at changes, and every so often where
 * there is something that no change tells, such as who is linked.
 */
export function reading<T>(
  ask: () => Promise<T>,
  matters: (change: Change) => boolean = ({ entries }) => entries > 0,
  everyMs?: number,
): Read<T> {
  const read = new Read(ask);
  $effect(() => {
    void read.again();
  });
  $effect(() =>
    live.listen((change) => {
      if (change.whole || matters(change)) void read.again();
    }),
  );
  $effect(() => {
    if (everyMs === undefined) return;
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') void read.again();
    }, everyMs);
    return () => clearInterval(timer);
  });
  return read;
}
