import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { bundleSimulator } from '../simulated/support/bundle.ts';
import { runHistory } from '../simulated/support/history.ts';
import { coverage, coverageLines } from './coverage.ts';
import { addTotals, failureLines, noTotals, summary, type Totals } from '../simulated/support/report.ts';

/** As many as some six minutes hold on two quiet cores; `scripts/simulate` runs as many as there is time for. */
const HISTORIES = 3000;
/** More than that on a slow machine, before it is called stuck. */
const BUDGET_SEC = 900;
const WORKERS = 2;
const FAULTS_MIN = 20;

/** One of the processes that share the seeds. */
function worker(program: string, index: number): Promise<Totals> {
  return new Promise((resolve, reject) => {
    const args = [program, '--json', '--seeds', `${String(index + 1)}..${String(HISTORIES)}`, '--every', String(WORKERS)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString();
    });
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString();
    });
    child.on('error', reject);
    child.on('close', () => {
      const last = out.trimEnd().split('\n').at(-1) ?? '';
      if (last.startsWith('{')) resolve(JSON.parse(last) as Totals);
      else reject(new Error(`a simulator ended without a report: ${err.slice(-4000)}`));
    });
  });
}

describe('whole clusters', () => {
  it('live through the same history again, event by event, from the same seed', async () => {
    for (const seed of [3, 17, 41]) {
      const [first, second] = [await runHistory(seed), await runHistory(seed)];
      expect({ events: second.events, fingerprint: second.fingerprint }).toEqual({ events: first.events, fingerprint: first.fingerprint });
      expect(first.events).toBeGreaterThan(1000);
    }
  });

  it('cannot come to some rules, which other tests cover by name', () => {
    const none = coverage({ counts: {}, checks: {} });
    for (const { row, wanted } of none) {
      if (typeof wanted === 'number') continue;
      expect(readFileSync(wanted.file, 'utf8'), row).toContain(wanted.test);
    }
    expect(none.every((m) => m.times === 0)).toBe(true);
  });

  it('live through other histories from other seeds', async () => {
    const prints = await Promise.all([runHistory(5), runHistory(6)]);
    expect(prints[0].fingerprint).not.toBe(prints[1].fingerprint);
  });

  it(
    `keep every promise in ${String(HISTORIES)} histories of at least ${String(FAULTS_MIN)} faults, which meet every rule`,
    async () => {
      const started = performance.now();
      const totals = noTotals();
      const folder = await mkdtemp(path.join(tmpdir(), 'netraid-histories-'));
      try {
        const program = await bundleSimulator(process.cwd(), folder);
        for (const t of await Promise.all(Array.from({ length: WORKERS }, (_, i) => worker(program, i)))) addTotals(totals, t);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
      const seconds = (performance.now() - started) / 1000;
      const met = coverage(totals);
      const lines = [...summary(totals, seconds), 'rules:', ...coverageLines(met), ...totals.failures.flatMap((f) => failureLines(f, 60))];
      process.stdout.write(`${lines.join('\n')}\n`);
      expect(totals.failures.map((f) => `seed ${String(f.seed)}: ${f.what}`)).toEqual([]);
      expect(totals.histories).toBe(HISTORIES);
      expect(totals.fewestFaults).toBeGreaterThanOrEqual(FAULTS_MIN);
      expect(
        met.filter(({ times, wanted }) => typeof wanted === 'number' && times < wanted).map((m) => `${m.row}: ${String(m.times)} times`),
      ).toEqual([]);
      expect(seconds).toBeLessThan(BUDGET_SEC);
    },
    (BUDGET_SEC + 60) * 1000,
  );
});
