/**
 * M2 at the very moment of an answer: a target that was in sync, and is not any more, has written down that it is out, or
 * there was a failureTimeout since then in which nothing of it reached the source. Judged from its disk and from the wires, not from what the source
 * believes.
 */
import type { Cluster, Machine } from './cluster.ts';
import { PATHS } from './plan.ts';
import { parseRecord } from './state-reader.ts';

export class LeftOut {
  readonly #c: Cluster;
  readonly #source: Machine;
  #term = '';
  /** Those that were in sync in this term and have not been seen to be out since, and when they were last seen to be in sync. */
  readonly #members = new Map<string, number>();

  constructor(c: Cluster, source: Machine) {
    this.#c = c;
    this.#source = source;
  }

  /** A write or FLUSH is being answered with success in the term of that name. */
  answers(term: string, number: number): void {
    const { mirror, name } = this.#source;
    if (mirror?.source === undefined) return;
    const record = mirror.record();
    const now = this.#c.world.now();
    if (term !== this.#term) {
      this.#term = term;
      this.#members.clear();
      for (const n of record.inSync) if (n !== name) this.#members.set(n, this.#source.servingSince);
    }
    for (const link of mirror.source.links.values()) {
      if (link.leg.phase === 'in-sync') this.#members.set(link.node, now);
      else this.#judge(link.node, number);
    }
  }

  #judge(node: string, number: number): void {
    const inSyncAt = this.#members.get(node);
    if (inSyncAt === undefined) return;
    const target = this.#c.machine(node);
    // A node without a usable record can never take over (M13).
    const record = parseRecord(target.sim.peekDurable(PATHS.state));
    const isOut = record === undefined || !record.inSync.includes(node) || (record.epochSeen?.number ?? 0) > number;
    const silentMs = this.#c.world.longestSilence(node, this.#source.name, inSyncAt);
    if (!isOut && silentMs < this.#c.plan.failureTimeoutMs) {
      this.#c.violated(
        'M2',
        `${this.#source.name} answers without ${node}, which was in sync, has not written down that it is out, and since then was never silent for longer than ${silentMs.toFixed(1)} ms`,
      );
      return;
    }
    this.#c.checked(isOut ? 'M2 (out, and has written it down)' : 'M2 (out, and silent)');
    this.#members.delete(node);
  }
}
