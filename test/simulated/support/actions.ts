/**
 * What is done to a cluster, as data: each thing by itself, with its virtual time, so that a history can be lived through
 * again from a list, and from a shorter one. Where an action does not apply any more, because what led to it has been left
 * out, nothing happens.
 */
import { dirname } from 'node:path';
import { DEFAULT_LATENCIES } from '../../../src/io/simulated/faults.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import type { Cluster, Machine } from './cluster.ts';
import { TAG } from './plan.ts';
import { splitBrainsOf } from './split-brain.ts';

type Command = 'pause' | 'resume' | 'fullresync' | 'out-of-service' | 'in-service' | 'switchover' | 'force';

export type Action =
  | { do: 'crash' | 'power' | 'boot' | 'stop' | 'thaw' | 'repair'; node: string }
  | { do: 'isolate'; node: string }
  | { do: 'rejoin'; node: string }
  /** `asSource`: it may be the source by then, though it is not now. */
  | { do: 'freeze'; node: string; ms: number; asSource: boolean }
  | { do: 'cut' | 'heal'; a: string; b: string; network: string | null }
  | { do: 'cut-one-way'; a: string; b: string }
  | { do: 'heal-all' }
  | { do: 'slow'; a: string; b: string; delayMs: number | null; rateBytesPerSec: number | null }
  /** `times`: null: until it is repaired. */
  | { do: 'disk'; node: string; pattern: string; op: 'read' | 'write' | 'sync' | 'full'; times: number | null }
  | { do: 'short'; node: string; share: number }
  /** What is written from now on takes so long; null: as ever. */
  /** Both ways: a bit arrives flipped in this share of what passes. */
  | { do: 'flip'; a: string; b: string; share: number }
  /** From a to b alone. */
  | { do: 'flip-one-way'; a: string; b: string; share: number }
  | { do: 'slow-disk'; node: string; ms: number | null }
  /** `spaceBytes` of a new one; null: it is deleted. */
  | { do: 'snapshot'; node: string; name: string; spaceBytes: number | null }
  | { do: 'damage'; node: string; path: string; at: number; bit: number }
  | { do: 'command'; node: string; command: Command; nodes: string[] };

export interface TimedAction {
  /** Virtual time, ms. */
  at: number;
  action: Action;
}

/** All that a history was struck by, and when it was over with that. */
export interface Script {
  actions: TimedAction[];
  endAt: number;
}

/** Nodes that an action names. */
export function nodesOf(a: Action): string[] {
  if (a.do === 'heal-all') return [];
  if ('a' in a) return [a.a, a.b];
  return a.do === 'command' ? [a.node, ...a.nodes] : [a.node];
}

/** A hello takes several messages each way: with so many of them damaged, none may come about within failureTimeout. */
const SILENCING_SHARE = 0.1;

const isAlive = (m: Machine): boolean => m.sim.state === 'running' || m.sim.state === 'frozen';

/** Starts a node that is down; false when it is not. */
export function boot(m: Machine): boolean {
  if (isAlive(m)) return false;
  void m.boot();
  return true;
}

export function perform(c: Cluster, a: Action): void {
  switch (a.do) {
    case 'cut':
      c.world.cut(a.a, a.b, a.network ?? undefined);
      return;
    case 'heal':
      c.world.heal(a.a, a.b, a.network ?? undefined);
      return;
    case 'cut-one-way':
      c.world.cutOneWay(a.a, a.b);
      return;
    case 'heal-all':
      c.world.healAll();
      return;
    case 'slow':
      c.world.slow(a.a, a.b, {
        ...(a.delayMs === null ? {} : { delayMs: a.delayMs }),
        ...(a.rateBytesPerSec === null ? {} : { rateBytesPerSec: a.rateBytesPerSec }),
      });
      return;
    case 'flip':
      if (a.share >= SILENCING_SHARE) c.garbled = true;
      c.world.flipBits(a.a, a.b, a.share);
      return;
    case 'flip-one-way':
      if (a.share >= SILENCING_SHARE) c.garbled = true;
      c.world.flipBitsOneWay(a.a, a.b, a.share);
      return;
    default:
      onNode(c, c.machine(a.node), a);
  }
}

