import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { AsyncQueue, type AsyncLimits } from '../../../src/mirror/async-queue.ts';
import { settle } from '../../support/manual-clock.ts';
import { REGION, Rig } from './rig.ts';
import { Copy, endOp, ScriptedClient, ScriptedEngine } from './scripted-engine.ts';

const wide: AsyncLimits = { writesMax: 100, bytesMax: 1 << 20, inFlightMax: 100 };

function make(limits: Partial<AsyncLimits> = {}) {
  const engine = new ScriptedEngine(64 * 1024);
  const copy = new Copy('b', 64 * 1024);
  const client = new ScriptedClient(engine, copy);
  const ended: number[] = [];
  const failed: { errno: number; atFlush: boolean }[] = [];
  let rooms = 0;
  const queue: AsyncQueue = new AsyncQueue(
    client,
    { ...wide, ...limits },
    {
      release: (h) => {
        engine.release(h);
      },
      entryEnded: (first) => {
        ended.push(first);
      },
      room: () => {
        rooms += 1;
      },
      failed: (errno, atFlush) => {
        failed.push({ errno, atFlush });
        queue.end(errno);
      },
    },
  );
  const write = (offset: number, length: number, byte: number): void => {
    const h = engine.allocate(length);
    engine.view(h).fill(byte);
    queue.write(offset, length, h, offset, offset);
  };
  const end = (errno = 0): void => {
    const [op] = copy.ops;
    if (op === undefined) throw new Error('nothing is in flight');
    endOp(engine, copy, op, errno);
  };
  return { engine, copy, client, queue, ended, failed, write, end, rooms: () => rooms };
}

describe('async queue', () => {
  it('sends writes between two boundaries together, unless they overlap', () => {
    const q = make();
    q.write(0, 512, 1);
    q.write(1024, 512, 2);
    q.write(256, 512, 3);
    q.write(4096, 512, 4);
    expect(q.copy.told).toEqual(['write 0+512', 'write 1024+512']);
    q.end();
    expect(q.copy.told.slice(2)).toEqual(['write 256+512', 'write 4096+512']);
    while (q.copy.ops.length > 0) q.end();
    expect([q.copy.bytes[255], q.copy.bytes[256], q.copy.bytes[512]]).toEqual([1, 3, 3]);
    expect(q.engine.handlesAlive).toBe(0);
  });

  it('sends nothing behind a boundary before all in front of it is acknowledged and flushed', () => {
    const q = make();
    q.write(0, 512, 1);
    q.queue.boundary();
    q.write(8192, 512, 2);
    expect(q.copy.told).toEqual(['write 0+512']);
    q.end();
    expect(q.copy.told).toEqual(['write 0+512', 'sync']);
    q.end();
    expect(q.copy.told).toEqual(['write 0+512', 'sync', 'write 8192+512']);
  });

  it('makes one flush of boundaries with nothing between them, and tells all who asked', () => {
    const q = make();
    const heard: string[] = [];
    q.write(0, 512, 1);
    q.queue.boundary((e) => heard.push(`a ${String(e)}`));
    q.queue.boundary();
    q.queue.boundary((e) => heard.push(`b ${String(e)}`));
    q.end();
    q.end();
    expect(q.copy.told).toEqual(['write 0+512', 'sync']);
    expect(heard).toEqual(['a 0', 'b 0']);
  });

  it('flushes again for a boundary that is asked for after the flush in flight began', () => {
    const q = make();
    q.queue.boundary();
    q.queue.boundary();
    expect(q.copy.told).toEqual(['sync']);
    q.end();
    expect(q.copy.told).toEqual(['sync', 'sync']);
  });

  it('zeroes and trims in its order', () => {
    const q = make();
    q.copy.bytes.fill(9);
    q.write(0, 512, 1);
    q.queue.zero('zero', 0, 256, true, 0, 0);
    q.queue.zero('trim', 128, 256, true, 0, 0);
    while (q.copy.ops.length > 0) q.end();
    expect(q.copy.told).toEqual(['write 0+512', 'zero 0+256', 'trim 128+256']);
    expect([q.copy.bytes[0], q.copy.bytes[383], q.copy.bytes[384]]).toEqual([0, 0, 1]);
    expect(q.ended).toHaveLength(3);
  });

  it('bounds what is in flight', () => {
    const q = make({ inFlightMax: 2 });
    for (let i = 0; i < 5; i += 1) q.write(i * 1024, 512, i);
    expect(q.copy.ops).toHaveLength(2);
    q.end();
    expect(q.copy.ops).toHaveLength(2);
  });

  it('has room up to its limits of writes and of bytes, and says when it has room again', () => {
    const q = make({ writesMax: 2, bytesMax: 1500 });
    expect(q.queue.hasRoom(5000)).toBe(true);
    q.write(0, 512, 1);
    expect(q.queue.hasRoom(988)).toBe(true);
    expect(q.queue.hasRoom(989)).toBe(false);
    expect(q.rooms()).toBe(0);
    q.write(1024, 512, 1);
    expect(q.queue.hasRoom(1)).toBe(false);
    q.end();
    expect(q.rooms()).toBe(1);
    expect([q.queue.outstandingWrites, q.queue.outstandingBytes]).toEqual([1, 512]);
    q.end();
    expect(q.rooms()).toBe(1);
  });

  it('gives everything up when the session ends: payloads, pending counts, and those who wait for a boundary', async () => {
    const q = make();
    const heard: number[] = [];
    q.write(0, 512, 1);
    q.queue.boundary((e) => heard.push(e));
    q.write(4096, 512, 1);
    q.queue.end(Errno.ESHUTDOWN);
    q.queue.boundary((e) => heard.push(e));
    expect(heard).toEqual([Errno.ESHUTDOWN, Errno.ESHUTDOWN]);
    expect(q.ended).toEqual([0, 4096]);
    expect([q.queue.outstandingWrites, q.queue.outstandingBytes]).toEqual([0, 0]);
    q.client.close(Errno.ESHUTDOWN);
    await settle();
    expect(q.engine.handlesAlive).toBe(0);
    expect(q.failed).toEqual([]);
  });

  it('tells a failed write from a failed flush', async () => {
    const a = make();
    a.write(0, 512, 1);
    a.end(Errno.EIO);
    expect(a.failed).toEqual([{ errno: Errno.EIO, atFlush: false }]);
    const b = make();
    b.queue.boundary();
    b.end(Errno.EIO);
    expect(b.failed).toEqual([{ errno: Errno.EIO, atFlush: true }]);
    await settle();
  });

  it('is at any moment an older image of the source, cut between two boundaries', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('write' as const),
          offset: fc.integer({ min: 0, max: 60 }),
          length: fc.integer({ min: 1, max: 8 }),
        }),
      },
      { weight: 2, arbitrary: fc.constant({ kind: 'boundary' as const }) },
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(10) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const q = make({ inFlightMax: 4 });
        const source = new Uint8Array(72);
        /** The source at each boundary. */
        const images = [source.slice()];
        let flushed = 0;
        let byte = 0;
        for (const s of steps) {
          if (s.kind === 'write') {
            byte = (byte % 250) + 1;
            source.fill(byte, s.offset, s.offset + s.length);
            q.write(s.offset, s.length, byte);
          } else if (s.kind === 'boundary') {
            images.push(source.slice());
            const at = images.length - 1;
            q.queue.boundary((errno) => {
              if (errno === 0) flushed = at;
            });
          } else {
            const op = q.copy.ops[s.which % Math.max(1, q.copy.ops.length)];
            if (op === undefined) continue;
            endOp(q.engine, q.copy, op);
            if (op.kind === 'sync') expect(q.copy.durable.subarray(0, 72)).toEqual(images[flushed]);
          }
        }
        while (q.copy.ops.length > 0) q.end();
        expect(q.copy.bytes.subarray(0, 72)).toEqual(source);
        expect(q.engine.handlesAlive).toBe(0);
      }),
    );
  });
});

