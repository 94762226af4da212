/**
 * What a node was given as a target and has not synced when it goes in service: no FLUSH of its own has covered it yet, and a
 * sync that fails now may lose it as well as what is written from now on (M3).
 *
 *   replica.unsynced --> intent, durable before the first answer --> one sync of the own leg, in the background --> released
 */
import { addWithin } from '../mirror/unsynced.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { errnoName } from '../io/types.ts';
import type { MirrorDevice } from '../mirror/device.ts';

/** Adds it to the intent map; answers the map's new content that is inherited, undefined when there is none. */
export function inherit(intent: DirtyBitmap, unsynced: DirtyBitmap | undefined, empty: DirtyBitmap): DirtyBitmap | undefined {
  if (unsynced === undefined || unsynced.count === 0) return undefined;
  addWithin(empty, unsynced);
  intent.or(empty);
  return empty;
}

/** Resolves when the own leg has it durably, or has failed. Never rejects. */
export async function syncInherited(d: MirrorDevice, inherited: DirtyBitmap): Promise<void> {
  const { marks } = d;
  const r = await d.hub.run((op) => {
    d.hub.engine.sync(op, d.local.info.leg);
  });
  if (r.errno !== 0) {
    d.local.syncFailed = true;
    if (!d.stopped) d.localFailed(`sync of the local leg: ${errnoName(r.errno)}`);
    return;
  }
  // Another sync may have failed in the meantime; and a mirror that has grown has other marks.
  if (!d.stopped && !d.local.syncFailed && d.local.state === 'in' && d.marks === marks) marks.intent.release(inherited);
}
