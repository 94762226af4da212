import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { nullLog } from '../../../src/io/log.ts';
import { Errno } from '../../../src/io/types.ts';
import { Marks } from '../../../src/mirror/marks.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { durableMap, IDENTITY, REGION, Rig } from './rig.ts';

describe('intent before data (M1)', () => {
  it('tells no leg of a write before its region is marked on disk', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const seen: Promise<number[]>[] = [];
    for (const copy of rig.allCopies) {
      copy.onOp = () => {
        const survivor = rig.files.afterPowerLoss(() => false);
        seen.push(durableMap(survivor, rig.sizeBytes, 'intent'));
      };
    }
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    rig.files.beforeSync = () => held;
    const w = rig.write(REGION * 3, REGION * 2, 1);
    await settle();
    expect(rig.allCopies.map((c) => c.told)).toEqual([[], []]);
    letGo();
    await rig.endAll();
    expect(rig.allCopies.map((c) => c.told)).toEqual([
      [`write ${String(REGION * 3)}+${String(REGION * 2)}`],
      [`write ${String(REGION * 3)}+${String(REGION * 2)}`],
    ]);
    expect(await Promise.all(seen)).toEqual([
      [3, 4],
      [3, 4],
    ]);
    expect(w).toMatchObject({ errno: 0, answers: 1 });
  });

  it('waits for no disk when the region is marked already', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await rig.endAll();
    const { syncs } = rig.files;
    const again = rig.write(1024, 512, 2);
    expect(rig.copy('b').has('write')).toBe(true);
    await rig.endAll();
    expect(again.errno).toBe(0);
    expect(rig.files.syncs).toBe(syncs);
  });

  it('makes the marks of writes that come together durable with one flush, and of those that come meanwhile with the next', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const { syncs } = rig.files;
    const gates: (() => void)[] = [];
    rig.files.beforeSync = () => new Promise((resolve) => gates.push(resolve));
    const first = rig.write(0, 512, 1);
    await settle();
    const meanwhile = [1, 2, 3, 4].map((r) => rig.write(r * REGION, 512, r));
    await settle();
    expect(gates).toHaveLength(1);
    gates[0]?.();
    await settle();
    expect(rig.engine.leg.told).toHaveLength(1);
    expect(gates).toHaveLength(2);
    gates[1]?.();
    await rig.endAll();
    expect([first, ...meanwhile].map((w) => w.errno)).toEqual([0, 0, 0, 0, 0]);
    expect(rig.files.syncs - syncs).toBe(2);
  });

  it('fails a write whose mark can not be made durable, and tells no leg of it', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    const w = rig.write(0, 512, 1);
    await rig.endAll();
    expect(w).toMatchObject({ errno: Errno.EIO, answers: 1 });
    expect(rig.allCopies.map((c) => c.told)).toEqual([[], []]);
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('goes on when the bitmap file can be written again, and marks are durable then', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    rig.write(0, 512, 1);
    await rig.endAll();
    rig.files.fault = () => undefined;
    const w = rig.write(0, 512, 1);
    await rig.endAll();
    expect(w.errno).toBe(0);
    expect(await rig.onDisk('intent')).toEqual([0]);
  });

  it('marks a write for a target that has no session before any leg is told of it', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    let onDisk: Promise<number[]> | undefined;
    rig.engine.leg.onOp = () => {
      onDisk ??= durableMap(
        rig.files.afterPowerLoss(() => false),
        rig.sizeBytes,
        'oos:b',
      );
    };
    rig.write(REGION * 7, 512, 1);
    await rig.endAll();
    expect(await onDisk).toEqual([7]);
  });
});

