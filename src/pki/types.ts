/** Words of the CA. */
import type { webcrypto } from 'node:crypto';
import type { Clock, Files } from '../io/types.ts';

/** What the CA works with. */
export interface PkiWorld {
  files: Files;
  clock: Clock;
  /** Keys, signatures, serials and secrets. */
  crypto: webcrypto.Crypto;
}

/** A node serves and connects to others; a client only connects. */
export type Kind = 'node' | 'client';

export type State = 'valid' | 'expired' | 'revoked';

/** A certificate that the CA has issued. */
export interface Certificate {
  name: string;
  kind: Kind;
  /** Host names and addresses besides the name; addresses in their short form. */
  hosts: readonly string[];
  /** 32 hex digits in lower case. */
  serial: string;
  /** Milliseconds since 1970, first and last moment. */
  fromMs: number;
  untilMs: number;
}

export interface Issued extends Certificate {
  state: State;
}

/** What was asked for can not be done, or what was found is not what it should be; for people. */
export class PkiError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PkiError';
  }
}
