/** What many histories must have met, row by row; the compiler asks for every row of both tables. */
import type { CompareRule, DecideRule } from '../../src/failover/types.ts';
import type { Totals } from '../simulated/support/report.ts';

/** What a history can't come to, and the test that covers it instead. */
export interface Elsewhere {
  why: string;
  file: string;
  /** Text of that file that names the test. */
  test: string;
}

type Wanted = number | Elsewhere;

const TIMES_MIN = 20;

const DECIDE: Record<DecideRule, Wanted> = {
  'split-brain': TIMES_MIN,
  superseded: TIMES_MIN,
  'cut-short': TIMES_MIN,
  'told-out': TIMES_MIN,
  'leg-behind': TIMES_MIN,
  'stopped-on-purpose': TIMES_MIN,
  takeover: TIMES_MIN,
  'better-candidate': TIMES_MIN,
  'target-alone': TIMES_MIN,
  'source-alone': TIMES_MIN,
  'source-alone-agreed': TIMES_MIN,
  evidence: TIMES_MIN,
  'no-quorum': TIMES_MIN,
  forced: TIMES_MIN,
};

const COMPARE: Record<CompareRule, Wanted> = {
  blank: TIMES_MIN,
  unrelated: {
    why: 'it takes two mirrors of one tag that were created apart, and a history creates one',
    file: 'test/unit/failover/compare.test.ts',
    test: "describe('unrelated'",
  },
  inconsistent: TIMES_MIN,
  'split-brain': TIMES_MIN,
  'merge-pending': TIMES_MIN,
  serving: TIMES_MIN,
  clean: TIMES_MIN,
  'served-later': TIMES_MIN,
  'crashed-source': TIMES_MIN,
  'crashed-target': TIMES_MIN,
  'both-targets': TIMES_MIN,
  'kept-bitmap': TIMES_MIN,
  history: TIMES_MIN,
};

/** What is judged again and again: a check that nothing comes to any more would hold whatever breaks. */
const CHECKS = [
  'M1',
  'M2',
  'M2 (left out)',
  'M2 (out, and has written it down)',
  'M2 (out, and heeds it)',
  'M2 (out, and silent)',
  'M3',
  'M5',
  'M5 (dropped marks)',
  'M5 (handed over)',
  'M5 (proofs)',
  'M6',
  'M7',
  'M8',
  'M9',
  'M9 (seen)',
  'M10',
  'M10 (claims)',
  'M10 (generations)',
  'M11 (compare)',
  'M12',
  'M13 (bitmap)',
  'M13 (state record)',
  'M13 (left as it is)',
  'checkpoints',
  'legs alike',
  'scenario 3',
];

const OTHER: Record<string, Wanted> = {
  'histories: arbiter majority': TIMES_MIN,
  'histories: 2 paths a pair': TIMES_MIN,
  'heartbeats (a path lost)': TIMES_MIN,
  'waits for a previous source that ended': TIMES_MIN,
  'histories: aimed blows': TIMES_MIN,
  'checkpoints void: was-target': TIMES_MIN,
  // A split brain needs writes on both sides of a cut that lasts.
  'end: operator says resolve': 5,
};

export interface Met {
  row: string;
  times: number;
  wanted: Wanted;
}

/** Rows of `compare` are counted whatever kind of resync they answer. */
export function coverage(t: Pick<Totals, 'counts' | 'checks'>): Met[] {
  const all = [...Object.entries(t.counts), ...Object.entries(t.checks)];
  const times = (row: string): number => all.filter(([k]) => k === row || k.startsWith(`${row}/`)).reduce((sum, [, n]) => sum + n, 0);
  const rows = [
    ...Object.entries(DECIDE).map(([rule, wanted]) => [`decide ${rule}`, wanted] as const),
    ...Object.entries(COMPARE).map(([rule, wanted]) => [`compare ${rule}`, wanted] as const),
    ...CHECKS.map((check) => [check, TIMES_MIN] as const),
    ...Object.entries(OTHER),
  ];
  return rows.map(([row, wanted]) => ({ row, wanted, times: times(row) }));
}

export function coverageLines(met: readonly Met[]): string[] {
  return met.map(({ row, times, wanted }) => {
    const least = typeof wanted === 'number' ? `at least ${String(wanted)}` : `not in histories: ${wanted.why}; see ${wanted.file}`;
    return `${String(times).padStart(10)}  ${row} (${least})`;
  });
}
