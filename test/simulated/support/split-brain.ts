/**
 * A split brain that is shown (M10): nobody has overwritten anything, and the operator's word decides what is promised from then on.
 */
import { type Branch, wroteApart } from './branches.ts';
import type { Cluster, Machine } from './cluster.ts';
import { readSectors } from './model.ts';

/** M10: both sides are as they were; from now on the winner's data is what is promised. */
export function splitBrainShown(c: Cluster, winner: Machine): void {
  c.checked('M10');
  c.count('split brain shown');
  for (const b of c.branches.open) asItWas(c, b);
  const { tip } = c.branches;
  const last = tip?.node === winner.name ? tip : c.branches.open.find((b) => b.node === winner.name);
  const kept = c.branches.of(winner) ?? last ?? tip;
  if (kept === undefined) return;
  c.branches.only(kept);
}

/**
 * M10: the same in the middle of a history, before a full resync of `nodes` is ordered on `source`. Shown is what the preview says of it to
 * him who orders it, and nothing else: that a node knows of it, or that another one's status shows it, does not tell him.
 */
export function splitBrainsOf(c: Cluster, source: Machine, nodes: readonly string[], preview: readonly string[]): Branch[] {
  const kept = c.branches.of(source);
  const named = (b: Branch): boolean => nodes.length === 0 || nodes.includes(b.node);
  const victims = c.branches.open.filter((b) => b !== kept && named(b) && isShown(b.node, preview));
  for (const b of victims) {
    c.checked('M10');
    asItWas(c, b);
  }
  return victims;
}

/** Its line says that there is one, and that what that node has is lost. */
function isShown(node: string, preview: readonly string[]): boolean {
  return preview.some((line) => line.startsWith(`${node}: split brain: `) && line.includes(`what ${node} has `) && line.endsWith(' is lost'));
}

/** M10, M13: the record of `m` is damaged, so that nobody can compare it; the operator who deletes it gives up what it answered apart. */
export function givenUpWithItsRecord(c: Cluster, source: Machine, m: Machine): void {
  const kept = c.branches.of(source);
  for (const b of c.branches.open.filter((x) => x !== kept && x.node === m.name && wroteApart(x))) {
    c.checked('M10');
    asItWas(c, b);
    c.branches.giveUp(b, 'split brain ended with a damaged record');
  }
}

function asItWas(c: Cluster, b: Branch): void {
  if (!wroteApart(b)) return;
  // Power may have gone while it was not the newest.
  if (c.plan.kinds.has('power')) b.model.powerWasLost();
  const bad = holdersOf(c, b).map((name) => ({ name, wrong: firstWrong(c, b, c.machine(name)) }));
  const [first] = bad;
  if (first !== undefined && bad.every((x) => x.wrong !== undefined))
    c.violated('M10', `a split brain was shown, and ${first.name} no longer has what ${b.node} answered in epoch ${b.key}: ${String(first.wrong)}`);
}

/** Its own node; one whose leg had failed went on with those of its targets, and of these with the ones that it has not lost since. */
function holdersOf(c: Cluster, b: Branch): string[] {
  const r = c.machine(b.node).mirror?.record();
  if (r === undefined || r.legBehind === null) return [b.node];
  return [...r.inSync.filter((n) => n !== b.node), r.legBehind.newest];
}

export function firstWrong(c: Cluster, b: Branch, m: Machine, excused: (sector: number, value: number) => boolean = () => false): string | undefined {
  const leg = readSectors(c.legOf(m), 0);
  const bad = leg.findIndex((v, s) => !b.model.mayHold(s, v, Infinity) && !excused(s, v));
  return bad < 0 ? undefined : `sector ${String(bad)} holds #${String(leg[bad])}, allowed: ${b.model.describe(bad)}`;
}
