/** Who is to hear when a connection of the native engine has closed: what lies between it and its peer, such as TLS. */
import { type ConnId, EventKind } from '../types.ts';
import type { NativeMemory } from './native-memory.ts';

type Ended = (errno: number) => void;

export class ConnEnds {
  readonly #waiting = new Map<ConnId, Ended>();

  /** Undefined: nobody. */
  add(conn: ConnId, ended: Ended | undefined): void {
    if (ended !== undefined) this.#waiting.set(conn, ended);
  }

  /** Of the first `count` events, those that say so. */
  look({ kind, conn, errno }: NativeMemory, count: number): void {
    if (this.#waiting.size === 0) return;
    for (let i = 0; i < count; i += 1) {
      if (kind[i] !== EventKind.CLOSED) continue;
      const id = conn[i] ?? 0;
      const ended = this.#waiting.get(id);
      this.#waiting.delete(id);
      ended?.(errno[i] ?? 0);
    }
  }
}
