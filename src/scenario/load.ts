/**
 * Writes in the background, as an application makes them: a few at a time, a flush now and then, each sent again until it
 * is answered. What was acknowledged is told to the model.
 *
 * Invariant: no two writes of one load are in flight at one place, so that their order is known.
 */
import { Stream } from '../io/simulated/seed.ts';
import { IoError } from '../io/types.ts';
import { bytesOf, mixed } from './bytes.ts';
import type { Devices } from './devices.ts';
import type { Acknowledged } from './model.ts';
import { LOAD_UNIT_BYTES } from './schema.ts';
import type { LoadAction } from './types.ts';
import { type ScenarioWorld, sleep, within } from './world.ts';

const WRITERS = 4;
/** What an application does between two writes. */
const THINK_MAX_MS = 8;
const WRITES_PER_FLUSH = 16;
const AFTER_ERROR_MS = 100;
/** How long the end of a load waits for answers. */
const END_MAX_MS = 10_000;
/** Above those that people choose. */
const SEEDS_FROM = 2 ** 40;
const PLACES_TRIED = 64;

interface Place {
  offset: number;
  length: number;
  seed: number;
}

export interface LoadContext {
  world: ScenarioWorld;
  devices: Devices;
  model: Acknowledged;
}

export class Load {
  readonly #ctx: LoadContext;
  readonly #a: LoadAction;
  readonly #chance: Stream;
  readonly #places = new Set<Place>();
  readonly #workers: Promise<void>[];
  #working = WRITERS;
  #begun = 0;
  #acked = 0;
  #ending = false;
  #stopped = false;
  #pauses = 0;
  #failure: Error | undefined;

  constructor(ctx: LoadContext, action: LoadAction) {
    this.#ctx = ctx;
    this.#a = action;
    this.#chance = new Stream(action.seed, `load ${action.name}`);
    this.#workers = Array.from({ length: WRITERS }, () => this.#work());
  }

  /** All writes are done, or it was told to end, and nothing of it is under way. */
  get ended(): boolean {
    return this.#working === 0;
  }

  get acknowledged(): number {
    return this.#acked;
  }

  /** What broke the load itself; an unanswered or refused write does not. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** No further write begins until `resume`. */
  pause(): void {
    this.#pauses += 1;
  }

  resume(): void {
    this.#pauses -= 1;
  }

  /** No further write begins; those in flight may still be answered for a while, then they never were. */
  async end(): Promise<void> {
    this.#ending = true;
    const all = Promise.all(this.#workers);
    if ((await within(this.#ctx.world.clock, END_MAX_MS, all)) === undefined) await this.stop();
  }

  /** At once. */
  async stop(): Promise<void> {
    this.#ending = true;
    this.#stopped = true;
    await Promise.all(this.#workers);
  }

  async #work(): Promise<void> {
    const { clock } = this.#ctx.world;
    try {
      // The constructor returns first.
      await sleep(clock, 0);
      while (!this.#ending && this.#begun < this.#a.writes) {
        const place = this.#pauses > 0 ? undefined : this.#choose();
        if (place === undefined) {
          await sleep(clock, AFTER_ERROR_MS);
          continue;
        }
        await this.#write(place);
        if (this.#acked % WRITES_PER_FLUSH === 0) await this.#flush();
        await sleep(clock, this.#chance.float() * THINK_MAX_MS);
      }
    } catch (e: unknown) {
      this.#failure ??= e instanceof Error ? e : new Error(String(e));
      this.#ending = true;
    } finally {
      this.#working -= 1;
    }
  }

  /** Undefined when the range is too busy. */
  #choose(): Place | undefined {
    const { length: lengths, range } = this.#a;
    for (let tried = 0; tried < PLACES_TRIED; tried += 1) {
      const units = this.#chance.between(Math.max(1, lengths.from / LOAD_UNIT_BYTES), lengths.to / LOAD_UNIT_BYTES);
      const length = units * LOAD_UNIT_BYTES;
      const last = Math.floor((range.to - length) / LOAD_UNIT_BYTES);
      const offset = this.#chance.between(range.from / LOAD_UNIT_BYTES, last) * LOAD_UNIT_BYTES;
      const free = [...this.#places].every((p) => offset + length <= p.offset || p.offset + p.length <= offset);
      if (!free) continue;
      this.#begun += 1;
      const place = { offset, length, seed: SEEDS_FROM + mixed(this.#a.seed, this.#begun) };
      this.#places.add(place);
      return place;
    }
    return undefined;
  }

  async #write(place: Place): Promise<void> {
    const { model } = this.#ctx;
    const bytes = bytesOf(place.seed, place.offset, place.length);
    const pending = model.begin(place.offset, place.length, place.seed);
    try {
      if (await this.#send((c) => c.writeBytes(place.offset, bytes))) {
        model.acked(pending);
        this.#acked += 1;
      }
    } finally {
      model.abandoned(pending);
      this.#places.delete(place);
    }
  }

  async #flush(): Promise<void> {
    const { model } = this.#ctx;
    let began = 0;
    const done = await this.#send((c) => {
      began = model.now();
      return c.flushNow();
    });
    if (done) model.flushed(began);
  }

  /** Until it succeeds; false when the load was stopped before. */
  async #send(request: Parameters<Devices['send']>[1]): Promise<boolean> {
    const { devices, world } = this.#ctx;
    for (;;) {
      try {
        const answer = await devices.send({ on: this.#a.on, withinMs: null, stopped: () => this.#stopped }, request);
        return answer !== undefined;
      } catch (e: unknown) {
        if (!(e instanceof IoError)) throw e;
        if (this.#stopped) return false;
        await sleep(world.clock, AFTER_ERROR_MS);
      }
    }
  }
}
