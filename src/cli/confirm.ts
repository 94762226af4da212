/** Whatever overwrites data shows first what it would do, and asks. */
import { formatSize } from '../control/units.ts';
import { type Actions, ControlError } from '../control/types.ts';
import { oneLine, RefusedError, UsageError } from './exit.ts';
import type { CommandContext } from './world.ts';

type PreviewParams = Actions['preview']['params'];
type Preview = Actions['preview']['result'];

/** How often it is asked anew, where what would be done changes between the question and the deed. */
const ROUNDS = 3;

/** Shows and asks anew where the daemon would do now what was not confirmed; nothing was changed then. */
export async function untilConfirmed<T>(showAskAndDo: () => Promise<T>): Promise<T> {
  for (let round = 1; ; round += 1) {
    try {
      return await showAskAndDo();
    } catch (e: unknown) {
      if (!(e instanceof ControlError) || e.code !== 'unconfirmed' || round >= ROUNDS) throw e;
    }
  }
}

/** Shows direction, evidence and bytes. Throws RefusedError when the daemon would refuse. */
export async function showPreview(ctx: CommandContext, params: PreviewParams): Promise<Preview> {
  const p = await ctx.client.call('preview', params);
  say(ctx, p.lines);
  if (p.bytesOverwritten > 0) say(ctx, [`${formatSize(p.bytesOverwritten)} will be overwritten`]);
  if (p.refused !== null) throw new RefusedError(p.refused);
  return p;
}

/** Returns when the answer is yes. Throws UsageError when nobody is there to answer, RefusedError for any other answer. */
export async function confirm(ctx: CommandContext, question: string): Promise<void> {
  if (ctx.args.flag('yes')) return;
  if (!ctx.terminal.canAsk) throw new UsageError(`${question} Nobody is there to answer; --yes says it beforehand`);
  const answer = await ctx.terminal.ask(`${question} [yes/no] `);
  if (!/^y(es)?$/i.test(answer.trim())) throw new RefusedError('not confirmed; nothing was changed');
}

/** Going in service without `last_owner` may lose the newest data: `--yes` does not cover it. */
export function requireWordWithoutLastOwner(ctx: CommandContext, p: Preview): void {
  if (p.lastOwnerHere || ctx.args.flag('without-last-owner')) return;
  throw new RefusedError(
    'this node has no last_owner: another one was the source last and may hold newer data, which would be lost; if that is meant, add --without-last-owner',
  );
}

/** For people, so that standard output stays JSON where JSON was asked for. */
export function say(ctx: CommandContext, lines: readonly string[]): void {
  for (const line of lines) {
    if (ctx.args.flag('json')) ctx.terminal.error(oneLine(line));
    else ctx.terminal.line(oneLine(line));
  }
}
