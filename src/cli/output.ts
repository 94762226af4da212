/** How commands answer: JSON where it was asked for, lines for people otherwise; and how they wait. */
import type { MirrorStatus, TargetStatus } from '../control/types.ts';
import type { Clock } from '../io/types.ts';
import { formatDuration } from '../control/units.ts';
import { RefusedError, UsageError } from './exit.ts';
import { progressLine, speed } from './render.ts';
import type { CommandContext } from './world.ts';

const POLL_MS = 500;
const WAIT_MAX_MS = 30 * 24 * 3_600_000;

export function answer(ctx: CommandContext, result: unknown, lines: readonly string[]): void {
  if (ctx.args.flag('json')) ctx.terminal.line(JSON.stringify(result, null, 2));
  else for (const line of lines) ctx.terminal.line(line);
}

export function sleep(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}

/** Between two looks at the daemon. */
export function pollPause(ctx: CommandContext): Promise<void> {
  return sleep(ctx.clock, POLL_MS);
}

/** Those named; all when none is. Throws RefusedError for a name that is no target. */
function targetsNamed(s: MirrorStatus, nodes: readonly string[]): TargetStatus[] {
  if (nodes.length === 0) return s.targets;
  return nodes.map((n) => {
    const t = s.targets.find((x) => x.node === n);
    if (t === undefined)
      throw new RefusedError(`${n} is not a target of ${s.tag} on ${s.node}; targets: ${s.targets.map((x) => x.node).join(', ') || 'none'}`);
    return t;
  });
}

/**
 * Shows progress until these targets are in sync, from the status that the command was answered with. Throws RefusedError
 * when one is paused or in a split brain, or time runs out.
 */
export async function waitInSync(ctx: CommandContext, before: MirrorStatus, nodes: readonly string[], waitMs: number): Promise<MirrorStatus> {
  const deadline = ctx.clock.now() + waitMs;
  let s = before;
  for (;;) {
    const targets = targetsNamed(s, nodes);
    const behind = targets.filter((t) => t.state !== 'Target');
    if (behind.length === 0) {
      ctx.terminal.redraw([]);
      return s;
    }
    const stuck = behind.find((t) => t.state === 'Paused' || t.state === 'Split Brain');
    if (stuck !== undefined)
      throw new RefusedError(`${stuck.node} does not come in sync: ${stuck.state}${stuck.detail === '' ? '' : `, ${stuck.detail}`}`);
    if (ctx.clock.now() >= deadline) {
      throw new RefusedError(
        `not in sync in time: ${behind.map((t) => `${t.node} is ${t.state}${t.detail === '' ? '' : ` (${t.detail})`}`).join(', ')}`,
      );
    }
    if (ctx.terminal.isTTY) ctx.terminal.redraw(behind.map((t) => waitLine(s, t)));
    await pollPause(ctx);
    s = await ctx.client.call('status', { tag: s.tag });
  }
}

function waitLine(s: MirrorStatus, t: TargetStatus): string {
  const what =
    t.progress === null ? `${t.state}${t.detail === '' ? '' : ` (${t.detail})`}` : `${progressLine(t.progress)}, ${speed(t.progress.bytesPerSec)}`;
  return `${s.node} -> ${t.node} ${what}`;
}

/** `--wait DURATION` in milliseconds; undefined: do not wait. */
export function waitOf(ctx: CommandContext): number | undefined {
  const ms = ctx.args.durationMs('wait');
  if (ms !== undefined && ms > WAIT_MAX_MS) throw new UsageError(`--wait is too long; allowed: at most ${formatDuration(WAIT_MAX_MS)}`);
  return ms;
}
