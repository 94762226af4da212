/** All rows: what is compared with what, and what the product has to reach. */
import { basicCells, flushEach4k, fua4kQd32, fullCopy, read256kQd8, read4kQd32, twice, write256kQd8, write4kQd1, write4kQd32 } from './cells.ts';
import { netraid } from './netraid.ts';
import { nbdkit, nbdServer, qemuNbd, qemuQuorum, qemuWriteBlocking, rawFile } from './peers.ts';
import { duringResync, nbdcopy, netraidResync } from './resync.ts';
import type { Cell, Requirement, Row, Side, Sizes } from './types.ts';

const GiB = 1024 ** 3;
const MiB = 1024 ** 2;
/** What may be left to resync after a crash, in the rows about the intent log. */
const INTENT_MAX_BYTES = 4 * GiB;
const LARGE_REGION_BYTES = 256 * 1024;

const need = (side: string, over: readonly string[], wanted: readonly [Cell, number][]): Requirement[] =>
  wanted.map(([cell, atLeast]) => ({ cell: cell.id, side, over, metric: 'rate', limit: { atLeast } }));

const plainNative = (tcp: boolean): Side => netraid('netraid', 'NetRAID, native world, no targets', { world: 'native', targets: 0, tcp });
const ofNode = (targets: number, quick: boolean): Side =>
  netraid('netraid-node', `NetRAID, node world, ${targets === 0 ? 'no targets' : 'one target, sync'}`, { world: 'node', targets }, { quick });

const plain: Row = {
  name: 'plain',
  title: 'Plain export, unix socket',
  cells: [...basicCells, ...basicCells.map(twice)],
  quickCells: basicCells,
  sides: [nbdkit(), plainNative(false), qemuNbd(), nbdServer()],
  reference: 'nbdkit',
  requirements: [
    ...need(
      'netraid',
      ['nbdkit'],
      [
        [write4kQd1, 1],
        [write4kQd32, 1],
        [read4kQd32, 1],
        [write256kQd8, 1.3],
        [read256kQd8, 1.3],
        ...basicCells.map((c): [Cell, number] => [twice(c), 1]),
      ],
    ),
    ...[write4kQd32, read4kQd32].map((c): Requirement => ({ cell: c.id, side: 'netraid', over: ['nbdkit'], metric: 'cpu', limit: { atMost: 0.85 } })),
  ],
};

const tcp: Row = {
  name: 'tcp',
  title: 'Plain export, TCP on loopback',
  cells: [...basicCells, ...basicCells.map(twice)],
  quickCells: [],
  sides: [nbdkit({ tcp: true }), plainNative(true)],
  reference: 'nbdkit',
  requirements: [],
};

const node: Row = {
  name: 'node',
  title: 'Plain export of the node world, unix socket',
  cells: basicCells,
  quickCells: [write4kQd1, write4kQd32, write256kQd8],
  sides: [nbdkit(), ofNode(0, true)],
  reference: 'nbdkit',
  requirements: need(
    'netraid-node',
    ['nbdkit'],
    [
      [write4kQd1, 0.45],
      [write4kQd32, 0.38],
      [write256kQd8, 0.62],
    ],
  ),
};

const mirror: Row = {
  name: 'mirror',
  title: 'Mirrored to one target over TCP',
  cells: [write4kQd1, write4kQd32, write256kQd8],
  sides: [
    qemuWriteBlocking,
    netraid('netraid', 'NetRAID, native world, one target, sync', { world: 'native', targets: 1 }),
    qemuQuorum,
    netraid('netraid-async', 'NetRAID, native world, one target, async', { world: 'native', targets: 1, mode: 'async' }, { quick: false }),
    ofNode(1, false),
  ],
  reference: 'qemu-quorum',
  requirements: need(
    'netraid',
    ['qemu-mirror', 'qemu-quorum'],
    [
      [write4kQd1, 1.7],
      [write4kQd32, 3],
      [write256kQd8, 2.5],
    ],
  ),
};

/** The same with legs and exported files in memory: what the programs do is compared, and not a disk or its page cache. */
function inMemory(row: Row, more: { secondsMax?: number } = {}): Row {
  const runs = more.secondsMax === undefined ? '' : `; runs of ${String(more.secondsMax)} s at most`;
  return {
    ...row,
    name: `${row.name}-tmpfs`,
    title: `${row.title}; files in memory, the intent log on the disk${runs}`,
    quickCells: [],
    inMemory: true,
    ...more,
  };
}

const numbersOfTargets = [1, 2, 4, 7];

const targets: Row = {
  name: 'targets',
  title: 'Mirrored to 1, 2, 4 and 7 targets',
  cells: [write4kQd32, write256kQd8],
  quickCells: [write4kQd32],
  sides: (['sync', 'async'] as const).flatMap((mode) =>
    numbersOfTargets.map((n) => {
      const about = `NetRAID, native world, ${String(n)} ${n === 1 ? 'target' : 'targets'}, ${mode}`;
      return netraid(`${mode}-${String(n)}`, about, { world: 'native', targets: n, mode }, { quick: mode === 'sync' && (n === 1 || n === 7) });
    }),
  ),
  reference: 'sync-1',
  requirements: [{ cell: write4kQd32.id, side: 'sync-7', over: ['sync-1'], metric: 'cpu-per-target', limit: { atMost: 1.2 } }],
  // Of the thirty legs, each has to stay in memory.
  sizes: (s) => ({ fileBytes: Math.min(s.fileBytes, 256 * MiB), touchedBytes: Math.min(s.touchedBytes, 128 * MiB) }),
};

