/**
 * The connections whose plain requests the engine executes by itself (`Engine.serve`), from a device's side.
 *
 *   opened --> served --end, pause--> ending (writes under way) --> off --resume--> served
 *
 * Each by itself, or all together: then all are served, or none, and any that comes or goes ends it for all.
 *
 * Invariant: while a connection is served or ending, a write that nobody was told of may be on its way to the leg; `underWay` says so.
 */
import { isAllAnswered } from '../io/asks.ts';
import type { EngineHub, OpOwner } from '../io/hub.ts';
import type { ServeRules } from '../io/serve.ts';
import type { ConnId } from '../io/types.ts';

interface ServedConn {
  state: 'served' | 'ending' | 'off';
  /** Before it was served last; while it is ending, what is known so far of that too. */
  answered: number;
  known: number;
  open: boolean;
  /** Of the rules it is served by: the regions of writes under way. */
  regions: Uint32Array | undefined;
  asks: Uint32Array | undefined;
}

export interface ServedConnsOptions {
  hub: EngineHub;
  /** Asked for each time that a connection begins to be served; `clients`: so many begin now. */
  rules: (clients: number) => ServeRules;
  /** Called when `underWay` has become false. */
  quiet: () => void;
  /** Where `ServeMarks.asks` of the rules holds more than before; not again before `answered` was called. */
  asked?: (conn: ConnId, asks: Uint32Array) => void;
  /** All or none. */
  together?: boolean;
}

export class ServedConns implements OpOwner {
  readonly #o: ServedConnsOptions;
  readonly #conns = new Map<ConnId, ServedConn>();
  readonly #heeds: OpOwner = {
    onDone: (conn, errno) => {
      const c = this.#conns.get(conn);
      // What is ending is told what it has asked for as requests.
      if (errno === 0 && c?.state === 'served' && c.asks !== undefined) this.#o.asked?.(conn, c.asks);
    },
  };
  /** One has been told of what it asked for while another was. */
  #telling = false;
  #underWay = 0;
  #stopped = false;
  #paused = false;
  #regions: readonly Uint32Array[] = [];
  /** Together: the engine did not take all of them; it is not asked again before one has come or gone. */
  #refused = false;
  /** The engine has served one: whether it does at all is known then. */
  #willing = false;

  constructor(o: ServedConnsOptions) {
    this.#o = o;
  }

  /** Something that nobody was told of may be on its way to the leg. */
  get underWay(): boolean {
    return this.#underWay > 0;
  }

  /** Some are not served that might be: `resume` is worth a try. */
  get paused(): boolean {
    return this.#paused && !this.#refused;
  }

  /** How many may be served. */
  get open(): number {
    let n = 0;
    for (const c of this.#conns.values()) if (c.open) n += 1;
    return n;
  }

  opened(conn: ConnId): void {
    const c: ServedConn = { state: 'off', answered: 0, known: 0, open: true, regions: undefined, asks: undefined };
    this.#conns.set(conn, c);
    this.#refused = false;
    if (this.#o.together === true) this.pause();
    else if (!this.#paused && !this.#begin(conn, c, 1)) this.#paused = this.#willing;
  }

  closed(conn: ConnId): void {
    const c = this.#conns.get(conn);
    if (c === undefined) return;
    c.open = false;
    this.#refused = false;
    if (this.#o.together === true) this.pause();
    else if (c.state === 'served') this.#end(conn, c);
    if (c.state === 'off') this.#conns.delete(conn);
  }

  /** All that `asked` has taken is answered. What was asked for meanwhile, of which the engine told nobody, is told now; what comes, when it comes. */
  answered(conn: ConnId): void {
    this.#o.hub.engine.heeded(conn);
    const c = this.#conns.get(conn);
    if (c?.state !== 'served' || c.asks === undefined) return;
    if (this.#telling || isAllAnswered(c.asks)) {
      this.#heed(conn, c);
      return;
    }
    // What is answered at once, in the midst of this, ends here.
    this.#telling = true;
    this.#o.asked?.(conn, c.asks);
    this.#telling = false;
  }

  /** Requests answered without being told. */
  answeredOn(conn: ConnId): number {
    const c = this.#conns.get(conn);
    if (c === undefined) return 0;
    return c.answered + (c.state === 'served' ? this.#o.hub.engine.served(conn) : c.known);
  }

  /** A request of it that nobody was told of is being executed, or waits for what was asked for. */
  isBusy(conn: ConnId): boolean {
    const c = this.#conns.get(conn);
    return c?.regions?.some((r) => r !== 0) === true || (c?.asks !== undefined && !isAllAnswered(c.asks));
  }

  /** `ServeMarks.underWay` of each that is served or ending. */
  regionsUnderWay(): readonly Uint32Array[] {
    return this.#regions;
  }

  #setRegions(c: ServedConn, regions: Uint32Array | undefined): void {
    c.regions = regions;
    this.#regions = [...this.#conns.values()].flatMap((each) => each.regions ?? []);
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
    const together = this.#o.together === true;
    // The last of them that ends makes another try worth it.
    if (together && this.#underWay > 0) return;
    this.#paused = false;
    const clients = together ? this.#conns.size : 1;
    for (const [conn, c] of this.#conns) {
      if (c.state !== 'off' || this.#begin(conn, c, clients)) continue;
      // Not now: the next resume tries again, but for several together, where each try would begin some and end them.
      this.#paused = this.#willing;
      if (clients === 1) continue;
      this.#refused = true;
      this.pause();
      return;
    }
  }

  /** False: the engine does not do that, or not now. */
  #begin(conn: ConnId, c: ServedConn, clients: number): boolean {
    if (this.#stopped || !c.open) return true;
    const rules = this.#o.rules(clients);
    if (!this.#o.hub.engine.serve(conn, rules)) return false;
    this.#willing = true;
    c.state = 'served';
    this.#setRegions(c, rules.marks?.underWay);
    c.asks = rules.marks?.asks;
    this.#underWay += 1;
    this.#heed(conn, c);
    return true;
  }

  #heed(conn: ConnId, c: ServedConn): void {
    const { hub } = this.#o;
    if (c.asks !== undefined) hub.engine.heed(hub.start(this.#heeds, conn), conn);
  }

  #end(conn: ConnId, c: ServedConn): void {
    const { hub } = this.#o;
    c.state = 'ending';
    c.known = hub.engine.served(conn);
    hub.engine.unserve(hub.start(this, conn), conn);
  }

  onDone(conn: number, _errno: number, answered: number): void {
    const c = this.#conns.get(conn);
    if (c?.state !== 'ending') throw new Error(`connection ${String(conn)} has left, and was not asked to`);
    c.state = 'off';
    c.answered += answered;
    c.known = 0;
    this.#setRegions(c, undefined);
    c.asks = undefined;
    if (!c.open) this.#conns.delete(conn);
    this.#underWay -= 1;
    // It may be served again.
    if (this.#conns.size > this.#underWay) this.#paused = true;
    if (this.#underWay === 0) this.#o.quiet();
  }
}
