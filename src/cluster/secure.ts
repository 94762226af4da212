/**
 * Connections between nodes, secured: who dials speaks TLS unless the way is loopback; who listens hears from the first byte what
 * is spoken, and takes plain connections from loopback alone, and where some peer is there. A node's certificate must bear the name that its hello says.
 */
import type { PullSocket } from '../io/pull-socket.ts';
import { fromLoopback, type SecureSocket, TLS_FIRST_BYTE, toLoopback } from '../io/tls.ts';
import { type Address, Errno, IoError, type IoSocket } from '../io/types.ts';
import type { ClusterContext } from './context.ts';
import { ClusterCode, ClusterError } from './errors.ts';

/** Dialing side. Rejects with IoError; the socket is closed then. */
export async function secureDialed(ctx: ClusterContext, socket: IoSocket, peer: string, to: Address, timeoutMs: number): Promise<IoSocket> {
  const { linkTls } = ctx;
  if (linkTls === null || (!linkTls.everywhere && toLoopback(to))) return socket;
  return await linkTls.tls.connect(socket, peer, timeoutMs);
}

/**
 * Listening side: the connection to say hello on; `pull` has not been read from. Null: this one, which is not secured. Rejects with
 * IoError, or ClusterError when it must be secured and is not, or can not be.
 */
export async function secureAccepted(ctx: ClusterContext, pull: PullSocket, deadline: number): Promise<SecureSocket | null> {
  const { linkTls, clock } = ctx;
  const left = (): number => Math.max(0, deadline - clock.now());
  const first = await pull.read(1, left());
  pull.unread(first);
  if (first[0] !== TLS_FIRST_BYTE) {
    const mayBePlain = linkTls?.everywhere === false && linkTls.peersHere;
    if (linkTls === null || (mayBePlain && fromLoopback(pull.socket.remote))) return null;
    throw new ClusterError(ClusterCode.REFUSED, `a connection without TLS, which ${ctx.self} takes from ${mayBePlain ? 'loopback alone' : 'nobody'}`);
  }
  if (linkTls === null) throw new ClusterError(ClusterCode.REFUSED, `a TLS connection, and TLS between nodes is off on ${ctx.self}`);
  try {
    return await linkTls.tls.accept(pull.socket, pull.detach(), left());
  } catch (e: unknown) {
    // It has proved something else than what we take, such as another key.
    if (e instanceof IoError && e.errno === Errno.EACCES) throw new ClusterError(ClusterCode.REFUSED, e.message);
    throw e;
  }
}

/** Throws ClusterError when the other end has not proved to be that node. */
export function requireProof(socket: SecureSocket | null, node: string): void {
  if (socket === null) return;
  const { peer, refusal } = socket;
  if (peer === null) throw new ClusterError(ClusterCode.REFUSED, `TLS from ${node}: ${refusal}`);
  if (!peer.names.includes(node)) {
    throw new ClusterError(ClusterCode.REFUSED, `TLS from ${node}: it has proved to be ${peer.names.join(', ')}`);
  }
  if (!peer.mayServe) throw new ClusterError(ClusterCode.REFUSED, `TLS from ${node}: its certificate is a client's, and a node's is needed`);
}
