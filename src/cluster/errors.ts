/** The one error that talking between nodes can end in. Handlers throw it with a code of their own to answer with that code. */
import { Errno, IoError } from '../io/types.ts';
import { FrameError } from './frame.ts';

/** The codes this room uses itself. */
export const ClusterCode = {
  /** No connection to the peer: nothing was sent. */
  UNREACHABLE: 'unreachable',
  /** The connection broke after sending: whether the peer acted is unknown. */
  LOST: 'lost',
  /** No answer in time: whether the peer acted is unknown. */
  TIMEOUT: 'timeout',
  /** A limit is reached, here or at the peer. */
  BUSY: 'busy',
  /** The message does not fit into a frame. */
  TOO_LARGE: 'too-large',
  /** The cluster was stopped, or the peer removed. */
  CLOSED: 'closed',
  REFUSED: 'refused',
  /** The other side does not speak as agreed. */
  PROTOCOL: 'protocol',
  /** No protocol version in common. */
  VERSION: 'version',
  WRONG_CLUSTER: 'wrong-cluster',
  /** The address belongs to another node than the one meant. */
  WRONG_NODE: 'wrong-node',
  UNKNOWN_NODE: 'unknown-node',
  /** A second daemon uses the name of one that is alive. */
  DUPLICATE: 'duplicate',
  NO_METHOD: 'no-method',
  INVALID_PARAMS: 'invalid-params',
  INTERNAL: 'internal',
} as const;

export class ClusterError extends Error {
  /** One of ClusterCode, or a handler's own. */
  readonly code: string;
  /** The node that answered with this error; null: it arose here. */
  readonly from: string | null;
  constructor(code: string, message: string, from: string | null = null) {
    super(message);
    this.name = 'ClusterError';
    this.code = code;
    this.from = from;
  }
}

/** What went wrong while connecting or shaking hands, as a ClusterError; a broken invariant is passed on as it is. */
export function asClusterError(e: unknown, doing: string): ClusterError {
  if (e instanceof ClusterError) return e;
  if (e instanceof FrameError) return new ClusterError(ClusterCode.PROTOCOL, `${doing}: ${e.message}`);
  if (e instanceof IoError) {
    return new ClusterError(e.errno === Errno.ETIMEDOUT ? ClusterCode.TIMEOUT : ClusterCode.UNREACHABLE, `${doing}: ${e.message}`);
  }
  throw e;
}