describe('replies (M2)', () => {
  it('answers a write only when every required leg has it', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.end('own', 'write');
    rig.end('c', 'write');
    await settle();
    expect(w.errno).toBeUndefined();
    rig.end('b', 'write');
    expect(w).toMatchObject({ errno: 0, answers: 1 });
    expect(rig.engine.handlesAlive).toBe(0);
  });

  it('reads from its own leg, without marks and without the targets', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.engine.leg.bytes.fill(7, 0, 512);
    const r = rig.read(0, 512);
    await rig.endAll();
    expect(r.data).toEqual(new Uint8Array(512).fill(7));
    expect(rig.copy('b').told).toEqual([]);
    expect(rig.intent()).toEqual([]);
  });

  it('zeroes and trims on all legs', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    for (const c of rig.allCopies) c.bytes.fill(9);
    const answers = [rig.zero(0, 1024, false), rig.trim(REGION, REGION)];
    await rig.endAll();
    expect(answers.map((a) => a.errno)).toEqual([0, 0]);
    for (const c of rig.allCopies) {
      expect(c.bytes.subarray(0, 1024).every((x) => x === 0)).toBe(true);
      expect(c.bytes.subarray(REGION, 2 * REGION).every((x) => x === 0)).toBe(true);
      expect(c.bytes[1024]).toBe(9);
    }
    expect(rig.intent()).toEqual([0, 1]);
  });

  it('passes FUA on to every leg', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 1, true);
    await rig.endAll();
    expect(w.errno).toBe(0);
    for (const c of rig.allCopies) expect(c.told).toEqual(['write 0+512 fua']);
  });

  it('flushes its own leg and every in-sync sync target, and answers when all have', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync', c: 'sync' } });
    const f = rig.flush();
    await settle();
    expect(rig.allCopies.map((c) => c.told)).toEqual([['sync'], ['sync'], ['sync']]);
    rig.end('own', 'sync');
    rig.end('b', 'sync');
    expect(f.errno).toBeUndefined();
    rig.end('c', 'sync');
    expect(f.errno).toBe(0);
  });

  it('answers a request of no bytes', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.trim(REGION, 0);
    await rig.endAll();
    expect(w).toMatchObject({ errno: 0, answers: 1 });
  });
});

describe('one order on every leg (M4)', () => {
  it('never has overlapping writes in flight together on any leg', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const first = rig.write(0, 1024, 1);
    const second = rig.write(512, 1024, 2);
    const apart = rig.write(2048, 512, 3);
    await settle();
    for (const c of rig.allCopies) expect(c.told).toEqual(['write 0+1024', 'write 2048+512']);
    rig.end('own', 'write');
    await settle();
    for (const c of rig.allCopies) expect(c.told).not.toContain('write 512+1024');
    rig.end('b', 'write');
    await rig.endAll();
    expect([first, second, apart].map((w) => w.errno)).toEqual([0, 0, 0]);
    for (const c of rig.allCopies) expect([c.bytes[511], c.bytes[512], c.bytes[1535]]).toEqual([1, 2, 2]);
  });

  it('sends application writes to a resyncing target, except where regions are still to be copied', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    rig.write(REGION * 2, 512, 1);
    await rig.endAll();
    rig.open('b');
    const skipped = rig.write(REGION * 2, 512, 2);
    const sent = rig.write(REGION * 5, 512, 3);
    const across = rig.write(REGION * 3 - 512, 1024, 4);
    await rig.endAll();
    expect(rig.copy('b').told).toEqual([`write ${String(REGION * 5)}+512`, `write ${String(REGION * 3 - 512)}+1024`]);
    expect([skipped, sent, across].map((w) => w.errno)).toEqual([0, 0, 0]);
    expect(rig.oos('b')).toContain(2);
  });

  it('counts a resyncing target among those that must answer what was sent to it, so that no answer of it comes late', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    rig.open('b');
    const w = rig.write(0, 512, 1);
    await settle();
    rig.end('own', 'write');
    await settle();
    expect(w.errno).toBeUndefined();
    rig.end('b', 'write');
    expect(w.errno).toBe(0);
  });

  it('refuses a second session while one is open, and to require a target that has none', async () => {
    const rig = await Rig.make({ targets: { b: 'sync' } });
    expect(() => {
      rig.device.sessions.require(rig.target('b'));
    }).toThrow('not resyncing');
    rig.open('b');
    expect(() => rig.open('b')).toThrow('has a session already');
  });
});

