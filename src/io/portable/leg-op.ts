/**
 * One operation on a leg, as a reused record that walks through its steps:
 *
 *   read    read until complete                                          done with a handle
 *   write   write until complete [, sync]
 *   zero    leg's own zeroing, or write zeroes until complete [, sync]
 *   sync    sync; shared with others of the leg, see LegSyncs
 *   extents ask until the range is covered, joining what belongs together
 *
 * Short counts are gone on with; a step that moves nothing is EIO. A leg file may answer within the call: the loop in
 * `#drive` then goes on in place rather than one frame deeper.
 */
import type { LegFile } from '../leg-file.ts';
import { Errno, type Extent, type Handle, type LegId, type OpId } from '../types.ts';
import type { LegSyncs } from './leg-syncs.ts';

const ZEROES = new Uint8Array(256 * 1024);
const NO_BYTES = new Uint8Array(0);
/** An answer ends early rather than growing without bound. */
export const EXTENTS_MAX = 16_384;

export interface OpenLeg {
  id: LegId;
  file: LegFile;
  syncs: LegSyncs;
  operations: number;
  closing: Promise<void> | undefined;
  idle: (() => void) | undefined;
}

type Step = 'read' | 'write' | 'zero' | 'write-zeroes' | 'sync' | 'extents';

export class LegOp {
  op: OpId = 0;
  /** The reference this operation holds; 0: none. */
  handle: Handle = 0;
  errno = 0;
  extents: Extent[] | undefined;
  length = 0;
  /** What is covered so far. */
  moved = 0;
  /** Set by the owner while the operation runs. */
  leg: OpenLeg | undefined;
  isRead = false;
  readonly #finished: (o: LegOp) => void;
  #file: LegFile | undefined;
  #step: Step = 'sync';
  #position = 0;
  #bytes: Uint8Array = NO_BYTES;
  #mayPunch = false;
  #fua = false;
  #inCall = false;
  #goOn = false;
  #over = false;

  readonly #onMoved = (errno: number, bytes: number): void => {
    if (errno === 0 && !(bytes > 0)) this.#end(Errno.EIO);
    else if (errno !== 0) this.#end(errno);
    else {
      this.moved += bytes;
      if (this.moved < this.length) this.#drive();
      else this.#written();
    }
  };
  readonly #onZeroed = (errno: number): void => {
    if (errno === Errno.ENOTSUP) {
      this.#step = 'write-zeroes';
      this.#drive();
    } else if (errno !== 0) this.#end(errno);
    else {
      this.moved = this.length;
      this.#written();
    }
  };
  readonly #onSynced = (errno: number): void => {
    this.#end(errno);
  };
  readonly #onExtents = (errno: number, extents: Extent[]): void => {
    if (errno !== 0) {
      this.#end(errno);
      return;
    }
    const covered = this.#join(extents);
    if (covered === 0) this.#end(Errno.EIO);
    else if (this.moved < this.length && (this.extents?.length ?? 0) < EXTENTS_MAX) this.#drive();
    else this.#end(0);
  };

  constructor(finished: (o: LegOp) => void) {
    this.#finished = finished;
  }

  read(file: LegFile, position: number, into: Uint8Array): void {
    this.isRead = true;
    this.#begin(file, 'read', position, into.length, into);
  }

  write(file: LegFile, position: number, from: Uint8Array, fua: boolean): void {
    this.#fua = fua;
    this.#begin(file, 'write', position, from.length, from);
  }

  zero(file: LegFile, position: number, length: number, mayPunch: boolean, fua: boolean): void {
    this.#fua = fua;
    this.#mayPunch = mayPunch;
    this.#begin(file, 'zero', position, length, NO_BYTES);
  }

  sync(file: LegFile): void {
    this.#begin(file, 'sync', 0, 0, NO_BYTES);
  }

  askExtents(file: LegFile, position: number, length: number): void {
    this.extents = [];
    this.#begin(file, 'extents', position, length, NO_BYTES);
  }

  /** Ready for the next operation; nothing of this one is kept alive. */
  reset(): void {
    this.op = 0;
    this.handle = 0;
    this.errno = 0;
    this.extents = undefined;
    this.length = 0;
    this.moved = 0;
    this.leg = undefined;
    this.isRead = false;
    this.#file = undefined;
    this.#bytes = NO_BYTES;
    this.#fua = false;
    this.#mayPunch = false;
  }

  #begin(file: LegFile, step: Step, position: number, length: number, bytes: Uint8Array): void {
    this.#file = file;
    this.#step = step;
    this.#position = position;
    this.length = length;
    this.moved = 0;
    this.#bytes = bytes;
    if (length === 0 && step !== 'sync') this.#written();
    else this.#drive();
  }

  #drive(): void {
    if (this.#inCall) {
      this.#goOn = true;
      return;
    }
    do {
      this.#goOn = false;
      this.#inCall = true;
      this.#callLeg();
      this.#inCall = false;
    } while (this.#isToGoOn());
    if (this.#over) {
      this.#over = false;
      this.#finished(this);
    }
  }

  /** Read through a method because the callbacks change it behind the compiler's back. */
  #isToGoOn(): boolean {
    return this.#goOn;
  }

  #callLeg(): void {
    const file = this.#file;
    if (file === undefined) throw new Error('a leg operation went on after its end');
    const at = this.#position + this.moved;
    const left = this.length - this.moved;
    switch (this.#step) {
      case 'read':
        file.read(this.moved === 0 ? this.#bytes : this.#bytes.subarray(this.moved), at, this.#onMoved);
        break;
      case 'write':
        file.write(this.moved === 0 ? this.#bytes : this.#bytes.subarray(this.moved), at, this.#onMoved);
        break;
      case 'write-zeroes':
        file.write(left < ZEROES.length ? ZEROES.subarray(0, left) : ZEROES, at, this.#onMoved);
        break;
      case 'zero':
        file.zero(at, left, this.#mayPunch, this.#onZeroed);
        break;
      case 'sync':
        (this.leg?.syncs ?? file).sync(this.#onSynced);
        break;
      case 'extents':
        file.extents(at, left, this.#onExtents);
        break;
    }
  }

  #written(): void {
    if (!this.#fua) {
      this.#end(0);
      return;
    }
    this.#step = 'sync';
    this.#drive();
  }

  #end(errno: number): void {
    this.errno = errno;
    if (this.#inCall) this.#over = true;
    else this.#finished(this);
  }

  /** Bytes newly covered. */
  #join(extents: readonly Extent[]): number {
    const all = this.extents ?? [];
    const before = this.moved;
    for (const e of extents) {
      const at = this.#position + this.moved;
      if (e.offset !== at || !(e.length > 0) || this.moved + e.length > this.length) throw new Error('a leg file reported extents out of place');
      const last = all.at(-1);
      if (last !== undefined && last.hole === e.hole && last.zero === e.zero) last.length += e.length;
      else all.push({ offset: e.offset, length: e.length, hole: e.hole, zero: e.zero });
      this.moved += e.length;
    }
    return this.moved - before;
  }
}
