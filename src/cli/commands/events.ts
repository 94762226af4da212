/** `netraid events`: follows what happens until the daemon ends, or as many as were asked for have come. */
import type { ControlError, ControlEvent } from '../../control/types.ts';
import { ExitCode, oneLine } from '../exit.ts';
import type { CommandContext } from '../world.ts';

const COUNT_MAX = 1_000_000_000;

export async function events(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.optionalTag();
  const wanted = ctx.args.integer('count', 1, COUNT_MAX) ?? Infinity;
  let seen = 0;
  let finish: (end: ControlError | undefined) => void = () => undefined;
  const ended = new Promise<ControlError | undefined>((resolve) => {
    finish = resolve;
  });
  const subscription = await ctx.client.events((e) => {
    if (seen >= wanted || (tag !== undefined && e.tag !== tag)) return;
    seen += 1;
    ctx.terminal.line(ctx.args.flag('json') ? JSON.stringify(e) : eventLine(e));
    if (seen >= wanted) finish(undefined);
  }, finish);
  const end = await ended;
  subscription.stop();
  if (end !== undefined) throw end;
  return ExitCode.OK;
}

/** `2026-11-20 13:05:01.250Z datarep-ext3 in-sync: server2 is in sync` */
export function eventLine(e: ControlEvent): string {
  return `${wallTime(e.at)} ${e.tag} ${e.kind}: ${oneLine(e.message)}`;
}

const wallClock = new Intl.DateTimeFormat('en', {
  timeZone: 'UTC',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
});

function wallTime(at: number): string {
  const part = Object.fromEntries(wallClock.formatToParts(at).map((p) => [p.type, p.value]));
  const { year = '', month = '', day = '', hour = '', minute = '', second = '', fractionalSecond = '' } = part;
  return `${year}-${month}-${day} ${hour}:${minute}:${second}.${fractionalSecond}Z`;
}
