/** What a command is, as data: its help, its completion and its parser all come from this. */
import type { Run } from './world.ts';

export interface Positional {
  /** Upper case, as help shows it. */
  name: string;
  describe: string;
  required: boolean;
  /** Takes all that follows; only the last one may. */
  many?: boolean;
  choices?: readonly string[];
}

export interface Option {
  /** Without the dashes. */
  name: string;
  describe: string;
  /** Upper case, what its value is called; undefined: a flag. */
  value?: string;
  alias?: string;
  /** With a value: may be given again, for more. */
  many?: boolean;
  choices?: readonly string[];
}

export interface CommandSpec {
  /** One word, or two: a command of a group, such as `pki init`. */
  name: string;
  summary: string;
  /** More than the summary, below the usage line. */
  detail?: string;
  positionals: readonly Positional[];
  options: readonly Option[];
  examples: readonly (readonly [line: string, meaning: string])[];
  /** Imported only when the command runs. */
  load(): Promise<Run>;
}

const json: Option = { name: 'json', describe: 'print JSON' };

export const yes: Option = { name: 'yes', alias: 'y', describe: 'do not ask; for scripts' };

const common: readonly Option[] = [
  { name: 'root', value: 'DIR', describe: "the node's folder; default: NETRAID_ROOT or /var/lib/netraid" },
  { name: 'socket', value: 'PATH', describe: "the daemon's socket; default: ROOT/run/control.sock" },
  { name: 'help', alias: 'h', describe: 'show this help' },
];

/** Of every command, but for `--help`, which the parser itself answers. */
export function optionsOf(spec: CommandSpec): Option[] {
  return [...spec.options, json, ...common];
}

/** `netraid create TAG LEG [options]` */
export function usageOf(spec: CommandSpec, label: string): string {
  const words = spec.positionals.map((p) => {
    const word = p.many === true ? `${p.name}...` : p.name;
    return p.required ? word : `[${word}]`;
  });
  return [label, ...words, '[options]'].join(' ');
}
