import { describe, expect, it } from 'vitest';
import type { LegOpener } from '../../../../src/io/leg-file.ts';
import { createNodeIo, engineChoice } from '../../../../src/io/node/node-io.ts';
import { Errno, IoError } from '../../../../src/io/types.ts';
import { describeEngine } from '../engine-conformance.ts';
import { expectIoError } from '../engine-rig.ts';
import { makeNodeWorld } from '../node-world.ts';

describeEngine('node world', () => makeNodeWorld('unix'));

describe('createNodeIo', () => {
  it('opens legs through the wrapper it was given', async () => {
    const refusing: LegOpener = { open: () => Promise.reject(new IoError(Errno.EROFS, 'wrapped')) };
    const engine = createNodeIo({ wrapLegs: () => refusing }).createEngine();
    await expectIoError(engine.openLeg('/nowhere', { write: true, lock: false }), Errno.EROFS);
  });

  it('gives each engine its own events', async () => {
    const io = createNodeIo();
    const [a, b] = [io.createEngine(), io.createEngine()];
    const seen: string[] = [];
    a.onEvents(() => seen.push('a'));
    b.onEvents(() => seen.push('b'));
    const h = b.allocate(1);
    b.digest(1, h, 0, 1, 'crc32');
    b.release(h);
    await new Promise((resolve) => {
      io.clock.after(1, () => {
        resolve(undefined);
      });
    });
    expect(seen).toEqual(['b']);
  });

  it('takes the engine that was asked for, and says why where it can not', () => {
    for (const asked of [undefined, '', 'portable']) expect(engineChoice(asked)).toEqual({ engine: 'portable' });
    expect(() => engineChoice('fast')).toThrow('NETRAID_ENGINE=fast: allowed are native and portable');
    expect(engineChoice('native', () => undefined)).toEqual({
      engine: 'portable',
      instead: expect.stringMatching(/native shim was not built/) as string,
    });
  });

  it('puts nothing between a native engine and its legs: the portable one serves then', async () => {
    const refusing: LegOpener = { open: () => Promise.reject(new IoError(Errno.EROFS, 'wrapped')) };
    const engine = createNodeIo({ engine: { engine: 'native' }, wrapLegs: () => refusing }).createEngine();
    await expectIoError(engine.openLeg('/nowhere', { write: true, lock: false }), Errno.EROFS);
  });
});
