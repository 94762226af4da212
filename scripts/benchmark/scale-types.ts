/**
 * What the cost of scale is made of.
 *
 *   axis (one table, one chart) = points, each a mirror of its own, that differ in one thing alone
 */
import type { Machine } from './results.ts';
import type { Spread } from './statistics.ts';

export const AXES = ['size', 'dirty', 'targets', 'write'] as const;
export type AxisName = (typeof AXES)[number];

export interface Point {
  /** As `--points` names it, such as `64TiB`. */
  label: string;
  /** Where it lies on the axis. */
  x: number;
  deviceBytes: number;
  /** Marked for one target that is away, paused by an operator. */
  dirtyRegions: number;
  /** In sync, besides the one that is away. */
  targets: number;
  writeBytes: number;
  /** Writes all over the device are measured as well. */
  spread: boolean;
  /** Part of `--quick`. */
  quick: boolean;
}

export interface Axis {
  name: AxisName;
  title: string;
  /** What `x` is. */
  unit: string;
  log: boolean;
  points: readonly Point[];
}

/** One run of one point; null: makes no sense there. */
export interface ScaleSample {
  /** From the start of the source's daemon until it is in service, at an operator's command. */
  startMs: number;
  /** CPU of the daemon until then: the steadier figure. */
  startCpuMs: number;
  /** Resident memory of the source's daemon. */
  restBytes: number;
  loadedBytes: number;
  /** At its highest, with the begin of a resync where there is something to resync. */
  peakBytes: number;
  writesPerSec: number;
  writeCpuMicros: number;
  /** Of all targets together. */
  targetCpuMicros: number | null;
  spreadPerSec: number | null;
  spreadCpuMicros: number | null;
  /** The bitmap file, as a crash would leave it. */
  bitmapBytes: number;
  /** How long the daemon's own code takes to open that. */
  openMs: number;
  /** CPU of that. */
  openCpuMs: number;
  /** From the command that lets the target return to the decision for a partial resync, its marks copied. */
  decideMs: number | null;
}

export type ScaleMetric = keyof ScaleSample;

export interface PointResult {
  point: Point;
  samples: ScaleSample[];
}

export interface AxisResult {
  name: AxisName;
  title: string;
  unit: string;
  log: boolean;
  points: PointResult[];
  missing: { label: string; why: string }[];
}

/** A bound that holds in every run of every point that it is for. */
export interface ScaleRequirement {
  figure: string;
  metric: ScaleMetric;
  atMost: number;
  of: (p: Point) => boolean;
}

export interface ScaleVerdict {
  figure: string;
  metric: ScaleMetric;
  atMost: number;
  /** Where it is worst, such as `dirty 100000`; null: not measured. */
  where: string | null;
  measured: Spread | null;
  met: boolean | null;
}

export interface ScaleReport {
  version: 1;
  date: string;
  machine: Machine;
  runs: number;
  seconds: number;
  axes: AxisResult[];
  verdicts: ScaleVerdict[];
}
