import { describe, expect, test } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import type { SimNode } from '../../../src/io/simulated/node.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { Errno, type LegInfo } from '../../../src/io/types.ts';
import { isHole, REWRITE_PIECE_BYTES, rewriteRegions } from '../../../src/mirror/own-leg.ts';

const LEG = '/disk/leg';
const REGION = 65536;
const REGIONS = 64;

interface Here {
  node: SimNode;
  hub: EngineHub;
  leg: LegInfo;
  regions: RegionMap;
}

/** A leg of 4 MiB on a disk that forgets what was not synced. */
async function onALeg(seed: number, f: (h: Here) => Promise<void>): Promise<void> {
  const world = new SimWorld(seed);
  const node = world.node('server1');
  node.createFile(LEG, REGIONS * REGION);
  const hub = new EngineHub(node.boot().createEngine());
  await world.run(
    (async () => {
      const leg = await hub.engine.openLeg(LEG, { write: true, lock: true });
      await f({ node, hub, leg, regions: new RegionMap({ deviceBytes: REGIONS * REGION, regionBytes: REGION }) });
    })(),
  );
}

async function write(h: Here, offset: number, length: number, value: number): Promise<void> {
  const handle = h.hub.engine.allocate(length);
  h.hub.engine.view(handle).fill(value);
  await h.hub.must('write', (op) => {
    h.hub.engine.write(op, h.leg.leg, offset, handle, 0, length, false);
  });
  h.hub.engine.release(handle);
}

async function sync(h: Here): Promise<number> {
  const r = await h.hub.run((op) => {
    h.hub.engine.sync(op, h.leg.leg);
  });
  return r.errno;
}

function marked(...ranges: [number, number][]): DirtyBitmap {
  const map = new DirtyBitmap(REGIONS);
  for (const [first, last] of ranges) map.setRange(first, last);
  return map;
}

describe('what a failed sync has given up', () => {
  test('is saved by no later sync, and by being written again', async () => {
    let lost = 0;
    for (let seed = 1; seed <= 10; seed += 1) {
      await onALeg(seed, async (h) => {
        await write(h, 3 * REGION, 20 * REGION, 7);
        h.node.fail(LEG, { op: 'sync', errno: Errno.EIO, times: 1 });
        expect(await sync(h)).toBe(Errno.EIO);
        expect(await sync(h)).toBe(0);
        if (
          h.node
            .peekDurable(LEG)
            ?.subarray(3 * REGION, 23 * REGION)
            .some((b) => b !== 7) === true
        )
          lost += 1;
        expect(await rewriteRegions(h.hub, h.leg, h.regions, marked([3, 22]))).toBe(0);
        expect(
          h.node
            .peekDurable(LEG)
            ?.subarray(3 * REGION, 23 * REGION)
            .every((b) => b === 7),
        ).toBe(true);
      });
    }
    expect(lost).toBeGreaterThan(0);
  });

  test('is punched again where it is a hole, and the leg stays sparse', async () => {
    await onALeg(1, async (h) => {
      await write(h, 0, 2 * REGION, 9);
      expect(await sync(h)).toBe(0);
      await h.hub.must('punch', (op) => {
        h.hub.engine.zero(op, h.leg.leg, 0, REGION, true, false);
      });
      h.node.fail(LEG, { op: 'sync', errno: Errno.EIO, times: 1 });
      expect(await sync(h)).toBe(Errno.EIO);
      expect(await rewriteRegions(h.hub, h.leg, h.regions, marked([0, 0]))).toBe(0);
      expect(await isHole(h.hub, h.leg, 0, REGION)).toBe(true);
      expect(await isHole(h.hub, h.leg, 0, 2 * REGION)).toBe(false);
      expect(
        h.node
          .peekDurable(LEG)
          ?.subarray(0, REGION)
          .every((b) => b === 0),
      ).toBe(true);
      expect(
        h.node
          .peekDurable(LEG)
          ?.subarray(REGION, 2 * REGION)
          .every((b) => b === 9),
      ).toBe(true);
    });
  });
});

describe('writing regions again', () => {
  test('touches those regions alone, in pieces of at most 1 MiB, up to the end of the leg', async () => {
    await onALeg(1, async (h) => {
      await write(h, 0, REGIONS * REGION, 5);
      expect(await sync(h)).toBe(0);
      const asked: [number, number][] = [];
      const { engine } = h.hub;
      const write_ = engine.write.bind(engine);
      engine.write = (op, leg, offset, handle, hOffset, length, fua) => {
        asked.push([offset, length]);
        write_(op, leg, offset, handle, hOffset, length, fua);
      };
      expect(await rewriteRegions(h.hub, h.leg, h.regions, marked([1, 1], [10, 30], [63, 63]))).toBe(0);
      expect(asked.sort((a, b) => a[0] - b[0])).toEqual([
        [REGION, REGION],
        [10 * REGION, REWRITE_PIECE_BYTES],
        [26 * REGION, 5 * REGION],
        [63 * REGION, REGION],
      ]);
    });
  });

  test.each(['read', 'write', 'sync'] as const)('says so when a %s fails, and lets go of what it read', async (op) => {
    await onALeg(1, async (h) => {
      await write(h, 0, 4 * REGION, 5);
      h.node.fail(LEG, { op, errno: Errno.EIO });
      expect(await rewriteRegions(h.hub, h.leg, h.regions, marked([0, 3]))).toBe(Errno.EIO);
      expect(h.hub.engine.usage().handles).toBe(0);
    });
  });
});
