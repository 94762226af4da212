import { describe, expect, it } from 'vitest';
import { writeAll } from '../../../src/io/atomic-file.ts';
import { Errno, type Extent, type LegInfo } from '../../../src/io/types.ts';
import type { EngineHub } from '../../../src/io/hub.ts';
import type { InRig } from './engine-conformance.ts';
import { expectBytes, expectIoError, handleOf, pattern, type Rig, takeBytes } from './engine-rig.ts';

const KIB = 1024;

async function makeFile(rig: Rig, name: string, sizeBytes: number): Promise<string> {
  const path = rig.world.path(name);
  const file = await rig.io.files.open(path, { write: true, create: true });
  await file.truncate(sizeBytes);
  await file.close();
  return path;
}

async function openLeg(rig: Rig, hub: EngineHub, sizeBytes = 256 * KIB): Promise<LegInfo> {
  return await hub.engine.openLeg(await makeFile(rig, 'leg', sizeBytes), { write: true, lock: true });
}

async function write(hub: EngineHub, leg: number, offset: number, bytes: Uint8Array, fua = false): Promise<void> {
  const h = handleOf(hub, bytes);
  const r = await hub.must('write', (op) => {
    hub.engine.write(op, leg, offset, h, 0, bytes.length, fua);
  });
  expect(r.length).toBe(bytes.length);
  hub.engine.release(h);
}

async function read(hub: EngineHub, leg: number, offset: number, length: number): Promise<Uint8Array> {
  const r = await hub.must('read', (op) => {
    hub.engine.read(op, leg, offset, length);
  });
  expect(r.length).toBe(length);
  return takeBytes(hub, r.h);
}

async function extents(hub: EngineHub, leg: number, offset: number, length: number): Promise<Extent[]> {
  const r = await hub.must('extents', (op) => {
    hub.engine.extents(op, leg, offset, length);
  });
  expect(r.length).toBe(length);
  return r.value?.kind === 'extents' ? r.value.extents : [];
}

