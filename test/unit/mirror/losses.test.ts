import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { settle } from '../../support/manual-clock.ts';
import { durableMap, REGION, Rig } from './rig.ts';

describe('a target is lost (M2)', () => {
  it('with writes in flight: no reply is given before the host has settled it, marks are kept, a generation is asked for', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(REGION * 3, 512, 1);
    await settle();
    rig.end('own', 'write');
    rig.end('b', 'write', Errno.ETIMEDOUT);
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ node: 'b', newGeneration: true, reason: { wasInSync: true, syncFailed: false } }]);
    expect(w.errno).toBeUndefined();
    expect(rig.oos('b')).toEqual([3]);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w).toMatchObject({ errno: 0, answers: 1 });
    expect(rig.target('b').phase).toBe('out');
    expect(rig.client('b').closed).toBeDefined();
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('by its connection: what was outstanding says so, and why that was', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await settle();
    rig.client('b').lose('no reply within 2000 ms');
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ reason: { why: 'write on b: ECONNRESET (no reply within 2000 ms)' } }]);
    expect(rig.target('b').whyOut).toBe('write on b: ECONNRESET (no reply within 2000 ms)');
  });

  it('its marks are durable before the host is asked', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await settle();
    let atThatTime: Promise<number[]> | undefined;
    const ask = rig.host.targetLost.bind(rig.host);
    rig.host.targetLost = (node, reason, g) => {
      atThatTime = durableMap(
        rig.files.afterPowerLoss(() => false),
        rig.sizeBytes,
        'oos:b',
      );
      return ask(node, reason, g);
    };
    rig.client('b').lose();
    await rig.endAll();
    expect(await atThatTime).toEqual([0]);
  });

  it('with no write in hand: no generation is asked for, but the next write needs one', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await rig.endAll();
    rig.client('b').lose();
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ newGeneration: false }]);
    rig.host.lost[0]?.resolve();
    await settle();
    const w = rig.write(REGION, 512, 1);
    await settle();
    expect(rig.host.generations).toHaveLength(1);
    expect(rig.engine.leg.has('write')).toBe(false);
    rig.host.generations[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it('reads in hand ask for no generation, and are answered while the loss is being settled', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const before = rig.read(0, 512);
    await settle();
    rig.client('b').lose();
    const during = rig.read(0, 512);
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ newGeneration: false }]);
    expect([before.errno, during.errno]).toEqual([0, 0]);
  });

  it('a FLUSH in flight waits for the settlement as a write does', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const f = rig.flush();
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ newGeneration: true }]);
    expect(f.errno).toBeUndefined();
    rig.host.lost[0]?.resolve();
    await settle();
    expect(f.errno).toBe(0);
  });

  it('an answer that waited for the settlement is not given when the process stood still meanwhile (M9)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, stallLimitMs: 1000 });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    // What settles the loss has come while it stood still, and is seen before anybody looks at the clock.
    rig.clock.advance(1000);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBeUndefined();
    expect(rig.host.stalls).toBe(1);
    rig.device.tick();
    rig.device.unsuspend('stalled');
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it('nor is one that waited until the own leg had left (M9)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, stallLimitMs: 1000 });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.clock.advance(1000);
    rig.host.ownLeg[0]?.resolve(true);
    await rig.endAll();
    expect(w.errno).toBeUndefined();
    expect(rig.host.stalls).toBe(1);
    rig.device.tick();
    rig.device.unsuspend('stalled');
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it('a write that comes while the loss is being settled waits, and is marked for the lost target', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.client('b').lose();
    await rig.endAll();
    const w = rig.write(REGION * 8, 512, 1);
    await rig.endAll();
    expect(rig.engine.leg.told).toEqual([]);
    expect(rig.oos('b')).toEqual([8]);
    rig.host.easy = true;
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(0);
    expect(rig.copy('b').told).toEqual([]);
    expect(await rig.onDisk('oos:b')).toEqual([8]);
  });

  it('marks a write that had its intent but was not told to any leg yet', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const gates: (() => void)[] = [];
    rig.files.beforeSync = () => new Promise((resolve) => gates.push(resolve));
    const w = rig.write(REGION * 5, 512, 1);
    await settle();
    rig.client('b').lose();
    expect(rig.oos('b')).toEqual([5]);
    rig.files.beforeSync = () => Promise.resolve();
    for (const g of gates) g();
    await rig.endAll();
    rig.host.easy = true;
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it('two at once: the reply waits for both', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.client('b').lose();
    rig.client('c').lose();
    await rig.endAll();
    expect(rig.host.lost.map((l) => l.node)).toEqual(['b', 'c']);
    rig.host.lost[0]?.resolve();
    await settle();
    expect(w.errno).toBeUndefined();
    rig.host.lost[1]?.resolve();
    await settle();
    expect(w).toMatchObject({ errno: 0, answers: 1 });
    expect([rig.oos('b'), rig.oos('c')]).toEqual([[0], [0]]);
  });

  it('a second while the first is being settled: the reply waits for both', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    rig.client('c').lose();
    await rig.endAll();
    rig.host.lost[0]?.resolve();
    await settle();
    expect(w.errno).toBeUndefined();
    rig.host.lost[1]?.resolve();
    await settle();
    expect(w.errno).toBe(0);
  });

  it('that was still being resynced: writes go on, nobody waits, its marks stay', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    rig.write(REGION * 2, 512, 1);
    await rig.endAll();
    rig.open('b');
    const w = rig.write(REGION * 4, 512, 1);
    await settle();
    rig.client('b').lose();
    const next = rig.write(REGION * 6, 512, 1);
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ newGeneration: false, reason: { wasInSync: false } }]);
    expect([w.errno, next.errno]).toEqual([0, 0]);
    expect(rig.oos('b')).toEqual([2, 4, 6]);
  });

  it('right after it was required, before anybody wrote it down: it counts as in sync', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    rig.open('b');
    const w = rig.write(0, 512, 1);
    await settle();
    rig.device.sessions.require(rig.target('b'));
    rig.client('b').lose();
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ newGeneration: true, reason: { wasInSync: true } }]);
    expect(w.errno).toBeUndefined();
    rig.host.lost[0]?.resolve();
    await settle();
    expect(w.errno).toBe(0);
  });

  it('a host that can not settle it stops the device', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    rig.host.lost[0]?.reject(new Error('superseded'));
    await rig.endAll();
    expect(w.errno).toBe(Errno.ESHUTDOWN);
    expect(rig.read(0, 512).errno).toBe(Errno.ESHUTDOWN);
  });

  it('keeps what was written and never proven marked, not only what is in flight (M5)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await rig.endAll();
    rig.write(REGION, 512, 1);
    await rig.endAll();
    rig.client('b').lose();
    await rig.endAll();
    expect(rig.oos('b')).toEqual([0, 1]);
  });

  it('is lost once, whatever else fails on it', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const writes = [rig.write(0, 512, 1), rig.write(REGION, 512, 2), rig.flush()];
    await settle();
    rig.end('b', 'write', Errno.EIO);
    rig.client('b').lose();
    await rig.endAll();
    expect(rig.host.lost).toHaveLength(1);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(writes.map((w) => [w.errno, w.answers])).toEqual([
      [0, 1],
      [0, 1],
      [0, 1],
    ]);
  });

  it('whose FLUSH failed leaves, and nothing may be skipped as equal in its next resync (M3)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    rig.host.easy = true;
    rig.flush();
    await settle();
    rig.end('b', 'sync', Errno.EIO);
    await rig.endAll();
    expect(rig.target('b')).toMatchObject({ phase: 'out', rewriteAll: true });
    expect(rig.host.lost).toMatchObject([{ reason: { syncFailed: true } }]);
    const w = rig.write(0, 512, 1);
    await settle();
    rig.end('c', 'write', Errno.EIO);
    await rig.endAll();
    expect(rig.target('c').rewriteAll).toBe(false);
    expect(w.errno).toBe(0);
    rig.join('b');
    expect(rig.target('b').rewriteAll).toBe(false);
  });

  it('whose FUA write failed is not trusted to have any of it durable', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.host.easy = true;
    rig.write(0, 512, 1, true);
    await settle();
    rig.end('b', 'write', Errno.EIO);
    await rig.endAll();
    expect(rig.target('b').rewriteAll).toBe(true);
  });

  it('while the bitmap file can not be written: what waits is answered with EIO, and the loss is settled when it can', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.ENOSPC } : undefined);
    rig.client('b').lose();
    await rig.endAll();
    expect(w.errno).toBeUndefined();
    rig.clock.advance(1000);
    await rig.endAll();
    expect(w).toMatchObject({ errno: Errno.EIO, answers: 1 });
    expect(rig.host.lost).toEqual([]);
    const during = rig.write(REGION, 512, 2);
    await rig.endAll();
    rig.clock.advance(1000);
    await rig.endAll();
    expect(during.errno).toBe(Errno.EIO);
    const read = rig.read(0, 512);
    await rig.endAll();
    expect(read.errno).toBe(0);
    rig.files.fault = () => undefined;
    rig.host.easy = true;
    rig.clock.advance(1000);
    await rig.endAll();
    expect(rig.host.lost).toHaveLength(1);
    const after = rig.write(REGION, 512, 2);
    await rig.endAll();
    expect(after.errno).toBe(0);
    expect(await rig.onDisk('oos:b')).toEqual([0, 1]);
  });
});

