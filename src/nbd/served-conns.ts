/**
 * The connections to a leg whose plain writes the engine executes by itself (`Engine.serve`), from a device's side.
 *
 *   opened --> served --end, pause--> ending (writes under way) --> off --resume--> served
 *
 * Invariant: while a connection is served or ending, a write that nobody was told of may be on its way to the leg; `underWay` says so.
 */
import type { EngineHub, OpOwner } from '../io/hub.ts';
import type { Touched } from '../io/touched.ts';
import type { ConnId, LegId } from '../io/types.ts';

interface ServedConn {
  state: 'served' | 'ending' | 'off';
  /** Before it was served last; while it is ending, what is known so far of that too. */
  answered: number;
  known: number;
  open: boolean;
}

export class ServedConns implements OpOwner {
  readonly #hub: EngineHub;
  readonly #leg: LegId;
  readonly #touched: Touched;
  readonly #blockBytes: number;
  readonly #quiet: () => void;
  readonly #conns = new Map<ConnId, ServedConn>();
  #underWay = 0;
  #stopped = false;
  #paused = false;
  /** The engine has served one: whether it does at all is known then. */
  #willing = false;

  /** `quiet`: called when `underWay` has become false. */
  constructor(hub: EngineHub, leg: LegId, touched: Touched, blockBytes: number, quiet: () => void) {
    this.#hub = hub;
    this.#leg = leg;
    this.#touched = touched;
    this.#blockBytes = blockBytes;
    this.#quiet = quiet;
  }

  /** Something that nobody was told of may be on its way to the leg. */
  get underWay(): boolean {
    return this.#underWay > 0;
  }

  get paused(): boolean {
    return this.#paused;
  }

  opened(conn: ConnId): void {
    const c: ServedConn = { state: 'off', answered: 0, known: 0, open: true };
    this.#conns.set(conn, c);
    this.#begin(conn, c);
  }

  closed(conn: ConnId): void {
    const c = this.#conns.get(conn);
    if (c === undefined) return;
    c.open = false;
    if (c.state === 'served') this.#end(conn, c);
    else if (c.state === 'off') this.#conns.delete(conn);
  }

  /** Writes answered without being told. */
  answeredOn(conn: ConnId): number {
    const c = this.#conns.get(conn);
    if (c === undefined) return 0;
    return c.answered + (c.state === 'served' ? this.#hub.engine.served(conn) : c.known);
  }

  /** Nothing new is begun, for good. */
  stop(): void {
    this.#stopped = true;
    this.pause();
  }

  /** Nothing new is begun before `resume`. */
  pause(): void {
    this.#paused = true;
    for (const [conn, c] of this.#conns) if (c.state === 'served') this.#end(conn, c);
  }

  resume(): void {
    if (this.#stopped) return;
    this.#paused = false;
    for (const [conn, c] of this.#conns) {
      if (c.state === 'off') this.#begin(conn, c);
    }
    // Those that could not begin again yet have another chance.
    this.#paused = this.#willing && [...this.#conns.values()].some((c) => c.open && c.state !== 'served');
  }

  #begin(conn: ConnId, c: ServedConn): void {
    if (this.#stopped || this.#paused || !c.open) return;
    const { words, regionBytes, sizeBytes } = this.#touched;
    const rules = { leg: this.#leg, sizeBytes, blockBytes: this.#blockBytes, touched: words, regionBytes };
    if (!this.#hub.engine.serve(conn, rules)) return;
    this.#willing = true;
    c.state = 'served';
    this.#underWay += 1;
  }

  #end(conn: ConnId, c: ServedConn): void {
    c.state = 'ending';
    c.known = this.#hub.engine.served(conn);
    this.#hub.engine.unserve(this.#hub.start(this, conn), conn);
  }

  onDone(conn: number, _errno: number, answered: number): void {
    const c = this.#conns.get(conn);
    if (c?.state !== 'ending') throw new Error(`connection ${String(conn)} has left, and was not asked to`);
    c.state = 'off';
    c.answered += answered;
    c.known = 0;
    if (!c.open) this.#conns.delete(conn);
    this.#underWay -= 1;
    if (this.#underWay === 0) this.#quiet();
  }
}
