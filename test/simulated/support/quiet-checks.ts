/** What must hold whenever nothing is being written: who is shown as Target is equal (M6), and every difference is marked (M5). */
import type { StateRecord } from '../../../src/failover/types.ts';
import type { Cluster, Machine } from './cluster.ts';
import { isMarked } from './bitmap-reader.ts';
import { LEG } from './plan.ts';

/** Looks at every source whose device has nothing in hand. */
export function checkQuietly(c: Cluster): void {
  const sources = c.all.filter((m) => m.inService);
  const [source] = sources;
  if (source === undefined || sources.length !== 1) return;
  const role = source.mirror?.source;
  const device = role?.device;
  if (role === undefined || device === undefined || device.pool.busy > 0 || device.local.state !== 'in') return;
  // Its own leg has failed a write that targets may have: either is about to leave.
  if (device.losses.ownLegSettling !== undefined) return;
  for (const link of role.links.values()) {
    const target = c.machine(link.node);
    const { leg } = link;
    if (leg.phase === 'leaving' || (leg.queue?.outstandingWrites ?? 0) > 0) continue;
    const different = differences(c, source, target, false);
    if (leg.phase === 'in-sync') {
      // A target that has just died is not yet known to be out; neither side calls anything equal that lives.
      if (target.view?.state !== 'Target') continue;
      c.checked('M6');
      if (different.length > 0) {
        c.violated(
          'M6',
          `${link.node} is in sync with ${source.name}, and ${String(different.length)} regions differ, the first is ${String(different[0])}`,
        );
      }
      continue;
    }
    judgeAccount(c, source, target, different);
  }
}

/** Whether the next resync of the target goes by marks alone. */
function isAccounted(source: Machine, target: Machine): boolean {
  const role = source.mirror?.source;
  const record = source.mirror?.record();
  if (role === undefined || record === undefined) return false;
  return (
    record.accountComplete.includes(target.name) &&
    !record.mergePending.some((m) => m.for.includes(target.name)) &&
    role.links.get(target.name)?.fullWanted !== true &&
    !role.damagedFor.has(target.name) &&
    record.hadData &&
    // Without a record that can be read it is out until it is made anew, and then all is copied.
    target.record !== undefined &&
    knowsLastSession(record, target.record)
  );
}

/** Whether it knows of the epoch in which the target was last copied to: of what another source did, it has no account. */
function knowsLastSession(record: StateRecord, target: StateRecord): boolean {
  const last = target.sessionIn ?? null;
  return last === null || record.terms === undefined || record.terms.includes(last.random);
}

/** The first of these regions that is neither in the source's account nor in the target's own, which the next session asks for. */
function unmarked(source: Machine, target: Machine, regions: readonly number[]): number | undefined {
  const theirs = target.durableMarks();
  if (theirs === undefined) return undefined;
  const own = source.durableMarks();
  return regions.find(
    (r) =>
      !isMarked(own, r, (n) => n === 'intent' || n === `oos:${target.name}`) &&
      !isMarked(theirs, r, (n) => n === 'intent' || n === `oos:${source.name}`),
  );
}

/** M5: a difference is in the account, unless the account is known to be incomplete: then all is copied. */
function judgeAccount(c: Cluster, source: Machine, target: Machine, different: readonly number[]): void {
  if (!isAccounted(source, target)) return;
  c.checked('M5');
  const missing = unmarked(source, target, different);
  if (missing !== undefined) {
    c.violated('M5', `region ${String(missing)} differs between ${source.name}, in service, and ${target.name}, and no durable mark says so`);
  }
}

/** M5, at any moment: what is not marked is equal on stable storage, since a mark is dropped only when both legs have synced. */
export function checkProofs(c: Cluster): void {
  const sources = c.all.filter((m) => m.inService);
  const [source] = sources;
  if (source === undefined || sources.length !== 1 || source.mirror?.source?.device.local.state !== 'in') return;
  for (const target of c.all) {
    if (target === source || !isAccounted(source, target)) continue;
    const different = differences(c, source, target, true);
    if (different.length === 0) continue;
    c.checked('M5 (proofs)');
    const missing = unmarked(source, target, different);
    if (missing !== undefined) {
      c.violated(
        'M5',
        `region ${String(missing)} is not marked, and differs on stable storage between ${source.name}, in service, and ${target.name}`,
      );
    }
  }
}

/** Regions whose bytes differ now, or on stable storage. */
export function differences(c: Cluster, a: Machine, b: Machine, durable: boolean): number[] {
  const offsets = a.sim.differences(LEG, b.sim, LEG, durable).filter((at) => at < c.plan.sizeBytes);
  return [...new Set(offsets.map((at) => Math.floor(at / c.plan.regionBytes)))];
}
