/**
 * Makes a mirror larger while it is in use: every leg first, then the record, then the device. What the legs hold in the new
 * area is not known to be the same, so it is marked for every target, and their sessions begin anew with the new size.
 *
 *   source  old size, n+1 ------------------------------> new size, n+1      all sessions end, and begin anew
 *   target            `--> new size, n+1, one by one      `-- or not: what was taken is given back in a session of n+1 or later
 *
 * Invariant: before anybody grows, the source and every target in sync have the revision that all of them grow in, so that nothing of a
 * grow that fails, or is cut short by a crash, outranks what the source, or who takes over from it, says afterwards.
 */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import { markCheckpointsFrom } from '../bitmap/map-names.ts';
import type { RegionMap } from '../bitmap/regions.ts';
import { ClusterError } from '../cluster/errors.ts';
import { Marks } from '../mirror/marks.ts';
import type { MirrorDefinition } from './types.ts';
import type { SourceRole } from './source.ts';
import type { TargetLink } from './target-link.ts';
import { DRAIN_MAX } from './within.ts';

const GROWN = 'the mirror has grown: a session with the new size follows';
const NOT_GROWN = 'the mirror has not grown: a session with the size that it keeps follows';

type Fill = (file: BitmapFile, regions: RegionMap) => void;
/** The file is on disk with what `fill` marks, or not at all. */
type MakeFile = (definition: MirrorDefinition, fill: Fill) => Promise<{ file: BitmapFile; regions: RegionMap }>;

/** Rejects with ClusterError while the mirror has its old size, or after it has left service. */
export async function grow(s: SourceRole, sizeBytes: number, makeFile: MakeFile): Promise<void> {
  const { ctx, device } = s;
  const links = [...s.links.values()];
  const foreign = links.find((l) => l.foreign);
  if (foreign !== undefined) throw new ClusterError('refused', `${foreign.node} is a foreign target: unextend it, grow, and extend to it again`);
  if (links.some((l) => l.leg.phase !== 'in-sync')) throw new ClusterError('refused', 'every target must be in sync before the mirror grows');
  // Then the targets, whose sessions end, are the only copies.
  if (device.local.state !== 'in') throw new ClusterError('refused', 'the local leg has failed');
  // No session on a node that returns meanwhile gives any of them another revision.
  s.growing = true;
  try {
    await growAll(s, sizeBytes, makeFile);
  } finally {
    s.growing = false;
  }
  ctx.env.emit(ctx.tag, 'config', `the mirror has ${String(sizeBytes)} bytes now`, { sizeBytes });
}

async function growAll(s: SourceRole, sizeBytes: number, makeFile: MakeFile): Promise<void> {
  const { ctx, device } = s;
  const links = [...s.links.values()];
  const { engine } = ctx.env.hub;
  const { leg } = device.local.info;
  if ((await engine.legSize(leg)) < sizeBytes) await engine.setLegSize(leg, sizeBytes);
  await ctx.store.update((r) => ({ ...r, definition: { ...r.definition, revision: r.definition.revision + 1 } }));
  await s.members.announce();
  const asked: TargetLink[] = [];
  let grown = false;
  try {
    for (const l of links) {
      // Whether one that does not answer has taken it, or will, is not known: only the end of its session ends that.
      asked.push(l);
      const definition = { ...ctx.record().definition, sizeBytes };
      const params = { tag: ctx.tag, epoch: s.epoch, session: s.members.sessionIds.get(l.node), sizeBytes, definition };
      await ctx.env.cluster.request(l.node, 'grow', params, s.timeoutMs * 2);
    }
    await growHere(s, sizeBytes, makeFile);
    grown = true;
  } finally {
    await device.losses.ownLegSettling;
    // Without the own leg these are the only copies: what they took is given back when the mirror goes in service again.
    if (grown || device.local.state === 'in') for (const l of asked) device.targetFailed(l.leg, grown ? GROWN : NOT_GROWN, false, true);
  }
}

async function growHere(s: SourceRole, sizeBytes: number, makeFile: MakeFile): Promise<void> {
  const { ctx, device } = s;
  const before = ctx.record().definition.sizeBytes;
  try {
    if (!(await s.within(device.closeEntrance('resize'), s.timeoutMs * DRAIN_MAX)))
      throw new ClusterError('refused', 'the requests in hand were not answered in time');
    await s.inherited;
    // A mark that is carried into another geometry is held there: no sync drops it any more.
    if (!(await s.prover.proveAll())) throw new ClusterError('refused', 'a leg could not be synced');
    await ctx.store.update((r) => ({
      ...r,
      // What a leg holds behind its old end nobody has zeroed.
      legZeroed: false,
      definition: { ...r.definition, sizeBytes },
    }));
    try {
      const { file, regions } = await makeFile(ctx.record().definition, (f, r) => {
        const first = r.regionOf(Math.min(before, sizeBytes - 1));
        for (const node of s.links.keys()) f.map(`oos:${node}`).setRange(first, r.regionCount - 1);
        markCheckpointsFrom(f, first);
      });
      device.setGeometry(sizeBytes, new Marks({ file, regions, limits: ctx.env.settings.intent, log: ctx.env.log, before: s.marks }));
    } catch (e: unknown) {
      ctx.superseded(s.epoch, `the bitmap could not be made larger: ${String(e)}`, false);
      throw e;
    }
  } finally {
    device.openEntrance('resize');
  }
}
