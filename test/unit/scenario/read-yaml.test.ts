import { describe, expect, it } from 'vitest';
import { ScenarioSyntaxError } from '../../../src/scenario/errors.ts';
import { readYaml } from '../../../src/scenario/read-yaml.ts';

const valueOf = (source: string): unknown => readYaml(source, 'f.yaml').value;

function refusal(source: string): string {
  try {
    readYaml(source, 'f.yaml');
    return '';
  } catch (e: unknown) {
    if (e instanceof ScenarioSyntaxError) return e.message;
    throw e;
  }
}

describe('YAML as values', () => {
  it.each([
    ['a: {b: [1, two, ~], 3: true, d}', { a: { b: [1, 'two', null], 3: true, d: null } }],
    ['a: &x [1, 2]\nb: *x\nc: {d: *x}', { a: [1, 2], b: [1, 2], c: { d: [1, 2] } }],
    ['a: &x 1\nb: *x\nc: &x 2\nd: *x', { a: 1, b: 1, c: 2, d: 2 }],
    ['? a\n: 1', { a: 1 }],
    ['a: &x b\n*x : 1', { a: 'b', b: 1 }],
    ['<<: {a: 1}', { '<<': { a: 1 } }],
    ['[1, "x"]', [1, 'x']],
    ['~', null],
    ['""', ''],
    ['', undefined],
    ['# only a comment\n', undefined],
    ['---\n', undefined],
  ])('%j', (source, value) => {
    expect(valueOf(source)).toEqual(value);
  });

  it('takes every name for a field, and none for a prototype', () => {
    expect(Object.keys(valueOf('__proto__: {a: 1}') as object)).toEqual(['__proto__']);
  });

  it('takes as many aliases as a long scenario has', () => {
    const steps = Array.from({ length: 2000 }, () => '- expect: *e\n').join('');
    expect(valueOf(`- expect: &e {a: {inService: true, sees: {b: Target}}}\n${steps}`)).toHaveLength(2001);
  });

  it('knows lines and the order of names', () => {
    const y = readYaml('a:\n  9: 1\n  1: 2\nb:\n  - c\n  - d', 'f.yaml');
    expect(y.namesAt(['a'])).toEqual(['9', '1']);
    expect([['a', '1'], ['b', 1], ['b', 7], ['none']].map((p) => y.lineAt(p))).toEqual([3, 6, 4, 1]);
  });
});

describe('what YAML allows and no scenario needs is refused with its line', () => {
  it.each([
    ['steps:\n  - up: *x', 'f.yaml:2: steps[1].up: *x stands for nothing: there is no &x before it; allowed: no alias'],
    ['a: &y 1\nb: *x\nc: &x 2', 'f.yaml:2: b: *x stands for nothing: there is no &x before it; allowed: *y'],
    ['a: 1\nb: &x [1, *x]', 'f.yaml:2: b[2]: *x stands for what it is a part of'],
    ['steps:\n  - ? [a]\n    : 1', 'f.yaml:2: steps[1]: ["a"] is no name of a field; allowed: text before the colon'],
    ['a:\n  ? {b: 1}\n  : 1', 'f.yaml:2: a: {"b":1} is no name of a field'],
    ['a: &x [b]\n*x : 1', 'f.yaml:2: ["b"] is no name of a field'],
    ['m: {tag: t,\n  tag: u}', 'f.yaml:2: m.tag: is given twice; allowed: once'],
    ['m:\n  1: a\n  "1": b', 'f.yaml:3: m.1: is given twice'],
    ['scenario: a: b', 'f.yaml:1: scenario: text with ": " in it'],
    ['a: !foo 1', 'f.yaml:1: a: Unresolved tag: !foo'],
  ])('%j', (source, message) => {
    expect(refusal(source)).toContain(message);
  });

  it('as are aliases of aliases that stand for more than fits', () => {
    const nine = (name: string) => Array.from({ length: 9 }, () => `*${name}`).join(',');
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh'].map(([of = '', to = '']) => `${to}: &${to} [${nine(of)}]`),
    ];
    expect(refusal(bomb.join('\n'))).toBe('f.yaml:6: f[1]: with *e aliases stand for too much; allowed: 100000 values in all');
  });
});
