/**
 * What Node makes of a set of certificates and keys, kept for as long as the set is in use: to parse them for each connection
 * costs more than the handshake.
 *
 *   connect   one context for all
 *   accept    a Server, which has one, for each handshake that is under way: Node's Server says of none of its connections which it
 *             was. It is used again once its handshake has ended, and so has one at a time.
 *
 * Invariants
 * - no session is taken up again though contexts are shared: no tickets, and Node keeps no sessions by itself
 * - whoever comes after a new set was read gets what was made of that one (see NodeTls)
 */
import { constants } from 'node:crypto';
import type { Duplex } from 'node:stream';
import {
  createSecureContext,
  createServer,
  DEFAULT_CIPHERS,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
} from 'node:tls';
import type { TlsMaterial } from './tls-files.ts';

/** Those with forward secrecy first; all of them say PSK in their name, and all are of TLS 1.2. */
export const PSK_CIPHERS =
  'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256';

/** Node's own choice, which rules out PSK for good. */
const CERTIFICATE_CIPHERS = DEFAULT_CIPHERS.split(':')
  .filter((c) => c !== '!PSK')
  .join(':');

/** Servers that wait for a handshake; of a crowd that has passed no more are kept. */
const IDLE_MAX = 16;

/** A client may have no certificate of its own. */
type Context = Pick<NonNullable<TlsMaterial['x509']>, 'ca' | 'crl'> & { cert: Uint8Array | null; key: Uint8Array | null };

export function contextOf(x: Context): SecureContextOptions {
  const buffer = (b: Uint8Array): Buffer => Buffer.from(b.buffer, b.byteOffset, b.byteLength);
  const own = x.cert === null || x.key === null ? {} : { cert: buffer(x.cert), key: buffer(x.key) };
  return { ca: buffer(x.ca), ...own, ...(x.crl.length === 0 ? {} : { crl: x.crl.map(buffer) }) };
}

/** The end of a handshake as a server. */
export interface AcceptEnd {
  /** `user`: named in it for PSK; empty when none was. */
  done(t: TLSSocket, user: string): void;
  failed(e: unknown): void;
  /** A line of Node's key log; where secrets are told. */
  secret(line: Buffer): void;
}

interface OneServer {
  readonly server: Server;
  /** Undefined: it has none in hand. */
  end: AcceptEnd | undefined;
}

export class TlsContexts {
  readonly material: TlsMaterial;
  readonly #tellSecrets: boolean;
  readonly #idle: OneServer[] = [];
  /** The user that each connection has named. */
  readonly #users = new WeakMap<TLSSocket, string>();
  #client: SecureContext | undefined;
  #made = 0;

  /** `tellSecrets`: to whoever has begun a handshake as the server. */
  constructor(material: TlsMaterial, tellSecrets = false) {
    this.material = material;
    this.#tellSecrets = tellSecrets;
  }

  /** Contexts made so far. */
  get made(): number {
    return this.#made;
  }

  /** To connect with: by the certificate, or where there is none by a key. */
  client(): SecureContext {
    const { x509 } = this.material;
    if (this.#client === undefined) {
      this.#made += 1;
      this.#client = createSecureContext({
        ...(x509 !== null ? contextOf(x509) : { ciphers: PSK_CIPHERS, maxVersion: 'TLSv1.2' as const }),
        minVersion: 'TLSv1.2',
      });
    }
    return this.#client;
  }

  /** Begins a handshake as the server; one of `end` is called, unless `raw` closes before. */
  accept(raw: Duplex, end: AcceptEnd): void {
    const one = this.#idle.pop() ?? this.#server();
    one.end = end;
    one.server.emit('connection', raw);
  }

  #server(): OneServer {
    const { x509, psk } = this.material;
    this.#made += 1;
    const server = createServer({
      ...(x509 === null ? {} : contextOf(x509)),
      requestCert: x509 !== null,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      // No ticket and no session of ours: nobody comes in with what was proved earlier.
      secureOptions: constants.SSL_OP_NO_TICKET,
      ...(psk === null
        ? {}
        : {
            maxVersion: 'TLSv1.2' as const,
            dhparam: 'auto',
            ciphers: x509 === null ? PSK_CIPHERS : `${PSK_CIPHERS}:${CERTIFICATE_CIPHERS}`,
            pskCallback: (socket: TLSSocket, identity: string) => {
              this.#users.set(socket, identity);
              return psk.get(identity) ?? null;
            },
          }),
    });
    const one: OneServer = { server, end: undefined };
    // Of each connection Node tells one of the two, once. A handshake that was cut off here keeps its server until then.
    const ended = (): AcceptEnd | undefined => {
      const { end } = one;
      one.end = undefined;
      if (end !== undefined && this.#idle.length < IDLE_MAX) this.#idle.push(one);
      return end;
    };
    server.on('secureConnection', (t) => {
      ended()?.done(t, this.#users.get(t) ?? '');
    });
    if (this.#tellSecrets) {
      server.on('keylog', (line: Buffer) => {
        one.end?.secret(line);
      });
    }
    server.on('tlsClientError', (e) => {
      ended()?.failed(e);
    });
    return one;
  }
}
