/** Full resyncs: how fast they are, beside nbdcopy, and what an application notices of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuMicros, endedChildrenMicros } from './cpu.ts';
import { nbdArguments } from './fio.ts';
import { figures, runFio, withCpu } from './load.ts';
import { type Mirror, type NetraidOptions, startMirror, TAG } from './netraid.ts';
import { startNbdkit } from './peers.ts';
import type { Cell, Sample, Side } from './types.ts';

const COPY_MAX_MS = 300_000;
/** No limit that could be met here, KB a second. */
const UNLIMITED_KB = 100_000_000;

/** One full resync of the only target, from the command to the source's word that it is done. Rejects unless every byte was sent. */
async function fullResync(m: Mirror, sizeBytes: number): Promise<void> {
  const { control } = m.source;
  const late = new AbortController();
  const { promise: done, resolve, reject } = withResolvers<unknown>();
  const events = await control.events((e) => {
    if (e.kind === 'resync-done') resolve(e.fields['sent']);
  }, reject);
  const deadline = sleep(COPY_MAX_MS, undefined, { signal: late.signal }).then(() => {
    throw new Error(`a full resync did not end in ${String(COPY_MAX_MS)} ms`);
  });
  try {
    await control.call('fullresync', { tag: TAG, source: null, nodes: [] });
    const sent = await Promise.race([done, deadline]);
    if (sent !== sizeBytes) throw new Error(`a full resync of ${String(sizeBytes)} bytes sent ${String(sent)}`);
  } finally {
    late.abort();
    events.stop();
  }
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (why: Error) => void } {
  let resolve: (value: T) => void = () => undefined;
  let reject: (why: Error) => void = () => undefined;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

function copied(cell: Cell, sizeBytes: number, ms: number, cpu: { server: number; target: number }): Sample {
  const bytesPerSec = (sizeBytes * 1000) / ms;
  const ops = sizeBytes / cell.blockBytes;
  return {
    ...figures({ opsPerSec: bytesPerSec / cell.blockBytes, bytesPerSec, p99Micros: null }),
    cpuMicrosPerOp: cpu.server / ops,
    targetCpuMicrosPerOp: cpu.target / ops,
  };
}

export function netraidResync(name: string, about: string, world: NetraidOptions['world']): Side {
  return {
    name,
    about,
    programs: [],
    ours: true,
    native: world === 'native',
    quick: world === 'native',
    targets: 1,
    async start(stage) {
      const tunables = { LKDR_SPEED_LIMIT: UNLIMITED_KB };
      const m = await startMirror(stage, { world, targets: 1, content: 'random', tunables });
      return {
        async measure(cell) {
          const { fileBytes } = stage.sizes;
          const before = [m.served.pids(), m.served.targetPids()].map(cpuMicros);
          const began = performance.now();
          await fullResync(m, fileBytes);
          const ms = performance.now() - began;
          const [server = Number.NaN, target = Number.NaN] = [m.served.pids(), m.served.targetPids()].map((p, i) => cpuMicros(p) - (before[i] ?? 0));
          await m.all.untilInSync(m.source.name, TAG);
          return copied(cell, fileBytes, ms, { server, target });
        },
      };
    },
  };
}

export const nbdcopy: Side = {
  name: 'nbdcopy',
  about: 'nbdcopy --flush from nbdkit to nbdkit over TCP; its own CPU counts with the server',
  programs: ['nbdcopy', 'nbdkit'],
  ours: false,
  native: false,
  quick: true,
  targets: 1,
  async start(stage) {
    const from = await startNbdkit(stage, await stage.file('random'), true);
    const to = await startNbdkit(stage, await stage.file('random'), true);
    return {
      async measure(cell) {
        const before = { server: cpuMicros([from.server.pid]) + endedChildrenMicros(), target: cpuMicros([to.server.pid]) };
        const began = performance.now();
        await stage.run('nbdcopy', ['--flush', from.uri, to.uri], COPY_MAX_MS);
        const ms = performance.now() - began;
        const server = cpuMicros([from.server.pid]) + endedChildrenMicros() - before.server;
        return copied(cell, stage.sizes.fileBytes, ms, { server, target: cpuMicros([to.server.pid]) - before.target });
      },
    };
  },
};

/** An application's writes with their latencies, while one full resync follows the other. Limits are those that everybody has. */
export function duringResync(name: string, about: string): Side {
  return {
    name,
    about,
    programs: ['fio'],
    ours: true,
    native: true,
    quick: true,
    targets: 1,
    async start(stage) {
      const m = await startMirror(stage, { world: 'native', targets: 1, content: 'random' });
      return {
        async measure(cell, seconds) {
          const { fileBytes, touchedBytes } = stage.sizes;
          const load = { running: true };
          const resyncs = (async (): Promise<void> => {
            while (load.running) await fullResync(m, fileBytes);
          })();
          const app = async (): Promise<Sample> => {
            try {
              await m.all.untilTarget(m.source.name, TAG, 'n1', 'is being resynced', (t) => t.progress !== null);
              const run = { seconds, touchedBytes, latencies: true };
              return await withCpu(m.served, () => runFio(stage, nbdArguments(cell, m.served.uri, run), cell, seconds));
            } finally {
              load.running = false;
            }
          };
          const [sample] = await Promise.all([app(), resyncs]);
          await m.all.untilInSync(m.source.name, TAG);
          return sample;
        },
      };
    },
  };
}
