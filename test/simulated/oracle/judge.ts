/** What must hold in the tiny world after every event (M5 is looked at where a session is opened, in world.ts). */
import { compare } from '../../../src/failover/compare.ts';
import type { NodeName, NodeView } from '../../../src/failover/types.ts';
import type { Host } from './host.ts';

/** What the judge may look at. */
export interface Scene {
  readonly names: readonly NodeName[];
  /** Writes that were answered with success, as a mask. */
  readonly acknowledged: number;
  /** An operator forced something; a link was cut, ever. */
  readonly forced: boolean;
  readonly parted: boolean;
  host(n: NodeName): Host;
  hear(a: NodeName, b: NodeName): boolean;
  view(n: NodeName): NodeView;
}

function ofSource(w: Scene, n: NodeName): string[] {
  const found: string[] = [];
  const h = w.host(n);
  if (h.record.resyncingFrom !== null) found.push(`M7: ${n} serves inconsistent data`);
  if (!h.lastOwner) found.push(`M8: ${n} serves without last_owner`);
  // Without force or partition, whoever serves has all that was acknowledged.
  if (!w.forced && !w.parted && (w.acknowledged & ~h.data) !== 0) found.push(`M12: ${n} serves without acknowledged writes`);
  for (const [x, state] of Object.entries(h.links)) {
    if (state === 'in-sync' && w.host(x).data !== h.data) found.push(`M6: ${x} counts as in sync with ${n}, and differs`);
  }
  return found;
}

function ofTwoSources(w: Scene, a: NodeName, b: NodeName): string[] {
  const found: string[] = [];
  if (w.hear(a, b)) found.push(`M10: ${a} and ${b} serve, and hear each other`);
  const [x, y] = [w.host(a).record.epochServed, w.host(b).record.epochServed];
  if (x !== null && x.random === y?.random) found.push('M10: two sources in one epoch');
  if (!w.parted && !w.forced) found.push('M10: two sources without a partition');
  return found;
}

/** Both consistent, each with acknowledged writes that the other lacks. */
function writtenApart(w: Scene, a: NodeName, b: NodeName): boolean {
  const [x, y] = [w.host(a), w.host(b)];
  const apart = (w.acknowledged & x.data & ~y.data) !== 0 && (w.acknowledged & y.data & ~x.data) !== 0;
  return apart && !w.forced && x.record.resyncingFrom === null && y.record.resyncingFrom === null;
}

export interface Judgement {
  violations: string[];
  sources: number;
  /** Pairs that meet and were written apart. */
  splitBrains: number;
}

export function judge(w: Scene): Judgement {
  const serving = w.names.filter((n) => w.host(n).serving);
  const violations = serving.flatMap((n) => ofSource(w, n));
  let splitBrains = 0;
  for (const a of w.names) {
    for (const b of w.names.filter((n) => n > a)) {
      if (serving.includes(a) && serving.includes(b)) violations.push(...ofTwoSources(w, a, b));
      if (!w.hear(a, b) || !writtenApart(w, a, b)) continue;
      splitBrains += 1;
      const c = compare(w.view(a), w.view(b));
      if (c.rule !== 'split-brain') violations.push(`M10: ${a} and ${b} were written apart, and compare says ${c.rule}/${c.kind}`);
    }
  }
  // Two histories that were written apart both stay until an operator chooses.
  const kept = w.names.filter((n) => w.host(n).record.resyncingFrom === null).reduce((all, n) => all | w.host(n).data, 0);
  if (!w.forced && (w.acknowledged & ~kept) !== 0) violations.push('M10, M12: an acknowledged write is on no consistent leg');
  return { violations, sources: serving.length, splitBrains };
}
