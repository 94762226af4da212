/** What the first `up` does besides starting daemons: makes the mirror on zeroed legs, and waits until all are in sync. */
import { ControlError } from '../control/types.ts';
import type { NodeName } from '../failover/types.ts';
import { type Difference, StepFailure } from './errors.ts';
import type { Observer } from './observe.ts';
import type { ScenarioMirror } from './types.ts';
import { type ScenarioWorld, sleep } from './world.ts';

const POLL_MS = 50;
const REACHABLE_MAX_MS = 15_000;
const IN_SYNC_MAX_MS = 60_000;
const EXTEND_MAX_MS = 10_000;

export interface SetupContext {
  world: ScenarioWorld;
  mirror: ScenarioMirror;
  observer: Observer;
}

/** `nodes`: those that run, the first of the mirror among them. */
export async function makeMirror(ctx: SetupContext, nodes: readonly NodeName[]): Promise<void> {
  const { world, mirror } = ctx;
  const [first] = mirror.nodes;
  if (first === undefined) throw new Error('a mirror has a node');
  const targets = nodes.filter((n) => n !== first.name);
  const client = world.control(first.name);
  await until(ctx, REACHABLE_MAX_MS, 'the nodes do not find each other', async () => {
    const { peers } = await client.call('info', {});
    return targets.filter((n) => peers[n]?.reachable !== true).map((n) => ({ field: `${first.name} reaches ${n}`, expected: 'true', seen: 'false' }));
  });
  await client.call('create', {
    tag: mirror.tag,
    leg: world.legPath(first.name),
    sizeBytes: mirror.sizeBytes,
    regionBytes: mirror.regionBytes,
    priority: first.priority,
    failureTimeoutMs: mirror.failureTimeoutMs,
    failover: mirror.failover,
    arbiter: mirror.arbiter,
    waitForPreviousSourceSec: null,
    zeroed: true,
  });
  await client.call('in-service', { tag: mirror.tag });
  // In the order of the file, whatever that of the step.
  for (const { name } of mirror.nodes) if (targets.includes(name)) await extend(ctx, first.name, name);
  await until(ctx, IN_SYNC_MAX_MS, 'the targets do not come in sync', async () => await notInSync(ctx, first.name, targets));
}

async function notInSync({ observer }: SetupContext, source: NodeName, targets: readonly NodeName[]): Promise<Difference[]> {
  const seen = await observer.seeAll([source, ...targets]);
  const others = seen[source]?.status?.targets ?? [];
  return targets.flatMap((n) => {
    const asSeen = others.find((t) => t.node === n)?.state;
    const own = seen[n]?.status?.state;
    if (asSeen === 'Target' && own === 'Target') return [];
    return [{ field: `${n} in sync`, expected: 'Target', seen: `${asSeen ?? 'nothing'}, itself ${own ?? 'nothing'}` }];
  });
}

/** A node that comes up for the first time later on: it joins the mirror, and nobody waits until it is in sync. */
export async function joinMirror(ctx: SetupContext, node: NodeName): Promise<void> {
  let source: NodeName | undefined;
  await until(ctx, EXTEND_MAX_MS, `${node} can not be added to the mirror`, async () => {
    source = (await ctx.observer.inService())?.node;
    if (source === undefined) return [{ field: 'a node in service', expected: 'one', seen: 'none' }];
    const { peers } = await ctx.world.control(source).call('info', {});
    return peers[node]?.reachable === true ? [] : [{ field: `${source} reaches ${node}`, expected: 'true', seen: 'false' }];
  });
  if (source !== undefined) await extend(ctx, source, node);
}

async function extend({ world, mirror }: SetupContext, source: NodeName, node: NodeName): Promise<void> {
  await world.control(source).call('extend', {
    tag: mirror.tag,
    node,
    leg: world.legPath(node),
    foreignUri: null,
    mode: mirror.async.includes(node) ? 'async' : 'sync',
    priority: mirror.nodes.find((n) => n.name === node)?.priority ?? 0,
    zeroed: true,
  });
}

/** Until nothing is missing. Rejects with StepFailure that tells what still is. */
async function until({ world }: SetupContext, maxMs: number, what: string, missing: () => Promise<Difference[]>): Promise<void> {
  const deadline = world.clock.now() + maxMs;
  for (;;) {
    let found: Difference[];
    try {
      found = await missing();
    } catch (e: unknown) {
      if (!(e instanceof ControlError)) throw e;
      found = [{ field: 'the daemon', expected: 'an answer', seen: e.message }];
    }
    if (found.length === 0) return;
    if (world.clock.now() >= deadline) throw new StepFailure(what, found);
    world.checkDaemons();
    await sleep(world.clock, POLL_MS);
  }
}
