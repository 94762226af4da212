import { beforeEach, describe, expect, it } from 'vitest';
import { Resync } from '../../../src/mirror/resync.ts';
import { DEFAULT_SETTINGS, type ResyncSettings } from '../../../src/mirror/settings.ts';
import { settle } from '../../support/manual-clock.ts';
import { REGION, Rig } from './rig.ts';
import { endOp, type OpKind, type PendingOp } from './scripted-engine.ts';

const NEVER = Number.MAX_SAFE_INTEGER;

/** Regions 1 to `regions` are lacking on b. What of b is in `holding` waits there for the test, all else ends by itself. */
async function resyncing(regions: number, o: Partial<ResyncSettings>, holding: readonly OpKind[]) {
  const resync = { ...DEFAULT_SETTINGS.resync, copyBytes: REGION, proveEveryMs: NEVER, rateMaxBytesPerSec: NEVER, ...o };
  const rig = await Rig.make({ targets: { b: 'sync' }, settings: { resync }, easy: true, regions: regions + 1 });
  for (let r = 1; r <= regions; r += 1) rig.write(r * REGION, REGION, r);
  rig.flush();
  await rig.endAll();
  rig.flush();
  await rig.endAll();
  rig.marks.collect(false);
  await rig.marks.durable();
  rig.open('b');
  const b = rig.copy('b');
  const held: PendingOp[] = [];
  const told: OpKind[] = [];
  const ends = b.onOp;
  let holds = true;
  b.onOp = (op) => {
    told.push(op.kind);
    if (holds && holding.includes(op.kind)) held.push(op);
    else ends(op);
  };
  const run = new Resync(rig.device, rig.target('b'), { kind: 'partial', onProgress: () => undefined }).run();
  return {
    rig,
    run,
    told,
    count: (kind: OpKind) => held.filter((op) => op.kind === kind).length,
    async end(kind: OpKind, many = 1): Promise<void> {
      for (let i = 0; i < many; i += 1) {
        const op = held.find((h) => h.kind === kind);
        if (op === undefined) throw new Error(`b has been asked for no ${kind}`);
        held.splice(held.indexOf(op), 1);
        endOp(rig.engine, b, op);
        await settle();
      }
    },
    /** Nothing waits any more. */
    async goOn(): Promise<void> {
      holds = false;
      for (const op of held.splice(0)) endOp(rig.engine, b, op);
      expect(await rig.until(run)).toMatchObject({ result: 'done' });
      expect(rig.oos('b')).toEqual([]);
    },
  };
}

describe('proofs of a resync', () => {
  describe('that take longer than the copying', () => {
    let r: Awaited<ReturnType<typeof resyncing>>;

    beforeEach(async () => {
      r = await resyncing(12, { copiesInFlightMax: 4, proveEveryBytes: 2 * REGION }, ['write', 'sync']);
      await r.rig.eventually('the first copies are under way', () => r.count('write') === 4);
      await r.end('write', 2);
    });

    it('keep one of the copiers: the others go on', async () => {
      expect([r.count('write'), r.count('sync')]).toEqual([3, 1]);
      await r.end('write');
      expect([r.count('write'), r.count('sync')]).toEqual([3, 1]);
      await r.goOn();
    });

    it('are left behind by one batch, and what was under way when that was full', async () => {
      await r.end('write', 4);
      expect([r.count('write'), r.count('sync')]).toEqual([0, 1]);
      expect(r.rig.oos('b')).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
      await r.goOn();
    });

    it('follow each other at once, and then too all copiers but one go on', async () => {
      await r.end('write', 4);
      await r.end('sync');
      expect([r.count('write'), r.count('sync')]).toEqual([3, 1]);
      // What was copied while that proof was under way has its own.
      expect(r.rig.oos('b')).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
      await r.end('sync');
      expect(r.rig.oos('b')).toEqual([7, 8, 9, 10, 11, 12]);
      await r.goOn();
    });
  });

  it('that are due by time alone keep nobody waiting who has copied less than a batch', async () => {
    const limits = { copiesInFlightMax: 2, proveEveryMs: 1, rateMaxBytesPerSec: 20 * REGION };
    const r = await resyncing(6, limits, ['sync']);
    const writes = (): number => r.told.filter((k) => k === 'write').length;
    await r.rig.eventually('a proof is under way', () => r.count('sync') === 1);
    expect(writes()).toBeLessThan(6);
    await r.rig.eventually('all is copied beside it', () => writes() === 6);
    expect(r.count('sync')).toBe(1);
    await r.goOn();
  });

  it('come sooner towards the end, so that the last one is short', async () => {
    const r = await resyncing(24, { copiesInFlightMax: 1, proveEveryBytes: 16 * REGION }, []);
    await r.goOn();
    const before = [...r.told.entries()].filter(([, kind]) => kind === 'sync').map(([at]) => r.told.slice(0, at).filter((k) => k === 'write').length);
    expect(before).toEqual([12, 18, 21, 23, 24]);
  });

  it('of what is no batch is one alone', async () => {
    const r = await resyncing(3, { copiesInFlightMax: 1, proveEveryBytes: 64 * REGION }, []);
    await r.goOn();
    expect(r.told).toEqual(['write', 'write', 'write', 'sync']);
  });
});
