/** How the source reaches a target's leg: one of our own nodes through a session, or any other NBD server. */
import { ClusterError } from '../cluster/errors.ts';
import { toLoopback } from '../io/tls.ts';
import { Errno, type Engine, type IoSocket } from '../io/types.ts';
import type { TargetClient } from '../mirror/target-client.ts';
import { NbdClient } from '../nbd-client-js/client.ts';
import { parseNbdUri } from '../nbd-client-js/uri.ts';
import type { NodeContext } from './context.ts';
import type { Damage } from './damage.ts';
import { endsEpoch, sessionAnswerSchema } from './protocol.ts';
import { requireBlocks } from './sectors.ts';
import type { Epoch, MirrorDefinition, NodeName } from './types.ts';
import { trimOnForeign, zeroOn } from './zeroing.ts';

/**
 * Answers awaited one after the other until a connection carries requests: TCP, hello, greeting, five options at most. Each has a
 * failureTimeout of its own, as a link that is slow needs one each; all together have so many, whatever the peer does (M14).
 */
const DIAL_STEPS_MAX = 8;
/** STARTTLS, and TLS itself. */
const TLS_STEPS_MAX = 4;

/** A foreign target that answers, and can not be one. */
export class TargetRefused extends Error {
  override readonly name = 'TargetRefused';
}

export interface Dialer {
  readonly ctx: NodeContext;
  readonly epoch: Epoch;
  readonly timeoutMs: number;
  /** A node refuses ours for its epoch: we answer nothing any more (M9). */
  epochOver(why: string): void;
}

/** Opens a session on one of our own nodes, and connects to the export that it hands out for it. */
export async function dialNode(
  s: Dialer,
  node: NodeName,
  o: { id: string; kind: 'none' | 'partial' | 'full'; rewrites: boolean; damage: Damage },
): Promise<NbdClient> {
  const { ctx } = s;
  const r = ctx.record();
  const { kind, rewrites, damage } = o;
  const { checksums } = ctx.env.tunables;
  const params = { tag: ctx.tag, epoch: s.epoch, session: o.id, kind, generation: r.generation, definition: r.definition, rewrites, checksums };
  const opened = sessionAnswerSchema.parse(await open(s, node, params));
  damage.checked = checksums && opened.checksums;
  damage.secured = true;
  const onMismatch = (): void => {
    damage.met();
  };
  return NbdClient.connect({
    io: ctx.env.io,
    hub: ctx.env.hub,
    exportName: opened.token,
    connections: ctx.env.tunables.connectionsPerTarget,
    connectTimeoutMs: s.timeoutMs * DIAL_STEPS_MAX,
    replyTimeoutMs: s.timeoutMs,
    ...(damage.checked ? { checksums: { onMismatch } } : {}),
    open: async () => {
      const socket = await ctx.env.cluster.dialNbd(node, { tag: ctx.tag, token: opened.token }, s.timeoutMs);
      damage.secured &&= socket.secured;
      return socket;
    },
  });
}

async function open(s: Dialer, node: NodeName, params: object): Promise<unknown> {
  try {
    return await s.ctx.env.cluster.request(node, 'session.open', params, s.timeoutMs * 2);
  } catch (e: unknown) {
    if (e instanceof ClusterError && e.from !== null && endsEpoch(e.code)) s.epochOver(e.message);
    throw e;
  }
}

/** Any other NBD server; without FLUSH nothing on it could be called durable (M3). */
export function dialForeign(s: Dialer, node: NodeName): Promise<NbdClient> {
  return connectForeign(s, s.ctx.record().definition.nodes[node]?.foreignUri ?? '');
}

/** Throws when what the other side says of its leg does not do for the mirror. */
export function requireLeg(where: string, client: NbdClient, d: MirrorDefinition): void {
  const { sizeBytes, blockSizeMinBytes } = client.info;
  if (sizeBytes < d.sizeBytes) throw new Error(`${where} has ${String(sizeBytes)} bytes, the mirror ${String(d.sizeBytes)}`);
  requireBlocks(where, blockSizeMinBytes, d);
}

/** Rejects with the reason why this server can't be a target now; nothing is written to it. */
export async function tryForeign(s: Dialer, uri: string): Promise<void> {
  const client = await connectForeign(s, uri);
  client.close(Errno.ESHUTDOWN);
}

async function connectForeign(s: Dialer, uri: string): Promise<NbdClient> {
  const { ctx } = s;
  const { address, exportName, tls } = parseNbdUri(uri);
  const { foreignTls } = ctx.env;
  if (tls === undefined && foreignTls?.required === true && !toLoopback(address))
    throw new Error(`${uri} is in clear, and this node's configuration says "tls: required"; allowed: nbds, or a server on this machine`);
  if (tls !== undefined && foreignTls === undefined) throw new Error(`${uri} asks for TLS, which this node does not speak to foreign targets`);
  const secure =
    tls === undefined || foreignTls === undefined
      ? {}
      : { secure: (socket: IoSocket, timeoutMs: number): Promise<IoSocket> => foreignTls.tls.connect(socket, tls, timeoutMs) };
  const client = await NbdClient.connect({
    io: ctx.env.io,
    hub: ctx.env.hub,
    address,
    exportName,
    ...secure,
    connections: ctx.env.tunables.connectionsPerTarget,
    spread: true,
    connectTimeoutMs: s.timeoutMs * (DIAL_STEPS_MAX + (tls === undefined ? 0 : TLS_STEPS_MAX)),
    replyTimeoutMs: s.timeoutMs,
  });
  try {
    requireForeign(uri, client, ctx.record().definition);
    return client;
  } catch (e: unknown) {
    client.close(Errno.ESHUTDOWN);
    throw new TargetRefused(e instanceof Error ? e.message : String(e));
  }
}

function requireForeign(uri: string, client: NbdClient, d: MirrorDefinition): void {
  if (client.info.readOnly) throw new Error(`${uri} is read-only`);
  if (!client.info.canFlush) throw new Error(`${uri} has no FLUSH, so nothing on it could be called durable`);
  requireLeg(uri, client, d);
}

/** Zeroes and trims in the way that leaves this target reading the same as our own leg. */
export function asTarget(engine: Engine, client: NbdClient, foreign: boolean): TargetClient {
  return {
    write: (owner, tag, offset, length, h, hOffset, fua) => {
      client.write(owner, tag, offset, length, h, hOffset, fua);
    },
    read: (owner, tag, offset, length) => {
      client.read(owner, tag, offset, length);
    },
    flush: (owner, tag) => {
      client.flush(owner, tag);
    },
    writeZeroes: (owner, tag, offset, length, fua, mayPunch) => {
      zeroOn(engine, client, owner, tag, offset, length, fua, mayPunch);
    },
    trim: (owner, tag, offset, length, fua) => {
      // Our own replicas read zeroes after a trim; of any other server the spec promises nothing.
      if (!foreign) client.trim(owner, tag, offset, length, fua);
      else trimOnForeign(engine, client, owner, tag, offset, length, fua);
    },
    onClosed: (f) => {
      client.onClosed(f);
    },
    lostWhy: () => client.lost?.reason,
    close: (errno) => {
      client.close(errno);
    },
  };
}
