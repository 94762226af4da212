import { describe, expect, it } from 'vitest';
import { parse } from '../../../src/cli/parse.ts';
import type { CommandSpec } from '../../../src/cli/spec.ts';

const spec: CommandSpec = {
  name: 'x',
  summary: 'does x',
  detail: 'More about x.',
  positionals: [
    { name: 'TAG', describe: 'a tag', required: true },
    { name: 'REST', describe: 'more', required: false, many: true },
  ],
  options: [
    { name: 'size', value: 'SIZE', describe: 'a size' },
    { name: 'clear', alias: 'c', describe: 'clear it' },
    { name: 'mode', value: 'MODE', describe: 'a mode', choices: ['a', 'b'] },
  ],
  examples: [['x 1', 'one']],
  load: () => Promise.reject(new Error('not loaded here')),
};

async function args(...argv: string[]) {
  const p = await parse(spec, 'x', argv, 100);
  if (p.kind === 'help') throw new Error(p.text);
  return p.args;
}

describe('parsing', () => {
  it('keeps every word as it was typed', async () => {
    const a = await args('1e5', '0x10', '007', '--size', '1.50', '-c', '--mode=b');
    expect([a.text('TAG'), a.list('REST'), a.optional('size'), a.flag('clear'), a.optional('mode')]).toEqual([
      '1e5',
      ['0x10', '007'],
      '1.50',
      true,
      'b',
    ]);
  });

  it('takes options before, between and after, and a negative value', async () => {
    const a = await args('--clear', 't', '--size', '-1', 'r');
    expect([a.text('TAG'), a.optional('size'), a.list('REST')]).toEqual(['t', '-1', ['r']]);
  });

  it('knows nothing of an earlier parse', async () => {
    await args('t', '-c');
    expect((await args('t')).flag('clear')).toBe(false);
  });

  it('takes a flag twice as once', async () => {
    expect((await args('t', '-c', '--clear')).flag('clear')).toBe(true);
  });

  it('shows help, whatever else is missing or wrong', async () => {
    const p = await parse(spec, 'x', ['--help'], 100);
    expect(p.kind === 'help' && p.text).toContain('x TAG [REST...] [options]\n\ndoes x\n\nMore about x.');
  });

  it.each([
    [[], 'TAG is missing: a tag'],
    [[''], 'TAG is missing'],
    [['t', '--size'], '--size needs a value'],
    [['t', '--size', '--clear'], '--size needs a value'],
    [['t', '--size', '1', '--size', '2'], '--size is given twice'],
    [['t', '--clear=yes'], '--clear takes no value'],
    [['t', '-c=yes'], '--clear takes no value'],
    [['t', '--mode', 'c'], '--mode "c" is not allowed; allowed: a, b'],
    [['t', '--nope', 'a'], 'not known: nope'],
    [['t', '--', '--clear'], '"--clear" is one argument too many'],
  ])('refuses %j', async (argv, message) => {
    await expect(args(...argv)).rejects.toMatchObject({ name: 'UsageError' });
    await expect(args(...argv)).rejects.toThrow(message);
  });
});
