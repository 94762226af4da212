/** The command line of scripts/bench. Pure. */
import path from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { Row, Sizes } from './types.ts';

const MiB = 1024 ** 2;
const FULL: Sizes = { fileBytes: 2048 * MiB, touchedBytes: 1024 * MiB };
const QUICK: Sizes = { fileBytes: 256 * MiB, touchedBytes: 128 * MiB };
const DISK = '/var/tmp';
const TMPFS = '/dev/shm';

export interface Options {
  quick: boolean;
  rows: string[];
  /** Empty: all, or those of --quick. */
  cells: string[];
  /** The rows were named. */
  rowsNamed: boolean;
  runs: number;
  seconds: number;
  dir: string;
  json: string | undefined;
  svg: string | undefined;
  sizes: Sizes;
}

export type Parsed = { kind: 'help'; text: string } | { kind: 'options'; options: Options };

/** What was typed is not allowed: one line that says what is. */
export class UsageError extends Error {}

type ParseArgsOptionsConfig = NonNullable<ParseArgsConfig['options']>;

const definitions = {
  quick: { type: 'boolean', default: false },
  rows: { type: 'string', multiple: true },
  cells: { type: 'string', multiple: true },
  runs: { type: 'string' },
  seconds: { type: 'string' },
  dir: { type: 'string', default: DISK },
  json: { type: 'string' },
  svg: { type: 'string' },
  help: { type: 'boolean', default: false },
} satisfies ParseArgsOptionsConfig;

type Described = Pick<Row, 'name' | 'title'> & { cells: readonly { id: string }[] };

/** Paths are those that somebody in the folder `from` means. Throws UsageError. */
export function parseOptions(argv: readonly string[], rows: readonly Described[], from: string): Parsed {
  const { values } = read(argv);
  if (values.help) return { kind: 'help', text: helpText(rows) };
  const { quick } = values;
  const chosen = list('--rows', values.rows ?? [], [...rows.map((r) => r.name)]);
  const known = new Set(rows.filter((r) => chosen.length === 0 || chosen.includes(r.name)).flatMap((r) => r.cells.map((c) => c.id)));
  const cells = list('--cells', values.cells ?? [], [...known]);
  place('--dir', values.dir, from);
  return {
    kind: 'options',
    options: {
      quick,
      rows: chosen.length === 0 ? rows.map((r) => r.name) : chosen,
      cells,
      rowsNamed: chosen.length > 0,
      runs: number('--runs', values.runs, /^\d+$/, quick ? 1 : 5, 1, 100),
      seconds: number('--seconds', values.seconds, /^\d+(\.\d+)?$/, quick ? 0.6 : 4, 0.1, 600),
      dir: values.dir === 'tmpfs' ? TMPFS : path.resolve(from, values.dir),
      json: place('--json', values.json, from),
      svg: place('--svg', values.svg, from),
      sizes: quick ? QUICK : FULL,
    },
  };
}

function read(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: definitions, strict: true });
  } catch (e: unknown) {
    // Its first sentence says which option; the rest is about other programs.
    if (e instanceof TypeError) throw new UsageError(e.message.split('. ')[0]?.replaceAll('\n', ' ') ?? '');
    throw e;
  }
}

function place(option: string, given: string | undefined, from: string): string | undefined {
  if (given === '') throw new UsageError(`${option} is empty: allowed is a path`);
  return given === undefined ? undefined : path.resolve(from, given);
}

function list(option: string, given: readonly string[], allowed: readonly string[]): string[] {
  const words = given.flatMap((g) => g.split(','));
  const stranger = words.find((w) => !allowed.includes(w));
  if (stranger !== undefined) throw new UsageError(`${option} ${JSON.stringify(stranger)}: allowed are ${allowed.join(', ')}`);
  return [...new Set(words)];
}

function number(option: string, given: string | undefined, shape: RegExp, usual: number, min: number, max: number): number {
  if (given === undefined) return usual;
  const n = Number(given);
  if (!shape.test(given) || n < min || n > max) {
    throw new UsageError(`${option} ${JSON.stringify(given)}: allowed is a number from ${String(min)} to ${String(max)}`);
  }
  return n;
}

function helpText(rows: readonly Described[]): string {
  const width = Math.max(...rows.map((r) => r.name.length)) + 2;
  const rowLines = rows.map((r) => `    ${r.name.padEnd(width)}${r.title}`).join('\n');
  const cells = [...new Set(rows.flatMap((r) => r.cells.map((c) => c.id)))];
  const cellLines: string[] = [];
  for (let i = 0; i < cells.length; i += 4) cellLines.push(`    ${cells.slice(i, i + 4).join(', ')}`);
  return `scripts/bench [options]

How fast NetRAID is, beside programs that do the same work, on this machine. All sides of a row run in turn, so that a noisy
minute is everybody's; what counts are ratios and the CPU of the servers an operation. Ends with the figures that are required.

  --quick          two minutes in all: one short run each, small files, the sides that are required alone
  --rows NAME,...  these rows alone
  --cells NAME,... these cells alone
  --runs N         rounds of each cell (default 5; with --quick 1)
  --seconds N      of each run (default 4; with --quick 0.6)
  --dir DIR        where the files lie: a folder, or tmpfs for ${TMPFS} (default ${DISK})
  --json FILE      writes every figure of every run there
  --svg DIR        writes a chart of each row there
  --help           this page

  Rows:
${rowLines}

  Cells (qd: requests in flight on each connection; 2c: two connections):
${cellLines.join(',\n')}

Examples:
  scripts/bench --quick
  scripts/bench --rows plain,node --cells write-4k-qd32 --dir tmpfs
  scripts/bench --json bench.json --svg charts

Each side has files of its own: 2 GiB allocated, 1 GiB of it written beforehand and used (--quick: 256 and 128 MiB), in the page
cache. NetRAID is run as people run it: real daemons, the intent log on, replies after all sync targets. A quiet machine is
wanted; the load average is shown. As root on Debian it installs the peers that are missing; what is not there is named.
The whole run takes about an hour, and some 40 GiB in DIR for the time being.

Exit codes: 0 everything was measured, whether or not it is as fast as required; 1 something could not be measured; 2 wrong usage.
`;
}
