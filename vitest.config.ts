import { defineConfig } from 'vitest/config';

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
  { name: 'interop', testTimeoutMs: 120_000, sequential: true },
  { name: 'native', testTimeoutMs: 120_000, sequential: true },
  { name: 'demo', testTimeoutMs: 300_000, sequential: true },
];

export default defineConfig({
  test: {
    maxWorkers: 2,
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
