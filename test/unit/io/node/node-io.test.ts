import { describe, expect, it } from 'vitest';
import { fitting } from '../../../../src/io/node/native-shim.ts';
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
      expect(
        engineChoice(
          asked,
          () => undefined,
          () => 'it lacks the sun',
        ),
      ).toEqual({
        engine: 'portable',
        instead: 'it lacks the sun; the portable engine serves, more slowly',
      });
    }
    expect(engineChoice('portable', built)).toEqual({ engine: 'portable' });
    expect(() => engineChoice('fast', built)).toThrow('NETRAID_ENGINE=fast: allowed are native and portable');
  });

  it('takes no shim that was built from other sources than the program', () => {
    const shim = { sources: '0123456789abcdef' };
    expect(fitting(shim, '0123456789abcdef')).toEqual({ shim });
    expect(fitting(shim, undefined)).toEqual({ shim });
    for (const other of [{ sources: '0123456789abcdee' }, {}])
      expect(fitting(other, '0123456789abcdef').lacks).toMatch(/built from other sources than this program/);
    expect(fitting(undefined, '0123456789abcdef').lacks).toMatch(/no native shim for this machine/);
  });
});
