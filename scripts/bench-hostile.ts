/**
 * What a crowd of idle and misbehaving NBD clients costs an application of the mirror; `scripts/bench-hostile --help`.
 *
 *   two daemons in sync -> [ fio alone -> the crowd comes -> fio beside it -> the crowd goes ] x rounds
 *
 * The crowd comes over TCP from many addresses of this machine, in a process of its own; the application by the unix socket.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Daemons, freePort, type NodeProcess } from '../test/support/daemons.ts';
import { run } from '../test/support/programs.ts';
import { cpuMicros } from './benchmark/cpu.ts';
import { nbdArguments, parseFio } from './benchmark/fio.ts';
import { median } from './benchmark/statistics.ts';
import type { Cell } from './benchmark/types.ts';
import { badUse, scriptOptions } from './options.ts';

const NAME = 'scripts/bench-hostile';
const HELP = `scripts/bench-hostile [options]

  --rounds N       measurements without and with the crowd, in turn (default 5)
  --seconds N      of each (default 4)
  --idle N         connections that do nothing (default 2000)
  --misbehaving N  connections that take no replies, leave requests in half, flood, trickle, send garbage, come and go (default 200)
  --places N       connections that the source takes, in all and from one address (default 2048; what it does without a word: 256 and 64)
  --limit X        what the application's rate must be, beside its rate without the crowd (default 0.9)
  --memory MIB     what the source's memory may be (default 700)
  --json           prints the results as JSON
  --help           this page

The application writes 4 KiB at depth 32 to a mirror of two nodes, by the unix socket. Measures the programs of this tree, built when they are not.
Exit code 1 when a limit is missed.
`;

const TAG = 'bench';
const SIZE_BYTES = 256 * 1024 * 1024;
const CELL: Cell = {
  id: 'write-4k-qd32',
  kind: 'randwrite',
  blockBytes: 4096,
  depth: 32,
  connections: 1,
  flushEach: false,
  durable: false,
  inBytes: false,
};
const CROWD_MAX_MS = 60_000;

interface Sample {
  opsPerSec: number;
  cpuMicrosPerOp: number;
  memoryMiB: number;
}

const values = scriptOptions(NAME, HELP, {
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '4' },
  idle: { type: 'string', default: '2000' },
  misbehaving: { type: 'string', default: '200' },
  places: { type: 'string', default: '2048' },
  limit: { type: 'string', default: '0.9' },
  memory: { type: 'string', default: '700' },
  json: { type: 'boolean', default: false },
});

function number(name: string, text: string, min: number, max: number): number {
  const n = Number(text);
  if (!(n >= min && n <= max)) badUse(NAME, `--${name} wants a number from ${String(min)} to ${String(max)}, not ${text}`);
  return n;
}

function say(line: string): void {
  if (!values.json) process.stdout.write(`${line}\n`);
}

function memoryMiB(pid: number): number {
  const m = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'));
  if (m?.[1] === undefined) throw new Error(`no memory of process ${String(pid)} is to be seen`);
  return Number(m[1]) / 1024;
}

async function sample(source: NodeProcess, seconds: number): Promise<Sample> {
  const uri = `nbd+unix:///${TAG}?socket=${path.join(source.root, 'run', 'nbd.sock')}`;
  const before = cpuMicros([source.pid]);
  const args = nbdArguments(CELL, uri, { seconds, touchedBytes: SIZE_BYTES, latencies: false });
  const fio = await run('timeout', ['-k', '5', String(seconds + 60), 'fio', ...args]);
  const cpu = cpuMicros([source.pid]) - before;
  if (fio.code !== 0) throw new Error(`fio: ${fio.stderr.trim().split('\n').at(-1) ?? ''}\n${source.log(40)}`);
  const r = parseFio(fio.stdout, CELL);
  return { opsPerSec: r.opsPerSec, cpuMicrosPerOp: cpu / r.ops, memoryMiB: memoryMiB(source.pid) };
}

/** Resolves when as many of the crowd as can be are in transmission, and no more come. */
async function gathered(crowd: ChildProcess): Promise<Record<string, number>> {
  if (crowd.stdout === null) throw new Error('the crowd has no output');
  const deadline = performance.now() + CROWD_MAX_MS;
  let last = -1;
  for await (const line of createInterface({ input: crowd.stdout })) {
    const counts = JSON.parse(line) as Record<string, number>;
    const now = counts['inTransmission'] ?? 0;
    if ((now > 0 && now === last) || performance.now() > deadline) return counts;
    last = now;
  }
  throw new Error('the crowd went before it had come');
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else
      child.once('exit', () => {
        resolve();
      });
  });
}

