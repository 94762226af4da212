/** A leg file in memory that a test can make clumsy: short, failing, slow, refusing. */
import type { LegDone, LegFile, LegFileInfo } from '../../../src/io/leg-file.ts';
import { type Clock, Errno, type Extent } from '../../../src/io/types.ts';

export class MemoryLeg implements LegFile {
  readonly bytes: Uint8Array;
  readonly calls: string[] = [];
  /** Most bytes that one read or write moves. */
  stepBytes = Infinity;
  /** Answers come within the call, or in a later turn. */
  answersAtOnce = true;
  zeroErrno: number = 0;
  syncErrno: number = 0;
  /** Writes that reach here or beyond fail with `limitErrno`; with 0 they move nothing. */
  limitAt = Infinity;
  limitErrno: number = Errno.ENOSPC;
  extentsPerCall = Infinity;
  layout: Extent[] = [];
  closed = false;
  /** While set, answers are held back. */
  held: (() => void)[] | undefined;
  readonly #clock: Clock;

  constructor(clock: Clock, sizeBytes: number) {
    this.#clock = clock;
    this.bytes = new Uint8Array(sizeBytes);
  }

  info(): LegFileInfo {
    return { sizeBytes: this.bytes.length, blockSizeBytes: 512, sparse: true };
  }

  read(into: Uint8Array, position: number, done: LegDone): void {
    this.#answer('read', () => {
      const n = Math.max(0, Math.min(into.length, this.stepBytes, this.bytes.length - position));
      into.set(this.bytes.subarray(position, position + n));
      done(0, n);
    });
  }

  write(from: Uint8Array, position: number, done: LegDone): void {
    this.#answer('write', () => {
      if (position >= this.limitAt) {
        done(this.limitErrno, 0);
        return;
      }
      const n = Math.min(from.length, this.stepBytes, this.limitAt - position);
      this.bytes.set(from.subarray(0, n), position);
      done(0, n);
    });
  }

  sync(done: (errno: number) => void): void {
    this.#answer('sync', () => {
      done(this.syncErrno);
    });
  }

  zero(offset: number, length: number, mayPunch: boolean, done: (errno: number) => void): void {
    this.#answer(mayPunch ? 'punch' : 'zero', () => {
      if (this.zeroErrno === 0) this.bytes.fill(0, offset, offset + length);
      done(this.zeroErrno);
    });
  }

  extents(offset: number, length: number, done: (errno: number, extents: Extent[]) => void): void {
    this.#answer('extents', () => {
      const inside = this.layout
        .map((e) => {
          const from = Math.max(e.offset, offset);
          return { ...e, offset: from, length: Math.min(e.offset + e.length, offset + length) - from };
        })
        .filter((e) => e.length > 0);
      done(0, inside.slice(0, this.extentsPerCall));
    });
  }

  truncate(): Promise<void> {
    return Promise.resolve();
  }

  sizeBytes(): Promise<number> {
    return Promise.resolve(this.bytes.length);
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  letGo(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const f of held) f();
  }

  #answer(call: string, f: () => void): void {
    this.calls.push(call);
    if (this.held !== undefined) this.held.push(f);
    else if (this.answersAtOnce) f();
    else this.#clock.soon(f);
  }
}
