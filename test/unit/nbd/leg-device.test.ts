import { describe, expect, test } from 'vitest';
import { Touched } from '../../../src/io/touched.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import type { Extent, Handle, RequestId } from '../../../src/io/types.ts';
import type { Replier } from '../../../src/nbd/device.ts';
import { LegDevice, type LegDeviceOptions } from '../../../src/nbd/leg-device.ts';
import { NBD_EIO, NBD_ENOSPC, NBD_ENOTSUP, NBD_ESHUTDOWN } from '../../../src/nbd/wire/constants.ts';
import { FakeEngine } from '../../support/fake-engine.ts';

class Answers implements Replier {
  readonly all: { req: RequestId; is: 'ok' | 'data' | 'extents' | number; h?: Handle; extents?: readonly Extent[] }[] = [];
  ok(req: RequestId): void {
    this.all.push({ req, is: 'ok' });
  }
  error(req: RequestId, errno: number): void {
    this.all.push({ req, is: errno });
  }
  data(req: RequestId, h: Handle): void {
    this.all.push({ req, is: 'data', h });
  }
  extents(req: RequestId, extents: readonly Extent[]): void {
    this.all.push({ req, is: 'extents', extents });
  }
}

function setup(o: LegDeviceOptions & { sparse?: boolean } = {}): {
  engine: FakeEngine;
  device: LegDevice;
  answers: Answers;
  payload: (n: number) => Handle;
} {
  const engine = new FakeEngine();
  const device = new LegDevice(new EngineHub(engine), { leg: 1, sizeBytes: 1 << 20, blockSizeBytes: 512, sparse: o.sparse ?? true }, o);
  return { engine, device, answers: new Answers(), payload: (n) => engine.allocate(n) };
}

test('a read answers with the handle that the leg gave, untouched', () => {
  const { engine, device, answers } = setup();
  device.read(answers, 7, 4096, 512);
  expect(engine.ops).toMatchObject([{ what: 'read', offset: 4096, length: 512 }]);
  engine.finish();
  expect(answers.all).toMatchObject([{ req: 7, is: 'data' }]);
  engine.release(answers.all[0]?.h ?? 0);
  expect(engine.handlesAlive).toBe(0);
});

test('a write passes its handle on and lets go of it', () => {
  const { engine, device, answers, payload } = setup();
  device.write(answers, 1, 0, 512, payload(512), true);
  expect(engine.ops).toMatchObject([{ what: 'write', offset: 0, length: 512, fua: true }]);
  expect(engine.handlesAlive).toBe(1);
  engine.finish();
  expect(engine.handlesAlive).toBe(0);
  expect(answers.all).toEqual([{ req: 1, is: 'ok' }]);
});

test('TRIM and WRITE_ZEROES both zero; only NO_HOLE forbids the hole', () => {
  const { engine, device, answers } = setup();
  device.trim(answers, 1, 0, 512, false);
  device.writeZeroes(answers, 2, 512, 512, true, false, false);
  device.writeZeroes(answers, 3, 1024, 512, false, true, true);
  expect(engine.ops.map((o) => [o.what, o.mayPunch, o.fua])).toEqual([
    ['zero', true, false],
    ['zero', false, true],
    ['zero', true, false],
  ]);
});

test('fast zeroes are refused where they would be written out', () => {
  const solid = setup({ sparse: false });
  expect(solid.device.info().canFastZero).toBe(false);
  solid.device.writeZeroes(solid.answers, 1, 0, 512, false, true, true);
  const sparse = setup();
  sparse.device.writeZeroes(sparse.answers, 1, 0, 512, false, false, true);
  for (const s of [solid, sparse]) {
    expect(s.answers.all).toEqual([{ req: 1, is: NBD_ENOTSUP }]);
    expect(s.engine.ops).toEqual([]);
  }
});

test('block status hands on the extents; a leg that has none to report is all data', () => {
  const { engine, device, answers } = setup();
  const extents = [{ offset: 0, length: 4096, hole: true, zero: true }];
  device.blockStatus(answers, 1, 0, 4096);
  engine.finish(0, { value: { kind: 'extents', extents } });
  device.blockStatus(answers, 2, 512, 512);
  engine.finish(NBD_ENOTSUP);
  device.blockStatus(answers, 3, 0, 512);
  engine.finish(NBD_EIO);
  expect(answers.all).toEqual([
    { req: 1, is: 'extents', extents },
    { req: 2, is: 'extents', extents: [{ offset: 512, length: 512, hole: false, zero: false }] },
    { req: 3, is: NBD_EIO },
  ]);
});

test('an error of the leg is the answer', () => {
  const { engine, device, answers, payload } = setup();
  device.read(answers, 1, 0, 512);
  device.write(answers, 2, 0, 512, payload(512), false);
  engine.finish(NBD_EIO);
  engine.finish(NBD_ENOSPC);
  expect(answers.all).toEqual([
    { req: 1, is: NBD_EIO },
    { req: 2, is: NBD_ENOSPC },
  ]);
  expect(engine.handlesAlive).toBe(0);
});

