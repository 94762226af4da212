import { expect, it } from 'vitest';
import { type CommandSpec, optionsOf, usageOf } from '../../../src/cli/spec.ts';

const spec: CommandSpec = {
  name: 'x',
  summary: '',
  positionals: [
    { name: 'A', describe: '', required: true },
    { name: 'B', describe: '', required: false, many: true },
  ],
  options: [{ name: 'own', describe: '' }],
  examples: [],
  load: () => Promise.reject(new Error('not loaded here')),
};

it('usage shows what is required and what may be left out', () => {
  expect(usageOf(spec, 'netraid x')).toBe('netraid x A [B...] [options]');
});

it('every command has its own options, and the common ones', () => {
  expect(optionsOf(spec).map((o) => o.name)).toEqual(['own', 'json', 'root', 'socket', 'help']);
});
