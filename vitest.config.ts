import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest go first, so that none of them is what all wait for in the end; others by their size, as vitest has it. */
const LONGEST = ['interop/kernel-guest', 'interop/readme-commands'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = (f: TestSpecification): boolean => LONGEST.some((l) => f.moduleId.endsWith(`${l}.test.ts`));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((f) => !isLong(f))];
  }
}

interface Tier {
  name: string;
  testTimeoutMs: number;
  /** One file at a time: for tests that use the machine's devices, ports or all of its cores. */
  sequential: boolean;
}

/** One folder below `test` each; `scripts/test` runs them as stages. */
const tiers: Tier[] = [
  { name: 'unit', testTimeoutMs: 10_000, sequential: false },
  { name: 'house', testTimeoutMs: 120_000, sequential: false },
  { name: 'simulated', testTimeoutMs: 120_000, sequential: false },
  // Histories have both cores to themselves.
  { name: 'histories', testTimeoutMs: 120_000, sequential: true },
  { name: 'scenarios', testTimeoutMs: 120_000, sequential: true },
  // Two files at a time: what they start is their own, and most of them wait for others most of the time.
  { name: 'interop', testTimeoutMs: 120_000, sequential: false },
  { name: 'native', testTimeoutMs: 120_000, sequential: true },
  { name: 'demo', testTimeoutMs: 300_000, sequential: true },
];

export default defineConfig({
  test: {
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    coverage: { provider: 'v8', include: ['src/**/*.ts'], reportsDirectory: 'coverage' },
    projects: tiers.map((t, i) => ({
      test: {
        name: t.name,
        include: [`test/${t.name}/**/*.test.ts`],
        setupFiles: t.name === 'unit' || t.name === 'native' ? ['test/support/fuzz.ts'] : [],
        testTimeout: t.testTimeoutMs,
        hookTimeout: t.testTimeoutMs,
        pool: 'forks' as const,
        fileParallelism: !t.sequential,
        // Tiers never overlap: a parallel one would disturb the times of a sequential one.
        sequence: { groupOrder: i },
      },
    })),
  },
});
