/** Load on what was started: by fio, or by our own client where fio's NBD engine lacks something; with CPU beside it. */
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { Errno, errnoName } from '../../src/io/types.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';
import { parseNbdUri } from '../../src/nbd-client-js/uri.ts';
import { cpuMicros } from './cpu.ts';
import { type FioResult, type FioRun, nbdArguments, parseFio } from './fio.ts';
import type { Stage } from './stage.ts';
import type { Cell, Sample, Subject } from './types.ts';

/** Beyond the time of the run itself. */
const LATE_MAX_MS = 60_000;

/** What is under load. */
export interface Served {
  uri: string;
  /** Processes of the server, and those that hold the other legs. */
  pids: () => readonly number[];
  targetPids: () => readonly number[];
  /** Asked after each run. */
  intentBytes?: () => Promise<number>;
}

export async function runFio(stage: Stage, args: readonly string[], cell: Cell, seconds: number): Promise<FioResult> {
  return parseFio(await stage.run('fio', args, seconds * 1000 + LATE_MAX_MS), cell);
}

/** CPU that those processes use while `load` goes on, an operation. */
export async function withCpu(served: Pick<Served, 'pids' | 'targetPids'>, load: () => Promise<FioResult>): Promise<Sample> {
  const pids = served.pids();
  const targetPids = served.targetPids();
  const before = cpuMicros(pids);
  const targetsBefore = cpuMicros(targetPids);
  const r = await load();
  const cpuMicrosPerOp = (cpuMicros(pids) - before) / r.ops;
  const targetCpuMicrosPerOp = targetPids.length === 0 ? null : (cpuMicros(targetPids) - targetsBefore) / r.ops;
  return { ...figures(r), cpuMicrosPerOp, targetCpuMicrosPerOp };
}

/** A sample of what the load generator says alone. */
export function figures(r: Pick<FioResult, 'opsPerSec' | 'bytesPerSec' | 'p99Micros'>): Sample {
  return {
    opsPerSec: r.opsPerSec,
    bytesPerSec: r.bytesPerSec,
    p99Micros: r.p99Micros,
    cpuMicrosPerOp: null,
    targetCpuMicrosPerOp: null,
    intentBytes: null,
  };
}

/** The cells of fio, and durable writes, on an NBD server. */
export function nbdSubject(stage: Stage, served: Served, latencies = false): Subject {
  return {
    async measure(cell, seconds) {
      const run: FioRun = { seconds, touchedBytes: stage.sizes.touchedBytes, latencies };
      const load = cell.durable
        ? (): Promise<FioResult> => durableWrites(served.uri, cell, run)
        : (): Promise<FioResult> => runFio(stage, nbdArguments(cell, served.uri, run), cell, seconds);
      const sample = await withCpu(served, load);
      return { ...sample, intentBytes: (await served.intentBytes?.()) ?? null };
    },
  };
}

/** Random writes with FUA, `depth` in flight. fio's NBD engine does not set that flag. */
async function durableWrites(uri: string, cell: Cell, o: FioRun): Promise<FioResult> {
  const io = createNodeIo({ engine: { engine: 'portable' } });
  const hub = new EngineHub(io.createEngine());
  const { address, exportName } = parseNbdUri(uri);
  const client = await NbdClient.connect({ io, hub, address, exportName });
  const { blockBytes, depth } = cell;
  const blocks = Math.floor(o.touchedBytes / blockBytes);
  try {
    if (!client.info.canFua) throw new Error(`${uri} does not announce FUA`);
    const h = hub.engine.allocate(blockBytes);
    hub.engine.view(h).fill(0xa5);
    const began = performance.now();
    const end = began + o.seconds * 1000;
    const { ops, ended } = await new Promise<{ ops: number; ended: number }>((resolve, reject) => {
      let ops = 0;
      let inFlight = 0;
      const issue = (): void => {
        inFlight += 1;
        client.write(owner, 0, Math.floor(Math.random() * blocks) * blockBytes, blockBytes, h, 0, true);
      };
      const owner = {
        onDone(_tag: number, errno: number): void {
          inFlight -= 1;
          if (errno !== 0) {
            reject(new Error(`a durable write to ${uri} failed: ${errnoName(errno)}`));
            return;
          }
          ops += 1;
          if (performance.now() < end) issue();
          else if (inFlight === 0) resolve({ ops, ended: performance.now() });
        },
      };
      for (let i = 0; i < depth; i += 1) issue();
    });
    hub.engine.release(h);
    const opsPerSec = (ops * 1000) / (ended - began);
    return { ops, opsPerSec, bytesPerSec: opsPerSec * blockBytes, p99Micros: null };
  } finally {
    client.close(Errno.ESHUTDOWN);
    await hub.engine.shutdown();
  }
}
