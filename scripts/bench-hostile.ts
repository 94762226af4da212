/**
 * What a crowd of idle and misbehaving NBD clients costs an application of the mirror; `scripts/bench-hostile --help`.
 *
 *   two daemons in sync -> [ fio alone -> the crowd comes -> fio beside it -> the crowd goes ] x rounds
 *
 * The crowd comes over TCP from many addresses of this machine, in a process of its own; the application by the unix socket. A real crowd
 * would be on other machines: what it takes of this one is told apart, and it leaves the others the cores as far as its priority says.
 * That it kept its pace nevertheless is a limit too: else a crowd that is held up would pass for one that costs nothing.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
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
  --nice N         priority of the crowd's own process, from 0 to 19 (default 10): it stands for other machines
  --pace X         what the crowd must have done of what it was to do (default 0.9)
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
  /** Of the crowd's own process. */
  crowdCores: number;
}

const values = scriptOptions(NAME, HELP, {
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '4' },
  idle: { type: 'string', default: '2000' },
  misbehaving: { type: 'string', default: '200' },
  places: { type: 'string', default: '2048' },
  nice: { type: 'string', default: '10' },
  pace: { type: 'string', default: '0.9' },
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

async function sample(source: NodeProcess, seconds: number, crowd: readonly number[] = []): Promise<Sample> {
  const uri = `nbd+unix:///${TAG}?socket=${path.join(source.root, 'run', 'nbd.sock')}`;
  const before = cpuMicros([source.pid]);
  const crowdBefore = cpuMicros(crowd);
  const began = performance.now();
  const args = nbdArguments(CELL, uri, { seconds, touchedBytes: SIZE_BYTES, latencies: false });
  const fio = await run('timeout', ['-k', '5', String(seconds + 60), 'fio', ...args]);
  const cpu = cpuMicros([source.pid]) - before;
  const crowdCores = (cpuMicros(crowd) - crowdBefore) / 1000 / (performance.now() - began);
  if (fio.code !== 0) throw new Error(`fio: ${fio.stderr.trim().split('\n').at(-1) ?? ''}\n${source.log(40)}`);
  const r = parseFio(fio.stdout, CELL);
  return { opsPerSec: r.opsPerSec, cpuMicrosPerOp: cpu / r.ops, memoryMiB: memoryMiB(source.pid), crowdCores };
}

type Counts = Record<string, number>;

/** What the crowd says of itself, the newest last. */
class Crowd {
  readonly #child: ChildProcess;
  readonly pid: number;
  #last: Counts = {};
  #wake: (() => void) | undefined;
  #gone = false;

  constructor(program: readonly string[]) {
    const child = spawn(process.execPath, program, { stdio: ['pipe', 'pipe', 'inherit'] });
    if (child.pid === undefined) throw new Error('the crowd could not be started');
    this.#child = child;
    this.pid = child.pid;
    createInterface({ input: child.stdout })
      .on('line', (line) => {
        this.#last = JSON.parse(line) as Counts;
        this.#wake?.();
      })
      .on('close', () => {
        this.#gone = true;
        this.#wake?.();
      });
  }

  async next(): Promise<Counts> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.#gone) resolve();
    });
    if (this.#gone) throw new Error('the crowd went before its time');
    return this.#last;
  }

  /** Resolves when as many as can be are in transmission, and no more come. */
  async gathered(): Promise<Counts> {
    const deadline = performance.now() + CROWD_MAX_MS;
    for (let last = -1; ; ) {
      const counts = await this.next();
      const now = counts['inTransmission'] ?? 0;
      if ((now > 0 && now === last) || performance.now() > deadline) return counts;
      last = now;
    }
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    await ended(this.#child);
  }
}

/** Of what was to be done between two counts. */
function paceBetween(a: Counts, b: Counts): number {
  const of = (name: string): number => (b[name] ?? Number.NaN) - (a[name] ?? Number.NaN);
  return of('turns') / of('turnsDue');
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
  const nice = number('nice', values.nice, 0, 19);
  const paceMin = number('pace', values.pace, 0, 1);
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
  const paces: number[] = [];
  try {
    await all.createMirror({ tag: TAG, sizeBytes: SIZE_BYTES, legs: { server1: all.path('a.img'), server2: all.path('b.img') } });
    const source = all.node('server1');
    await sample(source, 1);
    for (let i = 1; i <= rounds; i += 1) {
      const alone = await sample(source, seconds);
      // From addresses of its own: those of the round before are barred.
      const what = [port, TAG, idle, misbehaving, nice, 1 + (i % 254)].map(String);
      const program = ['--import', 'tsx', 'scripts/hostile-peers.ts', ...what];
      const crowd = new Crowd(program);
      try {
        const counts = await crowd.gathered();
        const beside = await sample(source, seconds, [crowd.pid]);
        const pace = paceBetween(counts, await crowd.next());
        paces.push(pace);
        quiet.push(alone);
        crowded.push(beside);
        const cost = `${alone.cpuMicrosPerOp.toFixed(1)} and ${beside.cpuMicrosPerOp.toFixed(1)} us of CPU each`;
        const memory = `memory ${alone.memoryMiB.toFixed(0)} and ${beside.memoryMiB.toFixed(0)} MiB`;
        say(
          `round ${String(i)}: ${alone.opsPerSec.toFixed(0)}/s alone, ${beside.opsPerSec.toFixed(0)}/s beside the crowd (${(beside.opsPerSec / alone.opsPerSec).toFixed(2)}), ${cost}, ${memory}; the crowd: ${JSON.stringify(counts)}, its pace ${pace.toFixed(2)}, its own process ${beside.crowdCores.toFixed(2)} cores`,
        );
      } finally {
        await crowd.end();
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
  const crowdCores = median(crowded.map((s) => s.crowdCores));
  const pace = median(paces);
  say(
    `the crowd's own process, on the same ${String(cpus().length)} cores at nice ${String(nice)}, took ${crowdCores.toFixed(2)} of a core, which is in that rate, and kept ${pace.toFixed(2)} of its pace`,
  );
  say(
    `CPU of the source for each operation: ${cpu.alone.toFixed(1)} us alone, ${cpu.beside.toFixed(1)} us beside them; its memory at most ${memory.toFixed(0)} MiB`,
  );
  if (values.json)
    process.stdout.write(`${JSON.stringify({ idle, misbehaving, places, ratio, cpu, memoryMiB: memory, nice, pace, crowdCores, quiet, crowded })}\n`);
  if (ratio < limit) {
    process.stderr.write(`${NAME}: the rate is ${ratio.toFixed(2)} of what it is without the crowd; allowed: at least ${String(limit)}\n`);
    process.exitCode = 1;
  }
  if (pace < paceMin) {
    process.stderr.write(`${NAME}: the crowd was held up, and did ${pace.toFixed(2)} of what it was to do; needed: at least ${String(paceMin)}\n`);
    process.exitCode = 1;
  }
  if (memory > memoryMax) {
    process.stderr.write(`${NAME}: the source's memory is ${memory.toFixed(0)} MiB; allowed: at most ${String(memoryMax)}\n`);
    process.exitCode = 1;
  }
}

await main();
