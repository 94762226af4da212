/**
 * The snapshots of a device in service: what writes overwrite is kept first, and readers find what was there.
 *
 *   write  range lock -> about to be issued --- kept already -------------------------------> legs
 *                                          `--- gives its lock back -> lock on whole granules, old content copied -> lock -> legs
 *   read   all kept -> from the file;  else range lock -> what is kept by now from the file, the rest from a leg
 *
 * A snapshot's moment is the turn in which it is added: writes issued by then belong to it, those issued later do not. A write issued
 * before may still be on its way, and holds its lock until all legs have answered: whoever copies or reads waits for that.
 *
 * Invariants
 * - copies and reads hold the range lock, so that no write comes between the look and the read (M4); nobody waits for a lock with
 *   another in hand
 * - what a leg answers is taken only where it is known which legs have what: not while a leg's loss is being decided
 * - a copy that fails, or takes longer than its deadline, costs the snapshot; the write goes on (M2, M14)
 */
import type { Log } from '../io/log.ts';
import type { OpResult } from '../io/hub.ts';
import { Errno, errnoName, type Handle, type RequestId, type Timer } from '../io/types.ts';
import type { Replier } from '../nbd/device.ts';
import type { MirrorDevice } from './device.ts';
import type { Keeper } from './keeper.ts';
import { shownRange } from './own-leg.ts';
import { WAITING } from './range-lock.ts';
import { type MirrorRequest, RequestKind, SLOTS } from './request.ts';
import type { Snapshot } from './snapshot.ts';

/** What is copied or kept at a time. */
const GRANULE_MAX_BYTES = 64 * 1024;
const PIECE_BYTES = 256 * 1024;

export interface SnapshotsOptions {
  device: MirrorDevice;
  log: Log;
  /** How long a write waits for what it overwrites to be copied. */
  copyMaxMs: number;
}

/** The legs are not to be believed now: look again when it is known which have what. */
type Read = OpResult | 'again';

const failed = (errno: number): OpResult => ({ errno, length: 0, h: 0, value: undefined });

export class Snapshots implements Keeper {
  readonly #d: MirrorDevice;
  readonly #log: Log;
  readonly #copyMaxMs: number;
  #live: Snapshot[] = [];

  constructor(o: SnapshotsOptions) {
    this.#d = o.device;
    this.#log = o.log;
    this.#copyMaxMs = o.copyMaxMs;
  }

