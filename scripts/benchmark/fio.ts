/** fio's command lines and its report. Pure. */
import { z } from 'zod';
import type { Cell } from './types.ts';

export interface FioRun {
  seconds: number;
  touchedBytes: number;
  /** Latencies cost the load generator time, and are taken only where they are shown. */
  latencies: boolean;
}

function common(cell: Cell, o: FioRun): string[] {
  const share = o.touchedBytes / cell.connections;
  return [
    '--name=x',
    `--rw=${cell.kind}`,
    `--bs=${String(cell.blockBytes)}`,
    // Each connection has a part of its own: streams that write the same blocks would wait for each other.
    `--size=${String(share)}`,
    `--offset_increment=${String(share)}`,
    '--time_based',
    `--runtime=${String(Math.round(o.seconds * 1000))}ms`,
    '--norandommap',
    '--randrepeat=0',
    '--scramble_buffers=0',
    '--invalidate=0',
    ...(o.latencies ? [] : ['--gtod_reduce=1']),
    '--thread',
    '--group_reporting',
    `--numjobs=${String(cell.connections)}`,
    '--output-format=json',
  ];
}

/** Through an NBD server. */
export function nbdArguments(cell: Cell, uri: string, o: FioRun): string[] {
  if (cell.durable) throw new Error('the nbd engine of fio has no FUA');
  return [...common(cell, o), `--iodepth=${String(cell.depth)}`, ...(cell.flushEach ? ['--fsync=1'] : []), '--ioengine=nbd', `--uri=${uri}`];
}

/** How a raw file is written at a depth: by io_uring, or by as many threads as the depth says, one write each. */
export type RawEngine = 'io_uring' | 'threads';

/** On a file of the file system itself. */
export function fileArguments(cell: Cell, file: string, engine: RawEngine, o: FioRun): string[] {
  const durable = [...(cell.durable ? ['--sync=dsync'] : []), ...(cell.flushEach ? ['--fdatasync=1'] : [])];
  if (engine === 'io_uring') {
    return [...common(cell, o), `--iodepth=${String(cell.depth)}`, '--ioengine=io_uring', `--filename=${file}`, ...durable];
  }
  const threads = { ...cell, connections: cell.depth };
  return [...common(threads, o), '--iodepth=1', '--ioengine=psync', `--filename=${file}`, ...durable];
}

const direction = z.object({
  iops: z.number(),
  bw_bytes: z.number(),
  total_ios: z.number(),
  clat_ns: z.object({ percentile: z.record(z.string(), z.number()).optional() }).optional(),
});
const report = z.object({ jobs: z.array(z.object({ error: z.number(), read: direction, write: direction })).min(1) });

export interface FioResult {
  opsPerSec: number;
  bytesPerSec: number;
  ops: number;
  /** Null when latencies were not taken. */
  p99Micros: number | null;
}

const P99 = '99.000000';

/** Throws when it is no report of a run that did something, with one line that says why. */
export function parseFio(text: string, cell: Pick<Cell, 'kind'>): FioResult {
  // fio may say something before its report.
  const begin = text.indexOf('{');
  const parsed = report.safeParse(begin < 0 ? undefined : parse(text.slice(begin)));
  if (!parsed.success) throw new Error(`fio left no report that can be read: ${z.prettifyError(parsed.error)}`);
  const [job] = parsed.data.jobs;
  if (job === undefined) throw new Error('fio reports no job');
  if (job.error !== 0) throw new Error(`fio ended with error ${String(job.error)}`);
  const d = cell.kind === 'randread' || cell.kind === 'read' ? job.read : job.write;
  if (d.total_ios === 0) throw new Error('fio did not complete one operation');
  const p99 = d.clat_ns?.percentile?.[P99];
  return { opsPerSec: d.iops, bytesPerSec: d.bw_bytes, ops: d.total_ios, p99Micros: p99 === undefined || p99 === 0 ? null : p99 / 1000 };
}

/** Undefined for what is no JSON; the schema then says so. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (e: unknown) {
    if (e instanceof SyntaxError) return undefined;
    throw e;
  }
}
