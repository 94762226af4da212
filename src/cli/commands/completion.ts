/** `netraid completion`: prints a script that completes the words of all programs, made from the same table as help and parser. */
import { shells } from '../choices.ts';
import { completionScript } from '../completion.ts';
import { ExitCode, UsageError } from '../exit.ts';
import type { CommandSpec } from '../spec.ts';
import type { Run } from '../world.ts';

/** The table is handed in: it names this command too. */
export function completion(commands: readonly CommandSpec[], programs: Readonly<Record<string, CommandSpec>>): Run {
  return (ctx) => {
    const shell = ctx.args.choice('SHELL', shells);
    if (shell === undefined) throw new UsageError(`SHELL is missing; allowed: ${shells.join(', ')}`);
    for (const line of completionScript(shell, commands, programs)) ctx.terminal.line(line);
    return Promise.resolve(ExitCode.OK);
  };
}
