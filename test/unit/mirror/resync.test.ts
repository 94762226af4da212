import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createHash } from 'node:crypto';
import { Errno } from '../../../src/io/types.ts';
import { Resync, type ResyncOptions } from '../../../src/mirror/resync.ts';
import { DEFAULT_SETTINGS, type ResyncSettings } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { REGION, Rig, type RigOptions } from './rig.ts';
import { endOp, type PendingOp } from './scripted-engine.ts';

function settings(o: Partial<ResyncSettings> = {}): { resync: ResyncSettings } {
  return { resync: { ...DEFAULT_SETTINGS.resync, copyBytes: REGION, copiesInFlightMax: 2, ...o } };
}

/** A rig whose target b lacks the given regions and has just got a session. */
async function lacking(regions: number[], resync: Partial<ResyncSettings> = {}, o: RigOptions = {}): Promise<Rig> {
  const rig = await Rig.make({ targets: { b: 'sync' }, settings: settings(resync), easy: true, ...o });
  for (const r of regions) rig.write(r * REGION, REGION, r + 1);
  rig.flush();
  await rig.endAll();
  // All of it is proven on the own leg: what is marked for b is all that is marked.
  rig.flush();
  await rig.endAll();
  rig.marks.collect(false);
  await rig.marks.durable();
  rig.open('b');
  rig.copy('b').told.length = 0;
  return rig;
}

function start(rig: Rig, o: Partial<ResyncOptions> = {}, node = 'b'): { resync: Resync; run: ReturnType<Resync['run']> } {
  const resync = new Resync(rig.device, rig.target(node), { kind: 'partial', onProgress: () => undefined, ...o });
  return { resync, run: resync.run() };
}

const writes = (rig: Rig): string[] => rig.copy('b').told.filter((t) => t !== 'sync');

