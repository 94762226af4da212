/** What many histories met, added up, and how a failing one is told. */
import type { HistoryReport } from './history.ts';

export interface Totals {
  histories: number;
  faults: number;
  events: number;
  virtualMs: number;
  fewestFaults: number;
  counts: Record<string, number>;
  checks: Record<string, number>;
  failures: { seed: number; promise: string; what: string; story: string[]; tail: string[] }[];
}

export function noTotals(): Totals {
  return { histories: 0, faults: 0, events: 0, virtualMs: 0, fewestFaults: Infinity, counts: {}, checks: {}, failures: [] };
}

export function addHistory(t: Totals, h: HistoryReport): void {
  t.histories += 1;
  t.faults += h.faults;
  t.events += h.events;
  t.virtualMs += h.virtualMs;
  if (h.failure === undefined) t.fewestFaults = Math.min(t.fewestFaults, h.faults);
  else t.failures.push({ seed: h.seed, ...h.failure });
  add(t.counts, h.counts);
  add(t.checks, h.checks);
}

export function addTotals(t: Totals, o: Totals): void {
  t.histories += o.histories;
  t.faults += o.faults;
  t.events += o.events;
  t.virtualMs += o.virtualMs;
  t.fewestFaults = Math.min(t.fewestFaults, o.fewestFaults);
  t.failures.push(...o.failures);
  add(t.counts, o.counts);
  add(t.checks, o.checks);
}

function add(to: Record<string, number>, from: Record<string, number>): void {
  for (const [k, n] of Object.entries(from)) to[k] = (to[k] ?? 0) + n;
}

export function summary(t: Totals, seconds: number): string[] {
  const rate = seconds > 0 ? t.histories / seconds : 0;
  const lines = [
    `${String(t.histories)} histories in ${seconds.toFixed(1)} s (${rate.toFixed(1)} a second), ${String(t.faults)} faults, ` +
      `${String(t.events)} events, ${(t.virtualMs / 1000).toFixed(0)} s of virtual time`,
    'promises judged:',
    ...table(t.checks),
    'met:',
    ...table(t.counts),
  ];
  return lines;
}

function table(of: Record<string, number>): string[] {
  return Object.keys(of)
    .sort()
    .map((k) => `${String(of[k]).padStart(10)}  ${k}`);
}

export function failureLines(f: Totals['failures'][number], events: number): string[] {
  return [
    `seed ${String(f.seed)}: ${f.what}`,
    `  replay: scripts/simulate --seed ${String(f.seed)} --verbose`,
    ...f.story.slice(-events).map((l) => `    ${l.slice(0, 400)}`),
  ];
}
