/**
 * What a resync has copied, and the proofs of it: both legs sync what was copied before, and then, and only then, its marks go (M5).
 *
 *   piece done -> its region complete -> copied --a proof is due--> [sync of own leg | FLUSH of target] -> holes made again -> marks dropped
 *
 * Copying goes on beside a proof, one batch ahead at most, and the next proof begins when that one ends: so a disk that is slower than the
 * copying always has something to sync. Before the end, proofs come ever sooner, so that the last one, which nothing runs beside, is short.
 *
 * Invariants: one proof at a time: holes that an earlier one has still to make are made before their regions' marks go (M1); of what is copied
 * after a proof has begun, that proof drops no mark.
 */
import { answerText } from './answer-text.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { Errno, errnoName } from '../io/types.ts';
import type { MirrorDevice } from './device.ts';
import type { TargetLeg } from './legs.ts';
import { flushOn } from './target-client.ts';
import { punchAgain, ZeroedHoles } from './zeroed-holes.ts';

export interface ProofsOwner {
  /** The session, and the run, go on. */
  alive(): boolean;
  marks(): DirtyBitmap;
  locked(start: number, end: number): Promise<number>;
  /** False: the session is over. */
  punch(offset: number, bytes: number): Promise<boolean>;
  cancel(why: string): void;
  /** Marks were dropped. */
  proven(): void;
}

/** Towards the end, what is worth a proof of its own: this part of what is otherwise. */
const LAST_PROOFS_PART = 1 / 8;

export class ResyncProofs {
  readonly #d: MirrorDevice;
  readonly #t: TargetLeg;
  readonly #session: number;
  readonly #o: ProofsOwner;
  /** Bytes of each region under copy that are not done. */
  readonly #left = new Map<number, number>();
  readonly #zeroed = new ZeroedHoles();
  #copied: { first: number; last: number }[] = [];
  #copiedBytes = 0;
  #running: Promise<boolean> | undefined;
  #begunAt: number;

  constructor(d: MirrorDevice, t: TargetLeg, o: ProofsOwner) {
    this.#d = d;
    this.#t = t;
    this.#session = t.session;
    this.#o = o;
    this.#begunAt = d.clock.now();
  }

  /** These regions are going to be copied, piece by piece. */
  begin(first: number, regions: number): void {
    const { regionBytes } = this.#d.marks.regions;
    for (let r = first; r < first + regions; r += 1) this.#left.set(r, Math.min(regionBytes, this.#d.sizeBytes - r * regionBytes));
  }

  /** In place of a hole, zeroes were written there. */
  zeroesFor(offset: number, length: number): void {
    this.#zeroed.note(offset, length);
  }

  copied(offset: number, length: number): void {
    const { regions } = this.#d.marks;
    for (let r = regions.regionOf(offset); r <= regions.regionOf(offset + length - 1); r += 1) {
      const start = Math.max(offset, r * regions.regionBytes);
      const end = Math.min(offset + length, (r + 1) * regions.regionBytes);
      const left = (this.#left.get(r) ?? 0) - (end - start);
      if (left > 0) {
        this.#left.set(r, left);
        continue;
      }
      this.#left.delete(r);
      const last = this.#copied.at(-1);
      if (last !== undefined && last.last === r - 1) last.last = r;
      else this.#copied.push({ first: r, last: r });
    }
    this.#copiedBytes += length;
  }

  /** What is to be waited for before more is copied: a proof, which may have begun just now. It resolves with false when the session is over. */
  due(leftBytes: number): Promise<boolean> | undefined {
    const { proveEveryBytes, proveEveryMs } = this.#d.settings.resync;
    const full = this.#copiedBytes >= proveEveryBytes;
    // Whoever waited for it in any case would be idle although there is work beside it.
    if (this.#running !== undefined) return full ? this.#running : undefined;
    if (this.#copied.length === 0) return undefined;
    const last = this.#copiedBytes >= Math.max(proveEveryBytes * LAST_PROOFS_PART, leftBytes);
    if (!full && !last && this.#d.clock.now() - this.#begunAt < proveEveryMs) return undefined;
    return this.#begin();
  }

  /** Of all that has been copied by now. False: the session is over. */
  async prove(): Promise<boolean> {
    while (this.#running !== undefined) await this.#running;
    return await this.#begin();
  }

  #begin(): Promise<boolean> {
    this.#begunAt = this.#d.clock.now();
    const running = this.#prove().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #prove(): Promise<boolean> {
    const copied = this.#copied;
    if (copied.length === 0) return this.#o.alive();
    this.#copied = [];
    this.#copiedBytes = 0;
    const zeroed = this.#zeroed.take();
    const { hub, local } = this.#d;
    const client = this.#t.client;
    if (client === undefined || !this.#o.alive()) return false;
    const own =
      local.state === 'in'
        ? hub.run((op) => {
            hub.engine.sync(op, local.info.leg);
          })
        : Promise.resolve({ errno: 0 });
    const [here, there] = await Promise.all([own, flushOn(client)]);
    if (here.errno !== 0) {
      local.syncFailed = true;
      this.#d.localFailed(`sync of the local leg: ${errnoName(here.errno)}`);
    }
    if (this.#t.session !== this.#session) return false;
    if (there !== 0) {
      this.#d.targetFailed(this.#t, `flush on ${this.#t.node}: ${answerText(there)}`, there !== Errno.ESHUTDOWN);
      return false;
    }
    if (here.errno !== 0) return false;
    await punchAgain(
      this.#d,
      zeroed,
      (start, end) => this.#o.locked(start, end),
      (offset, bytes) => this.#o.punch(offset, bytes),
    );
    if (this.#t.session !== this.#session) return false;
    if (local.state === 'in' && local.syncFailed) {
      this.#o.cancel('a sync of the local leg has failed: replace the leg');
      return false;
    }
    const marks = this.#o.marks();
    for (const c of copied) marks.clearRange(c.first, c.last);
    this.#o.proven();
    return this.#o.alive();
  }
}
