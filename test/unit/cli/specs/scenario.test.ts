import { expect, it } from 'vitest';
import { scenarioSpec } from '../../../../src/cli/specs/scenario.ts';

it('names the two worlds, and takes any number of files', () => {
  expect(scenarioSpec.options.find((o) => o.name === 'world')?.choices).toEqual(['process', 'simulated']);
  expect(scenarioSpec.positionals.at(-1)).toMatchObject({ name: 'FILE', required: true, many: true });
});

it('loads the command that runs them', async () => {
  expect(typeof (await scenarioSpec.load())).toBe('function');
});
