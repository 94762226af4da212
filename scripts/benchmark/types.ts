/**
 * What a benchmark is made of.
 *
 *   row (one table, one chart) = cells (what is done) x sides (who does it); a requirement judges one side against others
 */
import type { Stage } from './stage.ts';

export interface Cell {
  /** As `--cells` names it, such as `write-4k-qd32`. */
  id: string;
  kind: 'randwrite' | 'randread' | 'write' | 'read' | 'copy';
  blockBytes: number;
  /** In flight on each connection. */
  depth: number;
  connections: number;
  /** A flush follows each write, and is waited for. */
  flushEach: boolean;
  /** Each write is durable when it is answered. */
  durable: boolean;
  /** Shown as MB/s rather than as operations a second. */
  inBytes: boolean;
}

/** One run of one cell on one side. */
export interface Sample {
  opsPerSec: number;
  bytesPerSec: number;
  /** user+sys of the server's processes; null where there is no server. */
  cpuMicrosPerOp: number | null;
  /** The same of the processes that hold the other legs. */
  targetCpuMicrosPerOp: number | null;
  /** Of the completion latency; null where it was not taken. */
  p99Micros: number | null;
  /** What would have to be resynced if the source crashed right after the run. */
  intentBytes: number | null;
}

/** A side that has been started. */
export interface Subject {
  /** Rejects when there is no figure, after a bounded time. */
  measure(cell: Cell, seconds: number): Promise<Sample>;
}

export interface Side {
  name: string;
  /** One sentence for the reader of the table. */
  about: string;
  /** Programs without which it can not be measured. */
  programs: readonly string[];
  /** NetRAID, rather than what it is compared with. */
  ours: boolean;
  /** Needs the native shim. */
  native: boolean;
  /** Left out by `--quick`. */
  quick: boolean;
  targets: number;
  start(stage: Stage): Promise<Subject>;
}

/** `rate`: operations (or bytes) a second. `cpu`: server CPU an operation. `cpu-per-target`: that of all processes, divided by the targets. */
export type Metric = 'rate' | 'cpu' | 'cpu-per-target' | 'p99' | 'intent';

/** A line of the table: the side's figure over that of the best of `over`, or the figure itself when there are none. */
export interface Requirement {
  cell: string;
  side: string;
  over: readonly string[];
  metric: Metric;
  limit: { atLeast: number } | { atMost: number };
}

export interface Row {
  /** As `--rows` names it. */
  name: string;
  title: string;
  cells: readonly Cell[];
  /** Those of `--quick`; all when left out. */
  quickCells?: readonly Cell[];
  sides: readonly Side[];
  requirements: readonly Requirement[];
  /** The side that the ratios of the table are over. */
  reference: string;
  /** Sizes of its own, where those of the options do not fit. */
  sizes?: (general: Sizes) => Sizes;
  /** Legs and exported files lie in memory (tmpfs); the rest, with the intent log, where all others lie. */
  inMemory?: boolean;
  /** Of each run, at most: what it writes has to have room. */
  secondsMax?: number;
}

/** Of each leg and exported file. */
export interface Sizes {
  fileBytes: number;
  /** Its first part, which is written beforehand and used. */
  touchedBytes: number;
}
