/**
 * What a node in service has not synced from before it went in service: what its last session as source was writing, and what
 * it was given as a target. No FLUSH of this term has covered it yet, and a sync that fails now may lose it as well as what is
 * written from now on (M3). So it stays under intent until one sync of the own leg has ended well.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { errnoName } from '../io/types.ts';
import type { MirrorDevice } from '../mirror/device.ts';

/** Resolves when the own leg has it durably, or has failed; `synced` is called in the first case. Never rejects. */
export async function syncInherited(d: MirrorDevice, inherited: DirtyBitmap, synced: () => void): Promise<void> {
  const { marks } = d;
  const r = await d.hub.run((op) => {
    d.hub.engine.sync(op, d.local.info.leg);
  });
  if (r.errno !== 0) {
    d.local.syncFailed = true;
    if (!d.stopped) d.localFailed(`sync of the local leg: ${errnoName(r.errno)}`);
    return;
  }
  // Another sync may have failed in the meantime, or the leg may have left with what it had not synced.
  if (d.local.syncFailed || d.local.state !== 'in') return;
  synced();
  if (!d.stopped && d.marks === marks) marks.intent.release(inherited);
}
