/**
 * Virtual time: a heap of events by (time, sequence), and the fingerprint of all that ran.
 *
 *   run()  ->  setImmediate  ->  one event  ->  node drains its promises  ->  setImmediate  ->  next event ...
 *
 * Invariants:
 * - between two events every promise continuation has run: node drains them between two immediates, also when several
 *   immediates are queued at once, which is what makes the driver cheap
 * - nothing here reads a real clock; time moves only by taking an event from the heap
 * - the same seed and the same program give the same fingerprint
 */
import type { Timer } from '../types.ts';
import { hashText } from './seed.ts';

class Entry implements Timer {
  readonly at: number;
  readonly sequence: number;
  readonly label: string;
  readonly owner: string;
  run: (() => void) | undefined;

  constructor(at: number, sequence: number, label: string, owner: string, run: () => void) {
    this.at = at;
    this.sequence = sequence;
    this.label = label;
    this.owner = owner;
    this.run = run;
  }

  cancel(): void {
    this.run = undefined;
  }
}

export interface RunLimits {
  /** Virtual milliseconds from the start of the run. */
  virtualMs: number;
  /** Events from the start of the run. */
  events: number;
}

/** The world cannot go on, or broke an invariant of the code under test; `cause` says which. */
export class SimulationError extends Error {
  readonly seed: string;
  readonly atMs: number;
  /** The last events before it, oldest first, when the world was asked to remember them. */
  readonly tail: readonly string[];
  constructor(message: string, seed: string, atMs: number, tail: readonly string[], cause?: unknown) {
    super(`${message} (seed ${seed}, at ${atMs.toFixed(3)} ms)`, cause === undefined ? undefined : { cause });
    this.name = 'SimulationError';
    this.seed = seed;
    this.atMs = atMs;
    this.tail = tail;
  }
}

/** Immediates queued at once: fewer turns of the real event loop for the same events. */
const STEPS_PER_TURN = 32;

export class Schedule {
  readonly #seed: string;
  readonly #heap: Entry[] = [];
  readonly #labels = new Map<string, number>();
  /** The last events as they were, in a ring: made readable only when asked for. */
  readonly #last: Entry[] = [];
  readonly #lastMax: number;
  readonly #timeBits = new Float64Array(1);
  readonly #timeWords = new Uint32Array(this.#timeBits.buffer);
  #now = 0;
  #sequence = 0;
  #events = 0;
  #h1 = 0x811c9dc5;
  #h2 = 0x9e3779b9;
  #running = false;

  constructor(seed: string, tailMax: number) {
    this.#seed = seed;
    this.#lastMax = tailMax;
  }

  now(): number {
    return this.#now;
  }

  get events(): number {
    return this.#events;
  }

  /** The last events, oldest first. */
  tail(): string[] {
    const from = this.#lastMax === 0 ? 0 : this.#events % this.#lastMax;
    return [...this.#last.slice(from), ...this.#last.slice(0, from)].map((e) => `${e.at.toFixed(3)} ${e.owner} ${e.label}`);
  }

  /** 16 hex digits over every event so far: its time, its kind, whose it was, and what was noted. */
  fingerprint(): string {
    return (this.#h1 >>> 0).toString(16).padStart(8, '0') + (this.#h2 >>> 0).toString(16).padStart(8, '0');
  }

  /** Adds a fact to the fingerprint: sizes, choices, whatever makes two histories differ. */
  note(value: number): void {
    this.#h1 = Math.imul(this.#h1 ^ value, 0x01000193);
    this.#h2 = Math.imul((this.#h2 ^ value) + 0x7f4a7c15, 0x85ebca6b);
    this.#h2 ^= this.#h2 >>> 15;
  }

  /** Harness: looks between two events, when all that followed from the last one has happened. */
  beforeEvent: (() => void) | undefined;

  /** `label` is the kind of event, `owner` the node or link it belongs to. */
  after(delayMs: number, label: string, owner: string, run: () => void): Timer {
    this.#sequence += 1;
    const entry = new Entry(this.#now + (delayMs > 0 ? delayMs : 0), this.#sequence, label, owner, run);
    this.#push(entry);
    return entry;
  }

  /** Steps until `until` settles. Throws when nothing is left to happen, at a limit, or when an event throws. */
  async run<T>(until: Promise<T>, limits: RunLimits): Promise<T> {
    if (this.#running) throw new Error('Schedule.run: already running');
    this.#running = true;
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    until.then(settle, settle);
    const untilMs = this.#now + limits.virtualMs;
    const untilEvents = this.#events + limits.events;
    try {
      await new Promise<void>((resolve, reject) => {
        let over = false;
        let queued = 0;
        const step = (): void => {
          queued -= 1;
          if (over) return;
          if (settled) {
            over = true;
            resolve();
            return;
          }
          try {
            this.#step(untilMs, untilEvents);
          } catch (e: unknown) {
            over = true;
            reject(e instanceof Error ? e : new Error(String(e)));
            return;
          }
          if (queued === 0) turn();
        };
        const turn = (): void => {
          queued = STEPS_PER_TURN;
          for (let i = 0; i < STEPS_PER_TURN; i += 1) setImmediate(step);
        };
        turn();
      });
    } finally {
      this.#running = false;
    }
    return until;
  }

  #step(untilMs: number, untilEvents: number): void {
    const entry = this.#next();
    if (entry === undefined) throw this.#error('the world went quiet: nothing is left to happen');
    if (entry.at > untilMs) {
      this.#push(entry);
      throw this.#error('the limit of virtual time is reached');
    }
    if (this.#events >= untilEvents) {
      this.#push(entry);
      throw this.#error('the limit of events is reached');
    }
    try {
      this.beforeEvent?.();
    } catch (e: unknown) {
      throw this.#error(`what looks at the world between events threw: ${e instanceof Error ? e.message : String(e)}`, e);
    }
    this.#now = entry.at;
    this.#events += 1;
    this.#record(entry);
    const run = entry.run;
    entry.run = undefined;
    try {
      run?.();
    } catch (e: unknown) {
      throw this.#error(`${entry.owner}: ${entry.label} threw: ${e instanceof Error ? e.message : String(e)}`, e);
    }
  }

  #error(message: string, cause?: unknown): SimulationError {
    return new SimulationError(message, this.#seed, this.#now, this.tail(), cause);
  }

  #record(entry: Entry): void {
    this.#timeBits[0] = entry.at;
    this.note(this.#timeWords[0] ?? 0);
    this.note(this.#timeWords[1] ?? 0);
    this.note(this.#hash(entry.label) ^ Math.imul(this.#hash(entry.owner), 31));
    if (this.#lastMax > 0) this.#last[(this.#events - 1) % this.#lastMax] = entry;
  }

  #hash(text: string): number {
    let h = this.#labels.get(text);
    if (h === undefined) {
      h = hashText(text);
      this.#labels.set(text, h);
    }
    return h;
  }

  /** The earliest event that was not cancelled. */
  #next(): Entry | undefined {
    for (;;) {
      const first = this.#pop();
      if (first === undefined || first.run !== undefined) return first;
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const above = heap[up];
      if (above === undefined || !before(entry, above)) break;
      heap[at] = above;
      at = up;
    }
    heap[at] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      const left = heap[down];
      if (left === undefined) break;
      const right = heap[down + 1];
      let child = left;
      if (right !== undefined && before(right, left)) {
        child = right;
        down += 1;
      }
      if (!before(child, last)) break;
      heap[at] = child;
      at = down;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}
