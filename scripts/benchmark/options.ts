/** The command line of scripts/bench. Pure. */
import { type ArgumentDefinitions, folderPath, list, number, place, readArguments, TMPFS } from './arguments.ts';
import type { Row, Sizes } from './types.ts';

const MiB = 1024 ** 2;
const FULL: Sizes = { fileBytes: 2048 * MiB, touchedBytes: 1024 * MiB };
const QUICK: Sizes = { fileBytes: 256 * MiB, touchedBytes: 128 * MiB };
const DISK = '/var/tmp';

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
} satisfies ArgumentDefinitions;

type Described = Pick<Row, 'name' | 'title'> & { cells: readonly { id: string }[] };

/** Paths are those that somebody in the folder `from` means. Throws UsageError. */
export function parseOptions(argv: readonly string[], rows: readonly Described[], from: string): Parsed {
  const values = readArguments(argv, definitions);
  if (values.help) return { kind: 'help', text: helpText(rows) };
  const { quick } = values;
  const chosen = list('--rows', values.rows ?? [], [...rows.map((r) => r.name)]);
  const known = new Set(rows.filter((r) => chosen.length === 0 || chosen.includes(r.name)).flatMap((r) => r.cells.map((c) => c.id)));
  const cells = list('--cells', values.cells ?? [], [...known]);
  return {
    kind: 'options',
    options: {
      quick,
      rows: chosen.length === 0 ? rows.map((r) => r.name) : chosen,
      cells,
      rowsNamed: chosen.length > 0,
      runs: number('--runs', values.runs, /^\d+$/, quick ? 1 : 5, 1, 100),
      seconds: number('--seconds', values.seconds, /^\d+(\.\d+)?$/, quick ? 0.6 : 4, 0.1, 600),
      dir: folderPath('--dir', values.dir, from),
      json: place('--json', values.json, from),
      svg: place('--svg', values.svg, from),
      sizes: quick ? QUICK : FULL,
    },
  };
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

Each side has files of its own: 2 GiB allocated, 1 GiB of it written beforehand, 4 KiB at a time, and used (--quick: 256
and 128 MiB), in the page cache. NetRAID is run as people run it: real daemons, the intent log on, replies after all sync
targets. A quiet machine is wanted; the load average is shown. As root on Debian it installs the peers that are missing; what
is not there is named. The whole run takes more than an hour, and some 40 GiB in DIR for the time being; rows that have their
files in memory take 14 GiB of it, below ${TMPFS}. A run that is killed leaves folders nb-* in both.

Exit codes: 0 everything was measured, whether or not it is as fast as required; 1 something could not be measured; 2 wrong usage.
`;
}