describe('suspension and the entrance', () => {
  it('answers nothing while suspended, reads included, and goes on afterwards', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const before = rig.read(0, 512);
    const write = rig.write(0, 512, 5);
    await settle();
    rig.device.suspend('claim');
    rig.device.suspend('stalled');
    const during = [rig.read(0, 512), rig.write(REGION, 512, 6), rig.flush()];
    await rig.endAll();
    expect([before, write, ...during].map((a) => a.errno)).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect(rig.engine.leg.told).toEqual(['read 0+512', 'write 0+512']);
    rig.device.unsuspend('claim');
    await rig.endAll();
    expect(before.errno).toBeUndefined();
    rig.device.unsuspend('stalled');
    await rig.endAll();
    expect([before, write, ...during].map((a) => a.errno)).toEqual([0, 0, 0, 0, 0]);
    expect(during[0]?.data?.[0]).toBe(5);
  });

  it('answers nothing while suspended even when the bitmap file can not be written', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const w = rig.write(0, 512, 1);
    await settle();
    rig.files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    rig.device.suspend('stalled');
    rig.client('b').lose();
    await rig.endAll();
    rig.clock.advance(2000);
    await rig.endAll();
    expect(w.errno).toBeUndefined();
    rig.device.unsuspend('stalled');
    rig.clock.advance(2000);
    await rig.endAll();
    expect(w).toMatchObject({ errno: Errno.EIO, answers: 1 });
  });

  it('suspends itself, and asks the host, when nobody looked for as long as a failure timeout', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' }, stallLimitMs: 1000 });
    rig.clock.advance(900);
    rig.device.tick();
    rig.clock.advance(900);
    const fine = rig.read(0, 512);
    await rig.endAll();
    expect(fine.errno).toBe(0);
    rig.clock.advance(100);
    const late = rig.read(0, 512);
    await rig.endAll();
    expect(late.errno).toBeUndefined();
    expect(rig.host.stalls).toBe(1);
    expect(rig.device.suspension?.reasons).toEqual(['stalled']);
    rig.device.tick();
    rig.device.unsuspend('stalled');
    await rig.endAll();
    expect(late.errno).toBe(0);
  });

  it('holds an answer back that came from a leg while the process stood still', async () => {
    const rig = await Rig.inSync({ stallLimitMs: 1000 });
    const r = rig.read(0, 512);
    await settle();
    rig.clock.advance(1000);
    rig.end('own', 'read');
    await settle();
    expect(r.errno).toBeUndefined();
    expect(rig.host.stalls).toBe(1);
  });

  it('closes the entrance: what was admitted is answered, what comes waits until it is open', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const before = rig.write(0, 512, 1);
    await settle();
    let closed = false;
    const closing = rig.device.closeEntrance('resize').then(() => {
      closed = true;
    });
    const during = [rig.write(REGION, 512, 2), rig.read(0, 512)];
    await settle();
    expect(closed).toBe(false);
    await rig.endAll();
    await closing;
    expect(before.errno).toBe(0);
    expect(during.map((a) => a.errno)).toEqual([undefined, undefined]);
    rig.device.openEntrance('resize');
    await rig.endAll();
    expect(during.map((a) => a.errno)).toEqual([0, 0]);
  });

  it('takes another geometry only while its entrance is closed and nothing is in hand', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const deviceBytes = rig.sizeBytes + 4 * REGION;
    const file = await BitmapFile.create(rig.files, '/bigger', { ...IDENTITY, deviceBytes, generation: '00000000000000aa' });
    const marks = new Marks({ file, regions: new RegionMap({ deviceBytes, regionBytes: REGION }), limits: DEFAULT_SETTINGS.intent, log: nullLog });
    const grow = (): void => {
      rig.device.setGeometry(deviceBytes, marks);
    };
    expect(grow).toThrow('in use');
    const w = rig.write(0, 512, 1);
    const closing = rig.device.closeEntrance('resize');
    expect(grow).toThrow('in use');
    const waiting = rig.write(REGION, 512, 2);
    await rig.endAll();
    await closing;
    grow();
    expect(rig.device.sizeBytes).toBe(deviceBytes);
    rig.device.openEntrance('resize');
    await rig.endAll();
    expect([w.errno, waiting.errno]).toEqual([0, 0]);
    expect([...marks.intent.snapshot().runs()]).toEqual([{ first: 1, length: 1 }]);
  });
});

