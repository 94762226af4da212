/** All commands, as data. One more command is one more entry here, and its module. */
import { shells } from './choices.ts';
import { checkpointCommands } from './specs/checkpoint.ts';
import { devicesCommands } from './specs/devices.ts';
import { bitmapSpec, mirrorActionSpec, mirrorResizeSpec, mirrorStatusSpec } from './specs/datakeeper.ts';
import { membershipCommands } from './specs/membership.ts';
import { observeCommands } from './specs/observe.ts';
import { pkiCommands } from './specs/pki.ts';
import { scenarioSpec } from './specs/scenario.ts';
import { snapshotCommands } from './specs/snapshots.ts';
import type { CommandSpec } from './spec.ts';

const completionSpec: CommandSpec = {
  name: 'completion',
  summary: 'prints a completion script for a shell',
  positionals: [{ name: 'SHELL', describe: 'the shell', required: true, choices: shells }],
  options: [],
  examples: [['source <(netraid completion bash)', 'for this shell']],
  load: async () => (await import('./commands/completion.ts')).completion(commandsOfNetraid, programs),
};

/** `netraid COMMAND`. */
export const commandsOfNetraid: readonly CommandSpec[] = [
  ...membershipCommands,
  ...devicesCommands,
  ...observeCommands,
  ...snapshotCommands,
  ...checkpointCommands,
  ...pkiCommands,
  scenarioSpec,
  completionSpec,
];

/** The command that these words begin with, behind `netraid`; undefined: none. */
export function commandOf(words: readonly string[]): CommandSpec | undefined {
  const [first, second] = words;
  return commandsOfNetraid.find((c) => c.name === first || c.name === `${String(first)} ${String(second)}`);
}

/** Commands of two words whose first is this one. */
export function commandsOfGroup(group: string): CommandSpec[] {
  return commandsOfNetraid.filter((c) => c.name.startsWith(`${group} `));
}

export type Program = 'mirror_action' | 'mirror_status' | 'mirror_resize' | 'bitmap';

/** Programs of their own, as DataKeeper has them. */
export const programs: Readonly<Record<Program, CommandSpec>> = {
  mirror_action: mirrorActionSpec,
  mirror_status: mirrorStatusSpec,
  mirror_resize: mirrorResizeSpec,
  bitmap: bitmapSpec,
};

export function isProgram(name: string): name is Program {
  return Object.hasOwn(programs, name);
}
