import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { Verify } from '../../../src/mirror/verify.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { REGION, Rig } from './rig.ts';

const small = { resync: { ...DEFAULT_SETTINGS.resync, copyBytes: 2 * REGION } };

async function equalRig(targets: Record<string, 'sync' | 'async'> = { b: 'sync', c: 'sync' }, regions = 16): Promise<Rig> {
  const rig = await Rig.inSync({ regions, targets, settings: small, easy: true });
  for (const c of rig.allCopies) c.bytes.forEach((_b, i) => (c.bytes[i] = i % 251));
  return rig;
}

describe('verify', () => {
  it('of legs that are alike finds nothing, and compares every byte', async () => {
    const rig = await equalRig();
    const v = new Verify(rig.device);
    await rig.until(v.run());
    expect(v.report).toEqual({ comparedBytes: rig.sizeBytes, differingBytes: 0, ranges: [], notCompared: [] });
    expect(rig.engine.handlesAlive).toBe(0);
    expect(rig.device.lock.held).toBe(0);
  });

  it('finds a single differing byte: its region is marked durably, and the target leaves at once (M6)', async () => {
    const rig = await equalRig();
    rig.copy('c').bytes[REGION * 5 + 17] = 255;
    const v = new Verify(rig.device);
    const run = v.run();
    await rig.eventually('it is found', () => v.report.differingBytes > 0);
    expect(rig.target('c').phase).toBe('out');
    expect(rig.host.lost.map((l) => [l.node, l.reason.why])).toEqual([['c', 'verify found a difference']]);
    expect(await rig.onDisk('oos:c')).toEqual([5]);
    await rig.until(run);
    expect(v.report).toMatchObject({ differingBytes: REGION, ranges: [{ node: 'c', offset: REGION * 5, length: REGION }] });
    // It never came back, and so it is said what nobody looked at.
    expect(v.report.notCompared).toEqual([{ node: 'c', bytes: rig.sizeBytes - REGION * 6, why: 'it is not in sync: verify found a difference' }]);
    expect([rig.oos('b'), rig.target('b').phase]).toEqual([[], 'in-sync']);
  });

  it('waits for a target that left, and compares what it has missed once it is back', async () => {
    const rig = await equalRig();
    rig.copy('c').bytes[0] = 255;
    rig.copy('c').bytes[rig.sizeBytes - 1] = 255;
    const v = new Verify(rig.device);
    const run = v.run();
    for (const region of [0, rig.sizeBytes / REGION - 1]) {
      await rig.eventually('it has left', () => rig.target('c').phase === 'out' && rig.oos('c').length > 0);
      expect(rig.oos('c')).toEqual([region]);
      const own = rig.engine.leg.bytes.subarray(region * REGION, (region + 1) * REGION);
      rig.copy('c').bytes.set(own, region * REGION);
      rig.marks.outOfSync('c').clearAll();
      rig.join('c');
      rig.easy();
    }
    await rig.until(run);
    expect(v.report).toMatchObject({ differingBytes: 2 * REGION, notCompared: [] });
  });

  it('gives a target up that differs all over the place, and says so', async () => {
    const rig = await equalRig({ b: 'sync', c: 'sync' }, 32);
    rig.copy('c').bytes.fill(255);
    const v = new Verify(rig.device);
    const run = v.run();
    for (let left = 1; left <= 8; left += 1) {
      await rig.eventually('it has left', () => rig.target('c').phase === 'out' && rig.host.lost.length === left);
      rig.join('c');
      rig.easy();
    }
    await rig.until(run);
    expect(rig.target('c').phase).toBe('in-sync');
    expect(v.report.notCompared).toMatchObject([{ node: 'c', why: 'it differs in too many places: resync it fully' }]);
  });

  it('says which targets were not in sync, and could not be compared', async () => {
    const rig = await equalRig();
    rig.device.targetFailed(rig.target('b'), 'paused by an operator', false);
    const v = new Verify(rig.device);
    await rig.until(v.run());
    expect(v.report).toMatchObject({
      differingBytes: 0,
      notCompared: [{ node: 'b', bytes: rig.sizeBytes, why: 'it is not in sync: paused by an operator' }],
    });
  });

  it('takes no write in flight for a difference', async () => {
    const rig = await equalRig();
    rig.files.beforeSync = () => Promise.resolve();
    const v = new Verify(rig.device);
    const run = v.run();
    let byte = 1;
    const answers: { errno: number | undefined }[] = [];
    // Legs that answer at very different times, with writes all over the place.
    for (let i = 0; i < 200; i += 1) {
      answers.push(rig.write(((i * 7919) % 60) * 1024, 1500, byte));
      byte = (byte % 250) + 1;
      if (i % 3 === 0) await Promise.resolve();
      if (i % 20 === 0) rig.clock.advance(5);
    }
    await rig.until(run);
    await rig.endAll();
    expect(v.report).toMatchObject({ differingBytes: 0, notCompared: [] });
    expect(answers.every((a) => a.errno === 0)).toBe(true);
  });

  it('while a write is on one leg and not yet on the other waits for it', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, settings: small });
    rig.write(0, 512, 9);
    await settle();
    rig.end('own', 'write');
    const v = new Verify(rig.device);
    const run = v.run();
    await settle();
    expect(rig.engine.leg.has('read')).toBe(false);
    rig.end('b', 'write');
    rig.easy();
    await rig.endAll();
    await rig.until(run);
    expect(v.report).toMatchObject({ differingBytes: 0, notCompared: [] });
  });

  it('compares an async target once it has what is on its way to it', async () => {
    const rig = await Rig.inSync({ targets: { b: 'async' }, settings: small });
    const written = rig.write(0, 512, 9);
    await settle();
    rig.end('own', 'write');
    await settle();
    expect(written.errno).toBe(0);
    const v = new Verify(rig.device);
    const run = v.run();
    await settle();
    rig.end('own', 'read');
    await settle();
    // Its copy lags: that is no difference, and nothing is read before it has caught up.
    expect(rig.copy('b').has('read')).toBe(false);
    rig.end('b', 'write');
    rig.easy();
    await rig.endAll();
    await rig.until(run);
    expect(v.report).toMatchObject({ differingBytes: 0, notCompared: [] });
  });

  it('finds what differs on an async target', async () => {
    const rig = await equalRig({ b: 'async' });
    rig.copy('b').bytes[3] = 255;
    const v = new Verify(rig.device);
    await rig.until(v.run());
    expect([v.report.differingBytes, rig.oos('b')]).toEqual([REGION, [0]]);
  });

  it('does not wait for ever for an async target that leaves with its queue', async () => {
    const rig = await Rig.inSync({ targets: { b: 'async' }, settings: small });
    rig.write(0, 512, 9);
    await settle();
    rig.end('own', 'write');
    await settle();
    const v = new Verify(rig.device);
    const run = v.run();
    await settle();
    rig.end('own', 'read');
    await settle();
    rig.device.targetFailed(rig.target('b'), 'gone', false);
    rig.easy();
    await rig.endAll();
    await rig.until(run);
    expect(v.report.notCompared).toEqual([{ node: 'b', bytes: rig.sizeBytes, why: 'it is not in sync: gone' }]);
  });

  it('lets a target go whose reads fail, and goes on with the others', async () => {
    const rig = await equalRig();
    rig.copy('b').failing.set('read', Errno.EIO);
    rig.copy('c').bytes[0] = 255;
    const v = new Verify(rig.device);
    await rig.until(v.run());
    expect(v.report.ranges.map((r) => r.node)).toEqual(['c']);
    expect(rig.target('b').phase).toBe('out');
    expect(rig.oos('b')).toEqual([]);
    expect(v.report.notCompared[0]).toMatchObject({ node: 'b', bytes: rig.sizeBytes });
  });

  it('ends with an error when the own leg can not be read, and says so', async () => {
    const rig = await equalRig();
    rig.engine.leg.failing.set('read', Errno.EIO);
    await expect(rig.until(new Verify(rig.device).run())).rejects.toThrow('read of the local leg');
    expect(rig.device.lock.held).toBe(0);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('never judges targets by a leg that has left the mirror', async () => {
    const rig = await equalRig({ b: 'sync' });
    rig.copy('b').bytes.fill(1);
    rig.local.state = 'out';
    await expect(rig.until(new Verify(rig.device).run())).rejects.toThrow('out of the mirror');
    expect(rig.oos('b')).toEqual([]);
    expect(rig.target('b').phase).toBe('in-sync');
  });

  it('never judges targets by a leg that leaves while they are being read', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, settings: small });
    rig.copy('b').bytes.fill(1);
    const run = new Verify(rig.device).run();
    await settle();
    rig.end('own', 'read');
    await settle();
    rig.local.state = 'out';
    rig.easy();
    await rig.endAll();
    await expect(rig.until(run)).rejects.toThrow('out of the mirror');
    expect(rig.oos('b')).toEqual([]);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('says that differences could not be marked when the bitmap file can not be written', async () => {
    const rig = await equalRig();
    rig.copy('c').bytes[0] = 255;
    rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    await expect(rig.until(new Verify(rig.device).run())).rejects.toThrow('could not be marked');
  });

  it('ends when it is cancelled', async () => {
    const rig = await equalRig();
    const v = new Verify(rig.device);
    const run = v.run();
    v.cancel();
    await rig.until(run);
    expect(v.report.comparedBytes).toBeLessThan(rig.sizeBytes);
  });

  it('of a mirror that leaves service is an error, and no word of legs that are the same', async () => {
    const rig = await equalRig();
    const run = new Verify(rig.device).run();
    rig.device.stop(Errno.ESHUTDOWN);
    await expect(rig.until(run)).rejects.toThrow('the mirror has left service');
    expect(rig.device.lock.held).toBe(0);
  });
});
