/** What a seed decides before its history begins: the mirror, the tuning, and which kinds of faults it may meet. */
import { Stream } from '../../../src/io/simulated/seed.ts';
import { mirrorPaths } from '../../../src/failover/paths.ts';
import { DEFAULT_SETTINGS, type MirrorSettings } from '../../../src/mirror/settings.ts';

export const KINDS = [
  'crash',
  'power',
  'freeze',
  'cuts',
  'disk',
  'short',
  'stop',
  'operator',
  'force',
  'async',
  'damage',
  'slow',
  'sync',
  'own-sync',
  'switchover',
  'aimed',
  'hiccup',
  'snapshot',
  'checkpoints',
] as const;
export type Kind = (typeof KINDS)[number];

export interface Plan {
  seed: number;
  nodes: string[];
  sizeBytes: number;
  regionBytes: number;
  modes: ('sync' | 'async')[];
  failureTimeoutMs: number;
  faults: number;
  /** Of the times between two faults: below 1 they come closer together. */
  pace: number;
  kinds: ReadonlySet<Kind>;
  settings: MirrorSettings;
  connectionsPerTarget: number;
  resyncsMax: number;
  /** Requests that the application keeps in flight on each of its connections. */
  depth: number;
  /** Requests that the application sends at most; null: no limit. */
  requestsMax: number | null;
  /** How long a source waits for the marks of a previous one, s; -1: until it comes. */
  waitForPreviousSourceSec: number;
  /** With `majority` a partition costs nothing: neither a split brain nor a write that was acknowledged. */
  arbiter: 'none' | 'majority';
  /** Networks that each pair of nodes shares; a cut may take one of them alone. */
  networks: readonly string[];
}

export interface PlanOptions {
  nodes?: number | undefined;
  without?: ReadonlySet<Kind> | undefined;
  only?: ReadonlySet<Kind> | undefined;
  arbiter?: 'none' | 'majority' | undefined;
  /** Paths between each pair of nodes: 1 or 2. */
  paths?: number | undefined;
  requestsMax?: number | null | undefined;
}

const FIRST_NETWORK = 'lan';
export const SECOND_NETWORK = 'second';
const MAJORITY_CHANCE = 0.4;
const TWO_PATHS_CHANCE = 0.25;

/** The address of a node in a network. */
export function hostIn(network: string, node: string): string {
  return network === FIRST_NETWORK ? node : `${node}.${network}`;
}

export const TAG = 'mirror';
export const LEG = '/disk/leg';
export const ROOT = '/var';
export const PATHS = mirrorPaths(ROOT, TAG);

/** Kinds that strike by themselves; the rest only change what the others do. */
const STRIKING: ReadonlySet<Kind> = new Set(['crash', 'power', 'freeze', 'cuts', 'disk', 'stop', 'sync', 'own-sync']);

/** How often a history may meet the kind at all; what is rare disturbs the checks that the rest allows. */
const CHANCE: Record<Kind, number> = {
  crash: 0.9,
  power: 0.75,
  freeze: 0.5,
  cuts: 0.4,
  disk: 0.4,
  short: 0.4,
  stop: 0.5,
  operator: 0.4,
  force: 0.1,
  async: 0.15,
  damage: 0.12,
  slow: 0.2,
  sync: 0.25,
  'own-sync': 0.2,
  switchover: 0.4,
  aimed: 0.1,
  // Of those with aimed blows: these take the place of the others.
  hiccup: 0.15,
  snapshot: 0.3,
  checkpoints: 0.35,
};