describe('an async target of a device', () => {
  it('is not waited for, and what it lacks is under intent', async () => {
    const rig = await Rig.inSync({ targets: { b: 'async' } });
    const w = rig.write(REGION * 2, 512, 1);
    await settle();
    rig.end('own', 'write');
    expect(w.errno).toBe(0);
    const f = rig.flush();
    await settle();
    rig.end('own', 'sync');
    expect(f.errno).toBe(0);
    expect(rig.marks.intent.pendingRegions).toBe(1);
    expect(rig.copy('b').told).toEqual([`write ${String(REGION * 2)}+512`]);
    rig.end('b', 'write');
    expect(rig.copy('b').told.at(-1)).toBe('sync');
    expect(rig.marks.intent.pendingRegions).toBe(0);
  });

  it('holds writers back when its queue is full, of writes, zeroes or trims, and lets them go again', async () => {
    const rig = await Rig.inSync({ targets: { b: 'async' }, settings: { async: { writesMax: 2, bytesMax: 1 << 20, inFlightMax: 10 } } });
    const all = [rig.write(0, 512, 1), rig.zero(REGION, 512), rig.trim(2 * REGION, 512), rig.write(3 * REGION, 512, 2), rig.zero(4 * REGION, 512)];
    const own = async (): Promise<void> => {
      await settle();
      while (rig.engine.leg.ops.length > 0) {
        const [op] = rig.engine.leg.ops;
        if (op !== undefined) endOp(rig.engine, rig.engine.leg, op);
        await settle();
      }
    };
    await own();
    expect(all.map((a) => a.errno)).toEqual([0, 0, undefined, undefined, undefined]);
    rig.end('b', 'write');
    await own();
    expect(all.map((a) => a.errno)).toEqual([0, 0, 0, undefined, undefined]);
    await rig.endAll();
    expect(all.map((a) => a.errno)).toEqual([0, 0, 0, 0, 0]);
    expect(rig.differsFrom('b')).toBe(-1);
  });

  it('lost with a queue: all of it is marked, payloads go, held writers go on', async () => {
    const rig = await Rig.inSync({ targets: { b: 'async' }, settings: { async: { writesMax: 2, bytesMax: 1 << 20, inFlightMax: 1 } } });
    rig.host.easy = true;
    const all = [1, 2, 3].map((r) => rig.write(r * REGION, 512, r));
    await settle();
    rig.client('b').lose();
    await rig.endAll();
    expect(all.map((a) => a.errno)).toEqual([0, 0, 0]);
    expect(rig.oos('b')).toEqual([1, 2, 3]);
    expect(rig.engine.handlesAlive).toBe(0);
    expect(rig.marks.intent.pendingRegions).toBe(0);
  });

  it('alone does not let a write succeed that the own leg failed', async () => {
    const rig = await Rig.inSync({ targets: { b: 'async' } });
    rig.host.easy = true;
    const w = rig.write(0, 512, 1);
    await settle();
    rig.end('own', 'write', Errno.EIO);
    await rig.endAll();
    expect(w.errno).toBe(Errno.EIO);
    expect(rig.local.state).toBe('in');
  });
});
