import { expect, it } from 'vitest';
import { countResults } from '../../scripts/count-results.ts';

const report = (...files: { status: string; tests: string[] }[]) =>
  JSON.stringify({
    testResults: files.map((f, i) => ({
      name: `file${String(i)}`,
      status: f.status,
      assertionResults: f.tests.map((status, n) => ({ fullName: `test ${String(n)}`, status })),
    })),
  });

it('counts passed, failed and skipped tests of all files', () => {
  const text = report({ status: 'passed', tests: ['passed', 'passed', 'pending'] }, { status: 'failed', tests: ['failed', 'passed'] });
  expect(countResults(text, 1)).toEqual({ passed: 3, failed: 1, skipped: ['test 2'], besides: [] });
});

it('counts a file that could not be loaded as one failure', () => {
  expect(countResults(report({ status: 'failed', tests: [] }), 1)).toMatchObject({ passed: 0, failed: 1, besides: ['file0 could not be run'] });
});

it('counts a run that ended badly without a failed test as one failure', () => {
  expect(countResults(report({ status: 'passed', tests: ['passed'] }), 1)).toMatchObject({ passed: 1, failed: 1 });
});

it.each([undefined, '', '{"testResults": 3}'])('counts a missing or damaged report as one failure: %s', (text) => {
  expect(countResults(text, 137)).toMatchObject({ passed: 0, failed: 1 });
});
