/**
 * What src/nbd/INTEROP.md says was tried, held against a vitest JSON report for scripts/test: `interop-table.ts REPORT` prints each line
 * whose test was skipped, and each whose test did not run or did not pass. Its exit status is 0 when there is none of the latter.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';

export interface Row {
  feature: string;
  /** Names of programs. */
  against: string[];
  /** Name of a file below test/interop; '' where the line names none. */
  file: string;
  title: string;
}

export interface Table {
  rows: Row[];
  /** Those that have a version. */
  programs: string[];
}

/** `text`: of INTEROP.md. */
export function readTable(text: string): Table {
  const lines = [...text.matchAll(/^\|(.*)\|$/gm)]
    .map((m) => (m[1] ?? '').split(/(?<!\\)\|/).map((c) => c.trim()))
    .filter((c) => !/^-*$/.test(c.join('')));
  const rows = lines
    .filter((c) => c.length === 4 && c[0] !== 'feature')
    .map(([feature = '', , against = '', test = '']) => {
      const [, file = '', title = ''] = /^`([\w.-]+)`: (.+)$/.exec(test) ?? [];
      return { feature, against: against.split(', '), file, title };
    });
  return { rows, programs: lines.filter((c) => c.length === 2).flatMap((c) => (c[0] ?? '').replace(/ \(.*\)/, '').split(', ')) };
}

const reportSchema = z.object({
  testResults: z.array(z.object({ name: z.string(), assertionResults: z.array(z.object({ title: z.string(), status: z.string() })) })),
});

export interface Produced {
  passed: Row[];
  skipped: Row[];
  /** Not in the report, or failed in it. */
  broken: Row[];
}

/** `report`: of vitest. A line whose test runs in several engines has passed where all of them have. */
export function produced(rows: readonly Row[], report: unknown): Produced {
  const { testResults } = reportSchema.parse(report);
  const p: Produced = { passed: [], skipped: [], broken: [] };
  for (const row of rows) {
    const ran = testResults.filter((f) => path.basename(f.name) === row.file).flatMap((f) => f.assertionResults);
    const states = ran.filter((t) => t.title === row.title).map((t) => t.status);
    if (states.length === 0 || states.includes('failed')) p.broken.push(row);
    else if (states.every((s) => s === 'passed')) p.passed.push(row);
    else p.skipped.push(row);
  }
  return p;
}

if (process.argv[1] === import.meta.filename) {
  const { rows } = readTable(readFileSync(path.join(import.meta.dirname, '../src/nbd/INTEROP.md'), 'utf8'));
  const { passed, skipped, broken } = produced(rows, JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')));
  const shown = (r: Row): string => `${r.feature} (${r.against.join(', ')}): ${r.file}: ${r.title}`;
  const lines = [...skipped.map((r) => `SKIPPED: ${shown(r)}`), ...broken.map((r) => `NOT PRODUCED: ${shown(r)}`)];
  lines.push(`${String(passed.length)} of ${String(rows.length)} lines of INTEROP.md were produced by tests that passed`);
  process.stdout.write(`${lines.join('\n')}\n`);
  process.exitCode = broken.length === 0 ? 0 : 1;
}
