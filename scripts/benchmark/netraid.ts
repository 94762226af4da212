/** NetRAID's sides: real daemons on loopback, one a leg, each with its leg and its bitmap file in the stage's folder. */
import type { HttpControlClient } from '../../src/control/http-client.ts';
import { Daemons, freePort, type NodeProcess } from '../../test/support/daemons.ts';
import { nbdSubject, type Served } from './load.ts';
import type { Content, Stage } from './stage.ts';
import type { Side } from './types.ts';

export const TAG = 'bench';
const HOST = '127.0.0.1';
const IN_SYNC_MAX_MS = 120_000;

export type World = 'native' | 'node';

export interface NetraidOptions {
  world: World;
  /** 0: a plain export. */
  targets: number;
  mode?: 'sync' | 'async';
  /** Clients come over TCP rather than over the unix socket. */
  tcp?: boolean;
  content?: Content;
  regionBytes?: number;
  /** More fields of netraid.yaml. */
  config?: Readonly<Record<string, unknown>>;
  tunables?: Readonly<Record<string, number>>;
}

/** A mirror in service on its first node, its targets in sync. */
export interface Mirror {
  all: Daemons;
  source: NodeProcess;
  served: Served;
}

const nodeName = (i: number): string => `n${String(i)}`;

export async function startMirror(stage: Stage, o: NetraidOptions): Promise<Mirror> {
  const names = Array.from({ length: o.targets + 1 }, (_, i) => nodeName(i));
  const port = await freePort();
  const exports = o.tcp === true ? { exports: { listen: `${HOST}:${String(port)}` } } : {};
  const all = await Daemons.start({
    nodes: names,
    // A noisy machine is not to be taken for a dead node.
    failureTimeoutMs: 20_000,
    env: Object.fromEntries(names.map((n) => [n, { NETRAID_ENGINE: o.world === 'native' ? 'native' : 'portable' }])),
    config: Object.fromEntries(names.map((n, i) => [n, { ...o.config, ...(i === 0 ? exports : {}) }])),
    ...(o.tunables === undefined ? {} : { tunables: o.tunables }),
  });
  stage.cleanup.add('daemons', () => all.close());
  const content = o.content ?? 'zeroes';
  // Random data differs on each leg; all others are the zeroes that they are said to be.
  const zeroed = content !== 'random';
  const source = all.node(nodeName(0));
  await source.control.call('create', {
    tag: TAG,
    leg: await stage.file(content),
    sizeBytes: stage.sizes.fileBytes,
    regionBytes: o.regionBytes ?? null,
    priority: 1,
    failureTimeoutMs: null,
    failover: 'auto',
    arbiter: null,
    waitForPreviousSourceSec: null,
    zeroed,
  });
  await source.control.call('in-service', { tag: TAG });
  for (const [i, node] of names.entries()) {
    if (i === 0) continue;
    const leg = await stage.file(content);
    await source.control.call('extend', { tag: TAG, node, leg, foreignUri: null, mode: o.mode ?? 'sync', priority: i * 10, zeroed });
  }
  if (o.targets > 0) await all.untilInSync(source.name, TAG, IN_SYNC_MAX_MS);
  const targets = names.slice(1).map((n) => all.node(n));
  const served: Served = {
    uri: o.tcp === true ? `nbd://${HOST}:${String(port)}/${TAG}` : source.uri(TAG),
    pids: () => [source.pid],
    targetPids: () => targets.map((t) => t.pid),
    intentBytes: () => inSync(source.control),
  };
  return { all, source, served };
}

/** Bytes of intent marks. Rejects when a target has fallen out: what was measured then is no mirror of so many legs. */
async function inSync(control: HttpControlClient): Promise<number> {
  const s = await control.call('status', { tag: TAG });
  const out = s.targets.filter((t) => t.state !== 'Target');
  if (out.length > 0) throw new Error(`a target has left: ${out.map((t) => `${t.node} is ${t.state} ${t.detail}`).join('; ')}`);
  return s.intentBytes;
}

/** `name` is how tables and requirements call it. */
export function netraid(name: string, about: string, o: NetraidOptions, s: { quick?: boolean; latencies?: boolean } = {}): Side {
  return {
    name,
    about,
    programs: ['fio'],
    ours: true,
    native: o.world === 'native',
    quick: s.quick ?? true,
    targets: o.targets,
    async start(stage) {
      const { served } = await startMirror(stage, o);
      return nbdSubject(stage, served, s.latencies ?? false);
    },
  };
}
