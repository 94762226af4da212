/**
 * M2 at the very moment of an answer: a target that was in sync, and is not any more, has written down that it is out, or
 * there was a failureTimeout since then in which nothing of it reached the source undamaged, or it has said that it heeds that it is out,
 * and then has no contact with a source until it has joined again; or its daemon has started anew since, which has none to begin
 * with, and may have knocked at the source in vain. Judged from its disk, from what its daemon holds to and
 * from the wires, not from what the source believes.
 *
 * One that was passed over as silent may hear its source all the same, and not be told: once it has heard it for a failureTimeout, it does
 * not take itself for in contact either.
 */
import type { Cluster, Machine } from './cluster.ts';
import { PATHS } from './plan.ts';
import { parseRecord } from './state-reader.ts';

export class LeftOut {
  readonly #c: Cluster;
  readonly #source: Machine;
  #term = '';
  /** Those that were in sync in this term and have not been seen to be out since, and when they were last seen to be in sync. */
  readonly #members = new Map<string, { at: number; boots: number }>();
  /** Those that were passed over because they heed that they are out. */
  readonly #heeding = new Set<string>();
  /** Those that were passed over because they were silent: since when, and when each was first seen to hear the source and to take itself for in contact. */
  readonly #silent = new Map<string, { at: number; hears: number | undefined }>();

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
      this.#heeding.clear();
      this.#silent.clear();
      for (const n of record.inSync) if (n !== name) this.#inSync(n, this.#source.servingSince);
    }
    for (const link of mirror.source.links.values()) {
      if (link.leg.phase === 'in-sync') {
        this.#inSync(link.node, now);
        this.#heeding.delete(link.node);
        this.#silent.delete(link.node);
        continue;
      }
      this.#judge(link.node, number);
      this.#listens(link.node);
      if (!this.#heeding.has(link.node)) continue;
      this.#c.checked('M2 (out, and heeds it)');
      if (this.#mayTakeOver(link.node))
        this.#c.violated('M2', `${name} answers without ${link.node}, which heeded that it is out, and now takes itself for in contact`);
    }
  }

  /** It is in sync again, whether or not anything is answered before it leaves once more. */
  joined(node: string): void {
    this.#heeding.delete(node);
    this.#silent.delete(node);
    this.#inSync(node, this.#c.world.now());
  }

  #inSync(node: string, at: number): void {
    this.#members.set(node, { at, boots: this.#c.machine(node).sim.boots });
  }

  #judge(node: string, number: number): void {
    const member = this.#members.get(node);
    if (member === undefined) return;
    const target = this.#c.machine(node);
    // A node without a usable record can never take over (M13).
    const record = parseRecord(target.sim.peekDurable(PATHS.state));
    const isOut = record === undefined || !record.inSync.includes(node) || (record.epochSeen?.number ?? 0) > number;
    const silentMs = this.#c.world.longestSilence(node, this.#source.name, member.at);
    const startedAnew = target.sim.boots !== member.boots;
    const heeds = (startedAnew || this.#source.mirror?.source?.outs.isHeeded(node) === true) && !this.#mayTakeOver(node);
    if (!isOut && heeds) this.#heeding.add(node);
    if (!isOut && !heeds && silentMs < this.#c.plan.failureTimeoutMs) {
      this.#c.violated(
        'M2',
        `${this.#source.name} answers without ${node}, which was in sync, has not written down that it is out, and since then was never silent for longer than ${silentMs.toFixed(1)} ms`,
      );
      return;
    }
    if (!isOut && !heeds) this.#silent.set(node, { at: this.#c.world.now(), hears: undefined });
    this.#c.checked(isOut ? 'M2 (out, and has written it down)' : 'M2 (out, and silent)');
    this.#members.delete(node);
  }

  #listens(node: string): void {
    const s = this.#silent.get(node);
    if (s === undefined) return;
    const last = this.#c.world.lastArrival(this.#source.name, node);
    if (!this.#mayTakeOver(node)) s.hears = undefined;
    else if (last > s.at) s.hears ??= last;
    if (s.hears === undefined) return;
    this.#c.checked('M2 (out, and hears its source)');
    if (last - s.hears < this.#c.plan.failureTimeoutMs) return;
    this.#c.violated(
      'M2',
      `${this.#source.name} answers without ${node}, which has heard it for ${(last - s.hears).toFixed(1)} ms since, and takes itself for in contact`,
    );
  }

  /** In sync by its record, and in contact with a source by what its daemon knows: nothing but silence is missing. */
  #mayTakeOver(node: string): boolean {
    const { view } = this.#c.machine(node);
    if (view === undefined || !view.contactWithSource) return false;
    const { record } = view;
    return record.inSync.includes(node) && record.toldOut === null && record.resyncingFrom === null && record.legBehind === null;
  }
}
