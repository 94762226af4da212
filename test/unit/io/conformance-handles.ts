import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { EventKind } from '../../../src/io/types.ts';
import type { InRig } from './engine-conformance.ts';
import { handleOf, pattern } from './engine-rig.ts';
import { MemoryLeg } from './memory-leg.ts';

export function describeHandlesAndEvents(inRig: InRig): void {
  describe('handles and events', () => {
    it(
      'a handle lives until its last reference, and is counted',
      inRig(async (rig) => {
        const { engine } = rig.hub();
        const h = engine.allocate(1000);
        engine.retain(h);
        engine.release(h);
        expect(engine.view(h).length).toBe(1000);
        expect(engine.usage()).toMatchObject({ handles: 1, bytes: 1000 });
        engine.release(h);
        expect(engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
        await rig.turn();
      }),
    );

    it(
      'one release too many, and the use of a stale handle, are bugs and say so',
      inRig(async (rig) => {
        const { engine } = rig.hub();
        const h = engine.allocate(10);
        engine.release(h);
        expect(() => {
          engine.release(h);
        }).toThrow(/not live/);
        const other = engine.allocate(10);
        expect(() => engine.view(h)).toThrow(/not live/);
        expect(() => {
          engine.retain(0);
        }).toThrow(/not live/);
        engine.release(other);
        await rig.turn();
      }),
    );

    it(
      'digests are those of the bytes asked for',
      inRig(async (rig) => {
        const hub = rig.hub();
        const bytes = pattern(10_000, 1);
        const h = handleOf(hub, bytes);
        const sha = await hub.run((op) => {
          hub.engine.digest(op, h, 100, 5000, 'sha256');
        });
        expect(sha.value).toEqual({ kind: 'digest', hex: createHash('sha256').update(bytes.subarray(100, 5100)).digest('hex') });
        hub.engine.view(h).set(new TextEncoder().encode('123456789'));
        const crc = await hub.run((op) => {
          hub.engine.digest(op, h, 0, 9, 'crc32');
        });
        expect(crc.value).toEqual({ kind: 'digest', hex: 'cbf43926' });
        hub.engine.release(h);
      }),
    );

    it(
      'each granule is told to be zero or not, the short last one too',
      inRig(async (rig) => {
        const hub = rig.hub();
        const h = handleOf(hub, new Uint8Array(300_000));
        hub.engine.view(h)[99_999] = 1;
        hub.engine.view(h)[299_999] = 1;
        const r = await hub.run((op) => {
          hub.engine.isZero(op, h, 0, 300_000, 70_000);
        });
        expect(r.value).toEqual({ kind: 'zeroes', zero: [true, false, true, true, false] });
        const part = await hub.run((op) => {
          hub.engine.isZero(op, h, 100_000, 1000, 512);
        });
        expect(part.value).toEqual({ kind: 'zeroes', zero: [true, true] });
        hub.engine.release(h);
      }),
    );

    it(
      'events never come from inside a call, and what a handler causes comes in a later batch',
      inRig(async (rig) => {
        const engine = rig.io.createEngine();
        const h = engine.allocate(64);
        let inCall = true;
        let delivering = false;
        const seen: number[] = [];
        engine.onEvents((e) => {
          expect(inCall).toBe(false);
          expect(delivering).toBe(false);
          delivering = true;
          for (let i = 0; i < e.count; i += 1) {
            expect(e.kind[i]).toBe(EventKind.DONE);
            const op = e.id[i] ?? 0;
            seen.push(op);
            if (op < 300) engine.isZero(op + 300, h, 0, 64, 64);
          }
          delivering = false;
        });
        for (let op = 1; op < 300; op += 1) engine.isZero(op, h, 0, 64, 64);
        inCall = false;
        await rig.until(() => seen.length === 598);
        expect(new Set(seen).size).toBe(598);
        engine.release(h);
        expect(engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
      }),
    );

    it(
      'a second handler is refused',
      inRig(async (rig) => {
        const { engine } = rig.hub();
        expect(() => {
          engine.onEvents(() => undefined);
        }).toThrow(/handler/);
        await rig.turn();
      }),
    );

    it(
      'data buffers are reused without showing old bytes as new',
      inRig(async (rig) => {
        const file = new MemoryLeg(rig.io.clock, 4096);
        const hub = rig.hubOver(file);
        const { leg } = await hub.engine.openLeg('memory', { write: true, lock: false });
        for (let i = 0; i < 3; i += 1) {
          hub.engine.release(handleOf(hub, pattern(4096, 9)));
          const r = await hub.must('read', (op) => {
            hub.engine.read(op, leg, 0, 4096);
          });
          expect(hub.engine.view(r.h)).toEqual(new Uint8Array(4096));
          hub.engine.release(r.h);
        }
      }),
    );
  });
}
