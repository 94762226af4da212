import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { compareRules, decideRules } from '../../../src/failover/types.ts';

const text = readFileSync(path.join(import.meta.dirname, '../../../README.md'), 'utf8');
const section = /^### Rules$([^]*?)^##/m.exec(text)?.[1] ?? '';

/** The rules that the rows of a table begin with: one table for each sentence that introduces it. */
const tables = section.split(/^\| Rule \|.*$/m).slice(1);
const rulesOf = (table: string | undefined): string[] =>
  [...(table ?? '').matchAll(/^\| (`[^|]*`) \|/gm)].flatMap((m) => [...(m[1] ?? '').matchAll(/`([^`]+)`/g)].map((r) => r[1] ?? ''));

it('README.md says what each rule of a decision means, and names no other', () => {
  expect(tables).toHaveLength(2);
  expect(rulesOf(tables[0]).sort()).toEqual([...decideRules].sort());
});

it('README.md says what each rule of a comparison means, and names no other', () => {
  expect(rulesOf(tables[1]).sort()).toEqual([...compareRules].sort());
});

it('each row says what to do', () => {
  const rows = [...section.matchAll(/^\| `.*$/gm)].map((m) => m[0].split('|').map((c) => c.trim()));
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter((r) => r.length !== 5 || r.slice(1, 4).includes(''))).toEqual([]);
});
