/**
 * Routes an engine's events to whoever started the operation or owns the connection.
 *
 * An operation is a slot in reused arrays: starting one allocates nothing once the arrays have grown to the number of
 * operations in flight. Cold paths use `run`, which wraps one operation in a promise.
 */
import {
  type ConnId,
  type Engine,
  type EngineValue,
  type EventBatch,
  EventKind,
  errnoName,
  type Handle,
  IoError,
  type OpId,
  type RequestId,
} from './types.ts';

export interface OpOwner {
  /** `h`: the owner holds one reference (0: none). `tag` is what `start` was given. */
  onDone(tag: number, errno: number, length: number, h: Handle, value: EngineValue | undefined): void;
}

export interface ConnOwner {
  /** Server connections only; for a WRITE the owner holds one reference to `h`. */
  onRequest(req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): void;
  onClosed(errno: number): void;
}

export interface OpResult {
  errno: number;
  length: number;
  h: Handle;
  value: EngineValue | undefined;
}

export class EngineHub {
  readonly engine: Engine;
  readonly #owners: (OpOwner | undefined)[] = [undefined];
  readonly #tags: number[] = [0];
  readonly #free: OpId[] = [];
  readonly #conns = new Map<ConnId, ConnOwner>();
  #inFlight = 0;

  constructor(engine: Engine) {
    this.engine = engine;
    engine.onEvents((e) => {
      this.#dispatch(e);
    });
  }

  get operationsInFlight(): number {
    return this.#inFlight;
  }

  /** Reserves an operation id whose `done` goes to `owner.onDone(tag, …)`; the caller must start exactly one operation with it. */
  start(owner: OpOwner, tag: number): OpId {
    const op = this.#free.pop() ?? this.#owners.length;
    this.#owners[op] = owner;
    this.#tags[op] = tag;
    this.#inFlight += 1;
    return op;
  }

  own(conn: ConnId, owner: ConnOwner): void {
    this.#conns.set(conn, owner);
  }

  /** One operation as a promise; never rejects. The caller owns the handle in the result. */
  run(begin: (op: OpId) => void): Promise<OpResult> {
    return new Promise((resolve) => {
      begin(
        this.start(
          {
            onDone(_tag, errno, length, h, value) {
              resolve({ errno, length, h, value });
            },
          },
          0,
        ),
      );
    });
  }

  /** As `run`, but an errno becomes an IoError that starts with `what`. */
  async must(what: string, begin: (op: OpId) => void): Promise<OpResult> {
    const r = await this.run(begin);
    if (r.errno !== 0) {
      if (r.h !== 0) this.engine.release(r.h);
      throw new IoError(r.errno, `${what}: ${errnoName(r.errno)}`);
    }
    return r;
  }

  #dispatch(e: EventBatch): void {
    for (let i = 0; i < e.count; i += 1) {
      const kind = e.kind[i];
      if (kind === EventKind.DONE) {
        const op = e.id[i] ?? 0;
        const owner = this.#owners[op];
        if (owner === undefined) throw new Error(`engine reported operation ${String(op)}, which is not in flight`);
        const tag = this.#tags[op] ?? 0;
        this.#owners[op] = undefined;
        this.#free.push(op);
        this.#inFlight -= 1;
        owner.onDone(tag, e.errno[i] ?? 0, e.length[i] ?? 0, e.handle[i] ?? 0, e.value[i]);
      } else if (kind === EventKind.REQUEST) {
        const owner = this.#conns.get(e.conn[i] ?? 0);
        if (owner === undefined) throw new Error(`engine reported a request on connection ${String(e.conn[i])}, which nobody owns`);
        owner.onRequest(e.id[i] ?? 0, e.cmd[i] ?? 0, e.flags[i] ?? 0, e.offset[i] ?? 0, e.length[i] ?? 0, e.handle[i] ?? 0);
      } else {
        const conn = e.conn[i] ?? 0;
        const owner = this.#conns.get(conn);
        this.#conns.delete(conn);
        owner?.onClosed(e.errno[i] ?? 0);
      }
    }
  }
}
