/**
 * A command line against the specification of its command. yargs splits and writes the help; what is allowed is said in
 * one voice here. A new instance for each parse: yargs keeps state.
 */
import yargs from 'yargs';
import { Args, label, type Value } from './args.ts';
import { EXIT_CODES_HELP, UsageError } from './exit.ts';
import { type CommandSpec, type Option, optionsOf, usageOf } from './spec.ts';

export type Parsed = { kind: 'help'; text: string } | { kind: 'args'; args: Args };

const configuration = {
  'boolean-negation': false,
  'camel-case-expansion': false,
  'dot-notation': false,
  'duplicate-arguments-array': true,
  'parse-numbers': false,
  'parse-positional-numbers': false,
};

/** `commandLabel` is how the command is called, such as `netraid create`. Throws UsageError. */
export async function parse(spec: CommandSpec, commandLabel: string, argv: readonly string[], columns: number): Promise<Parsed> {
  const options = optionsOf(spec);
  refuseValuesOfFlags(options, argv);
  let help = '';
  const parsed: unknown = await instance(spec, commandLabel, options, columns).parseAsync(
    [...argv],
    {},
    (_e: unknown, _argv: unknown, output: string) => {
      help = output;
    },
  );
  const given = parsed as Record<string, unknown>;
  if (given['help'] === true) return { kind: 'help', text: help };
  const values = new Map<string, Value>();
  const { _: rest } = given;
  const stray: unknown = Array.isArray(rest) ? rest[0] : undefined;
  if (stray !== undefined) throw new UsageError(`${JSON.stringify(stray)} is one argument too many`);
  for (const { name, choices, many } of options) keep(values, name, given[name], choices, many === true);
  for (const p of spec.positionals) {
    keep(values, p.name, given[p.name], p.choices, p.many === true);
    const value = values.get(p.name);
    const absent = value === undefined || value === '' || (typeof value === 'object' && value.length === 0);
    if (p.required && absent) throw new UsageError(`${p.name} is missing: ${p.describe}`);
  }
  return { kind: 'args', args: new Args(values) };
}

function instance(spec: CommandSpec, commandLabel: string, options: readonly Option[], columns: number) {
  const words = spec.positionals.map((p) => (p.many === true ? `[${p.name}..]` : `[${p.name}]`));
  const about = [usageOf(spec, commandLabel), '', spec.summary, ...(spec.detail === undefined ? [] : ['', spec.detail])];
  return yargs()
    .scriptName(commandLabel)
    .locale('en')
    .exitProcess(false)
    .showHelpOnFail(false)
    .version(false)
    .strict()
    .wrap(columns)
    .usage(about.join('\n'))
    .parserConfiguration(configuration)
    .alias('help', 'h')
    .describe('help', 'show this help')
    .epilogue(EXIT_CODES_HELP)
    .fail((message: string | null, e: Error | undefined) => {
      // Both are given where yargs found the fault itself.
      const known = message ?? e?.message ?? '';
      throw new UsageError(plain(known));
    })
    .command(
      ['$0', ...words].join(' '),
      spec.summary,
      (y) => {
        for (const p of spec.positionals)
          y.positional(p.name, { type: 'string', describe: withChoices(p.describe, p.choices), array: p.many === true });
        for (const o of options.filter((x) => x.name !== 'help')) {
          y.option(o.name, {
            describe: withChoices(o.value === undefined ? o.describe : `${o.value}: ${o.describe}`, o.choices),
            ...(o.value === undefined ? { type: 'boolean' as const } : { type: 'string' as const, requiresArg: true }),
            ...(o.alias === undefined ? {} : { alias: o.alias }),
          });
        }
        for (const [line, meaning] of spec.examples) y.example(line, meaning);
        return y;
      },
      () => undefined,
    );
}

function withChoices(describe: string, choices: readonly string[] | undefined): string {
  return choices === undefined ? describe : `${describe} (${choices.join(', ')})`;
}

/** yargs reads `--yes=please` as no. */
function refuseValuesOfFlags(options: readonly Option[], argv: readonly string[]): void {
  const end = argv.indexOf('--');
  for (const word of end < 0 ? argv : argv.slice(0, end)) {
    const name = /^--?([^=]+)=/.exec(word)?.[1];
    const flag = options.find((o) => o.value === undefined && (o.name === name || (o.alias !== undefined && o.alias === name)));
    if (flag !== undefined) throw new UsageError(`--${flag.name} takes no value`);
  }
}

function keep(values: Map<string, Value>, name: string, value: unknown, choices: readonly string[] | undefined, many = false): void {
  if (many && (Array.isArray(value) || typeof value === 'string')) {
    values.set(name, [value].flat().map(String));
    return;
  }
  if (Array.isArray(value)) {
    const known: unknown[] = value;
    if (!known.every((v) => v === true)) throw new UsageError(`${label(name)} is given twice`);
    values.set(name, true);
    return;
  }
  if (typeof value !== 'string' && typeof value !== 'boolean') return;
  if (typeof value === 'string' && choices !== undefined && !choices.includes(value)) {
    throw new UsageError(`${label(name)} ${JSON.stringify(value)} is not allowed; allowed: ${choices.join(', ')}`);
  }
  values.set(name, value);
}

/** What yargs finds wrong, in our words. */
function plain(message: string): string {
  const missing = /^Not enough arguments following: (.+)$/.exec(message)?.[1];
  if (missing !== undefined) return `--${missing} needs a value`;
  const unknown = /^Unknown (?:argument|command)s?: (.+)$/.exec(message)?.[1];
  return unknown === undefined ? message : `not known: ${unknown}`;
}