describe('M3: whoever must know what a failed sync may have lost', () => {
  function watched(): ReturnType<typeof setup> & { told: string[] } {
    const told: string[] = [];
    const s = setup({
      watch: {
        changed: (offset, length) => told.push(`changed ${String(offset)}+${String(length)}`),
        syncBegins: () => told.push('sync begins'),
        syncEnds: (well) => told.push(`sync ends ${well ? 'well' : 'badly'}`),
        syncFailed: () => told.push(`failed, ${String(s.answers.all.length)} answered`),
        damaged: () => told.push('damaged'),
      },
    });
    return { ...s, told };
  }

  test('is told of each change when it begins, and when it ends if a sync began meanwhile', () => {
    const { engine, device, answers, payload, told } = watched();
    device.write(answers, 1, 0, 512, payload(512), false);
    engine.finish();
    device.trim(answers, 2, 512, 1024, false);
    device.flush(answers, 3);
    engine.finish();
    engine.finish();
    expect(told).toEqual(['changed 0+512', 'changed 512+1024', 'sync begins', 'changed 512+1024', 'sync ends well']);
  });

  test('is told of a failure once, before it is answered', () => {
    const { engine, device, answers, payload, told } = watched();
    device.write(answers, 1, 0, 512, payload(512), false);
    engine.finish(NBD_EIO);
    device.flush(answers, 2);
    engine.finish(NBD_EIO);
    device.write(answers, 3, 0, 512, payload(512), true);
    engine.finish(NBD_EIO);
    expect(told.filter((t) => t.startsWith('failed'))).toEqual(['failed, 1 answered']);
    expect(device.syncFailed).toBe(true);
  });
});

test('M3: after a sync that failed, no flush and no FUA succeeds any more', () => {
  const { engine, device, answers, payload } = setup();
  device.flush(answers, 1);
  engine.finish(NBD_EIO);
  device.flush(answers, 2);
  engine.finish();
  device.write(answers, 3, 0, 512, payload(512), true);
  engine.finish();
  device.write(answers, 4, 0, 512, payload(512), false);
  engine.finish();
  expect(answers.all.map((a) => a.is)).toEqual([NBD_EIO, NBD_EIO, NBD_EIO, 'ok']);
});

describe('M4: a device that was stopped', () => {
  test('sends nothing more to its leg, and is drained when the last request has ended', async () => {
    const { engine, device, answers, payload } = setup();
    device.write(answers, 1, 0, 512, payload(512), false);
    device.read(answers, 2, 0, 512);
    device.stop();
    device.read(answers, 3, 0, 512);
    device.write(answers, 4, 0, 512, payload(512), false);
    device.flush(answers, 5);
    device.trim(answers, 6, 0, 512, false);
    device.writeZeroes(answers, 7, 0, 512, false, true, false);
    device.blockStatus(answers, 8, 0, 512);
    device.cache(answers, 9);
    expect(answers.all).toEqual([3, 4, 5, 6, 7, 8, 9].map((req) => ({ req, is: NBD_ESHUTDOWN })));
    expect(engine.ops.length).toBe(2);
    expect(engine.handlesAlive).toBe(1);

    let drained = false;
    const wait = device.drained().then(() => {
      drained = true;
    });
    engine.finish();
    await Promise.resolve();
    expect([drained, device.inFlight]).toEqual([false, 1]);
    engine.finish();
    await wait;
    expect([drained, device.inFlight]).toEqual([true, 0]);
    await device.drained();
  });
});

test('records are used again, and answers still find their requests', () => {
  const { engine, device, answers, payload } = setup();
  for (let round = 0; round < 3; round += 1) {
    for (let i = 0; i < 5; i += 1) device.write(answers, round * 5 + i, i * 512, 512, payload(512), false);
    for (let i = 0; i < 5; i += 1) engine.finish();
  }
  expect(answers.all.map((a) => a.req)).toEqual(Array.from({ length: 15 }, (_, i) => i));
  expect(engine.handlesAlive).toBe(0);
});

test('a cache request is answered at once, and a new size is told', () => {
  const { device, answers } = setup();
  device.cache(answers, 1);
  expect(answers.all).toEqual([{ req: 1, is: 'ok' }]);
  device.setSizeBytes(2 << 20);
  expect(device.info().sizeBytes).toBe(2 << 20);
});

describe('connections whose writes the engine takes', () => {
  function serving(): ReturnType<typeof setup> {
    const s = setup({ touched: new Touched(1 << 20, 65536) });
    s.engine.serves = true;
    s.device.opened(4);
    expect(s.engine.servedNow.get(4)).toMatchObject({ leg: 1, sizeBytes: 1 << 20 });
    return s;
  }

  test('are drained once none is under way, and served on with the next write', async () => {
    const { engine, device, answers, payload } = serving();
    let drained = false;
    void device.drained().then(() => {
      drained = true;
    });
    await Promise.resolve();
    expect(drained).toBe(false);
    expect(engine.servedNow.size).toBe(0);
    device.write(answers, 1, 0, 512, payload(512), false);
    expect(engine.servedNow.size).toBe(0);
    engine.unserved(4, 9);
    await Promise.resolve();
    expect(drained).toBe(false);
    engine.finish();
    await Promise.resolve();
    expect(drained).toBe(true);
    device.write(answers, 2, 0, 512, payload(512), false);
    expect(engine.servedNow.has(4)).toBe(true);
    expect(device.servedOn(4)).toBe(9);
    engine.finish();
  });

  test('are served no more once the device has stopped, for a failed sync too', async () => {
    const { engine, device, answers } = serving();
    device.stop();
    expect(engine.servedNow.size).toBe(0);
    const drained = device.drained();
    engine.unserved(4, 0);
    await drained;
    device.write(answers, 1, 0, 512, engine.allocate(512), false);
    expect(engine.servedNow.size).toBe(0);
    expect(answers.all).toEqual([{ req: 1, is: NBD_ESHUTDOWN }]);
  });

  test('are none of a device that may not be written to, or keeps no account', () => {
    for (const o of [{ readOnly: true, touched: new Touched(1 << 20, 65536) }, {}]) {
      const { engine, device } = setup(o);
      engine.serves = true;
      device.opened(4);
      device.closed(4);
      expect(engine.servedNow.size + engine.unserving.size).toBe(0);
      expect(device.servedOn(4)).toBe(0);
    }
  });
});
