/**
 * TLS on a socket that both ends have agreed to secure: between nodes, and with NBD clients after STARTTLS. The real one is
 * src/io/node/tls.ts; tests have their own.
 *
 * X.509: both ends show a certificate of the same CA. PSK: both know the key of a user.
 */
import { AddressRanges } from './address-ranges.ts';
import type { Address, IoSocket } from './types.ts';

/** Whom the other end has proved to be. */
export interface TlsPeer {
  by: 'certificate' | 'psk';
  /** Certificate: its common name, then the host names of its subjectAltName. PSK: the user. */
  names: readonly string[];
  /** It may be a node: the certificate is for servers too (extended key usage), as a client's is not. */
  mayServe: boolean;
}

export interface SecureSocket extends IoSocket {
  /** Null: it has proved nothing that we take, and `refusal` says why. */
  readonly peer: TlsPeer | null;
  /** For people; empty when there is a peer. */
  readonly refusal: string;
}

/** What a node proves with who it is. */
export interface TlsState {
  by: TlsPeer['by'][];
  /** When its own certificate ends, ISO 8601; null: it has none. */
  expires: string | null;
  /** The kernel encrypts what the engines of two nodes send each other; otherwise Node does. */
  kernel: boolean;
}

export interface Tls {
  readonly state: TlsState;
  /**
   * As the server; `early` are bytes of the handshake that have come already. Resolves also for a client that is not to be
   * taken, so that it can be told. Rejects with IoError when the handshake fails or takes longer. `of`: who is on the other side, if it
   * proves to be what it should.
   */
  accept(s: IoSocket, early: Uint8Array, timeoutMs: number, of: 'node' | 'client'): Promise<SecureSocket>;
  /** As the client; the server must prove to be that node. Rejects with IoError, EACCES where it does not; the socket is closed then. */
  connect(s: IoSocket, node: string, timeoutMs: number): Promise<SecureSocket>;
}

/** By what an NBD server proves who it is, and we to it, as its URI says. */
export interface ServerProof {
  /** What its certificate must be for: a host name, or an IP address. */
  host: string;
  /** Folder with ca-cert.pem and, where it asks for a certificate of ours, client-cert.pem and client-key.pem; null: this node's own. */
  certificates: string | null;
  /** File of lines USER:KEY: both prove themselves by that user's key, and show no certificate; null: by certificates. */
  pskFile: string | null;
  /** Null: the one that is called as this node is. */
  user: string | null;
}

/** Towards NBD servers that are none of our nodes. */
export interface ClientTls {
  /** Rejects with IoError when the server has not proved who it is, within this time; the socket is closed then. */
  connect(s: IoSocket, server: ServerProof, timeoutMs: number): Promise<IoSocket>;
}

/**
 * Connections between nodes. `auto`: all but those over loopback are secured. `allowed`: those that both ends can secure; while nodes
 * are moved from one of the others to another, for whoever is in between can see to it that none is.
 */
export type LinkTlsMode = 'auto' | 'required' | 'allowed' | 'off';

/** NBD clients over TCP: STARTTLS is not offered, offered, or needed. */
export type ExportTlsMode = 'off' | 'allowed' | 'required';

/** What a TLS connection begins with (RFC 8446, 5.1: a handshake record), and neither a hello between nodes nor NBD does. */
export const TLS_FIRST_BYTE = 0x16;

const loopback = new AddressRanges(['127.0.0.0/8', '::1']);

/** `remote`: see IoSocket.remote. */
export function fromLoopback(remote: string): boolean {
  return remote.startsWith('unix:') || loopback.has(remote);
}

/** Of a name only `localhost` is known to be this machine. */
export function toLoopback(a: Address): boolean {
  return a.kind === 'unix' || a.host === 'localhost' || loopback.has(`${a.host}:${String(a.port)}`);
}
