/**
 * Counts a vitest JSON report for scripts/test: `count-results.ts REPORT STATUS` prints the titles that were skipped and,
 * as its last line, `N passed, N failed, N skipped`. What ended badly without a failed test still counts as one failure:
 * a report that is not there, a file that could not be loaded, an error outside any test.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const reportSchema = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().optional(),
      assertionResults: z.array(z.object({ fullName: z.string(), status: z.string() })),
    }),
  ),
});

export interface Counts {
  passed: number;
  failed: number;
  /** Titles of tests that did not run. */
  skipped: string[];
  /** Failures that no test stands for, one sentence each. */
  besides: string[];
}

/** `text`: the report, undefined when there is none. `status`: the runner's exit status. */
export function countResults(text: string | undefined, status: number): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: [], besides: [] };
  const report = text === undefined ? undefined : reportSchema.safeParse(parse(text));
  if (report?.success !== true) {
    counts.besides.push(`the test runner left no report (exit status ${String(status)})`);
  } else {
    for (const file of report.data.testResults) {
      let failedHere = 0;
      for (const t of file.assertionResults) {
        if (t.status === 'passed') counts.passed += 1;
        else if (t.status === 'failed') failedHere += 1;
        else counts.skipped.push(t.fullName);
      }
      counts.failed += failedHere;
      if (file.status === 'failed' && failedHere === 0) counts.besides.push(`${file.name} could not be run`);
    }
    if (status !== 0 && counts.failed === 0 && counts.besides.length === 0) {
      counts.besides.push(`the test runner ended with status ${String(status)} although no test failed`);
    }
  }
  counts.failed += counts.besides.length;
  return counts;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (e: unknown) {
    return e;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (e: unknown) {
    process.stderr.write(`count-results: ${String(e)}\n`);
    return undefined;
  }
}

if (process.argv[1] === import.meta.filename) {
  const counts = countResults(read(process.argv[2] ?? ''), Number(process.argv[3] ?? '0'));
  const lines = [...counts.skipped.map((t) => `SKIPPED: ${t}`), ...counts.besides.map((w) => `FAILED: ${w}`)];
  lines.push(`${String(counts.passed)} passed, ${String(counts.failed)} failed, ${String(counts.skipped.length)} skipped`);
  process.stdout.write(`${lines.join('\n')}\n`);
}
