import type { ExportTlsMode, Tls } from '../io/tls.ts';

/** What a peer may do with an export. `none`: it is neither shown nor opened to that peer; `needs-tls`: not before that has proved by TLS who it is. */
export type Access = 'none' | 'needs-tls' | 'read-only' | 'full';

/** STARTTLS on an address that a server listens on. */
export interface ExportTls {
  tls: Tls;
  mode: Exclude<ExportTlsMode, 'off'>;
}

/** Judges peers of an address that a server listens on, by where they come from and by what they have proved. */
export interface ExportAccess {
  /** `remote`: see `IoSocket.remote`; `proved`: names of `TlsPeer`, null without TLS. Also of names of which there is no export. */
  to(name: string, remote: string, proved: readonly string[] | null): Access;
  /** False: there is nothing for this peer, whatever exports there will be and whatever it proves. */
  toAny(remote: string): boolean;
}