export function drawPlan(seed: number, o: PlanOptions = {}): Plan {
  const s = new Stream(seed, 'plan');
  const count = s.pick([2, 2, 2, 2, 2, 3, 3, 3, 4]);
  const names = ['server1', 'server2', 'server3', 'server4'];
  // Of its own stream: histories of before there were switchovers stay as they were.
  const moves = new Stream(seed, 'switchovers').coin(CHANCE.switchover) || o.only?.has('switchover') === true;
  // Some of these blows are an operator's word, or a cut, where those are allowed.
  const blows = new Stream(seed, 'aimed');
  const aimed = blows.coin(CHANCE.aimed) || o.only?.has('aimed') === true;
  const hiccups = aimed && (blows.coin(CHANCE.hiccup) || o.only?.has('hiccup') === true);
  const checkpoints = new Stream(seed, 'checkpointing').coin(CHANCE.checkpoints) || o.only?.has('checkpoints') === true;
  const ofItsOwn = new Map<Kind, boolean>([
    ['checkpoints', checkpoints],
    ['switchover', moves],
    ['aimed', aimed],
    ['hiccup', hiccups],
    ['snapshot', new Stream(seed, 'snapshots').coin(CHANCE.snapshot) || o.only?.has('snapshot') === true],
    ...(aimed ? [['force', true] as const] : []),
  ]);
  const drawn = KINDS.filter((k) => ofItsOwn.get(k) ?? (s.coin(CHANCE[k]) || (aimed && k === 'cuts')));
  const allowed = (k: Kind): boolean => o.without?.has(k) !== true && (o.only === undefined || o.only.has(k));
  const kinds = new Set(drawn.filter(allowed));
  // A history without any fault would prove little.
  if (![...kinds].some((k) => STRIKING.has(k))) for (const k of KINDS) if (STRIKING.has(k) && allowed(k) && CHANCE[k] > 0) kinds.add(k);
  const nodes = names.slice(0, o.nodes ?? count);
  // Each of a stream of its own, for the same reason. Two nodes have no majority when one is lost.
  const majority = new Stream(seed, 'arbiter').coin(MAJORITY_CHANCE) && nodes.length > 2;
  const twoPaths = new Stream(seed, 'paths').coin(TWO_PATHS_CHANCE);
  const regionBytes = s.pick([4096, 16384, 16384, 65536]);
  return {
    seed,
    nodes,
    sizeBytes: s.pick([256, 512, 1024]) * 1024,
    regionBytes,
    modes: nodes.map(() => (s.coin(0.6) && kinds.has('async') ? 'async' : 'sync')),
    failureTimeoutMs: 500,
    faults: s.between(20, 23),
    pace: new Stream(seed, 'pace').pick(twoPaths ? [0.5, 0.9] : [0.35, 0.5, 0.5, 0.8]),
    kinds,
    settings: {
      ...DEFAULT_SETTINGS,
      localErrors: s.coin(0.8) ? 'leave' : 'pass-on',
      async: { writesMax: s.pick([4, 64, 4096]), bytesMax: 1 << 20, inFlightMax: s.pick([1, 8, 128]) },
      intent: { keepMax: s.pick([0, 4, 1024]), markedMax: s.pick([16, 16384]) },
      resync: {
        ...DEFAULT_SETTINGS.resync,
        copyBytes: s.pick([16, 64, 256]) * 1024,
        copiesInFlightMax: s.pick([1, 4, 8]),
        proveEveryMs: s.pick([5, 50, 2000]),
        skipEqual: s.coin(0.4),
      },
      marksRetryMs: 50,
      proveIdleMs: s.pick([30, 150, 1000]),
      keepIdleMs: new Stream(seed, 'keep').pick([0, 0, 2000, 600_000]),
    },
    connectionsPerTarget: s.pick([1, 1, 2]),
    resyncsMax: s.pick([1, 1, 4]),
    depth: s.pick([1, 2, 6]),
    requestsMax: o.requestsMax ?? null,
    waitForPreviousSourceSec: new Stream(seed, 'waits').pick([-1, -1, 0, 1, 2]),
    arbiter: o.arbiter ?? (majority ? 'majority' : 'none'),
    networks: (o.paths ?? (twoPaths ? 2 : 1)) > 1 ? [FIRST_NETWORK, SECOND_NETWORK] : [FIRST_NETWORK],
  };
}
