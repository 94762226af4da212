/** What a run of the benchmark has found, as its JSON file holds it. */
import type { Metric, Requirement, Sample } from './types.ts';
import type { Spread } from './statistics.ts';

export interface SideResult {
  side: string;
  about: string;
  /** NetRAID, rather than what it is compared with. */
  ours: boolean;
  targets: number;
  /** In the order of the rounds; each round measures all sides one after the other. */
  samples: Sample[];
}

export interface CellResult {
  cell: string;
  inBytes: boolean;
  sides: SideResult[];
}

/** A side without figures, or with fewer than were asked for. */
export interface Missing {
  side: string;
  why: string;
}

export interface Verdict {
  row: string;
  cell: string;
  side: string;
  /** The best of those that it had to be compared with; null: an absolute figure, or not measured. */
  over: string | null;
  metric: Metric;
  limit: Requirement['limit'];
  /** Null: not measured. */
  measured: Spread | null;
  met: boolean | null;
}

export interface RowResult {
  name: string;
  title: string;
  reference: string;
  fileBytes: number;
  touchedBytes: number;
  cells: CellResult[];
  missing: Missing[];
  verdicts: Verdict[];
}

export interface Machine {
  cpu: string;
  cores: number;
  memoryBytes: number;
  kernel: string;
  node: string;
  /** Of the folder with the files. */
  filesystem: string;
  /** Load average of one minute, before and after. */
  loadBefore: number;
  loadAfter: number;
}

export interface Report {
  version: 1;
  date: string;
  machine: Machine;
  runs: number;
  seconds: number;
  rows: RowResult[];
}
