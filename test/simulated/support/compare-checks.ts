/**
 * What `netraid explain` says of two nodes of which neither serves: rows of `compare` that a source never gets to. Their
 * answer must not depend on who asks (M11), and where it says that nothing is to be copied, nothing may differ.
 */
import { compare } from '../../../src/failover/compare.ts';
import type { CompareAnswer } from '../../../src/failover/types.ts';
import type { Cluster, Machine } from './cluster.ts';
import { LEG } from './plan.ts';

export class CompareChecks {
  readonly #c: Cluster;
  /** For each pair, what was answered last: a row is met when the answer becomes it. */
  readonly #last = new Map<string, string>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  look(): void {
    for (const a of this.#c.all) for (const b of this.#c.all) if (a.name < b.name) this.#compare(a, b);
  }

  #compare(a: Machine, b: Machine): void {
    const [mine, theirs] = [a, b].map((m) => (m.up ? m.view : undefined));
    const key = `${a.name} ${b.name}`;
    if (mine === undefined || theirs === undefined || mine.inService || theirs.inService) {
      this.#last.delete(key);
      return;
    }
    const answer = compare(mine, theirs);
    const row = `${answer.rule}/${answer.kind}`;
    if (this.#last.get(key) === row) return;
    this.#last.set(key, row);
    this.#c.count(`compare ${row}`);
    this.#c.checked('M11 (compare)');
    if (!same(answer, compare(theirs, mine))) this.#c.violated('M11', `${a.name} and ${b.name} are compared, and who asks decides: ${row}`);
    if (answer.kind === 'none' && a.sim.differences(LEG, b.sim, LEG, false).some((at) => at < this.#c.plan.sizeBytes)) {
      this.#c.violated('M11', `nothing is to be copied between ${a.name} and ${b.name}, and they differ: ${answer.rule}, ${answer.why}`);
    }
  }
}

function same(x: CompareAnswer, y: CompareAnswer): boolean {
  return x.rule === y.rule && x.kind === y.kind && x.direction?.from === y.direction?.from && x.direction?.to === y.direction?.to;
}