describe('the own leg fails (M2)', () => {
  it('with an in-sync target that records it: success, and everything goes on there', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    expect(w.errno).toBeUndefined();
    expect(rig.host.ownLeg).toHaveLength(1);
    rig.host.ownLeg[0]?.resolve(true);
    await rig.endAll();
    expect(w.errno).toBe(0);
    expect(rig.local.state).toBe('out');
    const told = rig.engine.leg.told.length;
    const after = [rig.read(0, 512), rig.write(REGION, 512, 5), rig.flush()];
    await rig.endAll();
    expect(after.map((a) => a.errno)).toEqual([0, 0, 0]);
    expect(after[0]?.data?.[0]).toBe(4);
    expect(rig.engine.leg.told).toHaveLength(told);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('keeps under intent what it had not synced, whatever is proven without it from then on (M3)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(3 * REGION, 512, 3);
    await rig.endAll();
    rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.host.ownLeg[0]?.resolve(true);
    await rig.endAll();
    rig.write(5 * REGION, 512, 5);
    await rig.endAll();
    expect(rig.intent()).toEqual([0, 3, 5]);
    rig.flush();
    await rig.endAll();
    rig.marks.collect(false);
    expect(rig.intent()).toEqual([0, 3]);
  });

  it('reads nothing there while it is being settled: what a failed write left behind is neither old nor new', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    expect(rig.host.ownLeg).toHaveLength(1);
    const r = rig.read(0, 512);
    await settle();
    expect([rig.engine.leg.has('read'), rig.copy('b').has('read'), r.errno]).toEqual([false, false, undefined]);
    rig.host.ownLeg[0]?.resolve(true);
    await rig.endAll();
    expect([r.errno, r.data?.[0]]).toEqual([0, 4]);
    expect(rig.engine.leg.told.filter((t) => t.startsWith('read'))).toEqual([]);
  });

  it('and no target can record it: EIO, and every target is out of sync, because it may have what the own leg lacks', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.host.ownLeg[0]?.resolve(false);
    await rig.endAll();
    expect(w.errno).toBeUndefined();
    expect(rig.host.lost.map((l) => l.node)).toEqual(['b']);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w).toMatchObject({ errno: Errno.EIO, answers: 1 });
    expect(rig.local.state).toBe('in');
    expect(rig.oos('b')).toEqual([0]);
  });

  it('and the host can not write it down: a target may have, so that the device stops, and tells nobody that it is out (M2)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    const r = rig.read(0, 512);
    await settle();
    rig.host.easy = true;
    rig.host.ownLeg[0]?.reject(new Error('no'));
    await rig.endAll();
    expect([w.errno, r.errno]).toEqual([Errno.ESHUTDOWN, Errno.ESHUTDOWN]);
    expect(rig.device.stopped).toBe(true);
    expect(rig.host.lost).toEqual([]);
  });

  it('and nobody recorded it, for all that is known: nothing is read until the targets are out, by whose records they may serve what is lacking here', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.host.ownLeg[0]?.resolve(false);
    await settle();
    const r = rig.read(0, 512);
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ node: 'b', newGeneration: true }]);
    expect([w.errno, r.errno]).toEqual([undefined, undefined]);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect([w.errno, r.errno]).toEqual([Errno.EIO, 0]);
    expect(rig.device.losses.readsWait).toBeUndefined();
  });

  it('and the marks can not be written either: what is read meanwhile is answered with an error rather than never (M14)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    rig.host.ownLeg[0]?.resolve(false);
    await settle();
    const r = rig.read(0, 512);
    for (let i = 0; i < 4; i += 1) {
      rig.clock.advance(1000);
      await rig.endAll();
    }
    expect([w.errno, r.errno]).toEqual([Errno.EIO, Errno.EIO]);
    rig.files.fault = () => undefined;
    rig.host.easy = true;
    rig.clock.advance(1000);
    await rig.endAll();
    const again = rig.read(0, 512);
    await rig.endAll();
    expect(again.errno).toBe(0);
  });

  it('without any target: EIO at once', async () => {
    const rig = await Rig.make();
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.ENOSPC);
    await settle();
    expect(w.errno).toBe(Errno.ENOSPC);
    expect(rig.host.ownLeg).toEqual([]);
  });

  it('a write that only a lost target took is not called a success (M2)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    rig.end('c', 'write');
    await settle();
    rig.client('b').lose();
    rig.client('c').lose();
    rig.host.easy = true;
    rig.host.ownLeg[0]?.resolve(true);
    for (const l of rig.host.lost) l.resolve();
    await rig.endAll();
    expect(w).toMatchObject({ errno: Errno.ESHUTDOWN, answers: 1 });
  });

  it('while it is asked who can go on, a holder that is lost is not told that it is out: it may be the last copy', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    expect(rig.host.lost).toEqual([]);
    rig.host.ownLeg[0]?.resolve(true);
    await rig.endAll();
    expect(rig.host.lost).toEqual([]);
    expect(rig.device.stopped).toBe(true);
    expect(w).toMatchObject({ errno: Errno.ESHUTDOWN, answers: 1 });
  });

  it('while it is asked who can go on, a target that is lost is told that it is out once the own leg stays', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    rig.host.ownLeg[0]?.resolve(false);
    await rig.endAll();
    expect(rig.host.lost).toMatchObject([{ node: 'b' }]);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(Errno.EIO);
  });

  it('a write that its last in-sync target took, which is lost before the reply, is not called a success', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    rig.local.state = 'out';
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('b', 'write');
    rig.client('c').lose();
    await settle();
    rig.client('b').lose();
    rig.host.easy = true;
    await rig.endAll();
    for (const l of rig.host.lost) l.resolve();
    await rig.endAll();
    expect(w).toMatchObject({ errno: Errno.ESHUTDOWN, answers: 1 });
  });

  it('a write that one of two targets took is a success while that one stays', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    rig.local.state = 'out';
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('b', 'write');
    rig.client('c').lose();
    await rig.endAll();
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it('with the last holder gone the device ends, so that the holder may go in service by itself', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.local.state = 'out';
    rig.host.easy = true;
    rig.client('b').lose();
    await rig.endAll();
    const all = [rig.read(0, 512), rig.write(0, 512, 1), rig.flush()];
    await rig.endAll();
    expect(all.map((a) => a.errno)).toEqual([Errno.ESHUTDOWN, Errno.ESHUTDOWN, Errno.ESHUTDOWN]);
    expect(rig.host.lost).toEqual([]);
  });

  it('on a read: the read is answered from an in-sync target once it has recorded that this leg is behind', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.copy('b').bytes.fill(3);
    const r = rig.read(0, 512);
    await settle();
    rig.end('own', 'read', Errno.EIO);
    await rig.endAll();
    expect(r.errno).toBeUndefined();
    rig.host.ownLeg[0]?.resolve(true);
    await rig.endAll();
    expect(r.data?.[0]).toBe(3);
  });

  it('on a read without an in-sync target: the error is passed on, and the leg stays', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    const r = rig.read(0, 512);
    await settle();
    rig.end('own', 'read', Errno.EIO);
    await settle();
    expect(r.errno).toBe(Errno.EIO);
    expect(rig.local.state).toBe('in');
  });

  it('on a read that no target can record: the application gets the error, and every target stays, since nothing differs', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'async' } });
    const r = rig.read(REGION, 512);
    await settle();
    rig.end('own', 'read', Errno.EIO);
    await settle();
    expect(rig.host.ownLeg).toMatchObject([{ why: 'read of the local leg (bytes 4096 to 4607): EIO', onRead: true }]);
    rig.host.ownLeg[0]?.resolve(false);
    await settle();
    rig.end('own', 'read', Errno.EIO);
    await rig.endAll();
    expect(r).toMatchObject({ errno: Errno.EIO, answers: 1 });
    expect(rig.host.lost).toEqual([]);
    expect([rig.target('b').phase, rig.target('c').phase, rig.local.state]).toEqual(['in-sync', 'in-sync', 'in']);
    const w = rig.write(0, 512, 1);
    await rig.endAll();
    expect(w.errno).toBe(0);
  });

  it.each(['write', 'sync'] as const)(
    'on a read, and on a %s while that is being decided: every target is out, because of the latter',
    async (kind) => {
      const rig = await Rig.inSync({ targets: { b: 'sync' } });
      const w = kind === 'write' ? rig.write(0, 512, 1) : rig.flush();
      rig.read(REGION, 512);
      await settle();
      rig.end('own', 'read', Errno.EIO);
      await settle();
      rig.end('own', kind, Errno.EIO);
      rig.end('b', kind);
      await settle();
      expect(rig.host.ownLeg).toHaveLength(1);
      rig.host.easy = true;
      rig.host.ownLeg[0]?.resolve(false);
      await rig.endAll();
      expect(rig.host.lost).toMatchObject([{ node: 'b', reason: { why: `${kind} of the local leg: EIO`, syncFailed: true } }]);
      expect(w.errno).toBe(Errno.EIO);
      expect(rig.target('b').rewriteAll).toBe(true);
    },
  );

  it('with the setting pass-on the application gets the error, and targets that may have more are out', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, settings: { localErrors: 'pass-on' } });
    const r = rig.read(0, 512);
    await settle();
    rig.end('own', 'read', Errno.EIO);
    await settle();
    expect(r.errno).toBe(Errno.EIO);
    const w = rig.write(0, 512, 1);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    // What b has may be served there until it is out.
    const held = rig.read(0, 512);
    await rig.endAll();
    expect([w.errno, held.errno]).toEqual([undefined, undefined]);
    rig.host.easy = true;
    for (const l of rig.host.lost) l.resolve();
    await rig.endAll();
    expect([w.errno, held.errno]).toEqual([Errno.EIO, 0]);
    expect(rig.host.ownLeg).toEqual([]);
    expect(rig.oos('b')).toEqual([0]);
  });

  it('and the connection to the only one that could record it is lost with the question: nothing is read before that one is out', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 4);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    rig.end('b', 'write');
    await settle();
    const asked = rig.read(0, 512);
    rig.client('b').lose();
    rig.host.ownLeg[0]?.resolve(false);
    await settle();
    const later = rig.read(0, 512);
    await rig.endAll();
    expect([w.errno, asked.errno, later.errno]).toEqual([undefined, undefined, undefined]);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect([w.errno, asked.errno, later.errno]).toEqual([Errno.EIO, 0, 0]);
  });

  it('a read that waited for its fate waits for no target that was lost before (M14)', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    rig.client('c').lose();
    const r = rig.read(0, 512);
    await settle();
    rig.end('own', 'read', Errno.EIO);
    await settle();
    const during = rig.read(REGION, 512);
    rig.host.ownLeg[0]?.resolve(false);
    await rig.endAll();
    expect(rig.host.lost.map((l) => l.node)).toEqual(['c']);
    expect([r.errno, during.errno]).toEqual([0, 0]);
  });

  it('that fails twice: nothing is read before all targets of both times are out', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' }, settings: { localErrors: 'pass-on' } });
    const writes = [rig.write(0, 512, 1), rig.write(REGION, 512, 2)];
    await settle();
    for (const leg of ['own', 'b', 'c']) for (let i = 0; i < 2; i += 1) rig.end(leg, 'write', leg === 'own' ? Errno.EIO : 0);
    await settle();
    const read = rig.read(0, 512);
    expect(rig.host.lost.map((l) => l.node)).toEqual(['b', 'c']);
    rig.host.lost[0]?.resolve();
    await rig.endAll();
    expect(read.errno).toBeUndefined();
    rig.host.lost[1]?.resolve();
    await rig.endAll();
    expect([...writes, read].map((a) => a.errno)).toEqual([Errno.EIO, Errno.EIO, 0]);
  });

  it('a read of a target that fails goes to another one', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    rig.local.state = 'out';
    rig.host.easy = true;
    rig.copy('c').bytes.fill(8);
    const r = rig.read(0, 512);
    await settle();
    rig.end('b', 'read', Errno.EIO);
    await rig.endAll();
    expect(r.data?.[0]).toBe(8);
    expect(rig.target('b').phase).toBe('out');
  });

  it('a failed sync that nobody could take over is never made good by a later one (M3)', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await rig.endAll();
    const f = rig.flush();
    await settle();
    rig.end('own', 'sync', Errno.EIO);
    await rig.endAll();
    expect(f.errno).toBe(Errno.EIO);
    const again = rig.flush();
    const fua = rig.write(REGION, 512, 1, true);
    const plain = rig.write(REGION * 2, 512, 1);
    await rig.endAll();
    expect([again.errno, fua.errno, plain.errno]).toEqual([Errno.EIO, Errno.EIO, 0]);
    expect(rig.marks.intent.hasUnproven).toBe(true);
  });
});
