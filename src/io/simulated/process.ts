/**
 * One run of a program on a node: what it waits for, what it still may do, and how it is stopped.
 *
 *   running -- freeze --> frozen -- thaw --> running        what comes due while frozen is held and runs after the thaw
 *   either  -- kill ----> dead                              nothing of it runs any more, and nothing it calls has an effect
 *
 * Every callback into the code under test goes through `post` or `call` of its process. That is what makes a dead
 * incarnation mute: its promises stay open for ever, its timers and deliveries are dropped.
 */
import type { Timer } from '../types.ts';
import type { Schedule } from './schedule.ts';
import type { Stream } from './seed.ts';

/** Something a process owns in the kernel, released when it dies. */
export interface Owned {
  /** `silently`: the machine lost power, nobody is told. */
  processDied(silently: boolean): void;
}

class Held implements Timer {
  readonly label: string;
  readonly run: () => void;
  cancelled = false;
  /** What the schedule has of it. */
  due: Timer | undefined;

  constructor(label: string, run: () => void) {
    this.label = label;
    this.run = run;
  }

  cancel(): void {
    this.cancelled = true;
    this.due?.cancel();
  }
}

/** A file operation that the kernel has and the process waits for. */
interface InFlight {
  /** Does it, as far as the seed says, for a process that will never hear of it. */
  cutShort(): void;
}

const NOTHING: Timer = {
  cancel() {
    // There is nothing to cancel: a dead process has no timers.
  },
};

export class Process {
  readonly name: string;
  readonly schedule: Schedule;
  readonly #stream: Stream;
  #state: 'running' | 'frozen' | 'dead' = 'running';
  #held: Held[] = [];
  readonly #owned = new Set<Owned>();
  readonly #inFlight = new Set<InFlight>();

  constructor(name: string, schedule: Schedule, stream: Stream) {
    this.name = name;
    this.schedule = schedule;
    this.#stream = stream;
  }

  get alive(): boolean {
    return this.#state !== 'dead';
  }

  get running(): boolean {
    return this.#state === 'running';
  }

  get frozen(): boolean {
    return this.#state === 'frozen';
  }

  own(thing: Owned): void {
    this.#owned.add(thing);
  }

  disown(thing: Owned): void {
    this.#owned.delete(thing);
  }

  /** Runs `f` in this process after the delay. */
  post(label: string, delayMs: number, f: () => void): Timer {
    if (!this.alive) return NOTHING;
    const held = new Held(label, f);
    held.due = this.schedule.after(delayMs, label, this.name, () => {
      this.#due(held);
    });
    return held;
  }

  /**
   * One system call: `body` has its effect and the process learns of it after the delay. When the process dies before,
   * `cutShort` (or `body`) may still have its effect, or not; nobody learns.
   */
  call<T>(label: string, delayMs: number, body: () => T, cutShort?: () => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.callback(
        label,
        delayMs,
        () => {
          try {
            resolve(body());
          } catch (e: unknown) {
            reject(e instanceof Error ? e : new Error(String(e)));
          }
        },
        cutShort,
      );
    });
  }

  /** As `call`, for callers that want no promise. */
  callback(label: string, delayMs: number, body: () => void, cutShort?: () => void): void {
    if (!this.alive) return;
    const operation: InFlight = { cutShort: cutShort ?? body };
    this.#inFlight.add(operation);
    this.post(label, delayMs, () => {
      this.#inFlight.delete(operation);
      body();
    });
  }

  freeze(): void {
    if (this.#state === 'running') this.#state = 'frozen';
  }

  thaw(): void {
    if (this.#state !== 'frozen') return;
    this.#state = 'running';
    const held = this.#held;
    this.#held = [];
    // A process that wakes up meets its expired timers before its sockets, or after them.
    const timersFirst = this.#stream.coin(0.5);
    const timers = held.filter((h) => h.label === 'timer');
    const others = held.filter((h) => h.label !== 'timer');
    for (const h of timersFirst ? [...timers, ...others] : [...others, ...timers]) {
      this.schedule.after(0, h.label, this.name, () => {
        this.#due(h);
      });
    }
  }

  /** Ends it. Returns how many operations in flight were carried out although nobody waits for them. */
  kill(silently: boolean): number {
    if (!this.alive) return 0;
    this.#state = 'dead';
    this.#held = [];
    let carriedOut = 0;
    for (const operation of this.#inFlight) {
      if (!this.#stream.coin(0.5)) continue;
      carriedOut += 1;
      operation.cutShort();
    }
    this.#inFlight.clear();
    for (const thing of [...this.#owned]) thing.processDied(silently);
    this.#owned.clear();
    return carriedOut;
  }

  /** For a harness's process, which outlives its machine's power: its sockets are gone all the same. */
  machineLostPower(): void {
    for (const thing of [...this.#owned]) thing.processDied(true);
  }

  #due(held: Held): void {
    if (held.cancelled || this.#state === 'dead') return;
    if (this.#state === 'frozen') this.#held.push(held);
    else held.run();
  }
}
