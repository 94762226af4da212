/**
 * Memory that the native engine and TypeScript share: counts, the ring of operations, the batch of events, and what is known
 * of handles and requests. Both sides run on the main thread, never at once, so plain loads and stores suffice.
 *
 *   operations: TypeScript writes entries of eight numbers into the ring; the native side takes them after the handler, at
 *   the end of the turn, or when asked (`submit`)
 *   handles: references are counted here by both sides; at zero the slot goes back to the native side through the ring
 */
import type { NativeCalls } from './native-shim.ts';

export const RING_ENTRIES = 4096;
export const RING_FIELDS = 8;
export const BATCH_MAX = 1024;
export const HANDLES_MAX = 2 ** 18;
const REQUESTS_MAX = 2 ** 18;
/** A handle is generation * 2^20 + slot, a request id is serial * 2^20 + slot. */
export const SLOT_BITS = 20;
export const GENERATION_MASK = 0xfff;

/** First field of a ring entry; the second is the operation. */
export const Ring = {
  /** errno, length, value kind */
  COMPLETE: 1,
  /** slot */
  FREE: 2,
  /** leg, offset, length */
  READ: 3,
  /** leg, offset, length, slot, offset in it, durable */
  WRITE: 4,
  /** leg */
  SYNC: 5,
  /** leg, offset, length, hole allowed, durable */
  ZERO: 6,
  /** leg, offset, length */
  EXTENTS: 7,
  /** connection, command * 2^16 + flags, offset, length, slot, offset in it */
  SEND: 8,
  /** request, errno, slot, offset in it, length */
  REPLY: 9,
  /** request, slot, length: whole chunks but for the cookie and an extended one's offset */
  REPLY_STATUS: 10,
  /** connection, errno */
  CLOSED: 11,
} as const;

export const ValueKind = { NONE: 0, KEPT: 1, EXTENTS: 2, STATUS: 3 } as const;
export const RequestState = { REPLYING: 1, STRUCTURED: 2, EXTENDED: 4, SEALED: 8 } as const;
export const Ctl = { RING_COUNT: 0, DELIVERING: 1, VALUES: 2 } as const;
const CTL_WORDS = 16;
export const Stat = { HANDLES: 0, BYTES: 1, OPERATIONS: 2, CONNECTIONS: 3 } as const;
const STAT_WORDS = 4;

export class NativeMemory {
  readonly ctl: Uint32Array;
  readonly stats: Float64Array;
  readonly ring: Float64Array;
  readonly kind: Uint8Array;
  readonly conn: Uint32Array;
  readonly id: Float64Array;
  readonly cmd: Uint16Array;
  readonly flags: Uint16Array;
  readonly offset: Float64Array;
  readonly length: Float64Array;
  readonly handle: Uint32Array;
  readonly errno: Int32Array;
  readonly valueKind: Uint8Array;
  readonly handleReferences: Int32Array;
  readonly handleGeneration: Uint32Array;
  readonly handleLength: Float64Array;
  readonly requestId: Float64Array;
  readonly requestLength: Float64Array;
  readonly requestCmd: Uint16Array;
  readonly requestState: Uint8Array;

  constructor({ buffer, layout }: NativeCalls) {
    let part = 0;
    const next = (): number => {
      const at = layout[part];
      if (at === undefined) throw new Error('the native shim is not of this version');
      part += 1;
      return at;
    };
    // In the order of native-shims/glue.c.
    this.ctl = new Uint32Array(buffer, next(), CTL_WORDS);
    this.stats = new Float64Array(buffer, next(), STAT_WORDS);
    this.ring = new Float64Array(buffer, next(), RING_ENTRIES * RING_FIELDS);
    this.kind = new Uint8Array(buffer, next(), BATCH_MAX);
    this.conn = new Uint32Array(buffer, next(), BATCH_MAX);
    this.id = new Float64Array(buffer, next(), BATCH_MAX);
    this.cmd = new Uint16Array(buffer, next(), BATCH_MAX);
    this.flags = new Uint16Array(buffer, next(), BATCH_MAX);
    this.offset = new Float64Array(buffer, next(), BATCH_MAX);
    this.length = new Float64Array(buffer, next(), BATCH_MAX);
    this.handle = new Uint32Array(buffer, next(), BATCH_MAX);
    this.errno = new Int32Array(buffer, next(), BATCH_MAX);
    this.valueKind = new Uint8Array(buffer, next(), BATCH_MAX);
    this.handleReferences = new Int32Array(buffer, next(), HANDLES_MAX);
    this.handleGeneration = new Uint32Array(buffer, next(), HANDLES_MAX);
    this.handleLength = new Float64Array(buffer, next(), HANDLES_MAX);
    this.requestId = new Float64Array(buffer, next(), REQUESTS_MAX);
    this.requestLength = new Float64Array(buffer, next(), REQUESTS_MAX);
    this.requestCmd = new Uint16Array(buffer, next(), REQUESTS_MAX);
    this.requestState = new Uint8Array(buffer, next(), REQUESTS_MAX);
    if (part !== layout.length) throw new Error('the native shim is not of this version');
  }

  count(stat: number, by: number): void {
    this.stats[stat] = (this.stats[stat] ?? 0) + by;
  }

  /** See `Engine.usage`. */
  usage(): { handles: number; bytes: number; operations: number; connections: number } {
    const { stats } = this;
    return {
      handles: stats[Stat.HANDLES] ?? 0,
      bytes: stats[Stat.BYTES] ?? 0,
      operations: stats[Stat.OPERATIONS] ?? 0,
      connections: stats[Stat.CONNECTIONS] ?? 0,
    };
  }
}
