/** Answers wait here while a loss is settled or the device is suspended; each request is answered exactly once. */
import type { Engine } from '../io/types.ts';
import { Errno } from '../io/types.ts';
import type { Gate } from './gate.ts';
import type { StallGuard } from './stall-guard.ts';
import { type MirrorRequest, NOT_ASKED, RequestKind, type RequestPool } from './request.ts';

export class Replies {
  readonly #gate: Gate;
  readonly #pool: RequestPool;
  readonly #engine: Engine;
  /** Whether a leg that goes on has what a success would say it has: looked at when the answer leaves (M2). */
  readonly #held: (m: MirrorRequest) => boolean;
  #parked: MirrorRequest[] = [];
  errors = 0;
  /** Called after each answer. */
  answered: () => void = () => undefined;
  /** Asked before each answer, also of what has waited: whether this process has stood still too long to give any (M9). */
  readonly #stall: StallGuard;

  constructor(gate: Gate, pool: RequestPool, engine: Engine, stall: StallGuard, held: (m: MirrorRequest) => boolean) {
    this.#gate = gate;
    this.#pool = pool;
    this.#engine = engine;
    this.#held = held;
    this.#stall = stall;
  }

  /** The legs have done with it: it is answered now, or when it may be. */
  give(m: MirrorRequest): void {
    this.#stall.look();
    if (this.#gate.mayReply(m.kind !== RequestKind.READ)) this.#reply(m);
    else this.#parked.push(m);
  }

  park(m: MirrorRequest): void {
    this.#parked.push(m);
  }

  release(): void {
    const parked = this.#parked;
    this.#parked = [];
    for (const m of parked) this.give(m);
  }

  /** What waits and changes data, or says that it is durable, is answered with an error; while suspended, afterwards. */
  failWrites(errno: number): void {
    this.#stall.look();
    const parked = this.#parked;
    for (const m of parked) if (m.kind !== RequestKind.READ) m.errno = errno;
    if (!this.#gate.mayReply(false)) return;
    this.#parked = parked.filter((m) => m.kind === RequestKind.READ);
    for (const m of parked) if (m.kind !== RequestKind.READ) this.#reply(m);
  }

  /** The own leg has left, and a target has what these requests wrote. */
  forgiveOwnLeg(): void {
    for (const m of this.#parked) if (m.kind !== RequestKind.READ && (m.results[0] ?? NOT_ASKED) > 0) m.errno = Errno.OK;
  }

  #reply(m: MirrorRequest): void {
    const own = m.errno !== 0 || this.#held(m) ? m.errno : Errno.EIO;
    const errno = this.#gate.refusal !== 0 ? this.#gate.refusal : own;
    const { id, length, kind, data, replier } = m;
    this.#pool.give(m);
    if (errno !== 0) {
      this.errors += 1;
      if (data !== 0) this.#engine.release(data);
      replier?.error(id, errno);
    } else if (kind === RequestKind.READ) {
      replier?.data(id, data, 0, length);
    } else {
      replier?.ok(id);
    }
    this.answered();
  }
}