const flush: Row = {
  name: 'flush',
  title: 'A flush after every write, both legs on one disk',
  cells: [flushEach4k],
  sides: [
    rawFile('raw-fdatasync', 'fio on the raw file, fdatasync after every write', 'threads'),
    netraid('netraid', 'NetRAID, native world, one target, sync', { world: 'native', targets: 1 }),
  ],
  reference: 'raw-fdatasync',
  requirements: need('netraid', ['raw-fdatasync'], [[flushEach4k, 0.35]]),
};

const fua: Row = {
  name: 'fua',
  title: 'Durable writes (FUA) at depth 32, both legs on one disk',
  cells: [fua4kQd32],
  sides: [
    rawFile('raw-dsync', 'fio on the raw file with O_DSYNC, depth 32 by io_uring', 'io_uring'),
    netraid('netraid', 'NetRAID, native world, one target, sync', { world: 'native', targets: 1 }),
    rawFile('raw-threads', 'fio on the raw file with O_DSYNC, 32 threads', 'threads'),
  ],
  reference: 'raw-dsync',
  requirements: need('netraid', ['raw-dsync'], [[fua4kQd32, 0.4]]),
};

/** All regions marked beforehand and kept: the log is there, and never waits. The product can not do without it. */
const unlogged = { regionBytes: 64 * MiB, config: { keepDirtyMax: 1_000_000, dirtyMax: 10_000_000 } };

/** What is written at random is marked less narrowly: a sync is due after fewer writes. */
const largeRegions = netraid(
  'netraid-256k',
  'the same with regions of 256 KiB',
  { world: 'native', targets: 0, content: 'sparse', regionBytes: LARGE_REGION_BYTES },
  { quick: false },
);

function intent(name: string, title: string, atLeast: number, sizes: (s: Sizes) => Sizes, sparse: boolean): Row {
  const content = sparse ? 'sparse' : 'zeroes';
  return {
    name,
    title,
    cells: [write4kQd32],
    sides: [
      netraid('all-marked', 'NetRAID with regions of 64 MiB, all of them kept marked: no write waits for the log', {
        world: 'native',
        targets: 0,
        content,
        ...unlogged,
      }),
      netraid('netraid', 'NetRAID with its default regions, at most 4 GiB of them marked', { world: 'native', targets: 0, content }),
      ...(sparse ? [largeRegions] : []),
    ],
    reference: 'all-marked',
    requirements: [
      ...need('netraid', ['all-marked'], [[write4kQd32, atLeast]]),
      { cell: write4kQd32.id, side: 'netraid', over: [], metric: 'intent', limit: { atMost: INTENT_MAX_BYTES } },
    ],
    sizes,
  };
}

const intentSmall = intent('intent', 'Intent log, 2 GiB device', 0.95, (s) => ({ ...s, touchedBytes: s.fileBytes }), false);
const intentLarge = intent('intent-64g', 'Intent log, sparse 64 GiB device', 0.5, () => ({ fileBytes: 64 * GiB, touchedBytes: 64 * GiB }), true);

const resync: Row = {
  name: 'resync',
  title: 'Full resync of random data onto a stale target, TCP',
  cells: [fullCopy],
  sides: [
    nbdcopy,
    netraidResync('netraid', 'NetRAID, native world, without a speed limit', 'native'),
    netraidResync('netraid-node', 'NetRAID, node world, without a speed limit', 'node'),
  ],
  reference: 'nbdcopy',
  requirements: need('netraid', ['nbdcopy'], [[fullCopy, 1.2]]),
  sizes: (s) => ({ ...s, touchedBytes: s.fileBytes }),
};

const latency: Row = {
  name: 'latency',
  title: "An application's writes during a resync",
  cells: [write4kQd1],
  sides: [
    netraid('in-sync', 'NetRAID, native world, one target in sync', { world: 'native', targets: 1 }, { latencies: true }),
    duringResync('resyncing', 'the same during full resyncs, with the default speed limit'),
  ],
  reference: 'in-sync',
  requirements: [{ cell: write4kQd1.id, side: 'resyncing', over: ['in-sync'], metric: 'p99', limit: { atMost: 2 } }],
  sizes: (s) => ({ ...s, touchedBytes: s.fileBytes }),
};

/** What is written stays in memory until the row ends. */
const intentLargeInMemory = inMemory(intentLarge, { secondsMax: 2 });

export const allRows: readonly Row[] = [
  plain,
  tcp,
  node,
  mirror,
  inMemory(mirror),
  targets,
  flush,
  fua,
  intentSmall,
  intentLarge,
  intentLargeInMemory,
  resync,
  latency,
];
