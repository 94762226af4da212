/** Results of scripts/bench-scale, for tests. */
import type { AxisResult, Point, ScaleReport, ScaleSample } from '../../../scripts/benchmark/scale-types.ts';

export const MiB = 1024 ** 2;

export function point(label: string, o: Partial<Point> = {}): Point {
  return { label, x: 1, deviceBytes: 2 ** 30, dirtyRegions: 0, targets: 1, writeBytes: 4096, spread: false, quick: true, ...o };
}

export function scaleSample(o: Partial<ScaleSample> = {}): ScaleSample {
  return {
    startMs: 300,
    startCpuMs: 250,
    restBytes: 80 * MiB,
    loadedBytes: 90 * MiB,
    peakBytes: 95 * MiB,
    writesPerSec: 50_000,
    writeCpuMicros: 10,
    targetCpuMicros: 5,
    spreadPerSec: null,
    spreadCpuMicros: null,
    bitmapBytes: 1024,
    openMs: 20,
    openCpuMs: 15,
    decideMs: null,
    ...o,
  };
}

export function axis(points: [Point, ScaleSample[]][], o: Partial<AxisResult> = {}): AxisResult {
  const results = points.map(([p, samples]) => ({ point: p, samples }));
  return { name: 'size', title: 'Size of the device', unit: 'device', log: true, points: results, missing: [], ...o };
}

export function scaleReport(axes: AxisResult[], o: Partial<ScaleReport> = {}): ScaleReport {
  const machine = { cpu: 'CPU', cores: 2, memoryBytes: 2 ** 34, kernel: '6.1', node: 'v20', filesystem: 'tmpfs', loadBefore: 0.1, loadAfter: 0.2 };
  return { version: 1, date: '2030-01-02T03:04:05.000Z', machine, runs: 2, seconds: 0.5, axes, verdicts: [], ...o };
}