function onNode(c: Cluster, m: Machine, a: Extract<Action, { node: string }>): void {
  switch (a.do) {
    case 'crash':
      if (!isAlive(m)) return;
      m.gone();
      m.sim.crash();
      return;
    case 'power':
      if (!isAlive(m)) return;
      m.gone();
      m.sim.powerFail();
      c.branches.powerFails();
      return;
    case 'boot':
      boot(m);
      return;
    case 'stop':
      if (m.up) m.stopClean();
      return;
    case 'freeze':
      if (!m.up) return;
      if ((a.asSource || m.inService) && a.ms >= c.plan.failureTimeoutMs * 0.8) c.sourceStalled = true;
      m.sim.freeze();
      return;
    case 'thaw':
      if (m.sim.state === 'frozen') m.sim.thaw();
      return;
    case 'isolate':
      c.world.isolate(m.name);
      return;
    case 'rejoin':
      for (const o of c.all) if (o !== m) c.world.heal(m.name, o.name);
      return;
    case 'repair':
      m.sim.repairDisk();
      return;
    case 'disk':
      if (a.op === 'full') m.sim.full(a.pattern);
      else m.sim.fail(a.pattern, { op: a.op, errno: Errno.EIO, ...(a.times === null ? {} : { times: a.times }) });
      return;
    case 'slow-disk':
      m.sim.setDisk({
        latencies: a.ms === null ? DEFAULT_LATENCIES : { ...DEFAULT_LATENCIES, write: { fromMs: a.ms / 2, toMs: a.ms, bounded: true } },
      });
      return;
    case 'short':
      m.sim.setDisk({ shortTransfers: a.share });
      return;
    case 'damage':
      if (m.sim.state === 'stopped') void damage(c, m, a.path, a.at, a.bit);
      return;
    case 'snapshot':
      void snapshot(c, m, a.name, a.spaceBytes);
      return;
    case 'command':
      void command(c, m, a.command, a.nodes);
  }
}

async function damage(c: Cluster, m: Machine, path: string, at: number, bit: number): Promise<void> {
  const bytes = m.sim.peek(path);
  if (bytes === undefined || bytes.length === 0) return;
  // An injected fault of the disk must not get in the way of the damage itself.
  m.sim.repairDisk();
  const { boots } = m.sim;
  try {
    const { files } = m.sim.localIo();
    const file = await files.open(path, { write: true });
    try {
      await file.write(Uint8Array.of((bytes[at] ?? 0) ^ bit), at);
      await file.sync();
      // It is the disk that is damaged: a power failure does not bring back the file that this one was to replace.
      await files.syncDirectory(dirname(path));
    } finally {
      await file.close();
    }
    // Not where its daemon has been started meanwhile: it may have read what was there before.
    if (m.sim.boots === boots && m.sim.state === 'stopped') c.damage.done(m, path);
  } catch (e: unknown) {
    // The next fault of the disk came before this one was done.
    if (!(e instanceof IoError)) throw e;
  }
  m.reader.forget();
}

async function snapshot(c: Cluster, m: Machine, name: string, spaceBytes: number | null): Promise<void> {
  const made = spaceBytes !== null;
  const answer = made ? await m.command('snapshot-create', { tag: TAG, name, spaceBytes }) : await m.command('snapshot-delete', { tag: TAG, name });
  c.say(`--- snapshot ${name} of ${m.name} ${made ? 'created' : 'deleted'}: ${answer === '' ? 'done' : answer}`);
}

async function command(c: Cluster, m: Machine, what: Command, nodes: string[]): Promise<void> {
  const answer = await answerOf(c, m, what, nodes);
  if (what === 'switchover') c.count(`switchovers ${answer === '' ? 'done' : 'that did not come about'}`);
  c.say(`--- ${what} on ${m.name}: ${answer === '' ? 'done' : answer}`);
}

async function answerOf(c: Cluster, m: Machine, what: Command, nodes: string[]): Promise<string> {
  switch (what) {
    case 'pause':
      return await m.command('pause', { tag: TAG, nodes });
    case 'resume':
      return await m.command('resume', { tag: TAG, nodes: [] });
    case 'fullresync':
      return await fullResync(c, m, nodes);
    case 'switchover':
      return await m.command('switchover', { tag: TAG, node: nodes[0] ?? m.name }, 20_000);
    case 'force':
      c.forced = true;
      return await m.force(true);
    case 'in-service':
      return await m.command('in-service', { tag: TAG, confirmed: ['force', 'no-majority'] });
    default:
      return await m.command(what, { tag: TAG });
  }
}

/** As the command does it: he is shown what it would do, and says yes to that. */
async function fullResync(c: Cluster, m: Machine, nodes: string[]): Promise<string> {
  const p = await m.preview({ tag: TAG, action: 'fullresync', nodes, source: null });
  if (p === undefined || p.refused !== null) return p?.refused ?? 'nothing is shown';
  const shown = splitBrainsOf(c, m, nodes, p.lines);
  const answer = await m.command('fullresync', { tag: TAG, source: null, nodes, overrules: p.overrules ?? [] });
  const over = m.mirror?.record().orderedOver ?? {};
  for (const b of shown) if (answer === '' && Object.hasOwn(over, b.node)) c.branches.giveUp(b, 'split brain decided by a full resync');
  return answer;
}
