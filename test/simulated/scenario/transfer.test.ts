import { describe, expect, it } from 'vitest';
import { bytesOf } from '../../../src/scenario/bytes.ts';
import { Acknowledged } from '../../../src/scenario/model.ts';
import { acknowledged, leg, pieces, read, write } from '../../../src/scenario/transfer.ts';
import type { WriteAction } from '../../../src/scenario/types.ts';
import { onStage } from '../../support/scenario-world.ts';

const action: WriteAction = { kind: 'write', at: 4096, length: 1 << 20, seed: 7, on: null, withinMs: 5000, flush: true, fails: false };

it('cuts a range in pieces that cover it', () => {
  expect(pieces(100, 250, 100)).toEqual([
    { offset: 100, length: 100 },
    { offset: 200, length: 100 },
    { offset: 300, length: 50 },
  ]);
});

describe('a write', () => {
  it('is on the device, on every leg, and in the model', async () => {
    await onStage(async (stage) => {
      const ctx = { ...stage, model: new Acknowledged() };
      await write(ctx, action);
      await read(ctx, { ...action, kind: 'read' });
      for (const on of ['a', 'b']) await leg(ctx, { ...action, kind: 'leg', on });
      await acknowledged(ctx, 'a', true);
      await acknowledged(ctx, 'b', false);
      expect(ctx.model.check(4096, bytesOf(8, 4096, 512), true)?.offset).toBe(4096);
    });
  });

  it('of any length, anywhere', async () => {
    await onStage(async (stage) => {
      const ctx = { ...stage, model: new Acknowledged() };
      await write(ctx, { ...action, at: 1000, length: 777, seed: 1 });
      await write(ctx, { ...action, at: 1100, length: 3, seed: 2 });
      await read(ctx, { ...action, kind: 'read', at: 1100, length: 3, seed: 2 });
      await read(ctx, { ...action, kind: 'read', at: 1103, length: 100, seed: 1 });
      await acknowledged(ctx, 'a', true);
    });
  });

  it('that was answered with an error fails the step, and may be there or not', async () => {
    await onStage(async (stage) => {
      const ctx = { ...stage, model: new Acknowledged() };
      await stage.world.crash(['b']);
      await write(ctx, { ...action, length: 4096, seed: 1 });
      await stage.world.fault('a', 'full');
      await expect(write(ctx, { ...action, length: 4096 })).rejects.toThrow('write of 4096 bytes at 4096 was answered with an error');
      await write(ctx, { ...action, length: 4096, fails: true });
      await stage.world.fault('a', null);
      for (const seed of [1, 7]) expect(ctx.model.check(4096, bytesOf(seed, 4096, 4096), false)).toBeUndefined();
      expect(ctx.model.check(4096, bytesOf('zero', 4096, 4096), false)).toBeDefined();
    });
  });
});
