/** What must hold whenever nothing is being written: who is shown as Target is equal (M6), and every difference is marked (M5). */
import type { Cluster, Machine } from './cluster.ts';
import { isMarked } from './bitmap-reader.ts';
import { LEG } from './plan.ts';

/** Looks at every source whose device has nothing in hand. */
export function checkQuietly(c: Cluster): void {
  const sources = c.all.filter((m) => m.inService);
  const [source] = sources;
  if (source === undefined || sources.length !== 1) return;
  const role = source.mirror?.source;
  if (role === undefined || role.device.requestsInHand > 0 || role.device.local.state !== 'in') return;
  for (const link of role.links.values()) {
    const target = c.machine(link.node);
    const { leg } = link;
    if (leg.phase === 'leaving' || (leg.queue?.outstandingWrites ?? 0) > 0) continue;
    const different = source.sim.firstDifference(LEG, target.sim, LEG) < 0 ? [] : differences(c, source, target);
    if (leg.phase === 'in-sync') {
      // A target that has just died is not yet known to be out; neither side calls anything equal that lives.
      if (target.mirror?.view().state !== 'Target') continue;
      c.checked('M6');
      if (different.length > 0) {
        c.violated('M6', `${link.node} is in sync with ${source.name}, and ${String(different.length)} regions differ, the first is ${String(different[0])}`);
      }
      continue;
    }
    judgeAccount(c, source, target, different);
  }
}

/** M5: a difference is in the account, unless the account is known to be incomplete: then all is copied. */
function judgeAccount(c: Cluster, source: Machine, target: Machine, different: readonly number[]): void {
  const role = source.mirror?.source;
  const record = source.mirror?.record();
  if (role === undefined || record === undefined) return;
  const link = role.links.get(target.name);
  const complete =
    record.accountComplete.includes(target.name) &&
    !record.mergePending.some((m) => m.for.includes(target.name)) &&
    link?.fullWanted !== true &&
    !role.bitmapWasDamaged &&
    record.hadData;
  if (!complete) return;
  // Whose marks count: the source's own, and the target's, which the next session will ask for.
  const theirs = target.durableMarks();
  if (theirs === undefined) return;
  c.checked('M5');
  const own = source.durableMarks();
  const missing = different.find(
    (r) => !isMarked(own, r, (n) => n === 'intent' || n === `oos:${target.name}`) && !isMarked(theirs, r, (n) => n === 'intent' || n === `oos:${source.name}`),
  );
  if (missing !== undefined) {
    c.violated('M5', `region ${String(missing)} differs between ${source.name}, in service, and ${target.name}, and no durable mark says so`);
  }
}

function differences(c: Cluster, a: Machine, b: Machine): number[] {
  const { regionBytes, sizeBytes } = c.plan;
  const [x, y] = [c.legOf(a), c.legOf(b)];
  const out: number[] = [];
  for (let r = 0; r * regionBytes < sizeBytes; r += 1) {
    const [from, to] = [r * regionBytes, Math.min((r + 1) * regionBytes, sizeBytes)];
    if (Buffer.compare(x.subarray(from, to), y.subarray(from, to)) !== 0) out.push(r);
  }
  return out;
}
