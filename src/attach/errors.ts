/** Why attaching, detaching or mounting did not happen: one line that says what, where, and what is allowed. */
export type AttachErrorKind =
  /** A program is not installed; the message names its Debian package. */
  | 'missing-program'
  /** An argument that cannot be right. */
  | 'invalid'
  /** Not done because it would harm: mounted, in use, holds a filesystem, attached already. */
  | 'refused'
  /** A command or a wait passed its deadline. */
  | 'timeout'
  /** A command or a system call said no. */
  | 'failed';

export class AttachError extends Error {
  readonly kind: AttachErrorKind;
  constructor(kind: AttachErrorKind, message: string) {
    super(message);
    this.name = 'AttachError';
    this.kind = kind;
  }
}

export function isErrno(e: unknown, ...codes: string[]): boolean {
  return e instanceof Error && 'code' in e && typeof e.code === 'string' && codes.includes(e.code);
}

/** The one line of an error, whatever was thrown. */
export function reasonOf(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
