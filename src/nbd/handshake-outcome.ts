/** What a handshake of the server is given, and what comes of it. */
import type { PullSocket } from '../io/pull-socket.ts';
import type { IoSocket } from '../io/types.ts';
import type { ExportTls } from './access.ts';
import type { Device } from './device.ts';
import type { Lookup } from './export-lookup.ts';
import type { HandshakeLimits } from './handshake-limits.ts';
import type { SelectedContext } from './meta-contexts.ts';

export type HandshakeOutcome =
  | {
      kind: 'transmission';
      exportName: string;
      device: Device;
      structuredReplies: boolean;
      /** Structured replies too, then. */
      extendedHeaders: boolean;
      /** Requests that change anything are refused. */
      readOnly: boolean;
      metaContexts: readonly SelectedContext[];
      /** The one that was given, or that of TLS over it: detached and paused. */
      socket: IoSocket;
      /** Bytes that arrived behind the handshake. */
      early: Uint8Array;
    }
  /** `orderly`: the client said ABORT, or left between two options. */
  | { kind: 'closed'; orderly: boolean; why: string };

export interface HandshakeOptions extends Lookup {
  limits: HandshakeLimits;
  /** Offered; absent: they are. */
  extendedHeaders?: boolean;
  /** Told of each device that a client is about to use, before the client is told. */
  onExport?: (device: Device) => void;
  /** Absent: STARTTLS is not offered. */
  tls?: ExportTls;
  /** Told of the connection as it goes on after STARTTLS. */
  onSecured?: (pull: PullSocket) => void;
  /** Told that a client has proved nothing that is taken. */
  onUnproved?: (why: string) => void;
}
