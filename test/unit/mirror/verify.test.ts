import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { Verify } from '../../../src/mirror/verify.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { REGION, Rig } from './rig.ts';

const small = { resync: { ...DEFAULT_SETTINGS.resync, copyBytes: 2 * REGION } };

async function equalRig(targets: Record<string, 'sync' | 'async'> = { b: 'sync', c: 'sync' }): Promise<Rig> {
  const rig = await Rig.inSync({ targets, settings: small, easy: true });
  for (const c of rig.allCopies) c.bytes.forEach((_b, i) => (c.bytes[i] = i % 251));
  return rig;
}

describe('verify', () => {
  it('of legs that are alike finds nothing, and compares every byte', async () => {
    const rig = await equalRig();
    const v = new Verify(rig.device);
    expect(await rig.until(v.run())).toEqual([]);
    expect(v.report).toEqual({ comparedBytes: rig.sizeBytes, differingBytes: 0, ranges: [] });
    expect(rig.engine.handlesAlive).toBe(0);
    expect(rig.device.lock.held).toBe(0);
  });

  it('finds a single differing byte, names its node and region, and marks it durably', async () => {
    const rig = await equalRig();
    rig.copy('c').bytes[REGION * 5 + 17] = 255;
    const v = new Verify(rig.device);
    const differing = await rig.until(v.run());
    expect(differing.map((t) => t.node)).toEqual(['c']);
    expect(v.report).toMatchObject({ differingBytes: REGION, ranges: [{ node: 'c', offset: REGION * 5, length: REGION }] });
    expect(await rig.onDisk('oos:c')).toEqual([5]);
    expect(rig.oos('b')).toEqual([]);
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
    expect(await rig.until(run)).toEqual([]);
    await rig.endAll();
    expect(v.report.differingBytes).toBe(0);
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
    expect(await rig.until(run)).toEqual([]);
  });

  it('leaves an async target alone, whose queue is no difference', async () => {
    const rig = await equalRig({ b: 'async' });
    rig.copy('b').bytes.fill(0);
    expect(await rig.until(new Verify(rig.device).run())).toEqual([]);
    expect(rig.copy('b').told).toEqual([]);
  });

  it('lets a target go whose reads fail, and goes on with the others', async () => {
    const rig = await equalRig();
    rig.copy('b').failing.set('read', Errno.EIO);
    rig.copy('c').bytes[0] = 255;
    const v = new Verify(rig.device);
    expect((await rig.until(v.run())).map((t) => t.node)).toEqual(['c']);
    expect(rig.target('b').phase).toBe('out');
    expect(rig.oos('b')).toEqual([]);
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

  it('ends when it is cancelled or the device is stopped', async () => {
    const rig = await equalRig();
    const v = new Verify(rig.device);
    const run = v.run();
    v.cancel();
    await rig.until(run);
    expect(v.report.comparedBytes).toBeLessThan(rig.sizeBytes);
    const other = new Verify(rig.device);
    const second = other.run();
    rig.device.stop(Errno.ESHUTDOWN);
    await rig.until(second);
    expect(other.report.comparedBytes).toBeLessThan(rig.sizeBytes);
  });
});