async function main(): Promise<void> {
  const rounds = number('rounds', values.rounds, 1, 100);
  const seconds = number('seconds', values.seconds, 1, 600);
  const idle = number('idle', values.idle, 0, 10_000);
  const misbehaving = number('misbehaving', values.misbehaving, 0, 10_000);
  const places = number('places', values.places, 1, 2048);
  const limit = number('limit', values.limit, 0, 10);
  const memoryMax = number('memory', values.memory, 1, 100_000);
  const port = await freePort();
  const exports = {
    listen: `127.0.0.1:${String(port)}`,
    connections: places,
    connectionsPerAddress: Math.min(places, values.places === '256' ? 64 : places),
  };
  const all = await Daemons.start({ nodes: ['server1', 'server2'], config: { server1: { exports } } });
  const quiet: Sample[] = [];
  const crowded: Sample[] = [];
  try {
    await all.createMirror({ tag: TAG, sizeBytes: SIZE_BYTES, legs: { server1: all.path('a.img'), server2: all.path('b.img') } });
    const source = all.node('server1');
    await sample(source, 1);
    for (let i = 1; i <= rounds; i += 1) {
      const alone = await sample(source, seconds);
      const program = ['--import', 'tsx', 'scripts/hostile-peers.ts', String(port), TAG, String(idle), String(misbehaving)];
      const crowd = spawn(process.execPath, program, { stdio: ['pipe', 'pipe', 'inherit'] });
      try {
        const counts = await gathered(crowd);
        crowd.stdout.resume();
        const beside = await sample(source, seconds);
        quiet.push(alone);
        crowded.push(beside);
        const cost = `${alone.cpuMicrosPerOp.toFixed(1)} and ${beside.cpuMicrosPerOp.toFixed(1)} us of CPU each`;
        const memory = `memory ${alone.memoryMiB.toFixed(0)} and ${beside.memoryMiB.toFixed(0)} MiB`;
        say(
          `round ${String(i)}: ${alone.opsPerSec.toFixed(0)}/s alone, ${beside.opsPerSec.toFixed(0)}/s beside the crowd (${(beside.opsPerSec / alone.opsPerSec).toFixed(2)}), ${cost}, ${memory}; the crowd: ${JSON.stringify(counts)}`,
        );
      } finally {
        crowd.stdin.end();
        await ended(crowd);
      }
    }
    await all.untilInSync('server1', TAG, CROWD_MAX_MS);
  } finally {
    await all.close();
  }
  const ratio = median(crowded.map((s, i) => s.opsPerSec / (quiet[i]?.opsPerSec ?? Number.NaN)));
  const memory = Math.max(...crowded.map((s) => s.memoryMiB));
  const cpu = { alone: median(quiet.map((s) => s.cpuMicrosPerOp)), beside: median(crowded.map((s) => s.cpuMicrosPerOp)) };
  say(
    `the application's rate beside ${String(idle)} idle and ${String(misbehaving)} misbehaving connections: ${ratio.toFixed(2)} of its rate without (median of ${String(rounds)})`,
  );
  say(
    `CPU of the source for each operation: ${cpu.alone.toFixed(1)} us alone, ${cpu.beside.toFixed(1)} us beside them; its memory at most ${memory.toFixed(0)} MiB`,
  );
  if (values.json) process.stdout.write(`${JSON.stringify({ idle, misbehaving, places, ratio, cpu, memoryMiB: memory, quiet, crowded })}\n`);
  if (ratio < limit) {
    process.stderr.write(`${NAME}: the rate is ${ratio.toFixed(2)} of what it is without the crowd; allowed: at least ${String(limit)}\n`);
    process.exitCode = 1;
  }
  if (memory > memoryMax) {
    process.stderr.write(`${NAME}: the source's memory is ${memory.toFixed(0)} MiB; allowed: at most ${String(memoryMax)}\n`);
    process.exitCode = 1;
  }
}

await main();
