/**
 * What must hold in the tiny world after every event (M5 is looked at where a session is opened, in world.ts).
 *
 * What an operator's force may cost: the acknowledged writes that the forced node lacks, as long as they are only given up and
 * not destroyed: they stay on the legs that have them, and whoever meets them finds a split brain. A force while somebody is
 * silent is a partition that the operator made: that node may be serving, or may go in service later, without a word of it.
 */
import { compare } from '../../../src/failover/compare.ts';
import type { Decision, NodeName, NodeView } from '../../../src/failover/types.ts';
import type { Host } from './host.ts';

/** What the judge may look at. */
export interface Scene {
  readonly names: readonly NodeName[];
  /** Writes that were answered with success, as a mask. */
  readonly acknowledged: number;
  /** A link was cut, ever. */
  readonly parted: boolean;
  /** An operator forced a node that could not hear all others. */
  readonly forcedAlone: boolean;
  /** Acknowledged writes that a node lacked when an operator forced it, as a mask. */
  readonly givenUp: number;
  host(n: NodeName): Host;
  hear(a: NodeName, b: NodeName): boolean;
  view(n: NodeName): NodeView;
  decides(n: NodeName): Decision;
}

function ofSource(w: Scene, n: NodeName): string[] {
  const found: string[] = [];
  const h = w.host(n);
  if (h.record.resyncingFrom !== null) found.push(`M7: ${n} serves inconsistent data`);
  if (!h.lastOwner) found.push(`M8: ${n} serves without last_owner`);
  // Where no two histories were written apart, whoever serves has all that was acknowledged and not given up.
  const lacks = w.acknowledged & ~w.givenUp & ~h.data;
  if (!w.forcedAlone && !w.parted && lacks !== 0) found.push(`M12: ${n} serves without acknowledged writes`);
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
  if (!w.parted) found.push('M10: two sources without a partition');
  return found;
}

/** Both consistent, each with acknowledged writes that the other lacks. */
function writtenApart(w: Scene, a: NodeName, b: NodeName): boolean {
  const [x, y] = [w.host(a), w.host(b)];
  const apart = (w.acknowledged & x.data & ~y.data) !== 0 && (w.acknowledged & y.data & ~x.data) !== 0;
  return apart && x.record.resyncingFrom === null && y.record.resyncingFrom === null;
}

/** Called before a resync of `x` from `s`: what is acknowledged and consistent there, and not on `s`, would be lost without a word. */
export function overwritten(w: Scene, s: NodeName, x: NodeName): string[] {
  const t = w.host(x);
  const lost = w.acknowledged & t.data & ~w.host(s).data;
  return lost === 0 || t.record.resyncingFrom !== null ? [] : [`M10: ${s} overwrites acknowledged writes of ${x} (${lost.toString(2)})`];
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
      for (const n of [a, b]) {
        const d = w.decides(n);
        if (d.rule !== 'split-brain') violations.push(`M10: ${a} and ${b} were written apart, and ${n} says ${d.rule}/${d.action}`);
      }
    }
  }
  // Two histories that were written apart both stay until an operator chooses.
  const kept = w.names.filter((n) => w.host(n).record.resyncingFrom === null).reduce((all, n) => all | w.host(n).data, 0);
  if ((w.acknowledged & ~kept) !== 0) violations.push('M10, M12: an acknowledged write is on no consistent leg');
  return { violations, sources: serving.length, splitBrains };
}
