/**
 * From SIGKILL of the source's daemon to the first write that the new source acknowledges; `scripts/bench-failover --help`.
 *
 *   daemons in sync -> writes until the kill -> SIGKILL -> dial the survivor every 5 ms -> one 4 KiB write -> the dead one returns
 *
 * Runs go to and fro between the two nodes of best priority; a third takes part as a target.
 */
import { loadavg } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineHub } from '../src/io/hub.ts';
import { createNodeIo } from '../src/io/node/node-io.ts';
import { Errno } from '../src/io/types.ts';
import { NbdClient } from '../src/nbd-client-js/client.ts';
import { Daemons, type NodeProcess } from '../test/support/daemons.ts';
import { badUse, scriptOptions } from './options.ts';

const NAME = 'scripts/bench-failover';
const HELP = `scripts/bench-failover [options]

  --runs N       failovers with each number of nodes (default 20)
  --nodes N,N    numbers of nodes (default 2,3)
  --timeout MS   failureTimeout, milliseconds (default 1000)
  --limit MS     what the median may be, from the kill to the first acknowledged write, milliseconds (default 1300)
  --json         prints the results as JSON
  --help         this page

Measures the programs of this tree, built when they are not, or those in the folder that NETRAID_DIST names.
Exit code 1 when a median is above the limit, or a failover does not come about.
`;

const TAG = 'bench';
const SIZE_BYTES = 16 * 1024 * 1024;
const WRITE_BYTES = 4096;
const RETRY_MS = 5;
const GIVE_UP_MS = 60_000;

interface Run {
  /** ms since SIGKILL. */
  connectedMs: number;
  writtenMs: number;
}

interface Result {
  nodes: number;
  runs: Run[];
  medianMs: number;
  minMs: number;
  maxMs: number;
}

const values = scriptOptions(NAME, HELP, {
  runs: { type: 'string', default: '20' },
  nodes: { type: 'string', default: '2,3' },
  timeout: { type: 'string', default: '1000' },
  limit: { type: 'string', default: '1300' },
  json: { type: 'boolean', default: false },
});

const io = createNodeIo();
const hub = new EngineHub(io.createEngine());
const block = new Uint8Array(WRITE_BYTES).fill(0x5a);

function natural(name: string, text: string, min: number, max: number): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < min || n > max) badUse(NAME, `--${name} wants whole numbers from ${String(min)} to ${String(max)}, not ${text}`);
  return n;
}

function say(line: string): void {
  if (!values.json) process.stdout.write(`${line}\n`);
}

function dial(node: NodeProcess): Promise<NbdClient> {
  const address = { kind: 'unix', path: path.join(node.root, 'run', 'nbd.sock') } as const;
  return NbdClient.connect({ io, hub, exportName: TAG, address, connectTimeoutMs: 2000, replyTimeoutMs: 30_000 });
}

/** Dials until the export is there and a write is acknowledged. */
async function firstWrite(node: NodeProcess, since: number): Promise<Run> {
  let last = '';
  while (performance.now() - since < GIVE_UP_MS) {
    try {
      const client = await dial(node);
      const connectedMs = performance.now() - since;
      try {
        await client.writeBytes(0, block);
        return { connectedMs, writtenMs: performance.now() - since };
      } finally {
        client.close(Errno.ESHUTDOWN);
      }
    } catch (e: unknown) {
      last = String(e);
    }
    await sleep(RETRY_MS);
  }
  throw new Error(`${node.name} acknowledged no write within ${String(GIVE_UP_MS)} ms; last: ${last}\n${node.log(60)}`);
}

/** The new source is the one that is left of the first two. */
async function failover(all: Daemons, source: NodeProcess, next: NodeProcess): Promise<Run> {
  const client = await dial(source);
  // Killed at any moment between two heartbeats, and with data written just before.
  const until = performance.now() + 200 + Math.random() * 400;
  while (performance.now() < until) await client.writeBytes(WRITE_BYTES, block);
  const killed = performance.now();
  process.kill(source.pid, 'SIGKILL');
  const run = await firstWrite(next, killed);
  client.close(Errno.ESHUTDOWN);
  await source.kill();
  await source.start();
  await all.untilInSync(next.name, TAG, GIVE_UP_MS);
  return run;
}

async function measure(count: number, runs: number, failureTimeoutMs: number): Promise<Result> {
  const names = Array.from({ length: count }, (_, i) => `server${String(i + 1)}`);
  const all = await Daemons.start({ nodes: names, failureTimeoutMs });
  const done: Run[] = [];
  try {
    const legs = Object.fromEntries(names.map((n) => [n, all.path(`${n}.img`)]));
    await all.createMirror({ tag: TAG, sizeBytes: SIZE_BYTES, legs });
    let [source, next] = [all.node('server1'), all.node('server2')];
    for (let i = 1; i <= runs; i += 1) {
      const run = await failover(all, source, next);
      done.push(run);
      const connected = `connected after ${run.connectedMs.toFixed(0)} ms`;
      say(
        `${String(count)} nodes, run ${String(i)}: ${source.name} -> ${next.name}, ${connected}, write acknowledged after ${run.writtenMs.toFixed(0)} ms`,
      );
      [source, next] = [next, source];
    }
  } finally {
    await all.close();
  }
  const sorted = done.map((r) => r.writtenMs).sort((a, b) => a - b);
  const at = (i: number): number => sorted[i] ?? Number.NaN;
  const half = sorted.length / 2;
  const medianMs = sorted.length % 2 === 1 ? at(Math.floor(half)) : (at(half - 1) + at(half)) / 2;
  return { nodes: count, runs: done, medianMs, minMs: at(0), maxMs: at(sorted.length - 1) };
}

async function main(): Promise<void> {
  const runs = natural('runs', values.runs, 1, 1000);
  const failureTimeoutMs = natural('timeout', values.timeout, 100, 600_000);
  const limitMs = natural('limit', values.limit, 1, 600_000);
  const counts = values.nodes.split(',').map((n) => natural('nodes', n, 2, 8));
  const results: Result[] = [];
  for (const count of counts) {
    const r = await measure(count, runs, failureTimeoutMs);
    results.push(r);
    const spread = `min ${r.minMs.toFixed(0)} ms, max ${r.maxMs.toFixed(0)} ms, ${String(runs)} runs, load of this machine ${(loadavg()[0] ?? 0).toFixed(1)}`;
    const about = `${String(count)} nodes, failureTimeout ${String(failureTimeoutMs)} ms: from the kill to the first acknowledged write`;
    say(`${about}: median ${r.medianMs.toFixed(0)} ms, ${spread}`);
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ failureTimeoutMs, limitMs, results })}\n`);
  for (const r of results.filter((x) => x.medianMs > limitMs)) {
    const median = `${String(r.nodes)} nodes: the median of ${r.medianMs.toFixed(0)} ms is above the limit of ${String(limitMs)} ms`;
    process.stderr.write(`${NAME}: ${median}\n`);
    process.exitCode = 1;
  }
}

await main();
