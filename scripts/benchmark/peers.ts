/** Sides that nobody here wrote: NBD servers, mirrors of QEMU, the raw file. */
import { writeFileSync } from 'node:fs';
import type { Address } from '../../src/io/types.ts';
import { freePort } from '../../test/support/daemons.ts';
import { fileArguments, type RawEngine } from './fio.ts';
import { figures, nbdSubject, runFio } from './load.ts';
import { Qmp } from './qmp.ts';
import type { ServerProcess, Stage } from './stage.ts';
import type { Side } from './types.ts';

const EXPORT = 'bench';
const HOST = '127.0.0.1';
const none = (): readonly number[] => [];

interface Place {
  address: Address;
  uri: string;
}

const unixPlace = (socketPath: string, name = ''): Place => ({
  address: { kind: 'unix', path: socketPath },
  uri: `nbd+unix:///${name}?socket=${socketPath}`,
});
const tcpPlace = (port: number, name = ''): Place => ({ address: { kind: 'tcp', host: HOST, port }, uri: `nbd://${HOST}:${String(port)}/${name}` });

/** What the sides of one row share. */
interface SideOptions {
  tcp?: boolean;
  quick?: boolean;
}

/** nbdkit's file plugin, as in the README of the method: nothing but the file. */
export async function startNbdkit(stage: Stage, file: string, tcp: boolean): Promise<Place & { server: ServerProcess; port: number }> {
  const port = tcp ? await freePort() : 0;
  const place = tcp ? tcpPlace(port) : unixPlace(stage.fresh('sock'));
  const at = place.address.kind === 'unix' ? ['-U', place.address.path] : ['-i', HOST, '-p', String(port)];
  return { ...place, port, server: await stage.server('nbdkit', ['-f', ...at, 'file', file], place.address) };
}

export function nbdkit(o: SideOptions = {}): Side {
  return {
    name: 'nbdkit',
    about: 'nbdkit with its file plugin',
    programs: ['nbdkit', 'fio'],
    ours: false,
    native: false,
    quick: o.quick ?? true,
    targets: 0,
    async start(stage) {
      const { uri, server } = await startNbdkit(stage, await stage.file('zeroes'), o.tcp ?? false);
      return nbdSubject(stage, { uri, pids: () => [server.pid], targetPids: none });
    },
  };
}

export function qemuNbd(o: SideOptions = {}): Side {
  return {
    name: 'qemu-nbd',
    about: 'qemu-nbd with io_uring',
    programs: ['qemu-nbd', 'fio'],
    ours: false,
    native: false,
    quick: o.quick ?? false,
    targets: 0,
    async start(stage) {
      const file = await stage.file('zeroes');
      const port = await freePort();
      const place = o.tcp === true ? tcpPlace(port) : unixPlace(stage.fresh('sock'));
      const at = place.address.kind === 'unix' ? ['-k', place.address.path] : ['-b', HOST, '-p', String(port)];
      const image = `driver=raw,file.driver=file,file.locking=off,file.filename=${file}`;
      const server = await stage.server(
        'qemu-nbd',
        ['--image-opts', '-t', '-e', '8', '--cache=writeback', '--aio=io_uring', ...at, image],
        place.address,
      );
      return nbdSubject(stage, { uri: place.uri, pids: () => [server.pid], targetPids: none });
    },
  };
}

export function nbdServer(o: SideOptions = {}): Side {
  return {
    name: 'nbd-server',
    about: 'nbd-server, a process for each connection',
    programs: ['nbd-server', 'fio'],
    ours: false,
    native: false,
    quick: o.quick ?? false,
    targets: 0,
    async start(stage) {
      const file = await stage.file('zeroes');
      const port = await freePort();
      const socketPath = stage.fresh('sock');
      const config = stage.fresh('conf');
      const lines = ['[generic]', `listenaddr = ${HOST}`, `port = ${String(port)}`, `unixsock = ${socketPath}`];
      writeFileSync(config, [...lines, `[${EXPORT}]`, `exportname = ${file}`, 'flush = true', 'fua = true', ''].join('\n'));
      const place = o.tcp === true ? tcpPlace(port, EXPORT) : unixPlace(socketPath, EXPORT);
      const pid = await stage.daemon('nbd-server', (pidFile) => ['-C', config, '-p', pidFile], place.address);
      return nbdSubject(stage, { uri: place.uri, pids: () => [pid], targetPids: none });
    },
  };
}

