/**
 * Connections between nodes, secured: who dials speaks TLS unless the way is loopback; who listens hears from the first byte what
 * is spoken, and takes plain connections from loopback alone, and where some peer is there. A node's certificate must bear the name that its hello says.
 *
 * With `allowed`, by which nodes are moved to TLS and back one at a time, who dials tries TLS first and then goes on in clear, and who
 * listens takes both. No identity is asked for there, since whoever has none could come in clear; it is told and shown which ways are not
 * secured, and why. The other modes never go on in clear after TLS has failed, whatever the failure.
 */
import type { PullSocket } from '../io/pull-socket.ts';
import { fromLoopback, type SecureSocket, TLS_FIRST_BYTE, toLoopback } from '../io/tls.ts';
import { type Address, Errno, IoError, type IoSocket } from '../io/types.ts';
import type { ClusterContext } from './context.ts';
import { ClusterCode, ClusterError } from './errors.ts';

/** How a connection stands. */
export interface Standing {
  /** By TLS, and the other end has proved who it is. */
  secured: boolean;
  /** Why not; empty where it is, or was not tried. */
  why: string;
}

/** Whoever dials: it may give up at any time, and destroys the connection that it was told of last then. */
export interface DialOwner {
  opened(plain: IoSocket): void;
  givenUp(): boolean;
}

export interface Opened extends Standing {
  /** To say hello on. */
  socket: IoSocket;
  /** Until when, on the monotonic clock. */
  deadline: number;
}

/**
 * Dialing side. The network has `waitMs`, and so have TLS and the hello together, a second connection in clear included. Rejects with
 * IoError or ClusterError; nothing is open then.
 */
export async function openWay(ctx: ClusterContext, peer: string, to: Address, waitMs: number, owner: DialOwner): Promise<Opened> {
  const { linkTls, clock } = ctx;
  const plain = await connected(ctx, to, waitMs, owner);
  const deadline = clock.now() + waitMs;
  if (linkTls === null || (linkTls.mode === 'auto' && toLoopback(to))) return { socket: plain, deadline, secured: false, why: '' };
  let why: string;
  try {
    return { socket: await linkTls.tls.connect(plain, peer, waitMs), deadline, secured: true, why: '' };
  } catch (e: unknown) {
    // One that is silent is silent in clear as well.
    if (linkTls.mode !== 'allowed' || !(e instanceof IoError) || e.errno === Errno.ETIMEDOUT) throw e;
    why = e.message;
  }
  return { socket: await connected(ctx, to, Math.max(1, deadline - clock.now()), owner), deadline, secured: false, why };
}

async function connected(ctx: ClusterContext, to: Address, waitMs: number, owner: DialOwner): Promise<IoSocket> {
  const givenUp = (): ClusterError => new ClusterError(ClusterCode.CLOSED, `${ctx.self} has given the attempt up`);
  if (owner.givenUp()) throw givenUp();
  const socket = await ctx.net.connect(to, waitMs);
  if (owner.givenUp()) {
    socket.destroy();
    throw givenUp();
  }
  owner.opened(socket);
  return socket;
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
    if (linkTls === null || linkTls.mode === 'allowed') return null;
    const mayBePlain = linkTls.mode === 'auto' && linkTls.peersHere;
    if (mayBePlain && fromLoopback(pull.socket.remote)) return null;
    throw new ClusterError(ClusterCode.REFUSED, `a connection without TLS, which ${ctx.self} takes from ${mayBePlain ? 'loopback alone' : 'nobody'}`);
  }
  if (linkTls === null) throw new ClusterError(ClusterCode.REFUSED, `a TLS connection, and TLS between nodes is off on ${ctx.self}`);
  try {
    return await linkTls.tls.accept(pull.socket, pull.detach(), left(), 'node');
  } catch (e: unknown) {
    // It has proved something else than what we take, such as another key.
    if (e instanceof IoError && e.errno === Errno.EACCES) throw new ClusterError(ClusterCode.REFUSED, e.message);
    throw e;
  }
}

/** How an accepted connection of that node stands. Throws ClusterError when its other end must prove to be that node, and has not. */
export function judgeProof(ctx: ClusterContext, socket: SecureSocket | null, node: string): Standing {
  if (socket === null) return { secured: false, why: 'it came without TLS' };
  const why = wantOfProof(socket, node);
  if (why !== '' && ctx.linkTls?.mode !== 'allowed') throw new ClusterError(ClusterCode.REFUSED, why);
  return { secured: why === '', why };
}

/** Empty: it has proved to be that node. */
function wantOfProof({ peer, refusal }: SecureSocket, node: string): string {
  if (peer === null) return `TLS from ${node}: ${refusal}`;
  if (!peer.names.includes(node)) return `TLS from ${node}: it has proved to be ${peer.names.join(', ')}`;
  if (!peer.mayServe) return `TLS from ${node}: its certificate is a client's, and a node's is needed`;
  return '';
}

/** With `allowed`, that a way which is in use now is not secured: once for each, unless it has been secured in between. */
export function tellOfClear(ctx: ClusterContext, peer: string, path: string, { secured, why }: Standing): void {
  if (ctx.linkTls?.mode !== 'allowed') return;
  const key = `clear ${peer} ${path}`;
  if (secured) {
    ctx.inClear.delete(key);
  } else if (!ctx.inClear.has(key)) {
    ctx.inClear.add(key);
    ctx.log.warn(key, 'a connection between nodes is not secured, which tls: allowed takes: whoever is in between can read and change what passes', {
      peer,
      path,
      why,
    });
  }
}
