/** Scenario 3 of the design, at any moment: a source that crashed, and comes back alone, says so with its flag data_corrupt. */
import { mirrorPaths } from '../../../src/failover/paths.ts';
import type { Cluster, Machine } from './cluster.ts';
import { ROOT, TAG } from './plan.ts';

/** A decision is carried out, and its flag durable, well within this. */
const CARRIED_OUT_MS = 150;

export class FlagChecks {
  readonly #c: Cluster;
  /** Since when a node has been seen to stay out as a source alone, by which of its decisions: between two looks it may have come to another and back. */
  readonly #since = new Map<Machine, { at: number; decided: number }>();

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
      const now = this.#c.world.now();
      const before = this.#since.get(m);
      const since = before?.decided === m.decided ? before : { at: now, decided: m.decided };
      this.#since.set(m, since);
      if (now - since.at < CARRIED_OUT_MS) continue;
      this.#c.checked('scenario 3');
      if (m.sim.peek(mirrorPaths(ROOT, TAG).dataCorrupt) === undefined) {
        this.#c.violated('scenario 3', `${m.name} was the source, crashed, is back alone, and data_corrupt is not set: ${d.why}`);
      }
    }
  }
}
