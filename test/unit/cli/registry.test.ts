import { describe, expect, it } from 'vitest';
import { commandsOfNetraid, isProgram, programs } from '../../../src/cli/registry.ts';
import { type CommandSpec, optionsOf } from '../../../src/cli/spec.ts';
import { FakeDaemon, run } from './fake-daemon.ts';

const everything: [string, CommandSpec][] = [
  ...commandsOfNetraid.map((c): [string, CommandSpec] => [`netraid ${c.name}`, c]),
  ...Object.entries(programs),
];

describe.each(everything)('%s', (label, spec) => {
  it('has help that agrees with its specification', async () => {
    const { code, out, errors } = await run(`${label} --help`, new FakeDaemon());
    expect([code, errors]).toEqual([0, []]);
    const text = out.join('\n').replace(/\s+/g, ' ');
    expect(text).toContain(spec.summary);
    expect(text).toContain('Exit codes: 0 done; 1 refused or failed; 2 wrong usage');
    for (const o of optionsOf(spec)) {
      expect(text).toContain(` --${o.name} `);
      if (o.alias !== undefined) expect(text).toContain(`-${o.alias}, --${o.name} `);
      for (const c of o.choices ?? []) expect(text).toContain(c);
    }
    for (const p of spec.positionals) expect(text).toContain(` ${p.name} ${p.describe.replace(/\s+/g, ' ').slice(0, 20)}`);
    // And nothing is shown that the specification does not know.
    const shown = [...out.join('\n').matchAll(/^ +(?:-\w, )?--([\w-]+) /gm)].map((m) => m[1] ?? '');
    expect([...new Set(shown)].filter((name) => !optionsOf(spec).some((o) => o.name === name))).toEqual([]);
  });

  it('has examples, which its own parser takes', async () => {
    const { parse } = await import('../../../src/cli/parse.ts');
    const { splitWords } = await import('./words.ts');
    expect(spec.examples.length).toBeGreaterThan(0);
    for (const [line] of spec.examples) {
      const words = splitWords(line.replace(/^source <\((.*)\)$/, '$1'));
      const named = label.split(' ');
      expect(words.slice(0, named.length)).toEqual(named);
      expect((await parse(spec, label, words.slice(named.length), 100)).kind).toBe('args');
    }
  });

  it('refuses an option that it does not know, one given twice, and one without its value', async () => {
    const client = new FakeDaemon();
    const positionals = spec.positionals.filter((p) => p.required).map((p) => p.choices?.[0] ?? '/x');
    const ran = async (...words: string[]) => await run([...label.split(' '), ...positionals, ...words], client);
    for (const words of [
      ['--nonsense'],
      ['-Q'],
      ['--no-json'],
      ['--json=1'],
      ['--root'],
      ['--root', '/a', '--root', '/b'],
      ['--', 'x', 'y', 'z', 'w', 'v', '/'],
    ]) {
      const { code, errors, out } = await ran(...words);
      if (words[0] === '--' && spec.positionals.some((p) => p.many === true)) continue;
      expect([words, code, errors.length, out]).toEqual([words, 2, 1, []]);
      expect(errors[0]).toContain(`; see ${label} --help`);
    }
    expect(client.calls).toEqual([]);
  });

  it('refuses to go without what it requires', async () => {
    const required = spec.positionals.filter((p) => p.required);
    for (const [i, p] of required.entries()) {
      const words = required.slice(0, i).map((x) => x.choices?.[0] ?? '/x');
      const { code, errors } = await run([...label.split(' '), ...words], new FakeDaemon());
      expect([code, errors.length]).toEqual([2, 1]);
      expect(errors[0]).toContain(`${p.name} is missing`);
    }
  });

  it('refuses words that are none of its choices', async () => {
    const client = new FakeDaemon();
    for (const o of optionsOf(spec).filter((x) => x.choices !== undefined)) {
      const words = spec.positionals.filter((p) => p.required).map((p) => p.choices?.[0] ?? '/x');
      const { code, errors } = await run([...label.split(' '), ...words, `--${o.name}`, 'nonsense'], client);
      expect([code, errors[0]]).toEqual([
        2,
        `${label}: --${o.name} "nonsense" is not allowed; allowed: ${(o.choices ?? []).join(', ')}; see ${label} --help`,
      ]);
    }
    expect(client.calls).toEqual([]);
  });
});

it('every command can be loaded', async () => {
  for (const [, spec] of everything) expect(typeof (await spec.load())).toBe('function');
});

it('no two commands share a name, and a program is known by its own name alone', () => {
  expect(new Set(commandsOfNetraid.map((c) => c.name)).size).toBe(commandsOfNetraid.length);
  expect(['bitmap', 'toString', 'netraid'].map(isProgram)).toEqual([true, false, false]);
});
