/** Commands that make a mirror, change who belongs to it, and forget it. */
import { FAILURE_TIMEOUT_MAX_MS, FAILURE_TIMEOUT_MIN_MS, PRIORITY_MAX, WAIT_FOR_PREVIOUS_SOURCE_MAX_SEC } from '../../control/schemas.ts';
import { ControlError, type MirrorStatus } from '../../control/types.ts';
import { formatDuration, formatSize } from '../../control/units.ts';
import { isRegionSize, REGION_MAX_BYTES, REGION_MIN_BYTES } from '../../bitmap/regions.ts';
import { SECTOR_MAX_BYTES, SECTOR_MIN_BYTES } from '../../failover/limits.ts';
import { isSectorSize } from '../../failover/sectors.ts';
import { confirm, say, showPreview } from '../confirm.ts';
import { ExitCode, UsageError } from '../exit.ts';
import { answer, waitInSync, waitOf } from '../output.ts';
import { failoverText } from '../render.ts';
import { arbiters } from '../choices.ts';
import { failoverWishes } from '../failover-options.ts';
import type { CommandContext } from '../world.ts';

const FIRST_PRIORITY = 1;

export async function create(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const failureTimeoutMs = args.durationMs('failure-timeout') ?? null;
  if (failureTimeoutMs !== null && (failureTimeoutMs < FAILURE_TIMEOUT_MIN_MS || failureTimeoutMs > FAILURE_TIMEOUT_MAX_MS)) {
    const range = `${formatDuration(FAILURE_TIMEOUT_MIN_MS)} to ${formatDuration(FAILURE_TIMEOUT_MAX_MS)}`;
    throw new UsageError(`--failure-timeout ${formatDuration(failureTimeoutMs)} is not allowed; allowed: ${range}`);
  }
  const regionBytes = args.size('region') ?? null;
  if (regionBytes !== null && !isRegionSize(regionBytes)) {
    const range = `a power of two from ${formatSize(REGION_MIN_BYTES)} to ${formatSize(REGION_MAX_BYTES)}`;
    throw new UsageError(`--region ${formatSize(regionBytes)} is not allowed; allowed: ${range}`);
  }
  const sectorBytes = args.size('sector-size');
  if (sectorBytes !== undefined && !isSectorSize(sectorBytes)) {
    const range = `a power of two from ${String(SECTOR_MIN_BYTES)} to ${String(SECTOR_MAX_BYTES)}`;
    throw new UsageError(`--sector-size ${String(sectorBytes)} is not allowed; allowed: ${range}`);
  }
  const wishes = failoverWishes(args);
  const s = await ctx.client.call('create', {
    tag: args.tag(),
    leg: args.absolutePath('LEG'),
    sizeBytes: args.size('size') ?? null,
    regionBytes,
    ...(sectorBytes === undefined ? {} : { sectorBytes }),
    priority: args.integer('priority', 0, PRIORITY_MAX) ?? FIRST_PRIORITY,
    failureTimeoutMs,
    ...wishes,
    failover: wishes.failover ?? null,
    arbiter: args.choice('arbiter', arbiters) ?? null,
    waitForPreviousSourceSec: args.integer('wait-for-previous-source', -1, WAIT_FOR_PREVIOUS_SOURCE_MAX_SEC) ?? null,
    ...(args.flag('takeover-after-clean-stop') ? { takeoverAfterCleanStop: true } : {}),
    zeroed: args.flag('zeroed'),
  });
  answer(ctx, s, [
    `${s.tag} is made on ${s.node}: ${formatSize(s.sizeBytes)}, ${String(s.regions)} regions of ${formatSize(s.regionBytes)}; netraid in-service ${s.tag} is next`,
  ]);
  return ExitCode.OK;
}