  /** Of a region, or a part of one: every write marks whole regions, so that a copy reads nothing that is not marked. */
  get granuleBytes(): number {
    return Math.min(this.#d.marks.regions.regionBytes, GRANULE_MAX_BYTES);
  }

  /** The snapshot's moment. */
  add(s: Snapshot): void {
    this.#live.push(s);
    this.#d.keeper = this;
  }

  /** From this turn on nothing is kept for it: it is lost, or not wanted any more. */
  remove(s: Snapshot): void {
    this.#live = this.#live.filter((x) => x !== s);
    if (this.#live.length === 0) this.#d.keeper = undefined;
  }

  // ------------------------------------------------------------------------------------------------------ writes

  takes(m: MirrorRequest): boolean {
    if (!this.#lacks(m.offset, m.length)) return false;
    const slot = m.lockSlot;
    m.lockSlot = -1;
    void this.#keepFor(m);
    this.#d.lock.release(slot);
    return true;
  }

  async #keepFor(m: MirrorRequest): Promise<void> {
    await this.#keep(m.offset, m.length);
    m.lockSlot = await this.#locked(m.offset, m.offset + m.length);
    this.#d.onDurable(m.index, true);
  }

  #lacks(offset: number, length: number): boolean {
    for (const s of this.#live) if (s.lacks(offset, length)) return true;
    return false;
  }

  /** Until every snapshot has what is there, is lost, or the device has stopped. Never rejects. */
  async #keep(offset: number, length: number): Promise<void> {
    const { granuleBytes } = this;
    const start = offset - (offset % granuleBytes);
    const end = Math.min(Math.ceil((offset + length) / granuleBytes) * granuleBytes, this.#d.sizeBytes);
    while (this.#lacks(offset, length) && !this.#d.stopped) {
      await this.#legsKnown();
      const slot = await this.#locked(start, end);
      try {
        if (this.#d.losses.readsWait === undefined) await this.#copyInTime(start, end);
      } finally {
        this.#d.lock.release(slot);
      }
    }
  }

  async #copyInTime(start: number, end: number): Promise<void> {
    const lacking = this.#live.filter((s) => s.lacks(start, end - start));
    if (lacking.length === 0) return;
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#d.clock.after(this.#copyMaxMs, () => {
        const why = `what was overwritten could not be copied within ${String(this.#copyMaxMs)} ms`;
        for (const s of lacking) if (s.lacks(start, end - start)) s.lose(why);
        resolve();
      });
    });
    await Promise.race([this.#copy(lacking, start, end), late]);
    timer?.cancel();
  }

  async #copy(lacking: readonly Snapshot[], start: number, end: number): Promise<void> {
    const { hub } = this.#d;
    const { granuleBytes } = this;
    for (let offset = start; offset < end; offset += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, end - offset);
      const here = lacking.filter((s) => s.lacks(offset, length));
      if (here.length === 0) continue;
      const r = await this.#readLegs(offset, length);
      if (r === 'again') return;
      if (r.errno !== 0) {
        for (const s of here) s.lose(`what was overwritten could not be read${shownRange(offset, length)}: ${errnoName(r.errno)}`);
        continue;
      }
      try {
        const zero = await hub.run((op) => {
          hub.engine.isZero(op, r.h, 0, length, granuleBytes);
        });
        const zeroes = zero.errno === 0 && zero.value?.kind === 'zeroes' ? zero.value.zero : [];
        await Promise.all(here.map((s) => s.keep(r.h, offset, length, zeroes)));
      } finally {
        hub.engine.release(r.h);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------------- reads

  /** One answer goes to `r`: when the device answers at all, as for its own reads. */
  read(s: Snapshot, r: Replier, id: RequestId, offset: number, length: number): void {
    const of = {
      read: (m: MirrorRequest): void => {
        void this.#answer(s, m);
      },
    };
    this.#d.submit(RequestKind.READ, r, id, offset, length, 0, false, false, of);
  }

  async #answer(s: Snapshot, m: MirrorRequest): Promise<void> {
    const r = await this.#content(s, m.offset, m.length);
    // It may have been lost meanwhile: then nobody kept what the rest of it was read beside.
    const errno = s.lost === undefined ? r.errno : Errno.EIO;
    if (errno !== 0 && r.h !== 0) this.#d.hub.engine.release(r.h);
    this.#d.onDone(m.index * SLOTS, errno, m.length, errno === 0 ? r.h : 0);
  }

  async #content(s: Snapshot, offset: number, length: number): Promise<OpResult> {
    while (s.lost === undefined && !this.#d.stopped) {
      if (!s.lacks(offset, length)) return await s.read(offset, length);
      await this.#legsKnown();
      const slot = await this.#locked(offset, offset + length);
      try {
        if (this.#d.losses.readsWait !== undefined) continue;
        const r = await this.#assemble(s, offset, length);
        if (r !== 'again') return r;
      } finally {
        this.#d.lock.release(slot);
      }
    }
    return failed(Errno.EIO);
  }

  /** Under the lock: what is kept can't become more until it is given back. */
  async #assemble(s: Snapshot, offset: number, length: number): Promise<Read> {
    const all = s.run(offset, offset + length);
    if (all.end === offset + length) return all.kept ? await s.read(offset, length) : await this.#readLegs(offset, length);
    const { engine } = this.#d.hub;
    const whole = engine.allocate(length);
    for (let at = offset; at < offset + length; ) {
      const run = s.run(at, offset + length);
      const r = run.kept ? await s.read(at, run.end - at) : await this.#readLegs(at, run.end - at);
      if (r === 'again' || r.errno !== 0) {
        engine.release(whole);
        return r;
      }
      engine.view(whole).set(engine.view(r.h).subarray(0, run.end - at), at - offset);
      engine.release(r.h);
      at = run.end;
    }
    return { errno: 0, length, h: whole, value: undefined };
  }

  // -------------------------------------------------------------------------------------------------------- legs

  /** What the mirror holds there, from the own leg, else from an in-sync target. A leg that can not be read stays: the application may never miss what is there. */
  async #readLegs(offset: number, length: number): Promise<Read> {
    const { hub, local } = this.#d;
    if (local.state === 'in') {
      const r = await hub.run((op) => {
        hub.engine.read(op, local.info.leg, offset, length);
      });
      if (this.#ownLegInDoubt()) return this.#drop(r, 'again');
      // Whether this was read before the failed sync lost it, nobody knows (M3).
      if (local.syncFailed) return this.#drop(r, this.#loseAll('a sync of the local leg has failed'));
      if (r.errno === 0) return r;
      this.#log.warn('the local leg can not be read for a snapshot', { offset, length, errno: errnoName(r.errno) });
    }
    return await this.#readTarget(offset, length);
  }

  /** Whether what it has answered just now may lack what a target has. */
  #ownLegInDoubt(): boolean {
    return this.#d.losses.readsWait !== undefined || this.#d.local.state !== 'in';
  }

  #drop(r: OpResult, instead: Read): Read {
    if (r.h !== 0) this.#d.hub.engine.release(r.h);
    return instead;
  }

  #loseAll(why: string): OpResult {
    for (const s of [...this.#live]) s.lose(why);
    return failed(Errno.EIO);
  }

  async #readTarget(offset: number, length: number): Promise<Read> {
    for (const t of this.#d.targets.values()) {
      const { client, session } = t;
      if (t.phase !== 'in-sync' || t.mode !== 'sync' || client === undefined) continue;
      const r = await new Promise<OpResult>((resolve) => {
        client.read(
          {
            onDone: (_tag: number, errno: number, bytes: number, h: Handle): void => {
              resolve({ errno, length: bytes, h, value: undefined });
            },
          },
          0,
          offset,
          length,
        );
      });
      return t.session === session ? r : this.#drop(r, 'again');
    }
    return failed(Errno.EIO);
  }

  /** Not under a lock, which the application's writes would wait for: this may take as long as a target's loss. */
  async #legsKnown(): Promise<void> {
    while (this.#d.losses.readsWait !== undefined && !this.#d.stopped) await this.#d.losses.readsWait;
  }

  #locked(start: number, end: number): Promise<number> {
    return new Promise((resolve) => {
      const waiter = {
        onLocked: (_tag: number, slot: number): void => {
          resolve(slot);
        },
      };
      const slot = this.#d.lock.acquire(start, end, waiter, 0);
      if (slot !== WAITING) resolve(slot);
    });
  }
}
