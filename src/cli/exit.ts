/** How a command ends. */
export const ExitCode = { OK: 0, REFUSED: 1, USAGE: 2, UNREACHABLE: 3 } as const;

export const EXIT_CODES_HELP =
  'Exit codes: 0 done; 1 refused or failed; 2 wrong usage, or not confirmed: nothing was changed; 3 the daemon can not be reached.';

/** The command line is not one: what, and what is allowed. Nothing has been changed. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** A command that was understood and is not carried out, or failed on this side of the daemon. */
export class RefusedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RefusedError';
  }
}

/** Text of others on a terminal: no line breaks, no escape sequences. */
export function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
}
