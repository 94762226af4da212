/** Results as a row of the benchmark has them, for tests. */
import type { CellResult, Report, RowResult, SideResult } from '../../../scripts/benchmark/results.ts';
import type { Sample } from '../../../scripts/benchmark/types.ts';

export function sample(opsPerSec: number, o: Partial<Sample> = {}): Sample {
  const none = { cpuMicrosPerOp: null, targetCpuMicrosPerOp: null, p99Micros: null, intentBytes: null };
  return { opsPerSec, bytesPerSec: opsPerSec * 4096, ...none, ...o };
}

export function side(name: string, samples: Sample[], o: Partial<SideResult> = {}): SideResult {
  return { side: name, about: `about ${name}`, ours: name.startsWith('netraid'), targets: 0, samples, ...o };
}

export function cell(id: string, sides: SideResult[], inBytes = false): CellResult {
  return { cell: id, inBytes, sides };
}

export function row(cells: CellResult[], o: Partial<RowResult> = {}): RowResult {
  return { name: 'plain', title: 'Plain export', reference: 'nbdkit', fileBytes: 1, touchedBytes: 1, cells, missing: [], verdicts: [], ...o };
}

export function report(rows: RowResult[]): Report {
  const machine = { cpu: 'CPU', cores: 2, memoryBytes: 2 ** 34, kernel: '6.1', node: 'v20', filesystem: 'ext4', loadBefore: 0.1, loadAfter: 0.2 };
  return { version: 1, date: '2030-01-02T03:04:05.000Z', machine, runs: 5, seconds: 4, rows };
}
