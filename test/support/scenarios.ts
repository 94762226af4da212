/** Small scenarios for tests of the runner: a mirror of two nodes, and steps. */
import { commandLine } from '../../src/cli/run.ts';
import { scenarioCommands } from '../../src/cli/scenario-commands.ts';
import { parseScenario } from '../../src/scenario/parse.ts';
import { runSimulated } from '../../src/scenario/run.ts';
import type { Failure } from '../../src/scenario/runner.ts';
import type { Scenario } from '../../src/scenario/types.ts';

export const command = scenarioCommands(commandLine);

export function scenarioOf(steps: readonly string[], mirror: readonly string[] = []): Scenario {
  const text = [
    'scenario: a test',
    'mirror:',
    '  tag: t',
    '  size: 4MiB',
    '  region: 64KiB',
    '  failureTimeout: 500ms',
    ...(mirror.some((l) => l.startsWith('nodes:')) ? [] : ['  nodes: {a: 1, b: 2}']),
    ...mirror.map((l) => `  ${l}`),
    'steps:',
    ...steps.map((s) => `  - ${s}`),
  ].join('\n');
  return parseScenario(text, 'test.yaml');
}

/** Null when every step holds. */
export async function failureOf(steps: readonly string[], mirror: readonly string[] = [], seed = 1): Promise<Failure | null> {
  return (await runSimulated(scenarioOf(steps, mirror), seed, command)).failure;
}