export async function extend(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const tag = args.tag();
  const node = args.node('NODE');
  const foreignUri = args.optional('foreign') ?? null;
  const leg = args.optional('LEG') === undefined ? null : args.absolutePath('LEG');
  if ((leg === null) === (foreignUri === null)) throw new UsageError('either LEG or --foreign is needed, and not both');
  if (foreignUri !== null && !foreignUri.startsWith('nbd')) {
    throw new UsageError(
      `--foreign ${JSON.stringify(foreignUri)} is not allowed; allowed: an NBD URI such as nbd://HOST:PORT/EXPORT or nbds://HOST/EXPORT`,
    );
  }
  const wishedPriority = args.integer('priority', 0, PRIORITY_MAX);
  const waitMs = waitOf(ctx);
  const zeroed = args.flag('zeroed');
  await showPreview(ctx, { tag, action: 'extend', nodes: [node], source: null });
  if (zeroed) say(ctx, [`on your word the leg on ${node} holds zeroes only`]);
  await confirm(ctx, `Extend ${tag} to ${node}?`);
  const priority = wishedPriority ?? nextPriority(await ctx.client.call('status', { tag }));
  const params = { tag, node, leg, foreignUri, mode: args.flag('async') ? ('async' as const) : ('sync' as const), priority, zeroed };
  return await finish(ctx, await ctx.client.call('extend', params), node, waitMs, `${tag} is extended to ${node}`);
}

export async function set(ctx: CommandContext): Promise<number> {
  const wishes = failoverWishes(ctx.args);
  if (Object.keys(wishes).length === 0) throw new UsageError('nothing to set; allowed: --failover, --confirm-timeout, --confirm-default');
  const s = await ctx.client.call('set', { tag: ctx.args.tag(), ...wishes });
  answer(ctx, s, [`${s.tag}: failover ${failoverText(s)}`]);
  return ExitCode.OK;
}

/** 1, 10, 20, …: room to put one in between. */
function nextPriority(s: MirrorStatus): number {
  const highest = Math.max(0, ...Object.values(s.nodes).map((n) => n.priority));
  return Math.min(PRIORITY_MAX, (Math.floor(highest / 10) + 1) * 10);
}

async function finish(ctx: CommandContext, s: MirrorStatus, node: string, waitMs: number | undefined, done: string): Promise<number> {
  const last = waitMs === undefined ? s : await waitInSync(ctx, s, [node], waitMs);
  const state = last.targets.find((t) => t.node === node)?.state;
  answer(ctx, last, [`${done}${state === undefined ? '' : `: ${state}`}`]);
  return ExitCode.OK;
}

export async function unextend(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const node = ctx.args.node('NODE');
  await showPreview(ctx, { tag, action: 'unextend', nodes: [node], source: null });
  await confirm(ctx, `Remove ${node} from ${tag}?`);
  const s = await ctx.client.call('unextend', { tag, node });
  answer(ctx, s, [`${node} is no longer part of ${tag}`]);
  return ExitCode.OK;
}

export async function replace(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const tag = args.tag();
  const node = args.node('NODE');
  const leg = args.absolutePath('LEG');
  const waitMs = waitOf(ctx);
  await showPreview(ctx, { tag, action: 'replace', nodes: [node], source: null });
  await confirm(ctx, `Replace the leg of ${tag} on ${node} by ${leg}?`);
  return await finish(ctx, await ctx.client.call('replace', { tag, node, leg }), node, waitMs, `${tag} has a new leg on ${node}`);
}

export async function remove(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  try {
    await showPreview(ctx, { tag, action: 'delete', nodes: [], source: null });
  } catch (e: unknown) {
    // A mirror whose state is damaged can't be looked at, and deleting it is the remedy.
    if (!(e instanceof ControlError) || e.code !== 'refused') throw e;
    say(ctx, [e.message]);
  }
  await confirm(ctx, `Delete ${tag}?`);
  const result = await ctx.client.call('delete', { tag });
  answer(ctx, result, [`${tag} is forgotten on ${result.forgotten.join(', ')}; the legs keep their data`]);
  for (const node of result.unreached) {
    ctx.terminal.error(`${node} could not be reached and keeps its records of ${tag}: when it is back, say netraid delete ${tag} there`);
  }
  return ExitCode.OK;
}
