/**
 * M5 at the very moment: when a mark for a target goes, what the region holds is on stable storage of both legs, and the
 * same, unless the intent log says that it is being written. Looked at between any two events, in the memory of the source,
 * because a mark that was dropped too early may be justified a millisecond later.
 */
import type { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import type { TargetLink } from '../../../src/failover/target-link.ts';
import type { Cluster, Machine } from './cluster.ts';
import { differences } from './quiet-checks.ts';

interface Seen {
  map: DirtyBitmap;
  copy: DirtyBitmap;
}

export class DroppedMarks {
  readonly #c: Cluster;
  #seen = new WeakMap<TargetLink, Seen>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  look(): void {
    for (const m of this.#c.machines.values()) {
      const source = m.mirror?.source;
      if (source === undefined || source.stopped || m.sim.state !== 'running') continue;
      for (const link of source.links.values()) {
        const map = source.marks.outOfSync(link.node);
        const before = this.#seen.get(link);
        if (before?.map === map && before.copy.count === map.count) continue;
        this.#seen.set(link, { map, copy: map.clone() });
        // A leg that is out proves nothing. Without a session nothing is proven either: a mark that goes then had better be needless.
        if (before?.map !== map || map.count > before.copy.count || source.device.local.state !== 'in') continue;
        before.copy.andNot(map);
        this.#judge(m, link, before.copy);
      }
    }
  }

  #judge(source: Machine, link: TargetLink, dropped: DirtyBitmap): void {
    const target = this.#c.machine(link.node);
    const intent = source.mirror?.source?.marks.intent.snapshot();
    if (intent === undefined) return;
    dropped.andNot(intent);
    const different = new Set(dropped.count === 0 ? [] : differences(this.#c, source, target, true));
    for (const run of dropped.runs()) {
      for (let r = run.first; r < run.first + run.length; r += 1) {
        this.#c.checked('M5 (dropped marks)');
        if (!different.has(r)) continue;
        this.#c.violated(
          'M5',
          `${source.name} has dropped its mark of region ${String(r)} for ${link.node}, and the two differ there on stable storage`,
        );
        return;
      }
    }
  }
}
