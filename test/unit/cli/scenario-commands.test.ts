import { expect, it } from 'vitest';
import { scenarioCommands } from '../../../src/cli/scenario-commands.ts';
import { nodeClock } from '../../../src/io/node/clock.ts';
import { nodeFiles } from '../../../src/io/node/files.ts';
import type { ControlClient } from '../../../src/control/types.ts';
import type { World } from '../../../src/cli/world.ts';

const client: ControlClient = {
  call: () => Promise.reject(new Error('nobody')),
  events: () => Promise.reject(new Error('nobody')),
};

it('runs a command line against the node of the step, and hands on what it printed and its exit code', async () => {
  const given: World[] = [];
  let loaded = 0;
  const runner = scenarioCommands({
    load: () => {
      loaded += 1;
      return Promise.resolve();
    },
    run: (argv, world) => {
      given.push(world);
      world.terminal.line(argv.join('+'));
      world.terminal.error('oh');
      return Promise.resolve(3);
    },
  });
  await runner.load();
  const out: string[] = [];
  const errors: string[] = [];
  const on = { client, clock: nodeClock, files: nodeFiles, root: '/r', out: (l: string) => out.push(l), error: (l: string) => errors.push(l) };
  expect(await runner.run(['a', 'b'], on)).toBe(3);
  expect([loaded, out, errors]).toEqual([1, ['a+b'], ['oh']]);
  expect(given[0]?.client({ root: '', socketPath: '' })).toBe(client);
  expect(given[0]).toMatchObject({ defaultRoot: '/r', devices: null, crypto: null });
  expect(given[0]?.terminal.canAsk).toBe(false);
});
