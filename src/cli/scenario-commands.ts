/** Commands as the steps of a scenario run them: the product's own, on a terminal that is kept. */
import type { CommandRunner } from '../scenario/world.ts';
import { BufferTerminal } from './buffer-terminal.ts';
import type { CommandLine } from './world.ts';

export function scenarioCommands(commandLine: CommandLine): CommandRunner {
  return {
    load: () => commandLine.load(),
    async run(argv, on) {
      const terminal = new BufferTerminal();
      const { client, clock, files, root } = on;
      const exit = await commandLine.run(argv, {
        client: () => client,
        terminal,
        clock,
        files,
        devices: null,
        crypto: null,
        version: 'scenario',
        defaultRoot: root,
      });
      for (const line of terminal.out) on.out(line);
      for (const line of terminal.errors) on.error(line);
      return exit;
    },
  };
}
