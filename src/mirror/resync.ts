/**
 * Copies to one target the regions that are marked out of sync for it, while the application goes on.
 *
 *   toCopy -> [pace] -> range lock -> read own leg -> write to target -> release      (several at a time)
 *                                                                |
 *                        copied regions -- proof, of both legs (`ResyncProofs`) --> marks dropped (M5)
 *
 * Invariants: a region leaves `toCopy` under the lock of its first piece, so that from then on application writes go to
 * the target too; its mark stays until both legs have synced; when a session ends, the marks are what is left to do.
 */
import { answerText } from './answer-text.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { EngineHub, OpResult } from '../io/hub.ts';
import { Errno, errnoName, type Handle, type Timer } from '../io/types.ts';
import type { MirrorDevice } from './device.ts';
import type { ResyncProgress, TargetLeg } from './legs.ts';
import { isHole, isZeroes, shownRange } from './own-leg.ts';
import { Pacer } from './pacer.ts';
import { WAITING } from './range-lock.ts';
import { ResyncProofs } from './resync-proofs.ts';
import { readFrom } from './target-client.ts';

export interface ResyncOptions {
  kind: 'partial' | 'full';
  /** Answers the digest of the target's bytes, or null when it can't; equal pieces are then not sent. */
  remoteDigest?: (offset: number, length: number) => Promise<string | null>;
  onProgress: () => void;
}

export type ResyncEnd = { result: 'done'; progress: ResyncProgress } | { result: 'ended'; progress: ResyncProgress; why: string };

/** Weight of the newest sample in the shown rate. */
const RATE_SMOOTHING = 0.3;

export class Resync {
  readonly progress: ResyncProgress;
  readonly #d: MirrorDevice;
  readonly #t: TargetLeg;
  readonly #session: number;
  readonly #o: ResyncOptions;
  readonly #pacer: Pacer;
  readonly #pausedFor = new Set<string>();
  readonly #proofs: ResyncProofs;
  #cursor = 0;
  /** Rest of the region run that is being cut into pieces. */
  #run: { offset: number; end: number } | undefined;
  #wake: (() => void)[] = [];
  #rateAt: number;
  #rateBytes = 0;
  #stopped = '';

