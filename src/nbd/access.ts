/** What a peer may do with an export. `none`: it is neither shown nor opened to that peer. */
export type Access = 'none' | 'read-only' | 'full';

/** Judges peers of an address that a server listens on, by where they come from. */
export interface ExportAccess {
  /** `remote`: see `IoSocket.remote`. Also of names of which there is no export. */
  to(name: string, remote: string): Access;
  /** False: there is nothing for this peer, whatever exports there will be. */
  toAny(remote: string): boolean;
}
