/**
 * This process stood still for so long that another may have taken over (M9): nothing is answered until a peer has confirmed
 * our epoch, or all have been silent for failureTimeout since; nor before the arbiter, where there is one, stands by it.
 */
import type { MirrorDevice } from '../mirror/device.ts';
import { arbiterOf } from './arbiter.ts';
import type { Changes, NodeContext } from './context.ts';
import type { Epoch } from './types.ts';

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
  const { ctx } = s;
  const others = Object.entries(ctx.record().definition.nodes).filter(([n, d]) => n !== ctx.env.self && d.foreignUri === undefined);
  const since = ctx.env.io.clock.now();
  const before = new Map(others.map(([n]) => [n, ctx.peerView(n)]));
  while (!s.stopped) {
    const answers = await Promise.all(
      others.map(async ([n]) => {
        try {
          const v = await ctx.askView(n, s.timeoutMs);
          // Without a record it can neither confirm nor have taken over.
          return v === null ? 'unknown' : 'heard';
        } catch (e: unknown) {
          if (!(e instanceof Error)) throw e;
          // It may still reach us, though we can't reach it.
          return ctx.peerView(n) !== before.get(n) ? 'heard' : 'silent';
        }
      }),
    );
    // A view that knows a higher epoch has ended us by now, through `superseded`.
    if (s.isStopped()) return;
    const allSilent = others.every(([n], i) => answers[i] === 'unknown' || (answers[i] === 'silent' && ctx.silentForMs(n) >= s.timeoutMs));
    const settled = answers.includes('heard') || others.length === 0 || (allSilent && ctx.env.io.clock.now() - since >= s.timeoutMs);
    // One peer may not know for whom the others have voted meanwhile.
    if (settled && (await standsBy(s))) break;
    await s.changes.next(s.retryMs);
  }
  s.device.unsuspend('stalled');
}

async function standsBy({ ctx, epoch }: StallAsker): Promise<boolean> {
  try {
    return await arbiterOf(ctx).standsBy(ctx, epoch);
  } catch (e: unknown) {
    ctx.env.log.error('the arbiter could not be asked', { tag: ctx.tag, error: String(e) });
    return false;
  }
}
