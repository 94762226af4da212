/** Snapshots, as people ask for them: of a mirror in service here. */
import type { SourceRole } from '../failover/source.ts';
import { type Actions, ControlError } from './types.ts';

/** Of the mirror's size, unless said otherwise. */
const SPACE_SHARE = 0.1;

export function createSnapshot(s: SourceRole, p: Actions['snapshot-create']['params']): Promise<Actions['snapshot-create']['result']> {
  const { sizeBytes } = s.device;
  return s.snapshots.create(p.name, p.spaceBytes ?? Math.ceil(sizeBytes * SPACE_SHARE));
}

export async function deleteSnapshot(s: SourceRole, name: string): Promise<Actions['snapshot-delete']['result']> {
  const names = s.snapshots.views().map((v) => v.name);
  if (!names.includes(name)) throw new ControlError('not-found', `no snapshot ${name} of ${s.ctx.tag}; snapshots: ${names.join(', ') || 'none'}`);
  await s.snapshots.delete(name);
  return { deleted: name };
}
