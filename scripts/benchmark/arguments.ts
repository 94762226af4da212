/** What the benchmarks have in common about what is typed. Pure. Whatever is not allowed throws UsageError. */
import path from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';

export type ArgumentDefinitions = NonNullable<ParseArgsConfig['options']>;

/** What `tmpfs` stands for. */
export const TMPFS = '/dev/shm';

/** What was typed is not allowed: one line that says what is. */
export class UsageError extends Error {}

export function readArguments<T extends ArgumentDefinitions>(
  argv: readonly string[],
  options: T,
): ReturnType<typeof parseArgs<{ options: T }>>['values'] {
  try {
    return parseArgs({ args: [...argv], options, strict: true }).values;
  } catch (e: unknown) {
    // Its first sentence says which option; the rest is about other programs.
    if (e instanceof TypeError) throw new UsageError(e.message.split('. ')[0]?.replaceAll('\n', ' ') ?? '');
    throw e;
  }
}

/** A folder, or the word tmpfs. */
export function folderPath(option: string, given: string, from: string): string {
  place(option, given, from);
  return given === 'tmpfs' ? TMPFS : path.resolve(from, given);
}

/** Undefined when nothing was given. */
export function place(option: string, given: string | undefined, from: string): string | undefined {
  if (given === '') throw new UsageError(`${option} is empty: allowed is a path`);
  return given === undefined ? undefined : path.resolve(from, given);
}

/** Words, by commas or again and again, each once. */
export function list(option: string, given: readonly string[], allowed: readonly string[]): string[] {
  const words = given.flatMap((g) => g.split(','));
  const stranger = words.find((w) => !allowed.includes(w));
  if (stranger !== undefined) throw new UsageError(`${option} ${JSON.stringify(stranger)}: allowed are ${allowed.join(', ')}`);
  return [...new Set(words)];
}

export function number(option: string, given: string | undefined, shape: RegExp, usual: number, min: number, max: number): number {
  if (given === undefined) return usual;
  const n = Number(given);
  if (!shape.test(given) || n < min || n > max) {
    throw new UsageError(`${option} ${JSON.stringify(given)}: allowed is a number from ${String(min)} to ${String(max)}`);
  }
  return n;
}
