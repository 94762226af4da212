import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { nullLog } from '../../../src/io/log.ts';
import { Errno } from '../../../src/io/types.ts';
import { Marks } from '../../../src/mirror/marks.ts';
import { Prover } from '../../../src/mirror/prover.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { IDENTITY, REGION, Rig } from './rig.ts';

async function written(rig: Rig, ...regions: number[]): Promise<void> {
  for (const r of regions) rig.write(r * REGION, 512, 1);
  await rig.endAll();
}

describe('prover', () => {
  it('proves what was written once every leg in session has synced (M5)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'async' } });
    await written(rig, 1);
    const proof = new Prover(rig.device).prove();
    await settle();
    rig.end('own', 'sync');
    rig.end('b', 'sync');
    await settle();
    expect(rig.marks.intent.hasUnproven).toBe(true);
    rig.end('c', 'sync');
    expect(await proof).toBe(true);
    expect(rig.marks.intent.hasUnproven).toBe(false);
  });

  it('syncs a target that is being resynced as well', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    rig.open('b');
    await written(rig, 1);
    const proof = new Prover(rig.device).prove();
    await rig.endAll();
    expect(await proof).toBe(true);
    expect(rig.copy('b').told).toContain('sync');
  });

  it('proves nothing when the own leg fails, and that leg is not trusted any more', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.host.easy = true;
    rig.host.ownLegTaken = false;
    await written(rig, 1);
    const prover = new Prover(rig.device);
    const proof = prover.prove();
    await settle();
    rig.end('own', 'sync', Errno.EIO);
    await rig.endAll();
    expect(await proof).toBe(false);
    const again = prover.prove();
    await rig.endAll();
    expect(await again).toBe(false);
    expect(rig.intent()).toEqual([1]);
  });

  it('proves nothing while a failure of the own leg is settled: a target may have what that leg failed to write (M5)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(3 * REGION, 512, 1);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    expect(rig.host.ownLeg).toHaveLength(1);
    const proof = new Prover(rig.device).prove();
    await settle();
    rig.end('own', 'sync');
    rig.end('b', 'sync');
    expect(await proof).toBe(false);
    rig.host.ownLeg[0]?.resolve(false);
    await rig.endAll();
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(Errno.EIO);
    expect(rig.oos('b')).toEqual([3]);
  });

  it('proves for those that stay when a target fails, which keeps its marks and may not be skipped as equal (M3)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.host.easy = true;
    await written(rig, 1);
    const proof = new Prover(rig.device).prove();
    await settle();
    rig.end('b', 'sync', Errno.EIO);
    await rig.endAll();
    expect(await proof).toBe(true);
    expect(rig.oos('b')).toEqual([1]);
    expect(rig.target('b').rewriteAll).toBe(true);
  });

  it('proves for a caller what was written before the call, although a proof is running', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const prover = new Prover(rig.device);
    await written(rig, 1);
    const first = prover.prove();
    await settle();
    rig.write(2 * REGION, 512, 1);
    await settle();
    rig.end('own', 'write');
    rig.end('b', 'write');
    const second = [prover.prove(), prover.prove()];
    rig.end('own', 'sync');
    rig.end('b', 'sync');
    expect(await first).toBe(true);
    expect(rig.marks.intent.hasUnproven).toBe(true);
    await rig.endAll();
    expect(await Promise.all(second)).toEqual([true, true]);
    expect(rig.marks.intent.hasUnproven).toBe(false);
    expect(rig.engine.leg.told.filter((t) => t === 'sync')).toHaveLength(2);
  });

  it('proves in the geometry that it began in, although the device has grown meanwhile', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    await written(rig, 1);
    const proof = new Prover(rig.device).prove();
    await settle();
    await rig.device.closeEntrance('resize');
    const deviceBytes = rig.sizeBytes * 2;
    const file = await BitmapFile.create(rig.files, '/bigger', { ...IDENTITY, deviceBytes, generation: '00000000000000aa' });
    rig.device.setGeometry(
      deviceBytes,
      new Marks({ file, regions: new RegionMap({ deviceBytes, regionBytes: REGION }), limits: DEFAULT_SETTINGS.intent, log: nullLog }),
    );
    await rig.endAll();
    expect(await proof).toBe(true);
    expect(rig.marks.intent.hasUnproven).toBe(false);
  });

  it('by itself proves an idle device, and lets go of all marks when nothing is written any more', async () => {
    const rig = await Rig.inSync({
      targets: { b: 'sync' },
      settings: { proveIdleMs: 1000, keepIdleMs: 3000, intent: { keepMax: 1, markedMax: 100 } },
    });
    rig.easy();
    const prover = new Prover(rig.device);
    prover.start();
    await written(rig, 1, 2, 3);
    rig.clock.advance(1000);
    await rig.endAll();
    // A pause leaves the hot set its marks.
    for (let pause = 0; pause < 3; pause += 1) {
      expect(rig.intent()).toHaveLength(1);
      rig.clock.advance(1000);
      await rig.endAll();
    }
    expect(rig.intent()).toEqual([]);
    await settle();
    expect(await rig.onDisk('intent')).toEqual([]);
    const syncs = rig.engine.leg.told.length;
    rig.clock.advance(10_000);
    await rig.endAll();
    expect(rig.engine.leg.told).toHaveLength(syncs);
    prover.stop();
    expect(rig.clock.pending).toBe(0);
  });

  it.each(['quiet', 'room'] as const)('takes none of the marks of the next term, which are in the same file (%s, M1, M5)', async (why) => {
    const regions = 10_000;
    const settings = { proveIdleMs: 1000, keepIdleMs: 1000, intent: { keepMax: 0, markedMax: regions } };
    const rig = await Rig.inSync({ regions, settings, easy: true });
    const prover = new Prover(rig.device);
    rig.marks.begin(0, regions - 1);
    await rig.marks.durable();
    rig.marks.intent.end(0, regions - 1);
    expect(await prover.prove()).toBe(true);
    if (why === 'room') void prover.makeRoom();
    else {
      prover.start();
      rig.clock.advance(1000);
      rig.clock.advance(1000);
    }
    await settle();
    const left = rig.marks.intent.writtenRegions;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(regions);
    rig.device.stop(Errno.ESHUTDOWN);
    prover.stop();
    const next = new Marks({ file: rig.marks.file, regions: rig.marks.regions, limits: settings.intent, log: nullLog });
    const last = regions - 1;
    // Its mark is there already, so that no flush is waited for.
    expect(next.begin(last, last)).toBe(false);
    while (rig.clock.pending > 0) {
      rig.clock.advance(1);
      await settle();
    }
    expect([rig.marks.intent.writtenRegions, next.intent.markedRegions]).toEqual([left, left]);
    expect(await next.durable()).toBe(true);
    expect(await rig.onDisk('intent')).toContain(last);
  });

  it('sends no sync of its own while the application flushes, and proves what it leaves unflushed', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, settings: { proveIdleMs: 1000 } });
    rig.easy();
    const prover = new Prover(rig.device);
    prover.start();
    const syncs = (): number => rig.copy('b').told.filter((t) => t === 'sync').length;
    for (let i = 1; i <= 3; i += 1) {
      await written(rig, i);
      rig.flush();
      await rig.endAll();
      await written(rig, i);
      rig.clock.advance(1000);
      await rig.endAll();
      expect(syncs()).toBe(i);
    }
    rig.clock.advance(1000);
    await rig.endAll();
    expect(syncs()).toBe(4);
    expect(rig.marks.intent.hasUnproven).toBe(false);
    prover.stop();
  });

  it('does nothing while the device is suspended', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, settings: { proveIdleMs: 1000 } });
    await written(rig, 1);
    const prover = new Prover(rig.device);
    prover.start();
    rig.device.suspend('claim');
    rig.clock.advance(1000);
    await settle();
    expect(rig.engine.leg.has('sync')).toBe(false);
    prover.stop();
  });

  it('a host that is asked for a proof hears of it when more regions are marked than allowed', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, settings: { intent: { keepMax: 1, markedMax: 3 } } });
    await written(rig, 1, 2, 3);
    expect(rig.host.pressures).toBe(0);
    await written(rig, 4);
    expect(rig.host.pressures).toBeGreaterThan(0);
  });
});
