/** Failure scenarios, for those who want to see what happens before it does. */
import type { CommandSpec } from '../spec.ts';

export const scenarioSpec: CommandSpec = {
  name: 'scenario',
  summary: 'runs failure scenarios: a mirror, and steps with what must hold',
  detail:
    'process starts real daemons below a temporary folder, and needs no root; simulated runs the same code in virtual time, ' +
    'where a power failure also loses unsynced writes. Exit code 0: every step holds; 1: one does not; 2: a file is not a scenario.',
  positionals: [
    { name: 'ACTION', describe: 'what to do', required: true, choices: ['run'] },
    { name: 'FILE', describe: 'scenario files, or folders of them', required: true, many: true },
  ],
  options: [
    { name: 'world', value: 'WORLD', describe: 'where, and always given', choices: ['process', 'simulated'] },
    { name: 'seed', value: 'N', describe: 'of the simulated world, default 1; several as 1,2,3 or 1..10' },
    { name: 'junit', value: 'FILE', describe: 'write there what CI systems read' },
    { name: 'keep', describe: "leave the nodes' folders behind" },
  ],
  examples: [
    ['netraid scenario run test/scenarios/files --world simulated --seed 1..10', 'a folder, with ten seeds each'],
    ['netraid scenario run takeover.yaml --world process --keep', 'with real daemons, whose logs stay'],
  ],
  load: async () => (await import('../commands/scenario.ts')).scenario,
};