export function describeLegs(inRig: InRig): void {
  describe('a leg', () => {
    it(
      'reads back what was written, at its place',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg, sizeBytes, blockSizeBytes } = await openLeg(rig, hub);
        expect(sizeBytes).toBe(256 * KIB);
        expect(blockSizeBytes).toBe(512);
        await write(hub, leg, 4096, pattern(70_000, 1), true);
        expectBytes(await read(hub, leg, 4096, 70_000), pattern(70_000, 1));
        expect(await read(hub, leg, 0, 4096)).toEqual(new Uint8Array(4096));
        await hub.must('sync', (op) => {
          hub.engine.sync(op, leg);
        });
      }),
    );

    it(
      'writes a part of a handle',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg } = await openLeg(rig, hub);
        const bytes = pattern(3000, 2);
        const h = handleOf(hub, bytes);
        await hub.must('write', (op) => {
          hub.engine.write(op, leg, 512, h, 1000, 500, false);
        });
        hub.engine.release(h);
        expect(await read(hub, leg, 512, 501)).toEqual(new Uint8Array([...bytes.subarray(1000, 1500), 0]));
      }),
    );

    it(
      'holds the payload by its own reference until the write is done',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg } = await openLeg(rig, hub);
        const h = handleOf(hub, pattern(4096, 3));
        const done = hub.must('write', (op) => {
          hub.engine.write(op, leg, 0, h, 0, 4096, false);
        });
        hub.engine.release(h);
        const other = handleOf(hub, pattern(4096, 99));
        await done;
        hub.engine.release(other);
        expect(await read(hub, leg, 0, 4096)).toEqual(pattern(4096, 3));
      }),
    );

    it(
      'answers EIO to a read that reaches beyond its end',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg } = await openLeg(rig, hub, 8192);
        const r = await hub.run((op) => {
          hub.engine.read(op, leg, 4096, 8192);
        });
        expect(r).toMatchObject({ errno: Errno.EIO, length: 0, h: 0 });
      }),
    );

    it(
      'answers each of many long reads that are asked for at once, also when it is being closed',
      inRig(async (rig) => {
        const hub = rig.hub();
        const sizeBytes = 4096 * KIB;
        const { leg } = await openLeg(rig, hub, sizeBytes);
        const bytes = pattern(sizeBytes, 6);
        await write(hub, leg, 0, bytes);
        // Long ones, some that are not, and one that fails, which is not to keep what is behind it.
        const places = Array.from({ length: 40 }, (_, i) => ({ offset: i * 96 * KIB + 512, length: i % 5 === 4 ? 512 : (i % 7) * 32 * KIB + 4096 }));
        const all = places.map(({ offset, length }) => read(hub, leg, offset, length));
        const beyond = hub.run((op) => {
          hub.engine.read(op, leg, sizeBytes - 4096, 8192);
        });
        const last = read(hub, leg, 0, 256 * KIB);
        const closed = hub.engine.closeLeg(leg);
        for (const [i, { offset, length }] of places.entries())
          expectBytes((await all[i]) ?? new Uint8Array(0), bytes.subarray(offset, offset + length));
        expect(await beyond).toMatchObject({ errno: Errno.EIO, length: 0, h: 0 });
        expectBytes(await last, bytes.subarray(0, 256 * KIB));
        await closed;
      }),
    );

    it(
      'does nothing, successfully, for an empty range',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg } = await openLeg(rig, hub);
        expect(await read(hub, leg, 0, 0)).toEqual(new Uint8Array(0));
        await write(hub, leg, 0, new Uint8Array(0), true);
        expect(await extents(hub, leg, 0, 0)).toEqual([]);
      }),
    );

    for (const mayPunch of [true, false]) {
      it(
        mayPunch ? 'reads as zero where a hole was allowed' : 'reads as zero where no hole was allowed',
        inRig(async (rig) => {
          const hub = rig.hub();
          const { leg } = await openLeg(rig, hub);
          await write(hub, leg, 0, pattern(64 * KIB, 4));
          await hub.must('zero', (op) => {
            hub.engine.zero(op, leg, 1000, 40_000, mayPunch, true);
          });
          const expected = pattern(64 * KIB, 4);
          expected.fill(0, 1000, 41_000);
          expectBytes(await read(hub, leg, 0, 64 * KIB), expected);
          expect(await hub.engine.legSize(leg)).toBe(256 * KIB);
        }),
      );
    }

    it(
      'reports holes where it is sparse, contiguous and no further than asked',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg, sparse } = await openLeg(rig, hub);
        await write(hub, leg, 0, pattern(256 * KIB, 5));
        await hub.must('zero', (op) => {
          hub.engine.zero(op, leg, 64 * KIB, 64 * KIB, true, true);
        });
        const all = await extents(hub, leg, 0, 256 * KIB);
        if (sparse) {
          expect(all).toEqual([
            { offset: 0, length: 64 * KIB, hole: false, zero: false },
            { offset: 64 * KIB, length: 64 * KIB, hole: true, zero: true },
            { offset: 128 * KIB, length: 128 * KIB, hole: false, zero: false },
          ]);
          expect(await extents(hub, leg, 96 * KIB, 64 * KIB)).toEqual([
            { offset: 96 * KIB, length: 32 * KIB, hole: true, zero: true },
            { offset: 128 * KIB, length: 32 * KIB, hole: false, zero: false },
          ]);
        } else expect(all).toEqual([{ offset: 0, length: 256 * KIB, hole: false, zero: false }]);
      }),
    );

    it(
      'reports every hole of a leg with a great many of them',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg, sparse } = await openLeg(rig, hub, 2048 * KIB);
        for (let at = 0; at < 2048 * KIB; at += 16 * KIB) await write(hub, leg, at, pattern(4 * KIB, at));
        const all = await extents(hub, leg, 0, 2048 * KIB);
        if (sparse) expect(all.filter((e) => e.hole).length).toBe(128);
        expect(all.reduce((n, e) => n + e.length, 0)).toBe(2048 * KIB);
      }),
    );

    it(
      'grows and shrinks',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { leg } = await openLeg(rig, hub);
        await hub.engine.setLegSize(leg, 300 * KIB);
        expect(await hub.engine.legSize(leg)).toBe(300 * KIB);
        expect(await read(hub, leg, 299 * KIB, KIB)).toEqual(new Uint8Array(KIB));
        await hub.engine.setLegSize(leg, 4 * KIB);
        expect(await hub.engine.legSize(leg)).toBe(4 * KIB);
      }),
    );

    it(
      'is refused to a second owner, and free again when closed',
      inRig(async (rig) => {
        const hub = rig.hub();
        const path = await makeFile(rig, 'locked', 4096);
        const first = await hub.engine.openLeg(path, { write: true, lock: true });
        await expectIoError(hub.engine.openLeg(path, { write: true, lock: true }), Errno.EBUSY);
        await hub.engine.closeLeg(first.leg);
        const second = await hub.engine.openLeg(path, { write: true, lock: true });
        await hub.engine.closeLeg(second.leg);
      }),
    );

    it(
      'cannot be opened where nothing is',
      inRig(async (rig) => {
        const hub = rig.hub();
        await expectIoError(hub.engine.openLeg(rig.world.path('absent'), { write: true, lock: true }), Errno.ENOENT);
      }),
    );

    it(
      'ends what was begun before it closes, and takes nothing afterwards',
      inRig(async (rig) => {
        const hub = rig.hub();
        const path = await makeFile(rig, 'closing', 64 * KIB);
        const { leg } = await hub.engine.openLeg(path, { write: true, lock: false });
        const h = handleOf(hub, pattern(32 * KIB, 6));
        let written = false;
        const done = hub
          .must('write', (op) => {
            hub.engine.write(op, leg, 0, h, 0, 32 * KIB, true);
          })
          .then(() => {
            written = true;
          });
        hub.engine.release(h);
        const closed = hub.engine.closeLeg(leg);
        const late = await hub.run((op) => {
          hub.engine.sync(op, leg);
        });
        expect(late.errno).toBe(Errno.ESHUTDOWN);
        await closed;
        await done;
        expect(written).toBe(true);
        await expectIoError(hub.engine.legSize(leg), Errno.ESHUTDOWN);
        const kept = await rig.io.files.readFile(path, 64 * KIB);
        expectBytes(kept.subarray(0, 32 * KIB), pattern(32 * KIB, 6));
        expectBytes(kept.subarray(32 * KIB), new Uint8Array(32 * KIB));
      }),
    );

    it(
      'keeps many operations at once apart',
      inRig(async (rig) => {
        const hub = rig.hub();
        const path = await makeFile(rig, 'busy', 0);
        const file = await rig.io.files.open(path, { write: true });
        await writeAll(file, path, pattern(256 * KIB, 7));
        await file.close();
        const { leg } = await hub.engine.openLeg(path, { write: true, lock: false });
        const parts = await Promise.all(Array.from({ length: 64 }, (_, i) => read(hub, leg, i * 4096, 4096)));
        const all = pattern(256 * KIB, 7);
        parts.forEach((p, i) => {
          expectBytes(p, all.subarray(i * 4096, (i + 1) * 4096));
        });
      }),
    );
  });
}