/** A mirror by qemu-storage-daemon: the file beside an nbdkit behind TCP. */
function qemuMirrored(name: string, about: string, build: (q: QemuMirror) => Promise<ServerProcess>): Side {
  return {
    name,
    about,
    programs: ['qemu-storage-daemon', 'nbdkit', 'fio'],
    ours: false,
    native: false,
    quick: true,
    targets: 1,
    async start(stage) {
      const target = await startNbdkit(stage, await stage.file('zeroes'), true);
      const file = await stage.file('zeroes');
      const place = unixPlace(stage.fresh('sock'), EXPORT);
      const nodes = [
        `driver=file,node-name=local,filename=${file},locking=off,aio=io_uring,cache.direct=off,cache.no-flush=off`,
        `driver=nbd,node-name=remote,server.type=inet,server.host=${HOST},server.port=${String(target.port)}`,
      ];
      const server = await build({ stage, place, blockdevs: nodes.flatMap((n) => ['--blockdev', n]) });
      return nbdSubject(stage, { uri: place.uri, pids: () => [server.pid], targetPids: () => [target.server.pid] });
    },
  };
}

interface QemuMirror {
  stage: Stage;
  place: Place;
  blockdevs: readonly string[];
}

function exported(place: Place, node: string): string[] {
  if (place.address.kind !== 'unix') throw new Error('a unix socket is wanted');
  return [
    '--nbd-server',
    `addr.type=unix,addr.path=${place.address.path},max-connections=0`,
    '--export',
    `type=nbd,id=e,node-name=${node},name=${EXPORT},writable=on`,
  ];
}

export const qemuWriteBlocking: Side = qemuMirrored('qemu-mirror', 'QEMU blockdev-mirror, write-blocking, to nbdkit over TCP', async (q) => {
  const monitor = q.stage.fresh('qmp');
  const chardev = ['--chardev', `socket,id=m,path=${monitor},server=on,wait=off`, '--monitor', 'chardev=m'];
  const server = await q.stage.server('qemu-storage-daemon', [...chardev, ...q.blockdevs, ...exported(q.place, 'local')], q.place.address);
  const qmp = await Qmp.connect(monitor);
  try {
    await qmp.command('blockdev-mirror', { 'job-id': 'j', device: 'local', target: 'remote', sync: 'none', 'copy-mode': 'write-blocking' });
    await qmp.event('BLOCK_JOB_READY');
  } finally {
    qmp.close();
  }
  return server;
});

export const qemuQuorum: Side = qemuMirrored('qemu-quorum', 'QEMU quorum, threshold 1, to nbdkit over TCP', (q) => {
  const quorum = ['--blockdev', 'driver=quorum,node-name=both,vote-threshold=1,children.0=local,children.1=remote'];
  return q.stage.server('qemu-storage-daemon', [...q.blockdevs, ...quorum, ...exported(q.place, 'both')], q.place.address);
});

/** The file system's own file, without a server. */
export function rawFile(name: string, about: string, engine: RawEngine): Side {
  return {
    name,
    about,
    programs: ['fio'],
    ours: false,
    native: false,
    quick: true,
    targets: 0,
    async start(stage) {
      const file = await stage.file('zeroes');
      return {
        async measure(cell, seconds) {
          const run = { seconds, touchedBytes: stage.sizes.touchedBytes, latencies: false };
          return figures(await runFio(stage, fileArguments(cell, file, engine, run), cell, seconds));
        },
      };
    },
  };
}
