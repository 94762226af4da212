/** What a peer may cost before it is in transmission. */

export interface HandshakeLimits {
  /** From the greeting to transmission, all options together. */
  handshakeTimeoutMs: number;
  optionsMax: number;
  /** Data of one option that is looked at; a longer one is thrown away and answered TOO_BIG. */
  optionMaxBytes: number;
  /** Data of one option that is thrown away; a longer one closes the connection. */
  discardMaxBytes: number;
  /** Replies the peer has not taken; more closes the connection. */
  unsentMaxBytes: number;
  /** How long a connection that was ended may take to send its last replies. */
  lingerMs: number;
}

export const DEFAULT_HANDSHAKE_LIMITS: HandshakeLimits = {
  handshakeTimeoutMs: 10_000,
  optionsMax: 64,
  optionMaxBytes: 64 * 1024,
  discardMaxBytes: 1024 * 1024,
  unsentMaxBytes: 1024 * 1024,
  lingerMs: 2000,
};
