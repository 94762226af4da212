/**
 * This process stood still for so long that another may have taken over (M9): nothing is answered until a peer has confirmed
 * our epoch, or all have been silent for failureTimeout since; nor before the arbiter, where there is one, stands by it.
 * What was answered before it stood still once more counts no longer.
 */
import type { MirrorDevice } from '../mirror/device.ts';
import { provenEpochs, sameMirror } from './account.ts';
import { arbiterOf } from './arbiter.ts';
import type { Changes, NodeContext } from './context.ts';
import { compareEpoch } from './epoch.ts';
import type { Epoch, NodeName, NodeView } from './types.ts';

export interface StallAsker {
  readonly ctx: NodeContext;
  readonly epoch: Epoch;
  readonly device: MirrorDevice;
  readonly changes: Changes;
  readonly timeoutMs: number;
  readonly retryMs: number;
  readonly stopped: boolean;
  isStopped(): boolean;
}

export async function askAfterStall(s: StallAsker): Promise<void> {
  while (!s.stopped && !(await isConfirmed(s, s.ctx.stalls))) {
    if (s.isStopped()) return;
    await s.changes.next(s.retryMs);
  }
  if (!s.isStopped()) s.device.unsuspend('stalled');
}

/** Asks until the question is settled; false: it has to be asked from the beginning, since this process stood still meanwhile. */
async function isConfirmed(s: StallAsker, stalls: number): Promise<boolean> {
  const { ctx } = s;
  const others = Object.entries(ctx.record().definition.nodes)
    .filter(([n, d]) => n !== ctx.env.self && d.foreignUri === undefined)
    .map(([n]) => n);
  const since = ctx.env.io.clock.now();
  const before = new Map(others.map((n) => [n, ctx.peerView(n)]));
  const stoodStill = (): boolean => {
    ctx.env.cluster.checkStall();
    return ctx.stalls !== stalls;
  };
  while (!s.isStopped() && !stoodStill()) {
    const answers = await Promise.all(others.map((n) => ask(s, n, before.get(n))));
    if (s.isStopped() || stoodStill()) return false;
    const allSilent = others.every((n, i) => answers[i] === 'unknown' || (answers[i] === 'silent' && ctx.silentForMs(n) >= s.timeoutMs));
    const settled = others.length === 0 || answers.includes('heard') || (allSilent && ctx.env.io.clock.now() - since >= s.timeoutMs);
    // Of one who knows of a later epoch, `decide` makes the end of this service; the word of another, who does not, is worth nothing then.
    // One peer may not know for whom the others have voted meanwhile.
    if (settled && !answers.includes('outdated') && (await standsBy(s)) && !stoodStill()) return true;
    await s.changes.next(s.retryMs);
  }
  return false;
}

/** `unknown`: without a record of this mirror it can neither confirm nor have taken over. `outdated`: our epoch is not the last, or has another owner. */
async function ask(s: StallAsker, node: NodeName, before: NodeView | undefined): Promise<'heard' | 'silent' | 'unknown' | 'outdated'> {
  const { ctx } = s;
  const judged = (v: NodeView): 'heard' | 'unknown' | 'outdated' => {
    if (!sameMirror(ctx.record(), v.record)) return 'unknown';
    return confirms(v, s.epoch) ? 'heard' : 'outdated';
  };
  try {
    const v = await ctx.askView(node, s.timeoutMs);
    return v === null ? 'unknown' : judged(v);
  } catch (e: unknown) {
    if (!(e instanceof Error)) throw e;
    // It may still reach us, though we can't reach it. What it said before it fell silent counts as little here as in `decide`.
    const heard = ctx.peerView(node);
    return heard === undefined || heard === before || ctx.silentForMs(node) >= s.timeoutMs ? 'silent' : judged(heard);
  }
}

function confirms({ record }: NodeView, epoch: Epoch): boolean {
  return [record.epochSeen, record.claim, ...provenEpochs(record)].every((e) => ['lower', 'equal'].includes(compareEpoch(e, epoch)));
}

async function standsBy({ ctx, epoch }: StallAsker): Promise<boolean> {
  try {
    return await arbiterOf(ctx).standsBy(ctx, epoch);
  } catch (e: unknown) {
    ctx.env.log.error('the arbiter could not be asked', { tag: ctx.tag, error: String(e) });
    return false;
  }
}
