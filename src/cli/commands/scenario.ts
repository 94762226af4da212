/** `netraid scenario run`: failure scenarios, with real daemons or in the simulated world. */
import { runScenarios } from '../../scenario/run.ts';
import { UsageError } from '../exit.ts';
import { scenarioCommands } from '../scenario-commands.ts';
import type { CommandContext } from '../world.ts';

const SEEDS_MAX = 10_000;
const SEEDS_ALLOWED = 'a whole number, or several as 1,2,3 or 1..10';

export async function scenario(ctx: CommandContext): Promise<number> {
  const { args, terminal, files } = ctx;
  const world = args.choice('world', ['process', 'simulated']);
  if (world === undefined) throw new UsageError('--world is missing; allowed: process, simulated');
  const seed = args.optional('seed');
  if (seed !== undefined && world === 'process') terminal.error('--seed changes nothing with --world process: real daemons have none');
  if (args.flag('keep') && world === 'simulated') terminal.error('--keep changes nothing with --world simulated: there are no folders');
  return await runScenarios(args.list('FILE'), {
    world,
    seeds: seed === undefined ? [1] : parseSeeds(seed),
    json: args.flag('json'),
    keep: args.flag('keep'),
    junit: args.optional('junit') ?? null,
    files,
    command: scenarioCommands(ctx.commandLine),
    out: (line) => {
      terminal.line(line);
    },
    error: (line) => {
      terminal.error(line);
    },
  });
}

/** Throws UsageError. */
export function parseSeeds(text: string): number[] {
  const seeds = text.split(',').flatMap((part) => {
    const m = /^\s*(\d{1,15})(?:\.\.(\d{1,15}))?\s*$/.exec(part);
    const from = Number(m?.[1]);
    const to = m?.[2] === undefined ? from : Number(m[2]);
    if (m === null || to < from || to - from >= SEEDS_MAX) {
      throw new UsageError(`--seed ${JSON.stringify(text)} is not allowed; allowed: ${SEEDS_ALLOWED}`);
    }
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
  return seeds;
}
