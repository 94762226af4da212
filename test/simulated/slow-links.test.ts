/** A link that is slow, and not silent: only the simulated world has a rate and a delay. */
import { describe, expect, it } from 'vitest';
import { parseScenario } from '../../src/scenario/parse.ts';
import { runSimulated } from '../../src/scenario/run.ts';
import { command } from '../support/scenarios.ts';

const seeds = [1, 2, 3, 4];

async function holds(seed: number, mirror: string, steps: readonly string[]): Promise<void> {
  const text = [`scenario: slow`, `mirror: {tag: t, region: 64KiB, failureTimeout: 2s, ${mirror}}`, 'steps:', ...steps.map((s) => `  - ${s}`)];
  const { failure } = await runSimulated(parseScenario(text.join('\n'), 'test.yaml'), seed, command);
  expect(failure === null ? '' : `${failure.message}\n${Object.values(failure.log).flat().join('\n')}`).toBe('');
}

describe('at 1 MiB a second, where what a resync has in flight takes as long as failureTimeout', () => {
  it.each(seeds)('a previous source that returns is in sync when all is copied (M14), seed %i', async (seed) => {
    await holds(seed, 'size: 64MiB, nodes: {a: 1, b: 10, c: 20}', [
      'up: [a, b, c]',
      'crash: a',
      'write: {at: 0MiB, length: 8MiB, seed: 1}',
      'slow: {link: [a, b], rate: 1MiB, delay: 20ms}',
      'up: a',
      'expect: {within: 30s, b: {sees: {a: Target, c: Target}}}',
    ]);
  });

  it.each(seeds)('a full resync that was ordered ends (M14), seed %i', async (seed) => {
    await holds(seed, 'size: 16MiB, nodes: {a: 1, b: 10}', [
      'up: [a, b]',
      'write: {at: 0MiB, length: 8MiB, seed: 1}',
      'slow: {link: [a, b], rate: 1MiB, delay: 20ms}',
      'run: "mirror_action t fullresync a b --yes"',
      'expect: {within: 60s, a: {sees: {b: Target}}}',
    ]);
  });

  it.each(seeds)('what has been proven on a target that leaves in the middle is not copied again (M5), seed %i', async (seed) => {
    await holds(seed, 'size: 32MiB, nodes: {a: 1, b: 10}', [
      'up: [a, b]',
      'crash: b',
      'write: {at: 0MiB, length: 16MiB, seed: 1}',
      'slow: {link: [a, b], rate: 1MiB, delay: 20ms}',
      'up: b',
      'wait: 10s',
      'crash: b',
      'up: b',
      'expect: {within: 13s, a: {sees: {b: Target}}}',
    ]);
  });

  it.each(seeds)('a target in sync stays so while it is written to, seed %i', async (seed) => {
    await holds(seed, 'size: 32MiB, nodes: {a: 1, b: 10}', [
      'up: [a, b]',
      'slow: {link: [a, b], rate: 1MiB, delay: 20ms}',
      ...[1, 2, 3, 4].map(
        (n) =>
          `load: {name: app${String(n)}, seed: ${String(n)}, writes: 100000, length: 128KiB, range: ${String(n * 4)}MiB..${String(n * 4 + 4)}MiB}`,
      ),
      'expect: {within: 1s, for: 20s, a: {sees: {b: Target}}}',
      ...[1, 2, 3, 4].map((n) => `endload: app${String(n)}`),
    ]);
  });
});

describe('with so much delay that connecting takes longer than failureTimeout', () => {
  it.each(seeds)('a target that returns is resynced and in sync (M14), seed %i', async (seed) => {
    await holds(seed, 'size: 8MiB, nodes: {a: 1, b: 2}', [
      'up: [a, b]',
      'slow: {link: [a, b], delay: 200ms}',
      'expect: {within: 1s, for: 8s, a: {inService: true, sees: {b: Target}}, b: {inService: false, state: Target}}',
      'crash: b',
      'write: {at: 1MiB, length: 1MiB, seed: 2}',
      'up: b',
      'expect: {within: 30s, a: {sees: {b: Target}}, b: {state: Target}}',
    ]);
  });

  it.each(seeds)('also with a delay of 400 ms, seed %i', async (seed) => {
    await holds(seed, 'size: 8MiB, nodes: {a: 1, b: 2}', [
      'up: [a, b]',
      'crash: b',
      'write: {at: 1MiB, length: 1MiB, seed: 2}',
      'slow: {link: [a, b], delay: 400ms}',
      'up: b',
      'expect: {within: 60s, a: {sees: {b: Target}}, b: {state: Target}}',
    ]);
  });

  it.each(seeds)('a switchover there and back ends with both in sync, seed %i', async (seed) => {
    await holds(seed, 'size: 8MiB, nodes: {a: 1, b: 2}', [
      'up: [a, b]',
      'slow: {link: [a, b], delay: 200ms}',
      'write: {at: 1MiB, length: 1MiB, seed: 2}',
      'run: "netraid switchover t b --yes"',
      'expect: {within: 30s, b: {inService: true, sees: {a: Target}}}',
      'run: "netraid switchover t a --yes"',
      'expect: {within: 30s, a: {inService: true, sees: {b: Target}}}',
    ]);
  });
});
