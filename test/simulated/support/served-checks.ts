/** M1 of what the engine writes by itself: wherever it may write, a durable mark covers it. */
import type { Cluster } from './cluster.ts';
import { isMarked } from './bitmap-reader.ts';

export function checkServed(c: Cluster): void {
  for (const m of c.all) {
    const rules = m.served;
    const source = m.mirror?.source;
    if (rules?.marks === undefined || source === undefined || m.sim.state !== 'running' || !source.device.served.underWay) continue;
    const marks = m.durableMarks();
    for (const [i, word] of rules.marks.allowed.entries()) {
      for (let bit = 0; bit < 32 && word >>> bit !== 0; bit += 1) {
        if ((word & (1 << bit)) === 0) continue;
        if (isMarked(marks, 32 * i + bit, (name) => name === 'intent')) c.checked('M1');
        else c.violated('M1', `the engine may write region ${String(32 * i + bit)}, which no durable mark of ${m.name} covers`);
      }
    }
  }
}
