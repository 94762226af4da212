/** What a handshake can end with, so that callers decide by kind and people read one line. */
import { IoError } from '../io/types.ts';

export type HandshakeFailure =
  /** No answer within the deadline. */
  | 'timeout'
  /** The connection ended before the handshake did. */
  | 'closed'
  /** The peer does not speak NBD. */
  | 'not-nbd'
  /** NBD, but a style without option haggling. */
  | 'too-old'
  /** The server broke the protocol, or sent something beyond a bound. */
  | 'protocol'
  /** The server has no such export. */
  | 'unknown-export'
  /** The server wants TLS first. */
  | 'tls-required'
  /** TLS did not come about: it, or we, did not prove enough. */
  | 'tls'
  /** The server said no for another reason (policy, shutdown, an error of its own). */
  | 'refused';

export class HandshakeError extends IoError {
  readonly failure: HandshakeFailure;
  constructor(failure: HandshakeFailure, errno: number, message: string) {
    super(errno, message);
    this.name = 'HandshakeError';
    this.failure = failure;
  }
}

/** Characters of a server's own text that are shown. */
const TEXT_MAX_CHARS = 256;

/** A server's text made fit for one log line: UTF-8 decoded, control characters and line breaks become spaces, bounded. */
export function cleanText(bytes: Uint8Array): string {
  // A code point takes at most four bytes, so that no more than this has to be decoded.
  const text = new TextDecoder('utf-8').decode(bytes.subarray(0, TEXT_MAX_CHARS * 4));
  const clean = text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/ {2,}/g, ' ')
    .trim();
  const chars = Array.from(clean);
  return chars.length > TEXT_MAX_CHARS ? `${chars.slice(0, TEXT_MAX_CHARS).join('')}…` : clean;
}
