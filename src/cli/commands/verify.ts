/** `netraid verify`: compares all legs online, follows it to its end, and reports what differed. */
import { formatSize } from '../../control/units.ts';
import { ExitCode, oneLine, RefusedError } from '../exit.ts';
import { answer, pollPause } from '../output.ts';
import { progressLine, speed } from '../render.ts';
import { say } from '../confirm.ts';
import type { CommandContext } from '../world.ts';

const RANGES_SHOWN_MAX = 100;

export async function verify(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const { started } = await ctx.client.call('verify', { tag });
  if (!started) say(ctx, [`${tag}: a verify is under way already; this follows it`]);
  for (;;) {
    const result = await ctx.client.call('verify-result', { tag });
    if (result === null) throw new RefusedError(`${tag}: the verify is gone; the mirror has left service, or the daemon was started anew`);
    if (!result.running) {
      ctx.terminal.redraw([]);
      const all = result.notCompared.length === 0;
      const same = all ? 'all legs are the same' : 'nothing that was compared differs';
      const found = result.differingBytes === 0 ? same : `${formatSize(result.differingBytes)} differ and are resynced`;
      const summary = `${tag}: ${formatSize(result.comparedBytes)} compared, ${found}`;
      const ranges = result.ranges.slice(0, RANGES_SHOWN_MAX).map((r) => `  ${r.node}: ${formatSize(r.length)} at byte ${String(r.offset)}`);
      const more = result.ranges.length - ranges.length;
      const missed = result.notCompared.map((n) => `  ${n.node}: ${formatSize(n.bytes)} not compared: ${oneLine(n.why)}`);
      answer(ctx, result, [summary, ...ranges, ...(more > 0 ? [`  and ${String(more)} ranges more; --json shows all`] : []), ...missed]);
      return result.differingBytes === 0 && all ? ExitCode.OK : ExitCode.REFUSED;
    }
    if (ctx.terminal.isTTY) {
      const { verify: progress } = await ctx.client.call('status', { tag });
      if (progress !== null) ctx.terminal.redraw([`${tag} ${progressLine(progress)}, ${speed(progress.bytesPerSec)}`]);
    }
    await pollPause(ctx);
  }
}
