/**
 * The word of a source that this node is out (M2): heeded from the moment it is heard, in memory, and written down as soon as
 * that can be done. Whoever heeds it is no candidate until a session of its own has joined, or its daemon starts anew, which
 * has no contact with a source to begin with; so that its source need not wait for a disk that hangs or is full.
 */
import type { NodeContext } from './context.ts';
import { compareEpoch, isSame } from './epoch.ts';
import { boundedWhy } from './record.ts';
import type { TargetRole } from './target.ts';
import type { Epoch, NodeName } from './types.ts';

/** Which of its words in that epoch: a source counts them. */
export interface OutWord {
  epoch: Epoch;
  nth: number;
}

/** The side of the source: whom its heartbeats tell so, and who says that it heeds that. */
export class Outs {
  readonly #epoch: Epoch;
  readonly #told = new Map<NodeName, { why: string; nth: number }>();
  readonly #heeded = new Map<NodeName, number>();
  #words = 0;

  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  tell(node: NodeName, why: string): void {
    this.#words += 1;
    this.#told.set(node, { why: boundedWhy(why), nth: this.#words });
  }

  /** In sync again, or no longer of the mirror. */
  delete(node: NodeName): void {
    this.#told.delete(node);
  }

  wordFor(node: NodeName): (OutWord & { why: string }) | null {
    const told = this.#told.get(node);
    return told === undefined ? null : { epoch: this.#epoch, ...told };
  }

  heard(node: NodeName, heeds: OutWord | null): void {
    if (heeds === null || !isSame(heeds.epoch, this.#epoch)) this.#heeded.delete(node);
    else this.#heeded.set(node, heeds.nth);
  }

  /** How many words there have been: when a session joins, all of them are over for its target. */
  get words(): number {
    return this.#words;
  }

  isHeeded(node: NodeName): boolean {
    const told = this.#told.get(node);
    return told !== undefined && this.#heeded.get(node) === told.nth;
  }
}

interface Told extends NodeContext {
  readonly inService: boolean;
  asTarget<T>(epoch: Epoch, f: (t: TargetRole) => Promise<T>): Promise<T>;
}

export class ToldOut {
  readonly #n: Told;
  #heeds: OutWord | null = null;
  /** The last word that was over when a session began to join; one that was under way since before must not count again. */
  #over: OutWord | null = null;
  #writing = false;

  constructor(n: Told) {
    this.#n = n;
  }

  /** What heartbeats say that this node holds to. */
  get heeds(): OutWord | null {
    return this.#heeds;
  }

  /** A heartbeat of our source says that we are out. True: until it is written down, nobody may take this node for one in sync and in contact. */
  heard(word: OutWord & { why: string }): boolean {
    const { epoch, nth, why } = word;
    const n = this.#n;
    const r = n.record();
    if (this.#over !== null && nth > 0 && nth <= this.#over.nth && isSame(epoch, this.#over.epoch)) return false;
    const inSync = r.inSync.includes(n.env.self) && compareEpoch(r.epochInSync, epoch) === 'equal';
    // Also while it is being resynced: its source may count it as in sync before it has that on disk itself.
    if (n.inService || !(inSync || isSame(r.sessionIn ?? null, epoch))) return false;
    this.#heeds = { epoch, nth };
    if (inSync && !this.#writing) {
      this.#writing = true;
      n.asTarget(epoch, (t) => t.out({ epoch, why }))
        .catch((e: unknown) => {
          n.env.log.warn('could not write down that this node is out', { tag: n.tag, error: String(e) });
        })
        .finally(() => {
          this.#writing = false;
        });
    }
    return true;
  }

  /** In sync again, by a session that joins: only what was said before that is over, and only when it has joined. */
  async during(epoch: Epoch, words: number, join: () => Promise<void>): Promise<void> {
    this.#over = { epoch, nth: words };
    const before = this.#heeds;
    await join();
    if (this.#heeds === before) this.#heeds = null;
  }
}