describe('the end', () => {
  it('answers ESHUTDOWN to everything once stopped, also to what the legs complete', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const inFlight = [rig.write(0, 512, 1), rig.read(REGION, 512), rig.flush()];
    const behind = rig.write(256, 512, 2);
    await settle();
    rig.files.beforeSync = () => new Promise(() => undefined);
    const unmarked = rig.write(REGION * 9, 512, 3);
    await settle();
    rig.device.stop(Errno.ESHUTDOWN);
    const after = [rig.read(0, 512), rig.write(0, 512, 1), rig.flush()];
    expect(after.map((a) => a.errno)).toEqual([108, 108, 108]);
    rig.files.beforeSync = () => Promise.resolve();
    await rig.endAll();
    expect([...inFlight, behind].map((a) => a.errno)).toEqual([108, 108, 108, 108]);
    expect(unmarked.answers).toBeLessThanOrEqual(1);
    expect(rig.client('b').closed).toBe(Errno.ESHUTDOWN);
  });

  it('answers every request once when stopped with requests at each stage, and releases every payload', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    const gates: (() => void)[] = [];
    const all = [rig.write(0, 512, 1), rig.write(256, 512, 2), rig.read(0, 512)];
    await settle();
    rig.files.beforeSync = () => new Promise((resolve) => gates.push(resolve));
    all.push(rig.write(REGION, 512, 3), rig.write(REGION + 256, 512, 3));
    await settle();
    rig.device.suspend('claim');
    all.push(rig.write(REGION * 2, 512, 3), rig.read(0, 512));
    rig.device.stop(Errno.ESHUTDOWN);
    for (const g of gates) g();
    rig.files.beforeSync = () => Promise.resolve();
    await rig.endAll();
    expect(all.map((a) => [a.errno, a.answers])).toEqual(all.map(() => [108, 1]));
    expect(rig.engine.handlesAlive).toBe(0);
    expect(rig.device.lock.held).toBe(0);
  });

  it('is idle only when its own leg has done with every request, although all were given up', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await settle();
    rig.device.stop(Errno.ESHUTDOWN);
    let idle = false;
    const waiting = rig.device.idle().then(() => {
      idle = true;
    });
    await settle();
    expect(idle).toBe(false);
    rig.end('own', 'write');
    await waiting;
    expect(idle).toBe(true);
  });

  it('stops answering when its host can not commit a generation', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const w = rig.write(0, 512, 1);
    await settle();
    rig.host.generations[0]?.reject(new Error('disk full'));
    await rig.endAll();
    expect(w.errno).toBe(Errno.ESHUTDOWN);
    expect(rig.device.stopped).toBe(true);
    expect(rig.engine.leg.told).toEqual([]);
  });
});

describe('a new generation', () => {
  it('is committed before the first write that needs it, once; FLUSH and reads do not need it', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const others = [rig.flush(), rig.read(0, 512)];
    await rig.endAll();
    expect(others.map((a) => a.errno)).toEqual([0, 0]);
    expect(rig.host.generations).toHaveLength(0);
    const writes = [rig.write(0, 512, 1), rig.write(REGION, 512, 2)];
    await rig.endAll();
    expect(rig.host.generations).toHaveLength(1);
    expect(rig.engine.leg.has('write')).toBe(false);
    expect(writes.map((w) => w.errno)).toEqual([undefined, undefined]);
    rig.host.generations[0]?.resolve();
    await rig.endAll();
    expect(writes.map((w) => w.errno)).toEqual([0, 0]);
    expect(rig.host.generations).toHaveLength(1);
  });

  it('asked for again while one is being committed is committed as well', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.device.needGeneration();
    const first = rig.write(0, 512, 1);
    await settle();
    rig.device.needGeneration();
    rig.host.generations[0]?.resolve();
    await rig.endAll();
    expect(first.errno).toBeUndefined();
    expect(rig.host.generations).toHaveLength(2);
    rig.host.generations[1]?.resolve();
    await rig.endAll();
    expect(first.errno).toBe(0);
  });
});

describe('what a flush proves (M5)', () => {
  const proven = async (rig: Rig): Promise<boolean> => {
    await settle();
    return !rig.marks.intent.hasUnproven;
  };

  it('proves what was written before it when every leg in session took part', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await rig.endAll();
    expect(await proven(rig)).toBe(false);
    rig.flush();
    await rig.endAll();
    expect(await proven(rig)).toBe(true);
  });

  it('proves nothing while a target is being resynced, or is async', async () => {
    const rig = await Rig.make({ targets: { b: 'sync', c: 'async' } });
    rig.open('b');
    rig.write(0, 512, 1);
    await rig.endAll();
    rig.flush();
    await rig.endAll();
    expect(await proven(rig)).toBe(false);
  });

  it('does not prove a write that was still in flight when the flush began', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await settle();
    const f = rig.flush();
    await settle();
    rig.end('own', 'sync');
    rig.end('b', 'sync');
    expect(f.errno).toBe(0);
    await rig.endAll();
    expect(await proven(rig)).toBe(false);
  });

  it('does not prove what a target acknowledged that left meanwhile and came back', async () => {
    const rig = await Rig.inSync({ targets: { b: 'sync' } });
    rig.write(0, 512, 1);
    await rig.endAll();
    rig.host.easy = true;
    rig.flush();
    await settle();
    rig.client('b').lose();
    await settle();
    expect(rig.oos('b')).toEqual([0]);
    rig.open('b');
    await rig.endAll();
    expect(rig.oos('b')).toEqual([0]);
  });
});
