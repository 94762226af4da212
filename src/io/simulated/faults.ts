/** What the harness asks one node's disk to do wrong. Rules are looked at when an operation has its effect. */
import type { LatencyMs } from './seed.ts';

export type DiskOperation = 'read' | 'write' | 'sync';

/** A path, `*` standing for any run of characters, or an expression over the whole path. */
export type PathPattern = string | RegExp;

export interface FailRule {
  op: DiskOperation;
  /** A number of `Errno`. */
  errno: number;
  /** How many operations fail; absent: all, until `repair`. */
  times?: number;
}

export interface DiskLatencies {
  read: LatencyMs;
  write: LatencyMs;
  sync: LatencyMs;
  /** Open, stat, list, rename, unlink, mkdir. */
  metadata: LatencyMs;
}

export const DEFAULT_LATENCIES: DiskLatencies = {
  read: { fromMs: 0.02, toMs: 0.3 },
  write: { fromMs: 0.02, toMs: 0.3 },
  sync: { fromMs: 0.1, toMs: 2 },
  metadata: { fromMs: 0.01, toMs: 0.1 },
};

interface ActiveFail extends FailRule {
  pattern: PathPattern;
  left: number;
}

function matches(pattern: PathPattern, path: string): boolean {
  if (typeof pattern !== 'string') return new RegExp(pattern.source, pattern.flags.replace(/[gy]/gu, '')).test(path);
  if (!pattern.includes('*')) return pattern === path;
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/gu, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`, 'su').test(path);
}

export class DiskFaults {
  #fails: ActiveFail[] = [];
  #full: PathPattern[] = [];
  #stalled: PathPattern[] = [];
  #waiting: { path: string; go: () => void }[] = [];
  latencies: DiskLatencies;
  /** Probability that a read or write moves fewer bytes than asked. */
  shortTransfers: number;

  constructor(latencies: DiskLatencies, shortTransfers: number) {
    this.latencies = latencies;
    this.shortTransfers = shortTransfers;
  }

  fail(pattern: PathPattern, rule: FailRule): void {
    this.#fails.push({ ...rule, pattern, left: rule.times ?? Infinity });
  }

  /** From now on nothing new is allocated for these files: ENOSPC, after as much as fits in what they have. */
  full(pattern: PathPattern): void {
    this.#full.push(pattern);
  }

  /** Operations on these files do not come back until `repair`. */
  stall(pattern: PathPattern): void {
    this.#stalled.push(pattern);
  }

  /** Ends every fault; stalled operations go on. */
  repair(): void {
    this.#fails = [];
    this.#full = [];
    this.#stalled = [];
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const w of waiting) w.go();
  }

  /** The errno that this operation gets, 0 for none; uses up one of a rule's times. */
  take(path: string, op: DiskOperation): number {
    const rule = this.#fails.find((f) => f.op === op && f.left > 0 && matches(f.pattern, path));
    if (rule === undefined) return 0;
    rule.left -= 1;
    return rule.errno;
  }

  isFull(path: string): boolean {
    return this.#full.some((p) => matches(p, path));
  }

  /** True: `go` is kept until the stall ends. */
  holdBack(path: string, go: () => void): boolean {
    if (!this.#stalled.some((p) => matches(p, path))) return false;
    this.#waiting.push({ path, go });
    return true;
  }
}
