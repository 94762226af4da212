import { describe, expect, it } from 'vitest';
import type { EngineHub, OpResult } from '../../../src/io/hub.ts';
import { Errno } from '../../../src/io/types.ts';
import type { InRig } from './engine-conformance.ts';
import { begin, expectBytes, handleOf, pattern, type Rig, takeBytes } from './engine-rig.ts';
import { MemoryLeg } from './memory-leg.ts';

async function over(rig: Rig, sizeBytes = 8192): Promise<{ file: MemoryLeg; hub: EngineHub; leg: number }> {
  const file = new MemoryLeg(rig.io.clock, sizeBytes);
  const hub = rig.hubOver(file);
  const { leg } = await hub.engine.openLeg('memory', { write: true, lock: false });
  return { file, hub, leg };
}

async function write(hub: EngineHub, leg: number, offset: number, bytes: Uint8Array, fua = false): Promise<OpResult> {
  const h = handleOf(hub, bytes);
  const r = await hub.run((op) => {
    hub.engine.write(op, leg, offset, h, 0, bytes.length, fua);
  });
  hub.engine.release(h);
  return r;
}

function read(hub: EngineHub, leg: number, offset: number, length: number): Promise<OpResult> {
  return hub.run((op) => {
    hub.engine.read(op, leg, offset, length);
  });
}

export function describeInjectedLegs(inRig: InRig): void {
  describe('over a leg file that misbehaves', () => {
    for (const answersAtOnce of [true, false]) {
      it(
        answersAtOnce ? 'short transfers answered within the call are completed' : 'short transfers answered later are completed',
        inRig(async (rig) => {
          const { file, hub, leg } = await over(rig, 64 * 1024);
          file.answersAtOnce = answersAtOnce;
          file.stepBytes = answersAtOnce ? 1 : 1000;
          const bytes = pattern(30_000, 1);
          expect(await write(hub, leg, 5, bytes)).toMatchObject({ errno: 0, length: 30_000 });
          file.stepBytes = answersAtOnce ? 3 : 777;
          const r = await read(hub, leg, 5, 30_000);
          expect(r).toMatchObject({ errno: 0, length: 30_000 });
          expectBytes(takeBytes(hub, r.h), bytes);
        }),
      );
    }

    it(
      'the end of the file in the middle of a read is EIO, and no handle',
      inRig(async (rig) => {
        const { hub, leg } = await over(rig);
        expect(await read(hub, leg, 8000, 512)).toMatchObject({ errno: Errno.EIO, length: 0, h: 0 });
      }),
    );

    it(
      'a write that stops making progress is EIO',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.limitAt = 1000;
        file.limitErrno = 0;
        expect(await write(hub, leg, 0, pattern(4096, 2))).toMatchObject({ errno: Errno.EIO, length: 0 });
      }),
    );

    it(
      'a full disk half-way through is ENOSPC, never a short success',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.limitAt = 1000;
        expect(await write(hub, leg, 0, pattern(4096, 2), true)).toMatchObject({ errno: Errno.ENOSPC, length: 0 });
        expect(file.calls).not.toContain('sync');
      }),
    );

    it(
      'FUA is a sync after the last byte, and its failure is the failure of the write',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.stepBytes = 2048;
        expect(await write(hub, leg, 0, pattern(4096, 3), true)).toMatchObject({ errno: 0 });
        expect(file.calls).toEqual(['write', 'write', 'sync']);
        file.syncErrno = Errno.EIO;
        expect(await write(hub, leg, 0, pattern(512, 3), true)).toMatchObject({ errno: Errno.EIO });
        expect(await write(hub, leg, 0, pattern(512, 3), false)).toMatchObject({ errno: 0 });
      }),
    );

    it(
      'a sync reports its error once, and is not tried again',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.syncErrno = Errno.EIO;
        const r = await hub.run((op) => {
          hub.engine.sync(op, leg);
        });
        expect(r.errno).toBe(Errno.EIO);
        expect(file.calls).toEqual(['sync']);
      }),
    );

    it(
      'zeroes are written where the leg cannot zero by itself',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig, 1024 * 1024);
        file.bytes.fill(7);
        file.zeroErrno = Errno.ENOTSUP;
        file.stepBytes = 100_000;
        const r = await hub.run((op) => {
          hub.engine.zero(op, leg, 3, 900_000, true, true);
        });
        expect(r).toMatchObject({ errno: 0, length: 900_000 });
        expect(file.bytes.subarray(3, 900_003).every((b) => b === 0)).toBe(true);
        expect([file.bytes[2], file.bytes[900_003]]).toEqual([7, 7]);
        expect(file.calls[0]).toBe('punch');
        expect(file.calls.at(-1)).toBe('sync');
      }),
    );

    it(
      'any other failure to zero is reported',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.zeroErrno = Errno.EIO;
        const r = await hub.run((op) => {
          hub.engine.zero(op, leg, 0, 4096, false, false);
        });
        expect(r.errno).toBe(Errno.EIO);
        expect(file.calls).toEqual(['zero']);
      }),
    );

    it(
      'extents that come in rounds are joined where they belong together',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.layout = [
          { offset: 0, length: 1000, hole: false, zero: false },
          { offset: 1000, length: 1000, hole: false, zero: false },
          { offset: 2000, length: 500, hole: true, zero: true },
          { offset: 2500, length: 5692, hole: true, zero: true },
        ];
        file.extentsPerCall = 1;
        const r = await hub.run((op) => {
          hub.engine.extents(op, leg, 500, 7000);
        });
        expect(r).toMatchObject({ errno: 0, length: 7000 });
        expect(r.value).toEqual({
          kind: 'extents',
          extents: [
            { offset: 500, length: 1500, hole: false, zero: false },
            { offset: 2000, length: 5500, hole: true, zero: true },
          ],
        });
      }),
    );

    it(
      'a leg file that reports no extent at all is EIO',
      inRig(async (rig) => {
        const { hub, leg } = await over(rig);
        const r = await hub.run((op) => {
          hub.engine.extents(op, leg, 0, 100);
        });
        expect(r).toMatchObject({ errno: Errno.EIO, value: undefined });
      }),
    );

    it(
      'closing waits for what is under way',
      inRig(async (rig) => {
        const { file, hub, leg } = await over(rig);
        file.held = [];
        const op = begin(hub, (id) => {
          hub.engine.sync(id, leg);
        });
        const closed = hub.engine.closeLeg(leg);
        await rig.settle();
        expect(file.closed).toBe(false);
        file.letGo();
        await closed;
        expect(file.closed).toBe(true);
        expect((await op.promise).errno).toBe(0);
      }),
    );
  });
}
