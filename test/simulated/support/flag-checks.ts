/** Scenario 3 of the design, at any moment: a source that crashed, and comes back alone, says so with its flag data_corrupt. */
import { mirrorPaths } from '../../../src/failover/paths.ts';
import type { Cluster, Machine } from './cluster.ts';
import { ROOT, TAG } from './plan.ts';

/** A decision is carried out, and its flag durable, well within this. */
const CARRIED_OUT_MS = 150;

export class FlagChecks {
  readonly #c: Cluster;
  /** Since when a node has decided to stay out as a source alone. */
  readonly #since = new Map<Machine, number>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  look(): void {
    // Where disks fail, a flag may fail to be written.
    if (this.#c.plan.kinds.has('disk')) return;
    for (const m of this.#c.machines.values()) {
      const node = m.mirror;
      const d = node?.decision;
      const alone =
        m.up && d?.rule === 'source-alone' && d.action === 'stay-out' && node?.record().session.role === 'source' && !node.record().session.clean;
      if (!alone) {
        this.#since.delete(m);
        continue;
      }
      const since = this.#since.get(m) ?? this.#c.world.now();
      this.#since.set(m, since);
      if (this.#c.world.now() - since < CARRIED_OUT_MS) continue;
      this.#c.checked('scenario 3');
      if (m.sim.peek(mirrorPaths(ROOT, TAG).dataCorrupt) === undefined) {
        this.#c.violated('scenario 3', `${m.name} was the source, crashed, is back alone, and data_corrupt is not set: ${d.why}`);
      }
    }
  }
}
