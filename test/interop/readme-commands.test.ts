/** Every command of README.md's sections on failures and planned work, run as it stands there in the situation that it is for. */
import { describe, expect, it } from 'vitest';
import { lackingForDevices } from '../support/machine.ts';
import { findProgram } from '../support/programs.ts';
import { failures } from './readme/failures.ts';
import { plannedWork } from './readme/planned-work.ts';
import { commandsOf, readme, Stage, type Story } from './readme/stage.ts';

const stories: readonly Story[] = [...failures, ...plannedWork];

function lackingFor(story: Story): string {
  const lacks = [
    story.devices === true ? lackingForDevices() : undefined,
    ...['qemu-io', ...(story.programs ?? [])].filter((p) => findProgram(p) === undefined),
  ];
  return lacks.filter((l) => l !== undefined).join(', ');
}

/** Daemons wait most of the time: so many stories share the two cores. */
const AT_A_TIME = 3;
const ALL_MAX_MS = 300_000;
const waiting: (() => void)[] = [];
let free = AT_A_TIME;

async function turn(): Promise<void> {
  if (free > 0) free -= 1;
  else await new Promise<void>((resolve) => waiting.push(resolve));
}

function turnOver(): void {
  const next = waiting.shift();
  if (next === undefined) free += 1;
  else next();
}

async function play(story: Story): Promise<void> {
  const stage = await Stage.make(story);
  let failure: { error: unknown } | undefined;
  try {
    for (const step of story.steps) {
      if (typeof step === 'function') await step(stage);
      else await stage.carryOut(step);
    }
  } catch (error: unknown) {
    failure = { error };
  }
  // What has failed first is told before what then could not be cleared away.
  await stage.cleanup.run().catch((error: unknown) => {
    failure ??= { error };
  });
  if (failure !== undefined) throw failure.error;
}

describe('README.md', () => {
  it('has no command on failures and planned work that no story runs, and no story runs one that it does not have', () => {
    const shown = commandsOf(readme()).map((c) => `${c.section}: ${c.line}`);
    const run = stories.flatMap((s) => s.steps.flatMap((c) => (typeof c === 'function' ? [] : [`${c.section ?? s.section}: ${c.line}`])));
    expect(run.sort()).toEqual(shown.sort());
  });

  it('is read as it stands: a command in a block with its prompt, one in a sentence without', () => {
    const text =
      '\n## When something fails\nSay `netraid status data` or `--yes`.\n### Force\n```console\n# ls\nanswer\n```\n## Hooks\n`netraid info`\n';
    expect(commandsOf(text)).toEqual([
      { section: 'When something fails', line: 'netraid status data' },
      { section: 'Force', line: '# ls' },
    ]);
  });

  for (const story of stories) {
    const lacking = lackingFor(story);
    if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED "${story.title}" of README.md's commands: not here: ${lacking}\n\n`);
    it.skipIf(lacking !== '').concurrent(
      `${story.section}: ${story.title}`,
      async () => {
        await turn();
        try {
          await play(story);
        } finally {
          turnOver();
        }
      },
      ALL_MAX_MS,
    );
  }
});
