/** How a scenario does not go as it says. */
import { Errno, type IoError } from '../io/types.ts';

/** The file is not a scenario: one line with file, line, field, what is wrong and what is allowed. */
export class ScenarioSyntaxError extends Error {
  readonly file: string;
  /** From 1; null where there is none, as for a file that is absent. */
  readonly line: number | null;
  readonly field: string;
  constructor(file: string, line: number | null, field: string, what: string) {
    super(`${file}${line === null ? '' : `:${String(line)}`}: ${field === '' ? '' : `${field}: `}${what}`);
    this.name = 'ScenarioSyntaxError';
    this.file = file;
    this.line = line;
    this.field = field;
  }
}

/** A value that was expected, and the one last seen. */
export interface Difference {
  field: string;
  expected: string;
  seen: string;
}

/** A step does not hold, or can't be carried out. */
export class StepFailure extends Error {
  readonly differences: readonly Difference[];
  /** `more`: what explains them, at the end because it may take several lines. */
  constructor(message: string, differences: readonly Difference[] = [], more = '') {
    const shown = differences.map((d) => `${d.field}: expected ${d.expected}, last seen ${d.seen}`);
    super([message, ...shown, more].filter((s) => s !== '').join('; '));
    this.name = 'StepFailure';
    this.differences = differences;
  }
}

/** The connection, and not the request, is what failed: the same request may be sent again on another. */
export function tellsOfConnection(e: IoError): boolean {
  const lost: readonly number[] = [
    Errno.ESHUTDOWN,
    Errno.ECONNRESET,
    Errno.EPIPE,
    Errno.ETIMEDOUT,
    Errno.ECONNREFUSED,
    Errno.ENOENT,
    Errno.EHOSTUNREACH,
    Errno.EAGAIN,
  ];
  return lost.includes(e.errno);
}
