/** src/nbd/INTEROP.md: what it says was tried is tried, by the test that it names. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { rootDir } from './sources.ts';

const text = readFileSync(path.join(rootDir, 'src/nbd/INTEROP.md'), 'utf8');
const tables = [...text.matchAll(/^\|(.*)\|$/gm)]
  .map((m) => (m[1] ?? '').split(/(?<!\\)\|/).map((c) => c.trim()))
  .filter((c) => !/^-*$/.test(c.join('')));
const programs = tables.filter((c) => c.length === 2).flatMap((c) => (c[0] ?? '').replace(/ \(.*\)/, '').split(', '));
const rows = tables.filter((c) => c.length === 4 && c[0] !== 'feature');

/** What is a test's title: a word given to a call, such as `testWith`, or a row of a table that has titles. */
function titlesIn(file: string): Set<string> {
  const titles = new Set<string>();
  const visit = (n: ts.Node): void => {
    if (ts.isStringLiteralLike(n)) {
      const { parent } = n;
      const named = ts.isPropertyAssignment(parent) && parent.name.getText() === 'title';
      if (named || (ts.isCallExpression(parent) && parent.arguments.some((a) => ts.isFunctionLike(a)))) titles.add(n.text);
    }
    ts.forEachChild(n, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true));
  return titles;
}

function breaches(all: readonly (readonly string[])[]): string[] {
  const known = new Map<string, Set<string>>();
  return all.flatMap(([feature = '', , against = '', test = '']) => {
    const said = /^`([\w.-]+)`: (.+)$/.exec(test);
    const [, name = '', title = ''] = said ?? [];
    const file = path.join(rootDir, 'test/interop', name);
    if (said === null || !existsSync(file)) return [`${feature}: there is no test/interop/${name}`];
    const titles = known.get(file) ?? titlesIn(file);
    known.set(file, titles);
    const unknown = against.split(', ').filter((p) => !programs.includes(p));
    return [
      ...(titles.has(title) ? [] : [`${feature}: ${name} has no test "${title}"`]),
      ...unknown.map((p) => `${feature}: ${p} has no version in the first table`),
    ];
  });
}

describe('INTEROP.md', () => {
  it('names tests that there are, and programs with their versions', () => {
    expect(programs.length).toBeGreaterThan(5);
    expect(rows.length).toBeGreaterThan(60);
    expect(breaches(rows)).toEqual([]);
  });

  it('has no line twice', () => {
    const lines = rows.map((r) => r.join('|'));
    expect(lines.filter((l, i) => lines.indexOf(l) !== i)).toEqual([]);
  });

  it('is found out where it names what is not there', () => {
    const [row = []] = rows;
    const test = row[3] ?? '';
    expect(breaches([[...row.slice(0, 3), `${test}, and more`]])).toEqual([expect.stringMatching(/has no test/)]);
    expect(breaches([[...row.slice(0, 3), '`none.test.ts`: x']])).toEqual([expect.stringMatching(/there is no test/)]);
    expect(breaches([['a', 'b', 'netcat', test]])).toEqual([expect.stringMatching(/netcat has no version/)]);
  });
});
