/** A configuration that can't be used: one line with file, line, field, what is wrong and what is allowed. */
export class ConfigError extends Error {
  readonly file: string;
  /** From 1; null where there is none (the environment, a file that is absent). */
  readonly line: number | null;
  readonly field: string;
  constructor(file: string, line: number | null, field: string, what: string) {
    super(`${file}${line === null ? '' : `:${String(line)}`}: ${field === '' ? '' : `${field}: `}${what}`);
    this.name = 'ConfigError';
    this.file = file;
    this.line = line;
    this.field = field;
  }
}

/** How a wrong value is shown: as JSON, cut short. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
