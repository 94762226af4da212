/**
 * What waits to be told to the hooks of one mirror: one after the other, in the order in which it happened. What waits
 * already and happens again waits once, at its newer place, so that the queue is as long as there are things to tell, and
 * has a limit besides (M14).
 */
interface Waiting {
  key: string;
  run: () => Promise<void>;
  /** Called once, after `run` or instead of it. */
  done: () => void;
}

export const HOOK_QUEUE_MAX = 64;

export class HookQueue {
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  /** `run` never rejects. False: there is no room for it. */
  add(key: string, run: () => Promise<void>): boolean {
    this.drop(key);
    if (this.#waiting.length >= HOOK_QUEUE_MAX) return false;
    this.#waiting.push({
      key,
      run,
      done: () => {
        // Nobody waits for its end.
      },
    });
    this.#next();
    return true;
  }

  /** Runs it next of all. Resolves when it has ended, or will not be run any more. */
  addFirst(key: string, run: () => Promise<void>): Promise<void> {
    return new Promise((done) => {
      this.#waiting.unshift({ key, run, done });
      this.#next();
    });
  }

  /** What waits under this key will not be run; undefined: all that waits. Answers how many that were. */
  drop(key?: string): number {
    const gone = this.#waiting.filter((w) => key === undefined || w.key === key);
    this.#waiting = this.#waiting.filter((w) => !gone.includes(w));
    for (const w of gone) w.done();
    return gone.length;
  }

  /** Resolves when nothing runs any more. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  #next(): void {
    if (this.#running !== undefined) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#running = next.run().finally(() => {
      this.#running = undefined;
      next.done();
      this.#next();
    });
  }
}
