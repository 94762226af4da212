/**
 * Gathers what happened and delivers it once a turn, never from inside a call of the engine.
 *
 *   parser, legs, outbox --push--> filling batch --clock.soon--> handler(batch) --> after(): flush what it wrote
 *
 * Two batches take turns: while one is delivered, what its handler causes goes into the other. Their arrays are reused
 * and grow when needed.
 */
import { type Clock, type EngineValue, type EventBatch, EventKind } from '../types.ts';

const FIRST_CAPACITY = 64;

interface GrowingBatch extends EventBatch {
  capacity: number;
}

function makeBatch(capacity: number): GrowingBatch {
  return {
    capacity,
    count: 0,
    kind: new Uint8Array(capacity),
    conn: new Uint32Array(capacity),
    id: new Float64Array(capacity),
    cmd: new Uint16Array(capacity),
    flags: new Uint16Array(capacity),
    offset: new Float64Array(capacity),
    length: new Float64Array(capacity),
    handle: new Uint32Array(capacity),
    errno: new Int32Array(capacity),
    value: new Array<EngineValue | undefined>(capacity).fill(undefined),
  };
}

function grow(b: GrowingBatch): void {
  const bigger = makeBatch(b.capacity * 2);
  bigger.kind.set(b.kind);
  bigger.conn.set(b.conn);
  bigger.id.set(b.id);
  bigger.cmd.set(b.cmd);
  bigger.flags.set(b.flags);
  bigger.offset.set(b.offset);
  bigger.length.set(b.length);
  bigger.handle.set(b.handle);
  bigger.errno.set(b.errno);
  for (let i = 0; i < b.count; i += 1) bigger.value[i] = b.value[i];
  bigger.count = b.count;
  Object.assign(b, bigger);
}

export class EventQueue {
  readonly #clock: Clock;
  readonly #after: () => void;
  #handler: ((e: EventBatch) => void) | undefined;
  #filling = makeBatch(FIRST_CAPACITY);
  #spare = makeBatch(FIRST_CAPACITY);
  #scheduled = false;
  #delivering = false;

  /** `after`: called when a delivery has ended. */
  constructor(clock: Clock, after: () => void) {
    this.#clock = clock;
    this.#after = after;
  }

  get delivering(): boolean {
    return this.#delivering;
  }

  handle(f: (e: EventBatch) => void): void {
    if (this.#handler !== undefined) throw new Error('the engine has a handler already');
    this.#handler = f;
    this.#schedule();
  }

  request(conn: number, req: number, cmd: number, flags: number, offset: number, length: number, h: number): void {
    const b = this.#filling;
    const i = this.#next(EventKind.REQUEST);
    b.conn[i] = conn;
    b.id[i] = req;
    b.cmd[i] = cmd;
    b.flags[i] = flags;
    b.offset[i] = offset;
    b.length[i] = length;
    b.handle[i] = h;
    b.errno[i] = 0;
  }

  done(op: number, errno: number, length: number, h: number, value: EngineValue | undefined): void {
    const b = this.#filling;
    const i = this.#next(EventKind.DONE);
    b.conn[i] = 0;
    b.id[i] = op;
    b.errno[i] = errno;
    b.length[i] = length;
    b.handle[i] = h;
    b.value[i] = value;
  }

  closed(conn: number, errno: number): void {
    const b = this.#filling;
    const i = this.#next(EventKind.CLOSED);
    b.conn[i] = conn;
    b.id[i] = 0;
    b.errno[i] = errno;
    b.length[i] = 0;
    b.handle[i] = 0;
  }

  #next(kind: number): number {
    const b = this.#filling;
    const i = b.count;
    if (i === b.capacity) grow(b);
    b.count = i + 1;
    b.kind[i] = kind;
    this.#schedule();
    return i;
  }

  #schedule(): void {
    if (this.#scheduled || this.#handler === undefined || this.#filling.count === 0) return;
    this.#scheduled = true;
    this.#clock.soon(() => {
      this.#deliver();
    });
  }

  #deliver(): void {
    this.#scheduled = false;
    const handler = this.#handler;
    const b = this.#filling;
    if (handler === undefined || b.count === 0) return;
    this.#filling = this.#spare;
    this.#spare = b;
    this.#delivering = true;
    try {
      handler(b);
    } finally {
      for (let i = 0; i < b.count; i += 1) b.value[i] = undefined;
      b.count = 0;
      this.#delivering = false;
    }
    this.#after();
  }
}
