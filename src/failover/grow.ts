/**
 * Makes a mirror larger while it is in use: every leg first, then the record, then the device. What the legs hold in the new
 * area is not known to be the same, so it is marked for every target, and their sessions begin anew with the new size.
 */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import type { RegionMap } from '../bitmap/regions.ts';
import { ClusterError } from '../cluster/errors.ts';
import { Marks } from '../mirror/marks.ts';
import type { MirrorDefinition } from './types.ts';
import type { SourceRole } from './source.ts';

type Fill = (file: BitmapFile, regions: RegionMap) => void;
/** The file is on disk with what `fill` marks, or not at all. */
type MakeFile = (definition: MirrorDefinition, fill: Fill) => Promise<{ file: BitmapFile; regions: RegionMap }>;

/** Rejects with ClusterError before anything has changed here, or after the mirror has left service. */
export async function grow(s: SourceRole, sizeBytes: number, makeFile: MakeFile): Promise<void> {
  const { ctx, device } = s;
  const before = ctx.record().definition;
  const definition = { ...before, sizeBytes, revision: before.revision + 1 };
  const links = [...s.links.values()];
  const foreign = links.find((l) => l.foreign);
  if (foreign !== undefined) throw new ClusterError('refused', `${foreign.node} is a foreign target: unextend it, grow, and extend to it again`);
  if (links.some((l) => l.leg.phase !== 'in-sync')) throw new ClusterError('refused', 'every target must be in sync before the mirror grows');
  const { engine } = ctx.env.hub;
  const { leg } = device.local.info;
  if ((await engine.legSize(leg)) < sizeBytes) await engine.setLegSize(leg, sizeBytes);
  for (const l of links) {
    const params = { tag: ctx.tag, epoch: s.epoch, session: s.members.sessionIds.get(l.node), sizeBytes, definition };
    await ctx.env.cluster.request(l.node, 'grow', params, s.timeoutMs * 2);
  }
  await device.closeEntrance('resize');
  try {
    await s.inherited;
    if (!(await s.prover.prove())) throw new ClusterError('refused', 'a leg could not be synced');
    s.marks.collect(false);
    await ctx.store.update((r) => ({ ...r, definition: { ...r.definition, sizeBytes, revision: r.definition.revision + 1 } }));
    try {
      const { file, regions } = await makeFile(definition, (f, r) => {
        const first = r.regionOf(Math.min(before.sizeBytes, sizeBytes - 1));
        for (const l of links) f.map(`oos:${l.node}`).setRange(first, r.regionCount - 1);
      });
      device.setGeometry(sizeBytes, new Marks({ file, regions, limits: ctx.env.settings.intent, log: ctx.env.log }));
    } catch (e: unknown) {
      ctx.superseded(s.epoch, `the bitmap could not be made larger: ${String(e)}`, false);
      throw e;
    }
  } finally {
    device.openEntrance('resize');
  }
  for (const l of links) device.targetFailed(l.leg, 'the mirror has grown: a session with the new size follows', false, true);
  ctx.env.emit(ctx.tag, 'config', `the mirror has ${String(sizeBytes)} bytes now`, { sizeBytes });
}
