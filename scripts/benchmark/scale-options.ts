/** The command line of scripts/bench-scale. Pure. */
import { type ArgumentDefinitions, folderPath, list, number, place, readArguments, TMPFS } from './arguments.ts';
import { AXES, type Axis, type AxisName } from './scale-types.ts';

export interface ScaleOptions {
  quick: boolean;
  axes: AxisName[];
  /** Empty: all, or those of --quick. */
  points: string[];
  runs: number;
  seconds: number;
  dir: string;
  json: string | undefined;
  svg: string | undefined;
}

export type ScaleParsed = { kind: 'help'; text: string } | { kind: 'options'; options: ScaleOptions };

const definitions = {
  quick: { type: 'boolean', default: false },
  axes: { type: 'string', multiple: true },
  points: { type: 'string', multiple: true },
  runs: { type: 'string' },
  seconds: { type: 'string' },
  dir: { type: 'string', default: TMPFS },
  json: { type: 'string' },
  svg: { type: 'string' },
  help: { type: 'boolean', default: false },
} satisfies ArgumentDefinitions;

/** Paths are those that somebody in the folder `from` means. Throws UsageError. */
export function parseScaleOptions(argv: readonly string[], axes: readonly Axis[], from: string): ScaleParsed {
  const values = readArguments(argv, definitions);
  if (values.help) return { kind: 'help', text: helpText(axes) };
  const { quick } = values;
  const named = new Set(list('--axes', values.axes ?? [], AXES));
  const chosen = axes.filter((a) => named.size === 0 || named.has(a.name));
  const labels = [...new Set(chosen.flatMap((a) => a.points.map((p) => p.label)))];
  return {
    kind: 'options',
    options: {
      quick,
      axes: chosen.map((a) => a.name),
      points: list('--points', values.points ?? [], labels),
      runs: number('--runs', values.runs, /^\d+$/, quick ? 1 : 3, 1, 100),
      seconds: number('--seconds', values.seconds, /^\d+(\.\d+)?$/, quick ? 0.5 : 2, 0.1, 60),
      dir: folderPath('--dir', values.dir, from),
      json: place('--json', values.json, from),
      svg: place('--svg', values.svg, from),
    },
  };
}

function helpText(axes: readonly Axis[]): string {
  const lines = axes.map((a) => `    ${a.name.padEnd(9)}${a.title}\n             ${a.points.map((p) => p.label).join(', ')}`);
  return `scripts/bench-scale [options]

What NetRAID costs as devices, dirty regions, targets and writes grow, on this machine: how long it takes from the start of a
daemon to a mirror in service, memory of the daemon, CPU a write, size of the bitmap file and how long it takes to open, and
how soon a partial resync is decided on. Ends with the figures that are required.

  --quick           two minutes in all: the ends of each axis, one short run each
  --axes NAME,...   these axes alone
  --points NAME,... these points of them alone
  --runs N          runs of each point (default 3; with --quick 1)
  --seconds N       of writing, in each run (default 2; with --quick 0.5)
  --dir DIR         where the files lie: a folder, or tmpfs for ${TMPFS} (default tmpfs)
  --json FILE       writes every figure of every run there
  --svg DIR         writes a chart of each axis there
  --help            this page

  Axes, and their points:
${lines.join('\n')}

Examples:
  scripts/bench-scale --quick
  scripts/bench-scale --axes size,dirty --json scale.json --svg charts
  scripts/bench-scale --axes dirty --points 100000 --runs 5

Each point is a mirror of its own, of real daemons with their default settings, the intent log on, regions of 256 KiB. Legs are
sparse files; on a file system that has no files of 64 TiB (ext4: 16 TiB) those points are named as not measured. Writes are
random, 32 in flight, in 256 MiB of the device; along the axis size also all over it. Dirty regions are spread evenly over the
device, by the code that the daemon writes its bitmap file with. A quiet machine is wanted; the load average is shown. The
whole run takes about a quarter of an hour, and some 4 GiB in DIR for the time being. fio is needed, and installed as root on
Debian.

Exit codes: 0 everything was measured, whether or not it is as required; 1 something could not be measured; 2 wrong usage.
`;
}
