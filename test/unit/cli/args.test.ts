import { describe, expect, it } from 'vitest';
import { Args, type Value } from '../../../src/cli/args.ts';

const args = (o: Record<string, Value>) => new Args(new Map(Object.entries(o)));

describe('reading arguments', () => {
  it('gives what is there, as what it is', () => {
    const a = args({
      TAG: 'datarep-ext3',
      NODE: 'server2',
      LEG: '/l',
      size: '1MiB',
      wait: '2s',
      priority: '7',
      yes: true,
      NODES: ['a', 'b'],
      mode: 'x',
    });
    expect([a.tag(), a.node('NODE'), a.absolutePath('LEG'), a.size('size'), a.durationMs('wait'), a.integer('priority', 0, 9)]).toEqual([
      'datarep-ext3',
      'server2',
      '/l',
      2 ** 20,
      2000,
      7,
    ]);
    expect([a.flag('yes'), a.nodes('NODES'), a.choice('mode', ['x', 'y'])]).toEqual([true, ['a', 'b'], 'x']);
  });

  it('gives nothing for what is not', () => {
    const a = args({});
    expect([
      a.flag('yes'),
      a.optional('x'),
      a.list('x'),
      a.size('x'),
      a.durationMs('x'),
      a.integer('x', 0, 1),
      a.choice('x', ['y']),
      a.optionalTag(),
    ]).toEqual([false, undefined, [], undefined, undefined, undefined, undefined, undefined]);
  });

  it.each<[string, (a: Args) => unknown, string]>([
    ['', (a) => a.text('V'), 'V is missing'],
    ['a/b', (a) => a.tag('V'), '"a/b" is not a tag: V; allowed are 1 to 64'],
    ['x.tmp', (a) => a.optionalTag('V'), 'V; a tag may not end in .tmp'],
    ['-x', (a) => a.node('V'), '"-x" is not a node name: V'],
    ['leg', (a) => a.absolutePath('V'), 'V "leg" is not allowed; allowed: an absolute path'],
    ['64MB', (a) => a.size('V'), 'V "64MB" is not allowed; allowed: a number of bytes'],
    ['0', (a) => a.size('V'), 'V "0" is not allowed'],
    ['2', (a) => a.durationMs('V'), 'V "2" is not allowed; allowed: a number with ms, s, m or h'],
    ['10', (a) => a.integer('V', 0, 9), 'V "10" is not allowed; allowed: a whole number from 0 to 9'],
    ['1.0', (a) => a.integer('V', 0, 9), 'V "1.0" is not allowed'],
  ])('refuses %j in one line', (value, read, message) => {
    expect(() => read(args({ V: value }))).toThrow(message);
    expect(() => read(args({ V: value }))).toThrow(expect.objectContaining({ name: 'UsageError' }));
  });

  it('names an option with its dashes', () => {
    expect(() => args({ size: 'x' }).size('size')).toThrow('--size "x"');
  });

  it('checks every node of a list', () => {
    expect(() => args({ NODES: ['a', '__proto__'] }).nodes('NODES')).toThrow('"__proto__" is not a node name: NODES');
  });
});
