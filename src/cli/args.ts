/** What was given to a command, read by name. Each reader throws a UsageError that says what is wrong and what is allowed. */
import { StateError, validateNodeName, validateTag } from '../failover/paths.ts';
import { DURATION_ALLOWED, parseDuration, parseSize, SIZE_ALLOWED } from '../control/units.ts';
import { UsageError } from './exit.ts';

export type Value = string | boolean | readonly string[];

export class Args {
  readonly #values: ReadonlyMap<string, Value>;

  constructor(values: ReadonlyMap<string, Value>) {
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#values.get(name) === true;
  }

  optional(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === 'string' ? value : undefined;
  }

  text(name: string): string {
    const value = this.optional(name);
    if (value === undefined || value === '') throw new UsageError(`${label(name)} is missing`);
    return value;
  }

  list(name: string): readonly string[] {
    const value = this.#values.get(name);
    return typeof value === 'object' ? value : [];
  }

  /** One of `allowed`, undefined when it was not given. The parser has checked it against the same choices. */
  choice<T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const value = this.optional(name);
    return allowed.find((a) => a === value);
  }

  tag(name = 'TAG'): string {
    return named(name, this.text(name), validateTag);
  }

  optionalTag(name = 'TAG'): string | undefined {
    return this.optional(name) === undefined ? undefined : this.tag(name);
  }

  node(name: string): string {
    return named(name, this.text(name), validateNodeName);
  }

  nodes(name: string): string[] {
    return this.list(name).map((n) => named(name, n, validateNodeName));
  }

  /** Of a leg; it may lie on another node, so that a relative one would mean nothing. */
  absolutePath(name: string): string {
    const path = this.text(name);
    if (!path.startsWith('/'))
      throw new UsageError(`${label(name)} ${JSON.stringify(path)} is not allowed; allowed: an absolute path of a file or block device`);
    return path;
  }

  size(name: string): number | undefined {
    return this.#parsed(name, SIZE_ALLOWED, (text) => {
      const size = parseSize(text);
      return size === 0 ? undefined : size;
    });
  }

  durationMs(name: string): number | undefined {
    return this.#parsed(name, DURATION_ALLOWED, parseDuration);
  }

  integer(name: string, min: number, max: number): number | undefined {
    return this.#parsed(name, `a whole number from ${String(min)} to ${String(max)}`, (text) => {
      const n = /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
      return n !== undefined && n >= min && n <= max ? n : undefined;
    });
  }

  #parsed(name: string, allowed: string, parse: (text: string) => number | undefined): number | undefined {
    const text = this.optional(name);
    if (text === undefined) return undefined;
    const value = parse(text);
    if (value === undefined) throw new UsageError(`${label(name)} ${JSON.stringify(text)} is not allowed; allowed: ${allowed}`);
    return value;
  }
}

/** Positionals are upper case, options are shown with their dashes. */
export function label(name: string): string {
  return name === name.toUpperCase() ? name : `--${name}`;
}

/** `value` when `check` takes it. Throws UsageError. */
export function named(name: string, value: string, check: (text: string, where: string) => string): string {
  try {
    return check(value, label(name));
  } catch (e: unknown) {
    if (e instanceof StateError) throw new UsageError(e.message);
    throw e;
  }
}