describe('resync', () => {
  it('copies the marked regions and no others, and drops their marks', async () => {
    const rig = await lacking([2, 3, 9]);
    const { run, resync } = start(rig);
    expect(await rig.until(run)).toMatchObject({
      result: 'done',
      progress: { totalBytes: 3 * REGION, doneBytes: 3 * REGION, sentBytes: 3 * REGION },
    });
    expect(writes(rig).sort()).toEqual([2, 3, 9].map((r) => `write ${String(r * REGION)}+${String(REGION)}`).sort());
    expect(rig.differsFrom('b')).toBe(-1);
    expect(rig.oos('b')).toEqual([]);
    expect(resync.progress.kind).toBe('partial');
    expect(rig.device.lock.held).toBe(0);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('of nothing is done at once', async () => {
    const rig = await lacking([]);
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'done' });
    expect(rig.copy('b').told).toEqual([]);
  });

  it('drops marks only after both legs completed a sync that began after the copy was in (M5)', async () => {
    const rig = await lacking([4], {}, { easy: false });
    rig.host.easy = true;
    const { run } = start(rig);
    await settle();
    rig.end('own', 'extents');
    await settle();
    rig.end('own', 'read');
    await settle();
    expect(rig.copy('b').has('sync')).toBe(false);
    rig.end('b', 'write');
    await settle();
    expect([rig.engine.leg.has('sync'), rig.copy('b').has('sync')]).toEqual([true, true]);
    rig.end('b', 'sync');
    await settle();
    expect(rig.oos('b')).toEqual([4]);
    rig.end('own', 'sync');
    expect(await rig.until(run)).toMatchObject({ result: 'done' });
    expect(rig.oos('b')).toEqual([]);
  });

  it('drops no mark on a proof whose session has ended meanwhile: what was written since may be missing there (M5)', async () => {
    const rig = await lacking([4], {}, { easy: false });
    rig.host.easy = true;
    const { run } = start(rig);
    await settle();
    rig.end('own', 'extents');
    await settle();
    rig.end('own', 'read');
    await settle();
    rig.end('b', 'write');
    await settle();
    rig.end('b', 'sync');
    const w = rig.write(4 * REGION, 512, 99);
    await settle();
    rig.end('own', 'write');
    rig.end('b', 'write');
    await settle();
    expect(w.errno).toBe(0);
    rig.client('b').lose();
    await settle();
    rig.end('own', 'sync');
    expect(await rig.until(run)).toMatchObject({ result: 'ended' });
    expect(rig.oos('b')).toEqual([4]);
  });

  it('keeps the marks when the own leg can not be synced, and is not done', async () => {
    const rig = await lacking([4]);
    rig.host.ownLegTaken = false;
    rig.engine.leg.failing.set('sync', Errno.EIO);
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended' });
    expect(rig.oos('b')).toEqual([4]);
    rig.engine.leg.failing.clear();
    await rig.eventually('b is out', () => rig.target('b').phase === 'out');
    rig.open('b');
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why: expect.stringContaining('sync of the local leg') as unknown });
    expect(rig.oos('b')).toEqual([4]);
  });

  it('keeps the marks when the target can not be synced, and everything is rewritten next time (M3)', async () => {
    const rig = await lacking([4, 5]);
    rig.copy('b').failing.set('sync', Errno.EIO);
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why: 'flush on b: EIO' });
    expect(rig.oos('b')).toEqual([4, 5]);
    expect(rig.target('b').rewriteAll).toBe(true);
  });

  it('loses its session in the middle: the marks of all that was not proven stay, and the next one goes on from there', async () => {
    const rig = await lacking([1, 2, 3, 4, 5, 6], { copiesInFlightMax: 1, rateMaxBytesPerSec: 10 * REGION });
    const { run } = start(rig);
    await rig.eventually('some are copied', () => writes(rig).length >= 3);
    rig.client('b').lose('cable cut');
    expect(await rig.until(run)).toMatchObject({ result: 'ended', why: 'cable cut' });
    expect(rig.oos('b')).toEqual([1, 2, 3, 4, 5, 6]);
    await rig.eventually('b is out', () => rig.target('b').phase === 'out');
    rig.open('b');
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'done' });
    expect(rig.differsFrom('b')).toBe(-1);
    expect(rig.engine.handlesAlive).toBe(0);
    expect(rig.device.lock.held).toBe(0);
  });

  it('drops marks now and then, so that a lost session does not lose everything', async () => {
    const rig = await lacking([1, 2, 3, 4, 5, 6, 7, 8], { copiesInFlightMax: 1, proveEveryBytes: 2 * REGION, rateMaxBytesPerSec: 10 * REGION });
    const { run } = start(rig);
    await rig.eventually('four are copied', () => writes(rig).length >= 5);
    rig.client('b').lose();
    await rig.until(run);
    expect(rig.oos('b')).toEqual([5, 6, 7, 8]);
  });

  it('a failing write of the target ends the session', async () => {
    const rig = await lacking([1]);
    rig.copy('b').failing.set('write', Errno.ENOSPC);
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why: 'resync write on b: ENOSPC' });
    expect(rig.oos('b')).toEqual([1]);
  });

  it('sends no holes, but makes them', async () => {
    const rig = await lacking([1, 2, 3]);
    rig.engine.leg.bytes.fill(0, 2 * REGION, 3 * REGION);
    rig.engine.holes = [{ offset: 2 * REGION, length: REGION }];
    rig.copy('b').bytes.fill(7);
    const end = await rig.until(start(rig).run);
    expect(end).toMatchObject({ result: 'done', progress: { sentBytes: 2 * REGION, doneBytes: 3 * REGION } });
    expect(writes(rig)).toContain(`zero ${String(2 * REGION)}+${String(REGION)}`);
    expect(
      rig
        .copy('b')
        .bytes.subarray(REGION, 4 * REGION)
        .every((x, i) => x === rig.engine.leg.bytes[REGION + i]),
    ).toBe(true);
  });

  describe('to a leg in doubt', () => {
    /** What b is asked for of region 2, a hole here, in order. */
    async function asked(meanwhile: (rig: Rig) => void): Promise<{ rig: Rig; end: unknown; seen: string[] }> {
      const rig = await lacking([1, 2]);
      rig.engine.leg.bytes.fill(0, 2 * REGION, 3 * REGION);
      rig.engine.holes = [{ offset: 2 * REGION, length: REGION }];
      const b = rig.copy('b');
      b.bytes.fill(7);
      rig.target('b').rewriteAll = true;
      const seen: string[] = [];
      const ends = b.onOp;
      b.onOp = (op) => {
        if (op.kind === 'sync') {
          seen.push('sync');
          meanwhile(rig);
        } else if (op.kind === 'zero') seen.push(op.mayPunch ? 'punch' : 'zero');
        ends(op);
      };
      const end = await rig.until(start(rig).run);
      expect(b.bytes.subarray(REGION, 3 * REGION)).toEqual(rig.engine.leg.bytes.subarray(REGION, 3 * REGION));
      return { rig, end, seen };
    }

    it('writes holes out as zeroes, and makes them holes again once these are synced (M3)', async () => {
      const { rig, end, seen } = await asked(() => undefined);
      expect(end).toMatchObject({ result: 'done' });
      expect(seen).toEqual(['zero', 'sync', 'punch']);
      expect([rig.oos('b'), rig.device.lock.held, rig.engine.handlesAlive]).toEqual([[], 0, 0]);
    });

    it('leaves alone what is none any more', async () => {
      const { seen } = await asked((rig) => {
        rig.engine.holes = [];
        rig.engine.leg.bytes.fill(9, 2 * REGION, 2 * REGION + 512);
        rig.copy('b').bytes.fill(9, 2 * REGION, 2 * REGION + 512);
      });
      expect(seen).toEqual(['zero', 'sync']);
    });

    it('makes none where the own leg may lack what the target has (M5)', async () => {
      const { seen } = await asked((rig) => {
        Object.defineProperty(rig.device.losses, 'readsWait', { get: () => Promise.resolve() });
      });
      expect(seen).toEqual(['zero', 'sync']);
    });
  });

  it('proves one thing after the other: no region loses its mark while an earlier proof has still to make a hole in it (M1)', async () => {
    const HALF = REGION / 2;
    const rig = await lacking([1, 2], { copyBytes: HALF, copiesInFlightMax: 3, proveEveryBytes: 1 });
    rig.engine.leg.bytes.fill(0, 2 * REGION, 3 * REGION);
    rig.engine.holes = [{ offset: 2 * REGION, length: REGION }];
    rig.target('b').rewriteAll = true;
    const b = rig.copy('b');
    b.bytes.fill(7);
    const held: PendingOp[] = [];
    const punched: { offset: number; marked: boolean }[] = [];
    const ends = b.onOp;
    b.onOp = (op) => {
      const punches = op.kind === 'zero' && op.mayPunch;
      if (punches) punched.push({ offset: op.offset, marked: rig.oos('b').includes(2) });
      // What is copied to the second halves of both regions, and every sync, waits for the test.
      if (!punches && (op.kind === 'sync' || op.offset % REGION === HALF)) held.push(op);
      else ends(op);
    };
    const release = async (is: (op: PendingOp) => boolean): Promise<void> => {
      const op = held.findLast(is);
      if (op === undefined) throw new Error('nobody asked for that');
      held.splice(held.indexOf(op), 1);
      endOp(rig.engine, b, op);
      await settle();
    };
    const { run } = start(rig);
    await rig.eventually('the second half of region 2 is under way', () => held.some((op) => op.offset === 2 * REGION + HALF));
    // Region 1 is whole, and the first half of the hole is in: both are of the first proof.
    await release((op) => op.offset === REGION + HALF);
    expect(held.map((op) => op.kind)).toEqual(['zero', 'sync']);
    // Region 2 is whole as well while that proof is under way.
    await release((op) => op.kind === 'zero');
    expect(held.map((op) => op.kind)).toEqual(['sync']);
    // The last that was begun comes first.
    while (held.length > 0) await release((op) => op.kind === 'sync');
    expect(await rig.until(run)).toMatchObject({ result: 'done' });
    expect(punched).toEqual([
      { offset: 2 * REGION, marked: true },
      { offset: 2 * REGION + HALF, marked: true },
    ]);
    expect([rig.oos('b'), rig.device.lock.held]).toEqual([[], 0]);
    expect(b.bytes.subarray(REGION, 3 * REGION)).toEqual(rig.engine.leg.bytes.subarray(REGION, 3 * REGION));
  });

  it('sends no zeroes that take room here, but has them written there, in room of their own', async () => {
    const rig = await lacking([1, 2, 3]);
    rig.engine.leg.bytes.fill(0, 2 * REGION, 3 * REGION);
    // One byte, and it is the last: the region is data.
    rig.engine.leg.bytes.fill(0, 3 * REGION, 4 * REGION - 1);
    rig.copy('b').bytes.fill(7);
    const punched: boolean[] = [];
    const b = rig.copy('b');
    const ends = b.onOp;
    b.onOp = (op) => {
      if (op.kind === 'zero') punched.push(op.mayPunch);
      ends(op);
    };
    const end = await rig.until(start(rig).run);
    expect(end).toMatchObject({ result: 'done', progress: { sentBytes: 2 * REGION, doneBytes: 3 * REGION } });
    expect(writes(rig)).toContain(`zero ${String(2 * REGION)}+${String(REGION)}`);
    expect(punched).toEqual([false]);
    expect(
      rig
        .copy('b')
        .bytes.subarray(REGION, 4 * REGION)
        .every((x, i) => x === rig.engine.leg.bytes[REGION + i]),
    ).toBe(true);
    expect(rig.oos('b')).toEqual([]);
  });

  const digestOf = (rig: Rig) => (offset: number, length: number) =>
    Promise.resolve(
      createHash('sha256')
        .update(rig.copy('b').bytes.subarray(offset, offset + length))
        .digest('hex'),
    );

  it('with skipEqual leaves equal pieces alone', async () => {
    const rig = await lacking([1, 2, 3], { skipEqual: true });
    rig.copy('b').bytes.set(rig.engine.leg.bytes);
    rig.copy('b').bytes[2 * REGION] = 99;
    const end = await rig.until(start(rig, { remoteDigest: digestOf(rig) }).run);
    expect(end).toMatchObject({ result: 'done', progress: { sentBytes: REGION, doneBytes: 3 * REGION } });
    expect(writes(rig)).toEqual([`write ${String(2 * REGION)}+${String(REGION)}`]);
    expect(rig.oos('b')).toEqual([]);
  });

  it('with skipEqual rewrites everything after a failed sync of the target, equal or not (M3)', async () => {
    const rig = await lacking([1, 2], { skipEqual: true });
    rig.copy('b').bytes.set(rig.engine.leg.bytes);
    rig.target('b').rewriteAll = true;
    await rig.until(start(rig, { remoteDigest: digestOf(rig) }).run);
    expect(writes(rig)).toHaveLength(2);
  });

  it('sends a piece whose digest the target can not give', async () => {
    const rig = await lacking([1], { skipEqual: true });
    await rig.until(start(rig, { remoteDigest: () => Promise.resolve(null) }).run);
    expect(writes(rig)).toHaveLength(1);
  });

  it('pauses for each reason apart, goes on when the last is gone', async () => {
    const rig = await lacking([1, 2, 3, 4]);
    const { resync, run } = start(rig);
    resync.pause('operator');
    resync.pause('scheduler');
    await rig.endAll();
    await settle();
    const sent = writes(rig).length;
    expect(sent).toBeLessThan(4);
    rig.clock.advance(5000);
    await rig.endAll();
    resync.resume('operator');
    rig.clock.advance(5000);
    await rig.endAll();
    expect(writes(rig)).toHaveLength(sent);
    expect(resync.paused).toBe(true);
    resync.resume('scheduler');
    expect(await rig.until(run)).toMatchObject({ result: 'done' });
    expect(rig.differsFrom('b')).toBe(-1);
  });

  it('is cancelled, also while paused: the session lives, marks stay', async () => {
    const rig = await lacking([1, 2, 3, 4]);
    const { resync, run } = start(rig);
    resync.pause('operator');
    await rig.endAll();
    resync.cancel('stopped by an operator');
    expect(await rig.until(run)).toMatchObject({ result: 'ended', why: 'stopped by an operator' });
    expect(rig.target('b').phase).toBe('resyncing');
    expect(rig.oos('b').length).toBeGreaterThan(0);
  });

  it('paused when its session ends, ends as well', async () => {
    const rig = await lacking([1, 2, 3, 4]);
    const { resync, run } = start(rig);
    resync.pause('operator');
    await rig.endAll();
    rig.client('b').lose();
    resync.sessionEnded();
    expect(await rig.until(run)).toMatchObject({ result: 'ended' });
  });

  it('tells of its progress and its speed', async () => {
    let told = 0;
    const rig = await lacking([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], { rateMaxBytesPerSec: 4 * REGION, copiesInFlightMax: 1 });
    const { resync, run } = start(rig, { kind: 'full', onProgress: () => (told += 1) });
    await rig.eventually('half is done', () => resync.progress.doneBytes >= 8 * REGION, 100);
    expect(rig.target('b').progress).toBe(resync.progress);
    expect(resync.progress).toMatchObject({ kind: 'full', totalBytes: 16 * REGION });
    expect(resync.progress.bytesPerSec / REGION).toBeGreaterThan(2);
    expect(resync.progress.bytesPerSec / REGION).toBeLessThan(6);
    await rig.until(run, 100);
    expect(told).toBeGreaterThan(0);
    expect(rig.target('b').progress).toBeUndefined();
  });

  it('with the own leg out copies from another in-sync target', async () => {
    const rig = await lacking([1, 2], {}, { targets: { b: 'sync', c: 'sync' } });
    rig.join('c');
    rig.copy('c').bytes.set(rig.engine.leg.bytes);
    rig.engine.leg.bytes.fill(0);
    rig.local.state = 'out';
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'done' });
    expect(
      rig
        .copy('b')
        .bytes.subarray(REGION, 3 * REGION)
        .every((x, i) => x === rig.copy('c').bytes[REGION + i]),
    ).toBe(true);
    expect(rig.engine.leg.told.filter((t) => t.startsWith('read'))).toEqual([]);
  });

  describe('a region that can not be read from the own leg', () => {
    const why = 'no good copy to resync b from: read of the local leg (bytes 8192 to 12287) during a resync: EIO';
    const staysOut = (rig: Rig): void => {
      expect([rig.target('b').phase, rig.target('b').rewriteAll]).toEqual(['out', false]);
      expect(rig.oos('b')).toEqual([2]);
    };

    it.each(['sync', 'async'] as const)('and that no %s target can record: only this resync ends', async (mode) => {
      const rig = await lacking([2], {}, { targets: { b: 'sync', c: mode } });
      rig.join('c');
      rig.host.ownLegTaken = false;
      rig.engine.leg.failing.set('read', Errno.EIO);
      expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why });
      await rig.endAll();
      expect(rig.host.ownLeg).toMatchObject([{ onRead: true }]);
      expect(rig.host.lost.map((l) => l.node)).toEqual(['b']);
      expect([rig.target('c').phase, rig.local.state]).toEqual(['in-sync', 'in']);
      staysOut(rig);
    });

    it('and that a target records: the own leg leaves, and the next resync reads there', async () => {
      const rig = await lacking([2], {}, { targets: { b: 'sync', c: 'sync' } });
      rig.join('c');
      rig.copy('c').bytes.set(rig.engine.leg.bytes);
      rig.engine.leg.failing.set('read', Errno.EIO);
      expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why });
      await rig.endAll();
      expect([rig.target('c').phase, rig.local.state]).toEqual(['in-sync', 'out']);
      staysOut(rig);
      rig.open('b');
      expect(await rig.until(start(rig).run)).toMatchObject({ result: 'done' });
    });

    it('for want of memory costs no leg: only this resync ends', async () => {
      const rig = await lacking([2], {}, { targets: { b: 'sync', c: 'sync' } });
      rig.join('c');
      rig.engine.leg.failing.set('read', Errno.ENOMEM);
      expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why: why.replace('EIO', 'ENOMEM') });
      await rig.endAll();
      expect([rig.host.ownLeg, rig.target('c').phase, rig.local.state]).toEqual([[], 'in-sync', 'in']);
      staysOut(rig);
    });

    it('with the setting pass-on asks nobody, and only this resync ends', async () => {
      const rig = await lacking([2], {}, { targets: { b: 'sync', c: 'sync' }, settings: { ...settings(), localErrors: 'pass-on' } });
      rig.join('c');
      rig.engine.leg.failing.set('read', Errno.EIO);
      expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why });
      await rig.endAll();
      expect(rig.host.ownLeg).toEqual([]);
      expect(rig.host.lost.map((l) => l.node)).toEqual(['b']);
      expect([rig.target('c').phase, rig.local.state]).toEqual(['in-sync', 'in']);
      staysOut(rig);
    });
  });

  it('reads nothing from the own leg while its failure is being settled: it lacks what it failed to write (M5)', async () => {
    const rig = await lacking([1, 2], {}, { targets: { b: 'sync', c: 'sync' }, easy: false });
    rig.join('c');
    rig.copy('c').bytes.set(rig.engine.leg.bytes);
    rig.host.easy = true;
    const told = rig.engine.leg.told.length;
    rig.write(2 * REGION, REGION, 77);
    await settle();
    rig.host.easy = false;
    rig.end('c', 'write');
    rig.end('own', 'write', Errno.EIO);
    await settle();
    expect(rig.host.ownLeg).toHaveLength(1);
    rig.easy();
    const { run } = start(rig);
    await settle();
    expect(rig.engine.leg.told.slice(told).filter((t) => t.startsWith('read') || t.startsWith('extents'))).toEqual([]);
    rig.host.easy = true;
    rig.host.ownLeg[0]?.resolve(true);
    expect(await rig.until(run)).toMatchObject({ result: 'done' });
    expect(rig.copy('b').bytes.subarray(REGION, 3 * REGION)).toEqual(rig.copy('c').bytes.subarray(REGION, 3 * REGION));
    expect(rig.copy('b').bytes[2 * REGION]).toBe(77);
  });

  it('takes nothing that was read from the own leg when a sync of it has failed meanwhile (M3)', async () => {
    const rig = await lacking([1], {}, { easy: false });
    rig.host.easy = true;
    const { run } = start(rig);
    await settle();
    rig.end('own', 'extents');
    await settle();
    rig.local.syncFailed = true;
    rig.end('own', 'read');
    expect(await rig.until(run)).toMatchObject({ result: 'ended', why: 'a sync of the local leg has failed' });
    expect(writes(rig)).toEqual([]);
    expect(rig.oos('b')).toEqual([1]);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('with no good copy anywhere ends, and says so', async () => {
    const rig = await lacking([1, 2]);
    rig.local.state = 'out';
    expect(await rig.until(start(rig).run)).toMatchObject({ result: 'ended', why: 'no good copy to resync b from' });
  });

  it('copies a region in pieces smaller than the region, and a run of regions in pieces larger than one', async () => {
    for (const copyBytes of [1024, 3 * REGION, 3000]) {
      const rig = await lacking([1, 2, 3, 4, 7], { copyBytes, copiesInFlightMax: 3 });
      expect(await rig.until(start(rig).run)).toMatchObject({ result: 'done', progress: { doneBytes: 5 * REGION } });
      expect(rig.differsFrom('b')).toBe(-1);
      expect(rig.oos('b')).toEqual([]);
    }
  });

  it('excludes application writes to the same bytes while it copies them (M4)', async () => {
    const rig = await lacking([1], {}, { easy: false });
    rig.host.easy = true;
    start(rig);
    await settle();
    rig.end('own', 'extents');
    await settle();
    const w = rig.write(REGION, 512, 77);
    await settle();
    expect(rig.engine.leg.has('write')).toBe(false);
    rig.end('own', 'read');
    await settle();
    rig.end('b', 'write');
    await rig.endAll();
    expect(w.errno).toBe(0);
    expect([rig.engine.leg.bytes[REGION], rig.copy('b').bytes[REGION]]).toEqual([77, 77]);
  });

  it('with application writes all over the place ends with equal legs, and no mark too few', async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant('write' as const),
          offset: fc.nat(15 * REGION),
          length: fc.integer({ min: 1, max: 2 * REGION }),
          byte: fc.integer({ min: 1, max: 255 }),
        }),
      },
      { weight: 10, arbitrary: fc.record({ kind: fc.constant('end' as const), copy: fc.nat(1), which: fc.nat(8) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 50 }) }) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.subarray([0, 1, 2, 5, 6, 7, 11, 15]),
        fc.constantFrom(1000, REGION, 3 * REGION),
        async (steps, regions, copyBytes) => {
          const rig = await lacking(regions, { copyBytes, copiesInFlightMax: 3, proveEveryBytes: 2 * REGION }, { easy: false });
          await rig.endAll();
          rig.host.easy = true;
          const { run } = start(rig);
          const answers: { errno: number | undefined }[] = [];
          for (const s of steps) {
            if (s.kind === 'write') answers.push(rig.write(s.offset, Math.min(s.length, rig.sizeBytes - s.offset), s.byte));
            else if (s.kind === 'time') rig.clock.advance(s.ms);
            else rig.endOne(s.copy === 0 ? 'own' : 'b', s.which);
            for (let i = 0; i < 8; i += 1) await Promise.resolve();
          }
          rig.easy();
          await rig.endAll();
          expect(await rig.until(run)).toMatchObject({ result: 'done' });
          await rig.endAll();
          expect(rig.differsFrom('b')).toBe(-1);
          expect(answers.every((a) => a.errno === 0)).toBe(true);
          expect(rig.engine.handlesAlive).toBe(0);
          expect(rig.device.lock.held).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });
});
