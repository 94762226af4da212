/**
 * A command line, from its words to its exit code:
 *
 *   argv -> program, command -> specification -> arguments -> command (loaded now) -> exit code
 *
 * Whatever goes wrong ends as one line on standard error.
 */
import type * as Parser from './parse.ts';
import { DaemonUnreachableError } from '../control/http-client.ts';
import { controlSocketPath, DEFAULT_ROOT } from '../control/places.ts';
import { ControlError } from '../control/types.ts';
import { EXIT_CODES_HELP, ExitCode, oneLine, RefusedError, UsageError } from './exit.ts';
import { commandOf, commandsOfGroup, commandsOfNetraid, isProgram, programs } from './registry.ts';
import type { CommandSpec } from './spec.ts';
import type { CommandLine, Run, World } from './world.ts';

const COLUMNS_MIN = 60;
const COLUMNS_MAX = 120;

let parser: Promise<typeof Parser> | undefined;
const runs = new Map<CommandSpec, Promise<Run>>();

function loadParser(): Promise<typeof Parser> {
  parser ??= import('./parse.ts');
  return parser;
}

function loadRun(spec: CommandSpec): Promise<Run> {
  const run = runs.get(spec) ?? spec.load();
  runs.set(spec, run);
  return run;
}

/** Loads every command beforehand: in a world of virtual time nothing may wait for a real disk. */
async function loadCommands(): Promise<void> {
  await Promise.all([loadParser(), ...[...commandsOfNetraid, ...Object.values(programs)].map(loadRun)]);
}

/** `argv` begins with the program's name, without a path. Never rejects. */
export async function runCommandLine(argv: readonly string[], world: World): Promise<number> {
  const [program = 'netraid', ...rest] = argv;
  try {
    if (isProgram(program)) return await runCommand(programs[program], program, rest, world);
    if (program === 'netraid') return await runNetraid(rest, world);
    throw new UsageError(`no such program; allowed: netraid, ${Object.keys(programs).join(', ')}`);
  } catch (e: unknown) {
    return complain(e, program, world);
  }
}

export const commandLine: CommandLine = { run: runCommandLine, load: loadCommands };

async function runNetraid(argv: readonly string[], world: World): Promise<number> {
  const [word] = argv;
  if (word === '--version') {
    world.terminal.line(`netraid ${world.version}`);
    return ExitCode.OK;
  }
  if (word === undefined || asksForHelp(word)) {
    for (const line of overview()) world.terminal.line(line);
    return word === undefined ? ExitCode.USAGE : ExitCode.OK;
  }
  if (word.startsWith('-')) throw new UsageError(`${word} stands before the command; allowed: behind it, as netraid COMMAND ${word}`);
  const spec = commandOf(argv);
  if (spec === undefined) return runGroup(word, argv[1], world);
  return await runCommand(spec, `netraid ${spec.name}`, argv.slice(spec.name.split(' ').length), world);
}

/** The first word of a group, without one of its commands. Throws UsageError. */
function runGroup(group: string, word: string | undefined, world: World): number {
  const commands = commandsOfGroup(group);
  const names = (all: readonly CommandSpec[]): string => all.map((c) => c.name).join(', ');
  if (commands.length === 0) throw new UsageError(`no command ${JSON.stringify(group)}; allowed: ${names(commandsOfNetraid)}`);
  if (word !== undefined && !asksForHelp(word)) {
    throw new UsageError(`no command ${JSON.stringify(`${group} ${word}`)}; allowed: ${names(commands)}`);
  }
  const lines = [
    `netraid ${group} COMMAND [options]`,
    '',
    'Commands:',
    ...commandLines(commands),
    '',
    `Options of one command: netraid ${group} COMMAND --help.`,
    EXIT_CODES_HELP,
  ];
  for (const line of lines) world.terminal.line(line);
  return word === undefined ? ExitCode.USAGE : ExitCode.OK;
}

function asksForHelp(word: string): boolean {
  return word === '--help' || word === '-h' || word === 'help';
}

function commandLines(commands: readonly CommandSpec[]): string[] {
  const width = Math.max(...commands.map((c) => c.name.length));
  return commands.map((c) => `  ${c.name.padEnd(width)}  ${c.summary}`);
}

async function runCommand(spec: CommandSpec, label: string, argv: readonly string[], world: World): Promise<number> {
  try {
    const { parse } = await loadParser();
    const parsed = await parse(spec, label, argv, Math.min(COLUMNS_MAX, Math.max(COLUMNS_MIN, world.terminal.columns)));
    if (parsed.kind === 'help') {
      for (const line of parsed.text.split('\n')) world.terminal.line(line);
      return ExitCode.OK;
    }
    const { args } = parsed;
    const root = args.optional('root') ?? world.defaultRoot ?? DEFAULT_ROOT;
    const place = { root, socketPath: args.optional('socket') ?? controlSocketPath(root) };
    const { terminal, clock, files, devices, crypto, version } = world;
    const run = await loadRun(spec);
    return await run({ terminal, clock, files, devices, crypto, version, commandLine, client: world.client(place), place, args });
  } catch (e: unknown) {
    return complain(e, label, world);
  }
}

function overview(): string[] {
  return [
    'netraid COMMAND [options]',
    '',
    'A RAID1 device whose other half is on other machines.',
    '',
    'Commands:',
    ...commandLines(commandsOfNetraid),
    '',
    `Programs of their own: ${Object.keys(programs).join(', ')}`,
    'Options of one command: netraid COMMAND --help. The version: netraid --version.',
    EXIT_CODES_HELP,
  ];
}

function complain(e: unknown, label: string, world: World): number {
  world.terminal.redraw([]);
  const say = (text: string): void => {
    world.terminal.error(oneLine(`${label}: ${text}`));
  };
  if (e instanceof UsageError) {
    say(`${e.message}; see ${label} --help`);
    return ExitCode.USAGE;
  }
  if (e instanceof DaemonUnreachableError) {
    say(e.message);
    return ExitCode.UNREACHABLE;
  }
  if (e instanceof ControlError) {
    say(e.code === 'internal' ? `the daemon failed unexpectedly: ${e.message}; its log tells more` : e.message);
    // Unconfirmed, as a question that nobody was there to answer.
    return e.code === 'bad-request' || e.code === 'unconfirmed' ? ExitCode.USAGE : ExitCode.REFUSED;
  }
  const expected = e instanceof RefusedError || (e instanceof Error && expectedNames.has(e.name));
  say(`${expected ? '' : 'unexpected: '}${e instanceof Error ? e.message : String(e)}`);
  return ExitCode.REFUSED;
}

/** Errors of rooms that are loaded only by the commands that need them; their messages are for people. */
const expectedNames: ReadonlySet<string> = new Set(['IoError', 'AttachError', 'DamagedBitmapError', 'PkiError']);
