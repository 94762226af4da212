import { expect, it } from 'vitest';
import { failureOf } from '../../support/scenarios.ts';
import { onStage } from '../../support/scenario-world.ts';

it('ends a call of a daemon that goes away', async () => {
  await onStage(async ({ world }) => {
    const call = world.control('a').call('resize', { tag: 't', sizeBytes: 8 << 20, force: false });
    const outcome = expect(call).rejects.toThrow('a: has crashed');
    await world.crash(['a']);
    await outcome;
    expect(() => world.control('a')).toThrow('a is down');
  });
});

it('changes files of a stopped node for good', async () => {
  await onStage(async ({ world }) => {
    await world.powerfail(['b']);
    await world.write('b', world.legPath(), 4096, new Uint8Array([1, 2, 3]));
    await world.up('b');
    await world.powerfail(['b']);
    expect(await world.read('b', world.legPath(), 4096, 3)).toEqual(new Uint8Array([1, 2, 3]));
    expect(await world.firstDifference('a', 'b')).toBe(4096);
    expect(await world.exists('b', `${world.root()}/nothing`)).toBe(false);
    expect(await world.read('b', `${world.root()}/nothing`, 0, 1)).toBeUndefined();
  });
});

it('loses in a power failure of all nodes only what was not flushed', async () => {
  const steps = (flush: boolean) => [
    'up: [a, b]',
    'write: {at: 0, length: 64KiB, seed: 1}',
    `write: {at: 0, length: 64KiB, seed: 2, flush: ${String(flush)}}`,
    'powerfail: [a, b]',
    'up: [a, b]',
    'expect: {a: {inService: true, sees: {b: Target}}}',
    'acknowledged: a',
    'identical: [a, b]',
    'read: {at: 0, length: 64KiB, seed: 2}',
  ];
  const lost = [];
  for (let seed = 1; seed <= 6; seed += 1) {
    expect(await failureOf(steps(true), [], seed)).toBeNull();
    const failure = await failureOf(steps(false), [], seed);
    if (failure !== null) lost.push(failure.step);
  }
  expect(lost.length).toBeGreaterThan(0);
  expect(new Set(lost)).toEqual(new Set([9]));
});

it('reports a daemon that breaks as a failure of the step, with the seed', async () => {
  const { runSimulated } = await import('../../../src/scenario/run.ts');
  const { command, scenarioOf } = await import('../../support/scenarios.ts');
  const breaking = {
    load: () => command.load(),
    run: (_argv: readonly string[], on: Parameters<typeof command.run>[1]) => {
      on.clock.soon(() => {
        throw new Error('an invariant is broken');
      });
      return new Promise<number>(() => undefined);
    },
  };
  const { failure } = await runSimulated(scenarioOf(['up: [a, b]', 'run: "mirror_status t"']), 5, breaking);
  expect(failure).toMatchObject({ step: 2, action: 'run' });
  expect(failure?.message).toMatch(/an invariant is broken \(seed 5/);
});
