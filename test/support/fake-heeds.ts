/** Who waits for regions to be asked for, on an engine whose every event the test causes. */
import { Asks } from '../../src/io/asks.ts';
import type { ServeRules } from '../../src/io/serve.ts';
import { type ConnId, Errno, type OpId } from '../../src/io/types.ts';

export class FakeHeeds {
  readonly #ops = new Map<ConnId, OpId>();
  readonly #done: (op: OpId, errno: number) => void;
  /** Connections whose asked regions were answered, in part at least, in order. */
  readonly answered: ConnId[] = [];

  constructor(done: (op: OpId, errno: number) => void) {
    this.#done = done;
  }

  heed(op: OpId, conn: ConnId): void {
    if (this.#ops.has(conn)) throw new Error(`connection ${String(conn)} is heeded already`);
    this.#ops.set(conn, op);
  }

  heeded(conn: ConnId): void {
    this.answered.push(conn);
  }

  /** It waits to be told of more that is asked for. */
  heeds(conn: ConnId): boolean {
    return this.#ops.has(conn);
  }

  /** Asks by the rules of a connection that is served. */
  ask(conn: ConnId, rules: ServeRules | undefined, regions: readonly number[]): void {
    const words = rules?.marks?.asks;
    if (words === undefined) throw new Error(`connection ${String(conn)} has nowhere to ask`);
    const asks = new Asks(words);
    for (const region of regions) if (!asks.ask(region)) throw new Error(`there is no room to ask for region ${String(region)}`);
    this.#end(conn, 0);
  }

  /** Before `unserve` is done. */
  unserved(conn: ConnId): void {
    this.#end(conn, Errno.ESHUTDOWN);
  }

  #end(conn: ConnId, errno: number): void {
    const op = this.#ops.get(conn);
    this.#ops.delete(conn);
    if (op !== undefined) this.#done(op, errno);
  }
}
