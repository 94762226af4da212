/**
 * What the source's export says beside base:allocation, for tools that back up or compare:
 *
 *   qemu:dirty-bitmap:NAME   what was written since that checkpoint was made
 *   netraid:dirty:NODE       where that target may differ now: marked out of sync for it, or under intent
 *
 * Bit 0 of the flags means dirty, as in QEMU's docs/interop/nbd.txt. While this source may tell nothing, all of it is dirty: that is
 * never wrong, and the reads that follow wait. A checkpoint that is gone says nothing at all, so that whoever reads by it fails.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { RegionMap } from '../bitmap/regions.ts';
import type { MetaContext, StatusExtent } from '../nbd/device.ts';
import type { MirrorDevice } from './device.ts';

const DIRTY = 1;

/** Regions that any of the maps has set, in bytes, from `offset` on and cut at the request's end. */
export function* dirtyExtents(
  maps: readonly DirtyBitmap[],
  regions: RegionMap,
  offset: number,
  length: number,
): Generator<StatusExtent, void, undefined> {
  const end = Math.min(offset + length, regions.deviceBytes);
  for (let at = offset; at < end; ) {
    const region = regions.regionOf(at);
    const stop = regions.regionOf(end - 1) + 1;
    let clean = stop;
    let dirty = region;
    for (const map of maps) {
      const run = map.nextDirtyRun(region, stop - region, stop);
      if (run === undefined) continue;
      clean = Math.min(clean, run.first);
      if (run.first === region) dirty = Math.max(dirty, run.first + run.length);
    }
    const next = dirty > region ? dirty : clean;
    const to = next === stop ? end : regions.offsetOf(next);
    yield { length: to - at, flags: dirty > region ? DIRTY : 0 };
    at = to;
  }
}

export function checkpointContext(name: string): string {
  return `qemu:dirty-bitmap:${name}`;
}

/** One that is offered. Another of the same name, made later, is another. */
class CheckpointContext implements MetaContext {
  readonly name: string;
  readonly checkpoint: string;
  gone = false;
  readonly #d: MirrorDevice;

  constructor(d: MirrorDevice, checkpoint: string) {
    this.name = checkpointContext(checkpoint);
    this.checkpoint = checkpoint;
    this.#d = d;
  }

  extents(offset: number, length: number): Iterable<StatusExtent> | undefined {
    const { marks } = this.#d;
    const map = this.gone || !keepsCheckpoints(this.#d) ? undefined : marks.checkpoint(this.checkpoint);
    return map === undefined ? undefined : told(this.#d, [map], offset, length);
  }
}

/** Without the own leg none would outlive this term: the record calls them void before the leg is out, and they are not shown from its failure on. */
function keepsCheckpoints(d: MirrorDevice): boolean {
  return d.local.state !== 'out' && d.losses.ownLegSettling === undefined;
}

export class DirtyContexts {
  readonly #d: MirrorDevice;
  readonly #checkpoints = new Map<string, CheckpointContext>();

  constructor(d: MirrorDevice) {
    this.#d = d;
  }

  /** A checkpoint of which the marks have a map is shown from now on. */
  offer(checkpoint: string): void {
    this.#checkpoints.set(checkpoint, new CheckpointContext(this.#d, checkpoint));
  }

  /** It is not offered any more, and whoever uses it gets an error. */
  withdraw(checkpoint: string): void {
    const c = this.#checkpoints.get(checkpoint);
    if (c !== undefined) c.gone = true;
    this.#checkpoints.delete(checkpoint);
  }

  all(): MetaContext[] {
    return [...this.#kept(), ...[...this.#d.targets.keys()].map((node) => this.#target(node))];
  }

  /**
   * Copies of what the checkpoints say in this very turn, as contexts of the same names for the export of a snapshot that is taken in
   * it. What is in hand, marked yet or not, counts as written: whichever side of the snapshot a write falls on, no map lacks it.
   */
  freeze(): MetaContext[] {
    const { marks } = this.#d;
    const { regions } = marks;
    return this.#kept().flatMap(({ name, checkpoint }) => {
      const map = marks.checkpoint(checkpoint)?.clone();
      if (map === undefined) return [];
      for (const m of this.#d.pool.changing()) map.setRange(regions.regionOf(m.offset), regions.regionOf(m.offset + m.length - 1));
      return [{ name, extents: (offset: number, length: number) => dirtyExtents([map], regions, offset, length) }];
    });
  }

  #kept(): CheckpointContext[] {
    return keepsCheckpoints(this.#d) ? [...this.#checkpoints.values()] : [];
  }

  #target(node: string): MetaContext {
    return {
      name: `netraid:dirty:${node}`,
      extents: (offset, length) => {
        const { marks, targets } = this.#d;
        return targets.has(node) ? told(this.#d, [marks.outOfSync(node), marks.file.map('intent')], offset, length) : undefined;
      },
    };
  }
}

function told(d: MirrorDevice, maps: readonly DirtyBitmap[], offset: number, length: number): Iterable<StatusExtent> | undefined {
  if (d.stopped) return undefined;
  return d.mayTell() ? dirtyExtents(maps, d.marks.regions, offset, length) : [{ length, flags: DIRTY }];
}
