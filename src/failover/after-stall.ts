/**
 * This process stood still for so long that another may have taken over (M9): nothing is answered until a peer has confirmed
 * our epoch, or all have been silent for failureTimeout since.
 */
import type { MirrorDevice } from '../mirror/device.ts';
import type { Changes, NodeContext } from './context.ts';

export interface StallAsker {
  readonly ctx: NodeContext;
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
    if (answers.includes('heard') || others.length === 0 || (allSilent && ctx.env.io.clock.now() - since >= s.timeoutMs)) break;
    await s.changes.next(s.retryMs);
  }
  s.device.unsuspend('stalled');
}
