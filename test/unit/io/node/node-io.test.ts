import { describe, expect, it } from 'vitest';
import { createNodeIo, engineChoice } from '../../../../src/io/node/node-io.ts';
import type { Engine } from '../../../../src/io/types.ts';
import { describeEngine } from '../engine-conformance.ts';
import { makeNodeWorld } from '../node-world.ts';

describeEngine('node world', () => makeNodeWorld('unix'));

describe('createNodeIo', () => {
  it.each(['native', 'portable'] as const)('wraps each %s engine as it was asked to', (engine) => {
    const wrapped: Engine[] = [];
    const io = createNodeIo({
      engine: { engine },
      wrapEngine: (inner) => {
        wrapped.push(inner);
        return new Proxy(inner, {});
      },
    });
    const made = [io.createEngine(), io.createEngine()];
    expect(wrapped.length).toBe(2);
    expect(made[0]).not.toBe(wrapped[0]);
    expect(wrapped[0]).not.toBe(wrapped[1]);
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
    const built = (): object => ({});
    for (const asked of [undefined, '', 'native']) {
      expect(engineChoice(asked, built)).toEqual({ engine: 'native' });
      expect(engineChoice(asked, () => undefined)).toEqual({
        engine: 'portable',
        instead: expect.stringMatching(/no native shim for this machine/) as string,
      });
    }
    expect(engineChoice('portable', built)).toEqual({ engine: 'portable' });
    expect(() => engineChoice('fast', built)).toThrow('NETRAID_ENGINE=fast: allowed are native and portable');
  });
});
