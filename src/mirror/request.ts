/** One request of an application on its way through the mirror device: a reused record with one result slot a leg. */
import type { Handle, RequestId } from '../io/types.ts';
import type { Replier } from '../nbd/device.ts';

/** Slot 0 is the local leg, 1 to 7 the targets. */
export const LEGS_MAX = 8;

/** An operation's tag is the request's index and the leg's slot. */
export const SLOTS = 16;

export const RequestKind = { READ: 0, WRITE: 1, ZERO: 2, TRIM: 3, FLUSH: 4 } as const;
export type RequestKind = (typeof RequestKind)[keyof typeof RequestKind];

/** No leg has answered in this slot, or none was asked. */
export const NOT_ASKED = -1;

/** Answers a READ of something else than the device itself, by the device's `onDone`. */
export interface Reader {
  read(m: MirrorRequest): void;
}

export class MirrorRequest {
  readonly index: number;
  kind: RequestKind = RequestKind.READ;
  replier: Replier | undefined;
  id: RequestId = 0;
  offset = 0;
  length = 0;
  h: Handle = 0;
  fua = false;
  mayPunch = false;
  lockSlot = -1;
  /** Regions touched. */
  first = 0;
  last = 0;
  marked = false;
  /** Legs that have not answered yet. */
  pending = 0;
  /** Result of each leg: errno, or NOT_ASKED. */
  readonly results = new Int32Array(LEGS_MAX);
  /** READ: the leg it was sent to, and the data that came. */
  readFrom = 0;
  data: Handle = 0;
  of: Reader | undefined;
  /** What the application will be told. */
  errno = 0;
  /** How often the own leg has lacked memory for it. */
  shortages = 0;
  /** FLUSH: sequence number of the intent log that this flush proves when every leg in session takes part. */
  seal = 0;
  provesAll = false;
  /** Position in the order of arrival, for "in flight when the target was lost". */
  busy = false;
  /** Of all that were taken, in order. */
  serial = 0;

  constructor(index: number) {
    this.index = index;
  }

  /** What the application has asked for; `h`: one reference, for a WRITE. */
  asked(kind: RequestKind, replier: Replier, id: RequestId, offset: number, length: number, h: Handle, fua: boolean, mayPunch: boolean): void {
    this.kind = kind;
    this.replier = replier;
    this.id = id;
    this.offset = offset;
    this.length = length;
    this.h = h;
    this.fua = fua;
    this.mayPunch = mayPunch;
  }

  reset(): void {
    this.replier = undefined;
    this.h = 0;
    this.fua = false;
    this.mayPunch = false;
    this.lockSlot = -1;
    this.marked = false;
    this.pending = 0;
    for (let i = 0; i < LEGS_MAX; i += 1) this.results[i] = NOT_ASKED;
    this.readFrom = 0;
    this.data = 0;
    this.errno = 0;
    this.shortages = 0;
    this.seal = 0;
    this.provesAll = false;
  }
}

/** Records by index, so that an operation's tag can carry (index, leg) in one number. */
export class RequestPool {
  readonly #all: MirrorRequest[] = [];
  readonly #free: MirrorRequest[] = [];
  #taken = 0;

  /** The serial of the last one. */
  get taken(): number {
    return this.#taken;
  }

  get busy(): number {
    return this.#all.length - this.#free.length;
  }

  take(): MirrorRequest {
    let r = this.#free.pop();
    if (r === undefined) {
      r = new MirrorRequest(this.#all.length);
      this.#all.push(r);
    }
    r.reset();
    r.busy = true;
    this.#taken += 1;
    r.serial = this.#taken;
    return r;
  }

  at(index: number): MirrorRequest {
    const r = this.#all[index];
    if (r?.busy !== true) throw new Error(`request ${String(index)} is not in flight`);
    return r;
  }

  give(r: MirrorRequest): void {
    r.busy = false;
    this.#free.push(r);
  }

  /** Those that change data, for cold paths. */
  *changing(): Generator<MirrorRequest> {
    for (const r of this.active()) if (r.kind !== RequestKind.READ && r.length > 0) yield r;
  }

  /** Those in flight, for cold paths. */
  *active(): Generator<MirrorRequest> {
    for (const r of this.#all) if (r.busy) yield r;
  }
}
