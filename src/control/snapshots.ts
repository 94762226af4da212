/** Snapshots, as people ask for them: of a mirror in service here. */
import { makeCheckpoint } from '../failover/checkpoint-commands.ts';
import type { SourceRole } from '../failover/source.ts';
import { type Actions, ControlError } from './types.ts';

/** Of the mirror's size, unless said otherwise. */
const SPACE_SHARE = 0.1;

/** With a checkpoint of the same moment no role may change meanwhile. */
export function createSnapshot(s: SourceRole, p: Actions['snapshot-create']['params']): Promise<Actions['snapshot-create']['result']> {
  const { sizeBytes } = s.device;
  return s.snapshots.create(p.name, p.spaceBytes ?? Math.ceil(sizeBytes * SPACE_SHARE), () => ({
    metaContexts: s.export.contexts.freeze(),
    ...(p.checkpoint === undefined ? {} : { also: makeCheckpoint(s, p.checkpoint) }),
  }));
}

export async function deleteSnapshot(s: SourceRole, name: string): Promise<Actions['snapshot-delete']['result']> {
  const names = s.snapshots.views().map((v) => v.name);
  if (!names.includes(name)) throw new ControlError('not-found', `no snapshot ${name} of ${s.ctx.tag}; snapshots: ${names.join(', ') || 'none'}`);
  await s.snapshots.delete(name);
  return { deleted: name };
}
