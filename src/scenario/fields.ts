/** Fields of a scenario file: each says, when it refuses a value, what is allowed. */
import { z } from 'zod';
import { shown } from '../control/config-error.ts';
import { DURATION_ALLOWED, parseDuration, parseSize, SIZE_ALLOWED } from '../control/units.ts';
import type { NodeName } from '../failover/types.ts';
import type { Comparison, Range, Seed } from './types.ts';

const WAIT_MAX_MS = 24 * 3_600_000;

/** A required field: `parse` answers undefined for what is not allowed; `why` says more of that, where it can. */
export function field<T>(allowed: string, parse: (value: unknown) => T | undefined, why?: (value: unknown) => string | undefined) {
  return z.unknown().transform((value, ctx): T => {
    const parsed = value === undefined ? undefined : parse(value);
    if (parsed !== undefined) return parsed;
    const what = value === undefined ? 'is missing' : (why?.(value) ?? `${shown(value)} is not allowed`);
    ctx.issues.push({ code: 'custom', message: `${what}; allowed: ${allowed}`, input: value });
    return z.NEVER;
  });
}

/** One that may be left out. */
export function optional<T, F>(schema: z.ZodType<T>, fallback: F) {
  return schema.optional().transform((value): T | F => value ?? fallback);
}

/** Fields with values, no others than these. `what`: how the whole is described where something else stands. */
export function fieldsOf<S extends z.ZodRawShape>(shape: S) {
  const names = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? `is not known; allowed: ${names}` : `${shown(issue.input)} is not allowed; allowed: {${names}}`,
  });
}

export const flag = field('true or false', (v) => (typeof v === 'boolean' ? v : undefined));

export const text = (allowed: string) => field(allowed, (v) => (typeof v === 'string' && v.trim() !== '' ? v : undefined));

export const integer = (min: number, max: number) =>
  field(`a whole number from ${String(min)} to ${String(max)}`, (v) =>
    typeof v === 'number' && Number.isInteger(v) && v >= min && v <= max ? v : undefined,
  );

export const choice = <const T extends string>(...allowed: T[]) => field(allowed.join(', '), (v) => allowed.find((a) => a === v));

const sizeOf = (v: unknown): number | undefined => (typeof v === 'string' || typeof v === 'number' ? parseSize(String(v)) : undefined);

/** A plain number is a number of bytes. */
export const size = (min: number, max: number, more = '') =>
  field(`${SIZE_ALLOWED}${more}, from ${String(min)} to ${String(max)} bytes`, (v) => {
    const n = sizeOf(v);
    return n !== undefined && n >= min && n <= max ? n : undefined;
  });

export const duration = field(`${DURATION_ALLOWED}, at most 24h`, (v) => {
  const ms = typeof v === 'string' ? parseDuration(v) : undefined;
  // Nothing needs a unit where there is nothing.
  if (v === 0) return 0;
  return ms !== undefined && ms <= WAIT_MAX_MS ? ms : undefined;
});

export const SEED_MAX = Number.MAX_SAFE_INTEGER;
const seedOf = (v: unknown): number | undefined => (typeof v === 'number' && Number.isInteger(v) && v >= 0 && v <= SEED_MAX ? v : undefined);

export const seed = field('a whole number, 0 or more', seedOf);

export const seedOrZero = field('a whole number, 0 or more; zero for zeroes', (v): Seed | undefined => (v === 'zero' ? 'zero' : seedOf(v)));

/** A range of sizes in multiples of `unit`; a single size is one that begins and ends there. */
export const range = (unit: number, max: number) =>
  field(`SIZE..SIZE in multiples of ${String(unit)} bytes, the first not above the second, at most ${String(max)} bytes`, (v): Range | undefined => {
    if (typeof v !== 'string' && typeof v !== 'number') return undefined;
    const [a, b, more] = String(v).split('..');
    const from = sizeOf(a?.trim());
    const to = b === undefined ? from : sizeOf(b.trim());
    if (from === undefined || to === undefined || more !== undefined) return undefined;
    return from <= to && to <= max && from % unit === 0 && to % unit === 0 ? { from, to } : undefined;
  });

const COMPARISON_ALLOWED = '<, <=, >, >= or == and a size, such as "<= 2MiB"';

export const comparison = field(COMPARISON_ALLOWED, (v): Comparison | undefined => {
  const m = typeof v === 'string' ? /^\s*(<=|>=|==|<|>)\s*(.*?)\s*$/.exec(v) : null;
  const operator = (['<=', '>=', '==', '<', '>'] as const).find((o) => o === m?.[1]);
  const bytes = sizeOf(m?.[2]);
  return operator === undefined || bytes === undefined ? undefined : { operator, bytes };
});

export const pattern = field('a regular expression', (v): RegExp | undefined => {
  if (typeof v !== 'string') return undefined;
  try {
    return new RegExp(v, 'm');
  } catch (e: unknown) {
    if (e instanceof SyntaxError) return undefined;
    throw e;
  }
});

/** YAML reads a name of digits as a number. */
export const nameOf = (v: unknown): string | undefined => (typeof v === 'string' || typeof v === 'number' ? String(v) : undefined);

export interface NodeFields {
  node: z.ZodType<NodeName>;
  /** One or several. */
  nodeOrNodes: z.ZodType<NodeName[]>;
  /** At least `min`, each once. */
  nodes: (min: number) => z.ZodType<NodeName[]>;
  link: z.ZodType<[NodeName, NodeName]>;
  /** One thing for each of some nodes. */
  perNode: <T>(schema: z.ZodType<T>) => z.ZodType<Record<NodeName, T>>;
  /** Which entry of a list of nodes is wrong; undefined: none, or it is no list. */
  listFault: (value: unknown) => string | undefined;
}

export function nodeFields(names: readonly NodeName[]): NodeFields {
  const known = names.join(', ');
  const one = (v: unknown): NodeName | undefined => names.find((n) => n === nameOf(v));
  const several = (v: unknown, min: number): NodeName[] | undefined => {
    if (!Array.isArray(v)) return undefined;
    const found = v.map(one).filter((n) => n !== undefined);
    return found.length === v.length && found.length >= min && new Set(found).size === found.length ? found : undefined;
  };
  const listFault = (v: unknown): string | undefined => {
    if (!Array.isArray(v)) return undefined;
    const list: unknown[] = v;
    const unknown = list.find((x) => one(x) === undefined);
    if (unknown !== undefined) return `${shown(unknown)} in ${shown(v)} is not known`;
    const twice = list.find((x, i) => list.slice(0, i).some((y) => one(y) === one(x)));
    return twice === undefined ? undefined : `${shown(twice)} stands in ${shown(v)} twice`;
  };
  const key = z.string().refine((n) => names.includes(n), { error: `is not known; allowed: ${known}` });
  return {
    node: field(`one of ${known}`, one),
    nodeOrNodes: field(`one of ${known}, or a list of them, each once`, (v) => (Array.isArray(v) ? several(v, 1) : several([v], 1)), listFault),
    nodes: (min) => field(`a list of at least ${String(min)} of ${known}, each once`, (v) => several(v, min), listFault),
    link: field(
      `[NODE, NODE], two of ${known}`,
      (v): [NodeName, NodeName] | undefined => {
        const [a, b, more] = several(v, 2) ?? [];
        return a === undefined || b === undefined || more !== undefined ? undefined : [a, b];
      },
      listFault,
    ),
    listFault,
    perNode: (schema) =>
      z.record(key, schema, {
        error: (issue) => (issue.code === 'invalid_key' ? undefined : `${shown(issue.input)} is not allowed; allowed: {NODE: …}`),
      }),
  };
}
