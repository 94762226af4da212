/** What a program of this folder was asked for: one clear line for what it does not take, and an end when its reader has gone. */
import { parseArgs, type ParseArgsConfig } from 'node:util';

/** As for a program that SIGPIPE ended. */
const OUTPUT_GONE = 141;
const BAD_USE = 2;

type Options = NonNullable<ParseArgsConfig['options']>;
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T }>>['values'];

/** Ends the program: with 2 and one line for bad use, with 0 and `help` where --help is given. */
export function scriptOptions<T extends Options>(program: string, help: string, options: T): Values<T> {
  process.stdout.on('error', () => {
    process.exit(OUTPUT_GONE);
  });
  if (process.argv.slice(2).some((a) => a === '--help' || a === '-h')) {
    process.stdout.write(help);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (e: unknown) {
    if (!(e instanceof TypeError)) throw e;
    // Node's message says in its first sentence what is wrong, and goes on with what it guesses.
    return badUse(program, e.message.split(/[.\n]/, 1)[0] ?? e.message);
  }
}

/** Bad use of `program`: says why in one line, and ends it with 2. */
export function badUse(program: string, why: string): never {
  process.stderr.write(`${program}: ${why} (see ${program} --help)\n`);
  process.exit(BAD_USE);
}
