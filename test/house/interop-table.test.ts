/** src/nbd/INTEROP.md: what it says was tried is tried, by the test that it names. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { produced, readTable, type Row } from '../../scripts/interop-table.ts';
import { rootDir } from './sources.ts';

const { rows, programs } = readTable(readFileSync(path.join(rootDir, 'src/nbd/INTEROP.md'), 'utf8'));

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

function breaches(all: readonly Row[]): string[] {
  const known = new Map<string, Set<string>>();
  return all.flatMap(({ feature, against, file: name, title }) => {
    const file = path.join(rootDir, 'test/interop', name);
    if (name === '' || !existsSync(file)) return [`${feature}: there is no test/interop/${name}`];
    const titles = known.get(file) ?? titlesIn(file);
    known.set(file, titles);
    const unknown = against.filter((p) => !programs.includes(p));
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
    const lines = rows.map((r) => JSON.stringify(r));
    expect(lines.filter((l, i) => lines.indexOf(l) !== i)).toEqual([]);
  });

  it('is found out where it names what is not there', () => {
    const row = { feature: 'a', against: ['nbdkit'], file: rows[0]?.file ?? '', title: rows[0]?.title ?? '' };
    expect(breaches([row])).toEqual([]);
    expect(breaches([{ ...row, title: `${row.title}, and more` }])).toEqual([expect.stringMatching(/has no test/)]);
    expect(breaches([{ ...row, file: 'none.test.ts' }])).toEqual([expect.stringMatching(/there is no test/)]);
    expect(breaches([{ ...row, against: ['netcat'] }])).toEqual([expect.stringMatching(/netcat has no version/)]);
  });

  it('is held against what ran: a line is produced where its test passed in every engine', () => {
    const row = { feature: 'a', against: ['nbdkit'], file: 'x.test.ts', title: 'it works' };
    const report = (...states: string[]): unknown => ({
      testResults: [
        { name: '/work/test/interop/x.test.ts', assertionResults: states.map((status) => ({ title: 'it works', status })) },
        { name: '/work/test/interop/y.test.ts', assertionResults: [{ title: 'it works', status: 'failed' }] },
      ],
    });
    expect(produced([row], report('passed', 'passed'))).toEqual({ passed: [row], skipped: [], broken: [] });
    expect(produced([row], report('passed', 'skipped'))).toEqual({ passed: [], skipped: [row], broken: [] });
    for (const states of [[], ['passed', 'failed']]) expect(produced([row], report(...states))).toEqual({ passed: [], skipped: [], broken: [row] });
  });
});