  constructor(d: MirrorDevice, t: TargetLeg, o: ResyncOptions) {
    this.#d = d;
    this.#t = t;
    this.#o = o;
    this.#session = t.session;
    this.#pacer = new Pacer(d.settings.resync);
    this.#rateAt = d.clock.now();
    const marked = d.marks.bytes(d.marks.outOfSync(t.node));
    this.progress = { kind: o.kind, totalBytes: marked, doneBytes: 0, sentBytes: 0, startedAt: d.clock.now(), bytesPerSec: 0 };
    t.progress = this.progress;
    this.#proofs = new ResyncProofs(d, t, {
      alive: () => this.#alive(),
      marks: () => this.#marks(),
      locked: (start, end) => this.#locked(start, end),
      punch: (offset, bytes) => this.#toTarget(offset, bytes, 0, true),
      cancel: (why) => {
        this.cancel(why);
      },
      proven: o.onProgress,
    });
  }

  /** Pause is a set of reasons: an operator's, the scheduler's. Copies in flight end. */
  pause(reason: string): void {
    this.#pausedFor.add(reason);
  }

  resume(reason: string): void {
    if (this.#pausedFor.delete(reason)) this.#wakeAll();
  }

  get paused(): boolean {
    return this.#pausedFor.size > 0;
  }

  /** Ends the run without ending the session. */
  cancel(why: string): void {
    if (this.#stopped === '') this.#stopped = why;
    this.#wakeAll();
  }

  /** Runs until the target lacks nothing, or the session or the run is ended. Never rejects for an outside reason. */
  async run(): Promise<ResyncEnd> {
    // Nothing on a leg that failed a sync can be proven, so that no mark could ever go (M3, M5).
    if (this.#d.local.state === 'in' && this.#d.local.syncFailed && this.#marks().count > 0)
      this.cancel('a sync of the local leg has failed: replace the leg');
    const workers: Promise<void>[] = [];
    for (let i = 0; i < this.#d.settings.resync.copiesInFlightMax; i += 1) workers.push(this.#work());
    for (;;) {
      await Promise.all(workers);
      workers.length = 0;
      if (!this.#alive()) return { result: 'ended', progress: this.progress, why: this.#whyEnded() };
      if (!(await this.#proofs.prove())) return { result: 'ended', progress: this.progress, why: this.#whyEnded() };
      const left = this.#marks();
      if (left.count === 0) {
        this.#t.progress = undefined;
        return { result: 'done', progress: this.progress };
      }
      // Marked while we copied (a comparison found a difference): another round over what is left.
      this.#t.toCopy = left.clone();
      this.#cursor = 0;
      this.progress.totalBytes += this.#d.marks.bytes(left);
      for (let i = 0; i < this.#d.settings.resync.copiesInFlightMax; i += 1) workers.push(this.#work());
    }
  }

  #marks(): DirtyBitmap {
    return this.#d.marks.outOfSync(this.#t.node);
  }

  #alive(): boolean {
    return this.#stopped === '' && this.#t.session === this.#session && this.#t.phase === 'resyncing' && !this.#d.stopped;
  }

  #whyEnded(): string {
    return this.#stopped !== '' ? this.#stopped : this.#t.whyOut;
  }

  #wakeAll(): void {
    const w = this.#wake;
    this.#wake = [];
    for (const f of w) f();
  }

  /** Called by the owner when the session has ended, so that nobody waits for it. */
  sessionEnded(): void {
    this.#wakeAll();
  }

  async #work(): Promise<void> {
    while (this.#alive()) {
      if (this.paused) {
        await new Promise<void>((resolve) => this.#wake.push(resolve));
        continue;
      }
      const now = this.#d.clock.now();
      const proof = this.#proofs.due(this.progress.totalBytes - this.progress.doneBytes);
      if (proof !== undefined) {
        if (!(await proof)) return;
        continue;
      }
      const piece = this.#nextPiece();
      if (piece === undefined) return;
      const wait = this.#pacer.take(piece.length, now, this.#d.lastRequestAt);
      if (wait > 0) await this.#sleep(wait);
      await this.#copy(piece.offset, piece.length);
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | undefined = undefined;
      const end = (): void => {
        timer?.cancel();
        resolve();
      };
      timer = this.#d.clock.after(ms, end);
      this.#wake.push(end);
      // Sleepers that have ended by themselves are forgotten now and then, so that the list stays short.
      if (this.#wake.length > 1024) this.#wakeAll();
    });
  }

  /** The next piece of a marked region; regions leave `toCopy` only under the lock, in #copy. */
  #nextPiece(): { offset: number; length: number } | undefined {
    const { regions } = this.#d.marks;
    if (this.#run === undefined || this.#run.offset >= this.#run.end) {
      const toCopy = this.#t.toCopy;
      if (toCopy === undefined) return undefined;
      const most = Math.max(1, Math.floor(this.#d.copyBytes / regions.regionBytes));
      const run = toCopy.nextDirtyRun(this.#cursor, most);
      if (run === undefined) return undefined;
      this.#cursor = run.first + run.length;
      const from = run.first * regions.regionBytes;
      const end = Math.min((run.first + run.length) * regions.regionBytes, this.#d.sizeBytes);
      this.#run = { offset: from, end };
      this.#proofs.begin(run.first, run.length);
    }
    const { offset, end } = this.#run;
    const length = Math.min(this.#d.copyBytes, end - offset);
    this.#run.offset = offset + length;
    return { offset, length };
  }

  async #copy(offset: number, length: number): Promise<void> {
    // Not under the lock, which the application's writes would wait for: this may take as long as a target's loss.
    while (this.#d.losses.readsWait !== undefined && this.#alive()) await this.#d.losses.readsWait;
    const slot = await this.#locked(offset, offset + length);
    try {
      if (!this.#alive()) return;
      const { regions } = this.#d.marks;
      // From here on application writes to these regions go to the target as well: the lock is held.
      this.#t.toCopy?.clearRange(regions.regionOf(offset), regions.regionOf(offset + length - 1));
      if (await this.#move(offset, length)) this.#account(offset, length);
    } finally {
      this.#d.lock.release(slot);
    }
  }

  #locked(start: number, end: number): Promise<number> {
    return new Promise((resolve) => {
      const slot = this.#d.lock.acquire(
        start,
        end,
        {
          onLocked(_tag, s) {
            resolve(s);
          },
        },
        0,
      );
      if (slot !== WAITING) resolve(slot);
    });
  }

  /** One piece from here to there; false: the session is over (or has just been ended here). */
  async #move(offset: number, length: number): Promise<boolean> {
    const { hub } = this.#d;
    const read = await this.#readOwn(offset, length);
    if (read === undefined) return false;
    // To punch where the target has a hole already changes nothing, also where a failed sync has lost that hole (M3).
    if (read === 'hole' && !this.#t.rewriteAll) return this.#toTarget(offset, length, 0, true);
    if (read === 'hole') {
      const written = await this.#toTarget(offset, length, 0, false);
      // Of any other server it is not known whether that would spare anything.
      if (written && !this.#t.foreign) this.#proofs.zeroesFor(offset, length);
      return written;
    }
    try {
      // Zeroes that take room here have their room there too.
      if (await isZeroes(hub, read.h, length)) return await this.#toTarget(offset, length, 0, false);
      if (await this.#equalThere(hub, read.h, offset, length)) return this.#alive();
      return await this.#toTarget(offset, length, read.h, false);
    } finally {
      hub.engine.release(read.h);
    }
  }

  /** What the mirror holds there: from the own leg, else from an in-sync target. Undefined: the session is over. */
  async #readOwn(offset: number, length: number): Promise<OpResult | 'hole' | undefined> {
    // A leg that has failed lacks what it failed to write, and targets have; whether it goes on is being decided (M5).
    // A failed write or sync that nobody recorded has ended this session by then.
    while (this.#d.losses.ownLegSettling !== undefined) await this.#d.losses.ownLegSettling;
    if (!this.#alive()) return undefined;
    if (this.#d.local.state === 'in') return await this.#readLeg(offset, length);
    for (const other of this.#d.targets.values()) {
      const client = other.client;
      if (other === this.#t || other.phase !== 'in-sync' || other.mode !== 'sync' || client === undefined) continue;
      const r = await readFrom(client, offset, length);
      if (r.errno === 0) return r;
    }
    this.#noGoodCopy(`no good copy to resync ${this.#t.node} from`);
    return undefined;
  }

  async #readLeg(offset: number, length: number): Promise<OpResult | 'hole' | undefined> {
    const { hub, local } = this.#d;
    const hole = local.info.sparse && (await isHole(hub, local.info, offset, length));
    const r = hole
      ? undefined
      : await hub.run((op) => {
          hub.engine.read(op, local.info.leg, offset, length);
        });
    if (local.syncFailed) {
      // Whether this was read before the failed sync lost it, nobody knows (M3).
      if (r !== undefined && r.h !== 0) hub.engine.release(r.h);
      this.#noGoodCopy('a sync of the local leg has failed');
      return undefined;
    }
    if (r === undefined || r.errno === 0) return r ?? 'hole';
    const why = `read of the local leg${shownRange(offset, length)} during a resync: ${errnoName(r.errno)}`;
    // In-sync targets keep what they have: only this one lacks what can not be read, until another is the one to read from, or memory is there.
    if (this.#d.settings.localErrors === 'leave' && r.errno !== Errno.ENOMEM) this.#d.localFailed(why, true);
    this.#noGoodCopy(`no good copy to resync ${this.#t.node} from: ${why}`);
    return undefined;
  }

  #noGoodCopy(why: string): void {
    if (this.#alive()) this.#d.targetFailed(this.#t, why, false);
  }

  async #equalThere(hub: EngineHub, h: Handle, offset: number, length: number): Promise<boolean> {
    const ask = this.#o.remoteDigest;
    if (ask === undefined || !this.#d.settings.resync.skipEqual || this.#t.rewriteAll) return false;
    const [there, here] = await Promise.all([
      ask(offset, length),
      hub.run((op) => {
        hub.engine.digest(op, h, 0, length, 'sha256');
      }),
    ]);
    return here.value?.kind === 'digest' && there === here.value.hex;
  }

  /** `h` 0: zeroes. */
  async #toTarget(offset: number, length: number, h: Handle, mayPunch: boolean): Promise<boolean> {
    const client = this.#t.client;
    if (client === undefined || !this.#alive()) return false;
    const r = await new Promise<number>((resolve) => {
      const owner = {
        onDone: (_t: number, errno: number): void => {
          resolve(errno);
        },
      };
      if (h === 0) client.writeZeroes(owner, 0, offset, length, false, mayPunch);
      else client.write(owner, 0, offset, length, h, 0, false);
    });
    if (r !== 0) {
      if (this.#t.session === this.#session) this.#d.targetFailed(this.#t, `resync write on ${this.#t.node}: ${answerText(r)}`, false);
      return false;
    }
    if (h !== 0) this.progress.sentBytes += length;
    return this.#t.session === this.#session;
  }

  #account(offset: number, length: number): void {
    this.#proofs.copied(offset, length);
    this.progress.doneBytes = Math.min(this.progress.doneBytes + length, this.progress.totalBytes);
    const now = this.#d.clock.now();
    this.#rateBytes += length;
    if (now - this.#rateAt >= 500) {
      const rate = (this.#rateBytes / (now - this.#rateAt)) * 1000;
      this.progress.bytesPerSec = this.progress.bytesPerSec === 0 ? rate : this.progress.bytesPerSec * (1 - RATE_SMOOTHING) + rate * RATE_SMOOTHING;
      this.#rateAt = now;
      this.#rateBytes = 0;
      this.#o.onProgress();
    }
  }
}
