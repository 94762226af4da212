/** A connection of its own to a peer, that after the hello carries plain NBD with the peer as the server. */
import { PullSocket } from '../io/pull-socket.ts';
import type { Address, IoSocket } from '../io/types.ts';
import { type ClusterContext, pathName } from './context.ts';
import { asClusterError, ClusterCode, ClusterError } from './errors.ts';
import { greet } from './handshake.ts';
import { openWay, tellOfClear } from './secure.ts';

export interface NbdSocket {
  /** Paused; its next owner calls `start` and `resume`. */
  socket: IoSocket;
  /** Bytes of the NBD server that came together with the ok. */
  early: Uint8Array;
  /** Of the peer that answered (M5: proofs hold within one daemon start). */
  daemonStart: string;
  /** By TLS, and the peer has proved who it is. */
  secured: boolean;
}

export interface NbdDialLimits {
  /** Told of each socket while its handshake lasts, so that it can be cut off; returns what to call at the end. */
  track(pull: PullSocket): () => void;
  stopped(): boolean;
}

/** Tries the paths in turn; on each the network and then the peer have `answerMs` to answer. A refusal by the peer itself ends it. */
export async function dialNbd(
  ctx: ClusterContext,
  peer: string,
  addresses: readonly Address[],
  params: unknown,
  answerMs: number,
  limits: NbdDialLimits,
): Promise<NbdSocket> {
  let last = new ClusterError(ClusterCode.UNREACHABLE, `${peer} has no address`);
  for (const address of addresses) {
    try {
      return await dialPath(ctx, peer, address, params, answerMs, limits);
    } catch (e: unknown) {
      last = asClusterError(e, `an NBD connection to ${peer} at ${pathName(address)}`);
      // A refusal by the peer holds on every path; one by another node, or no answer at all, only on this one.
      const onlyThisPath = last.from === null || last.code === ClusterCode.WRONG_NODE;
      if (!onlyThisPath || limits.stopped()) break;
    }
  }
  throw last;
}

async function dialPath(
  ctx: ClusterContext,
  peer: string,
  address: Address,
  params: unknown,
  answerMs: number,
  limits: NbdDialLimits,
): Promise<NbdSocket> {
  const opened = await openWay(ctx, peer, address, answerMs, { opened: () => undefined, givenUp: () => limits.stopped() });
  const { socket, deadline } = opened;
  if (limits.stopped()) {
    socket.destroy();
    throw new ClusterError(ClusterCode.CLOSED, `${ctx.self} is stopping`);
  }
  const pull = new PullSocket(socket, ctx.clock);
  const untrack = limits.track(pull);
  try {
    const hello = {
      type: 'hello' as const,
      protocol: ctx.protocol,
      cluster: ctx.clusterName,
      node: ctx.self,
      daemonStart: ctx.daemonStart,
      purpose: 'nbd' as const,
      to: peer,
      params: params ?? null,
    };
    const greeting = await greet(pull, ctx.clock, hello, deadline);
    const early = pull.detach();
    tellOfClear(ctx, peer, pathName(address), opened);
    return { socket, early, daemonStart: greeting.daemonStart, secured: opened.secured };
  } catch (e: unknown) {
    pull.destroy();
    throw e;
  } finally {
    untrack();
  }
}
